//! What an outbox knows of one message.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{clock::Timestamp, id::MessageId};

/// Counted for each message beside its payload, in bytes.
const OVERHEAD_BYTES: usize = 64;

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) business: Arc<str>,
    pub(super) payload: Bytes,
    pub(super) wants_reply: bool,
    pub(super) try_timeout: Option<Duration>,
    /// When this process took it.
    pub(super) entered: Timestamp,
    /// How old it was then.
    pub(super) age: Duration,
    pub(super) keep_for: Duration,
    pub(super) state: State,
    pub(super) tries: u32,
    /// Whether any try ended without a word that it was not run.
    pub(super) may_have_run: bool,
    /// The message before it, as the last try said.
    pub(super) after: MessageId,
    /// Whether it was sent on the connection that is open now.
    pub(super) sent_here: bool,
    /// Whether what it waits for is a retry, which the budget pays.
    pub(super) is_retry: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not kept by the store yet.
    Storing,
    /// May be sent.
    Ready,
    /// Sent on this connection, and not answered.
    InFlight,
    /// Not to be sent before this time.
    Later(Timestamp),
    /// Could be sent again, but the budget of retries is empty.
    Unpaid,
    /// Not to be sent before the message before it has ended.
    Behind,
}

impl Entry {
    pub(super) fn size(&self) -> usize {
        size(&self.payload)
    }

    pub(super) fn deadline(&self, longest_keep: Duration) -> Timestamp {
        self.entered + self.keep_for.min(longest_keep).saturating_sub(self.age)
    }
}

pub(super) fn size(payload: &Bytes) -> usize {
    payload.len() + OVERHEAD_BYTES
}
