//! A store for tests and for apps that restart clients within one process: it outlives a client, but not the process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Store, StoreError};
use crate::{
    client::{Kept, Record},
    id::OutboxId,
};

/// An outbox in memory. Clones share it; only one client may use it at a time.
#[derive(Clone, Debug)]
pub struct MemoryStore(Arc<Mutex<Kept>>);

impl MemoryStore {
    /// A new, empty outbox. The id must be a random one.
    pub fn new(outbox: OutboxId) -> Self {
        Self(Arc::new(Mutex::new(Kept::new(outbox))))
    }

    /// What is kept now.
    pub fn kept(&self) -> Kept {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Kept, StoreError> {
        Ok(self.kept())
    }

    fn keep(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let mut kept = self.lock();
        for record in records {
            kept.apply(record.clone());
        }
        Ok(())
    }
}
