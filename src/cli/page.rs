//! The page of `dagor simulate --html` while its runs take place: what cannot be written is known before them.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
};

use super::Error;
use crate::sim::{
    compare::Job,
    html::{self, Origin},
    report::Report,
};

/// A file that waits for what will be written to it.
pub(super) struct Writing {
    name: String,
    file: File,
}

impl Writing {
    /// Opens the file; an older report stays in it until there is a new one.
    pub(super) fn begin(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let opened = File::options().write(true).create(true).truncate(false).open(path);
        let file = opened.map_err(|error| Error::usage(format_args!("--html {name}: {error}")))?;
        Ok(Self { name, file })
    }

    /// Writes the page.
    pub(super) fn finish(mut self, page: &str) -> Result<(), Error> {
        let written = self.file.set_len(0).and_then(|()| self.file.write_all(page.as_bytes()));
        written.map_err(|error| Error::failed(format_args!("cannot write {}: {error}", self.name)))
    }
}

/// A file that waits for the report of a comparison.
pub(super) struct Page {
    writing: Writing,
    command: String,
    texts: Vec<String>,
}

impl Page {
    /// Opens the file for the report of these jobs, which this command makes again.
    pub(super) fn begin(path: &Path, command: String, jobs: &[Job]) -> Result<Self, Error> {
        let writing = Writing::begin(path)?;
        let text = |job: &Job| {
            fs::read_to_string(&job.file).map_err(|error| Error::usage(format_args!("{}: {error}", job.file)))
        };
        Ok(Self { writing, command, texts: jobs.iter().map(text).collect::<Result<_, _>>()? })
    }

    /// Writes the report.
    pub(super) fn finish(self, report: &Report) -> Result<(), Error> {
        let page = html::render(report, &Origin { command: &self.command, texts: &self.texts });
        self.writing.finish(&page)
    }
}

/// A word as a shell takes it.
pub(super) fn quoted(word: &str) -> String {
    let plain = |character: char| character.is_alphanumeric() || "/._-,+=:@".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_change_them() {
        assert_eq!(quoted("tests/scenarios/03-step.toml"), "tests/scenarios/03-step.toml");
        assert_eq!(quoted("my step's.toml"), r"'my step'\''s.toml'");
        assert_eq!(quoted(""), "''");
    }
}
