//! The text of a policy: bounded in size, each file with its name, in an order that does not depend on the directory.

use std::{
    fs::{self, File},
    hash::Hasher,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use siphasher::sip::SipHasher13;

use super::{
    fault::{Fault, Faults},
    table::Revision,
};

/// The most that all files of a policy may hold together. A thousand businesses need a tenth of it.
pub const MAX_POLICY_BYTES: u64 = 1 << 20;
/// The most files that a policy directory may hold.
pub const MAX_POLICY_FILES: usize = 256;

/// One file of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file's path, as faults show it.
    pub name: String,
    /// What the file holds.
    pub text: String,
}

/// All files of a policy. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources(Arc<[Source]>);

impl Sources {
    /// A policy of one text that need not be a file; `name` is what faults call it.
    pub fn from_text(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self(Arc::new([Source { name: name.into(), text: text.into() }]))
    }

    /// A policy of files that came from elsewhere.
    ///
    /// # Errors
    ///
    /// When there are more of them, or they are larger, than a policy may be.
    pub fn from_files(files: Vec<Source>) -> Result<Self, Faults> {
        let bytes: u64 = files.iter().map(|file| file.text.len() as u64).sum();
        if files.is_empty() || files.len() > MAX_POLICY_FILES || bytes > MAX_POLICY_BYTES {
            let why = format!("{} files of {bytes} bytes are no policy", files.len());
            return Err(unreadable(Path::new("the distributed policy"), &why));
        }
        Ok(Self(files.into()))
    }

    /// Reads a file, or every `*.toml` of a directory in the order of their names.
    ///
    /// # Errors
    ///
    /// When something cannot be read, is too large, is not UTF-8, or holds nothing at all. An empty file is far more
    /// often one that is being written than one that is meant, and would mean "the default policy".
    pub fn read(path: &Path) -> Result<Self, Faults> {
        let files = files_of(path).map_err(|error| unreadable(path, &error.to_string()))?;
        let mut left = MAX_POLICY_BYTES;
        let mut sources = Vec::with_capacity(files.len());
        for file in files {
            let text = read_text(&file, left).map_err(|error| unreadable(&file, &error.to_string()))?;
            left -= text.len() as u64;
            sources.push(Source { name: file.display().to_string(), text });
        }
        if sources.iter().all(|source| source.text.trim().is_empty()) {
            return Err(unreadable(path, "it is empty; write at least a comment if every default is meant"));
        }
        Ok(Self(sources.into()))
    }

    /// The files.
    pub fn iter(&self) -> std::slice::Iter<'_, Source> {
        self.0.iter()
    }

    /// The same on every machine for the same texts in the same order, whatever the files are called.
    pub fn revision(&self) -> Revision {
        let mut hasher = SipHasher13::new();
        for source in self.iter() {
            hasher.write(&(source.text.len() as u64).to_le_bytes());
            hasher.write(source.text.as_bytes());
        }
        Revision(hasher.finish())
    }

    pub(crate) fn get(&self, file: usize) -> Option<&Source> {
        self.0.get(file)
    }
}

/// The fault of a file that no policy can be made of.
pub(crate) fn unreadable(path: &Path, why: &str) -> Faults {
    Faults::one(Fault::of_file(path.display().to_string(), format!("this cannot be used: {why}")))
}

fn files_of(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        // Editors and config maps keep hidden files beside the real ones. `metadata` follows symbolic links.
        let hidden = file.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden || file.extension().is_none_or(|extension| extension != "toml") || !fs::metadata(&file)?.is_file() {
            continue;
        }
        if files.len() == MAX_POLICY_FILES {
            return Err(io::Error::other(format!("more than {MAX_POLICY_FILES} files")));
        }
        files.push(file);
    }
    if files.is_empty() {
        return Err(io::Error::other("no file in this directory ends in `.toml`"));
    }
    files.sort();
    Ok(files)
}

fn read_text(file: &Path, limit: u64) -> io::Result<String> {
    // Opening a pipe would wait for its writer.
    if !fs::metadata(file)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(file)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("at most {MAX_POLICY_BYTES} bytes are read, and this is more")));
    }
    String::from_utf8(bytes)
        .map_err(|error| io::Error::other(format!("byte {} is not UTF-8", error.utf8_error().valid_up_to())))
}
