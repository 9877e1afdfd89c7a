//! Where several instances remember together which messages were run: of all instances, at most one at a time holds a
//! message, and what is settled stays so.
//!
//! An instance asks its store only about a message that none of its own workers runs.

use std::{error::Error, time::Duration};

use bytes::Bytes;

use super::window::{CallKey, Fingerprint};
use crate::id::MessageId;

/// A try of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Try {
    /// The message.
    pub key: CallKey,
    /// The client's lowest unsettled message of this user, outbox and business; 0 says nothing.
    pub oldest_unsettled: MessageId,
    /// The payload's hash.
    pub payload: Fingerprint,
}

/// What a store says of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody runs it, and it has no answer. After [`IdempotencyStore::claim`] it is this instance's to run.
    Free,
    /// Another instance holds it.
    Held,
    /// It was run: its answer, as given to [`IdempotencyStore::settle`].
    Settled(Bytes),
    /// The client has settled it.
    Stale,
    /// The id was used for another payload.
    Conflict,
    /// The window holds as many answers as it may.
    Full,
}

/// What became of a message that this instance held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As asked.
    Done,
    /// It has an answer already, and that one counts.
    Settled(Bytes),
    /// This instance does not hold it any more: its lease lapsed and another took it, or the store lost its data.
    Lapsed,
}

/// A store did not do as asked, or nobody knows whether it did.
#[derive(Debug, thiserror::Error)]
#[error("the idempotency store failed")]
pub struct StoreError(#[source] pub Box<dyn Error + Send + Sync>);

/// What a store has said to an instance since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Messages that this instance was given to run.
    pub claimed: u64,
    /// Calls that found their message held by another instance.
    pub held: u64,
    /// Calls that got a stored answer.
    pub replayed: u64,
    /// Calls of settled messages.
    pub stale: u64,
    /// Calls whose id was used for another payload.
    pub conflicts: u64,
    /// Calls that were refused because their window was full.
    pub refused_full: u64,
    /// Calls that were refused because the store failed.
    pub refused_failed: u64,
    /// Answers that were given although they could not be stored.
    pub unstored: u64,
}

impl StoreStats {
    /// Counts the answer to a claim.
    pub(super) fn count(&mut self, claimed: &Result<Standing, StoreError>) {
        let counter = match claimed {
            Ok(Standing::Free) => &mut self.claimed,
            Ok(Standing::Held) => &mut self.held,
            Ok(Standing::Settled(_)) => &mut self.replayed,
            Ok(Standing::Stale) => &mut self.stale,
            Ok(Standing::Conflict) => &mut self.conflicts,
            Ok(Standing::Full) => &mut self.refused_full,
            Err(_) => &mut self.refused_failed,
        };
        *counter += 1;
    }
}

/// An idempotency store. It answers or fails within a time of its own; a caller does not wait longer.
#[tonic::async_trait]
pub trait IdempotencyStore: std::fmt::Debug + Send + Sync + 'static {
    /// How long a message stays held without being [renewed](IdempotencyStore::renew). An instance that dies keeps its
    /// messages from the others for that long.
    fn lease(&self) -> Duration;

    /// Takes a free message; one that this instance holds already counts as free.
    ///
    /// # Errors
    ///
    /// The message may be held by this instance or not; it must not be run.
    async fn claim(&self, message: &Try) -> Result<Standing, StoreError>;

    /// As [`IdempotencyStore::claim`], but takes nothing.
    ///
    /// # Errors
    ///
    /// Nothing is known.
    async fn look(&self, message: &Try) -> Result<Standing, StoreError>;

    /// Holds a message for another lease.
    ///
    /// # Errors
    ///
    /// The lease may end as it was.
    async fn renew(&self, key: &CallKey) -> Result<Ended, StoreError>;

    /// The answer of a message that this instance holds, from now on and for good.
    ///
    /// # Errors
    ///
    /// It may be stored or not. Asking again is harmless.
    async fn settle(&self, key: &CallKey, answer: Bytes) -> Result<Ended, StoreError>;

    /// Frees a message that this instance holds.
    ///
    /// # Errors
    ///
    /// It may be free or not; it will be after its lease.
    async fn release(&self, key: &CallKey) -> Result<Ended, StoreError>;
}
