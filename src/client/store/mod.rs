//! Where an outbox is kept between two runs of an app: whatever was kept before a crash is given back after it.

mod file;
mod log;
mod memory;

use std::{io, path::PathBuf};

pub use self::{
    file::{FileStore, SyncPolicy},
    memory::MemoryStore,
};
use super::{Kept, Record};

/// Keeps the records of one outbox. Its calls may block: a client makes them on a thread for that.
pub trait Store: Send + 'static {
    /// What was kept, or a new outbox; called once, before everything else.
    ///
    /// # Errors
    ///
    /// If there is something that cannot be read. A store never gives back less than it kept, nor makes up an empty outbox in
    /// place of a damaged one.
    fn load(&mut self) -> Result<Kept, StoreError>;

    /// Keeps these records, all or none of them, behind those before.
    ///
    /// # Errors
    ///
    /// If they are not kept. The client then accepts nothing more.
    fn keep(&mut self, records: &[Record]) -> Result<(), StoreError>;
}

/// What is wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("the outbox {path} is in use by another process; give each client an outbox of its own", path = .0.display())]
    InUse(PathBuf),
    /// It holds another user's messages.
    #[error(
        "the outbox {path} belongs to the user \"{owner}\"; give each user an outbox of their own",
        path = path.display()
    )]
    OtherUser {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: String,
    },
    /// The file is damaged in a way that no crash explains. Nothing was changed.
    #[error(
        "the outbox {path} is damaged at byte {offset}: {what}; move it away to begin with an empty one",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damage begins, in bytes from the start.
        offset: usize,
        /// What it is.
        what: &'static str,
    },
    /// The file cannot be read or written.
    #[error("cannot {action} the outbox {path}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// An earlier write failed: nothing more is kept.
    #[error("an earlier write to the outbox failed")]
    Failed,
}
