//! An outbox in a file that survives a crash at any byte: records are only ever appended, a rewritten file takes the old
//! one's name when it is whole, and ids are never used again because they are reserved on the disk before they are given.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::{
    Store, StoreError,
    log::{self, Writer},
};
use crate::{
    client::{Kept, Record},
    id::OutboxId,
};

/// Only its owner reads it: it holds messages, and a ticket that logs in.
const MODE: u32 = 0o600;

/// A file is rewritten when it has doubled since the last time, but not below this size, in bytes.
const COMPACT_FROM: usize = 256 * 1024;

/// No outbox of any limits gets near this, in bytes; a larger file is not read.
const LARGEST: u64 = 1 << 30;

/// When what was accepted reaches the disk itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before it is accepted: it survives the loss of power, and what was given up stays so. Costs one flush of the disk
    /// (some milliseconds, on a phone tens of them) for all messages that are accepted or given up at the same time.
    #[default]
    Always,
    /// When the system sees fit: it survives the crash of the app, but a loss of power may take the messages of the last
    /// half minute with it, and some that were settled may be sent again. No id is used twice in either case.
    System,
}

impl SyncPolicy {
    /// Whether these records must be on the disk itself before they count as kept.
    pub fn flushes(self, records: &[Record]) -> bool {
        records.iter().any(|record| match record {
            Record::Reserved(_) => true,
            Record::Accepted(..) | Record::GivenUp(_) => self == Self::Always,
            // If these are lost, something is sent again that the service knows, or an older ticket is shown.
            Record::Settled(_) | Record::Ticket(_) => false,
        })
    }
}

/// An outbox in a file. A second process that opens it gets an error.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    user: String,
    sync: SyncPolicy,
    open: Option<Open>,
    /// Locked for as long as this exists. A file of its own, because the other one is replaced now and then.
    _lock: File,
}

#[derive(Debug)]
struct Open {
    file: File,
    writer: Writer,
    bytes: usize,
    compact_at: usize,
    /// What the file holds.
    kept: Kept,
}

impl FileStore {
    /// An outbox of `user` at `path`, which is created if it is not there; a lock lies beside it, under its name with
    /// `.lock` appended.
    ///
    /// # Errors
    ///
    /// If another process uses it, or the lock cannot be had.
    pub fn new(path: impl Into<PathBuf>, user: impl Into<String>, sync: SyncPolicy) -> Result<Self, StoreError> {
        let path = path.into();
        let io = |source| StoreError::Io { path: path.clone(), action: "lock", source };
        let lock = create(&beside(&path, ".lock"), false).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, user: user.into(), sync, open: None, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse(path)),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }

    fn io(&self, action: &'static str) -> impl Fn(io::Error) -> StoreError + use<> {
        let path = self.path.clone();
        move |source| StoreError::Io { path: path.clone(), action, source }
    }

    fn read(&self) -> Result<Kept, StoreError> {
        let file = match fs::metadata(&self.path) {
            Ok(metadata) if metadata.len() > LARGEST => {
                let what = "it is larger than any outbox";
                return Err(StoreError::Damaged { path: self.path.clone(), offset: LARGEST as usize, what });
            }
            Ok(_) => fs::read(&self.path).map_err(self.io("read"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(self.io("read")(error)),
        };
        if file.is_empty() {
            return Ok(Kept::new(OutboxId(fastrand::u64(..))));
        }
        let contents = log::read(&file).map_err(|damage| StoreError::Damaged {
            path: self.path.clone(),
            offset: damage.offset,
            what: damage.what,
        })?;
        if contents.user != self.user {
            return Err(StoreError::OtherUser { path: self.path.clone(), owner: contents.user });
        }
        Ok(contents.kept)
    }

    /// Writes a file that holds this and no more, and gives it the name when it is on the disk.
    fn rewrite(&self, kept: Kept) -> io::Result<Open> {
        let writer = Writer::new(fastrand::u128(..).to_le_bytes());
        let bytes = writer.file(&self.user, &kept);
        let new = beside(&self.path, ".new");
        let mut file = create(&new, true)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
        let compact_at = COMPACT_FROM.max(2 * bytes.len());
        Ok(Open { file, writer, bytes: bytes.len(), compact_at, kept })
    }
}

impl Store for FileStore {
    fn load(&mut self) -> Result<Kept, StoreError> {
        let kept = self.read()?;
        // This also takes away the end that a crash has torn off.
        self.open = Some(self.rewrite(kept.clone()).map_err(self.io("write"))?);
        Ok(kept)
    }

    fn keep(&mut self, records: &[Record]) -> Result<(), StoreError> {
        // Put back only when all is well: behind a write that failed nothing could be read again.
        let mut open = self.open.take().ok_or(StoreError::Failed)?;
        open.append(records, self.sync.flushes(records)).map_err(self.io("write"))?;
        if open.bytes >= open.compact_at {
            open = self.rewrite(open.kept).map_err(self.io("rewrite"))?;
        }
        self.open = Some(open);
        Ok(())
    }
}

impl Open {
    fn append(&mut self, records: &[Record], sync: bool) -> io::Result<()> {
        let frame = self.writer.frame(self.bytes, records);
        self.file.write_all(&frame)?;
        self.bytes += frame.len();
        if sync {
            self.file.sync_data()?;
        }
        for record in records {
            self.kept.apply(record.clone());
        }
        Ok(())
    }
}

fn create(path: &Path, empty: bool) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(empty).mode(MODE).open(path)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
