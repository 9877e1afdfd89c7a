//! A message, from the app's hands to its end.

use std::{fmt, time::Duration};

use bytes::Bytes;

use super::super::{Reply, Verdict};
use crate::id::MessageId;

/// How much an outbox holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Messages that are not settled. One more is not accepted ([`SubmitError::Full`]). Default: 1,024.
    pub messages: usize,
    /// Bytes of their payloads, with 64 bytes for each. Default: 4 MiB.
    pub bytes: usize,
    /// How long a message is kept if it does not say so itself; then it is given up. The gateway's own limit holds if it
    /// is shorter: services remember for that long what they have replied to. Default: 24 h.
    pub keep_for: Duration,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Self { messages: 1024, bytes: 4 * 1024 * 1024, keep_for: Duration::from_secs(24 * 3600) }
    }
}

/// A message for a logic service. Start from [`NewMessage::new`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// The name of its business, at most 128 bytes.
    pub business: String,
    /// Passed to the logic service as it is.
    pub payload: Bytes,
    /// Whether the service's reply is wanted; its receipt is, in any case. Default: true.
    pub wants_reply: bool,
    /// How long each try may take. Default: none, the business's own.
    pub try_timeout: Option<Duration>,
    /// How long the message is kept. Default: none, [`OutboxLimits::keep_for`].
    pub keep_for: Option<Duration>,
}

impl NewMessage {
    /// A message whose reply is wanted.
    pub fn new(business: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self {
            business: business.into(),
            payload: payload.into(),
            wants_reply: true,
            try_timeout: None,
            keep_for: None,
        }
    }

    /// The same without a reply: it ends as [`Fate::Settled`].
    pub fn without_reply(self) -> Self {
        Self { wants_reply: false, ..self }
    }

    /// The same with a timeout for each try.
    pub fn try_timeout(self, timeout: Duration) -> Self {
        Self { try_timeout: Some(timeout), ..self }
    }

    /// The same, given up after this time.
    pub fn keep_for(self, keep_for: Duration) -> Self {
        Self { keep_for: Some(keep_for), ..self }
    }
}

/// Why a message was not accepted: it is not in the outbox, and will not be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The outbox holds as much as it may. Some of it must be settled first.
    #[error("the outbox is full: {messages} messages with {bytes} bytes wait")]
    Full {
        /// How many are in it.
        messages: usize,
        /// How large they are.
        bytes: usize,
    },
    /// The message alone is larger than the outbox may get.
    #[error("a message of {bytes} bytes is over the outbox's limit of {limit}")]
    TooLarge {
        /// Its payload with what is counted for each message.
        bytes: usize,
        /// See [`OutboxLimits::bytes`].
        limit: usize,
    },
    /// The name of the business is longer than any.
    #[error("the name of the business has {bytes} bytes, more than {limit}")]
    NameTooLong {
        /// What it has.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The store did not keep it.
    #[error("the outbox could not be written: {0}")]
    Store(String),
    /// The client does not send any more.
    #[error("the client has stopped: {0}")]
    Stopped(String),
}

/// How a message ended. Each accepted message has exactly one fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The logic service replied.
    Replied(Reply),
    /// The logic service answered; no reply was wanted.
    Settled,
    /// The handler of the logic service ran and failed. That is an answer too: the message is not sent again.
    Failed(Verdict),
    /// It is wrong in a way that no further try can mend.
    Rejected {
        /// Why.
        verdict: Verdict,
        /// Whether an earlier try may have run it. If not, it certainly was not run.
        may_have_run: bool,
    },
    /// It is not tried any more.
    GivenUp {
        /// Why.
        why: GiveUp,
        /// Whether the logic service may have run it. If not, it certainly was not run: it was never sent, or every try
        /// was refused.
        may_have_run: bool,
    },
    /// The client was closed first. The message stays in the store, and is sent by the next client that opens it.
    Kept,
}

/// Why a message was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// Its time was over.
    Expired,
    /// The app cancelled it.
    Cancelled,
    /// The client was closed, and there is no store that outlives it.
    Closed,
}

impl Fate {
    /// The reply, if there is one.
    pub fn reply(self) -> Option<Reply> {
        match self {
            Self::Replied(reply) => Some(reply),
            Self::Settled | Self::Failed(_) | Self::Rejected { .. } | Self::GivenUp { .. } | Self::Kept => None,
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let run = |may_have_run: &bool| if *may_have_run { "it may have run" } else { "it certainly was not run" };
        match self {
            Self::Replied(_) => f.write_str("replied"),
            Self::Settled => f.write_str("settled"),
            Self::Failed(verdict) => write!(f, "the service failed: {verdict}"),
            Self::Rejected { verdict, may_have_run } => write!(f, "rejected: {verdict}; {}", run(may_have_run)),
            Self::GivenUp { why, may_have_run } => write!(f, "given up: {why}; {}", run(may_have_run)),
            Self::Kept => f.write_str("kept for the next start"),
        }
    }
}

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "its time is over",
            Self::Cancelled => "cancelled",
            Self::Closed => "the client was closed",
        })
    }
}

/// A message as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptMessage {
    /// The name of its business.
    pub business: String,
    /// Passed to the logic service as it is.
    pub payload: Bytes,
    /// Whether the reply is wanted.
    pub wants_reply: bool,
    /// How long each try may take.
    pub try_timeout: Option<Duration>,
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub accepted_unix_ms: u64,
    /// How long it is kept from then on.
    pub keep_for: Duration,
}

/// A change of an outbox, for its store. The changes of an outbox in their order are the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A message was accepted; it is sent once this is kept.
    Accepted(MessageId, KeptMessage),
    /// A message has ended with its service's answer. If this is lost, the message is sent again, and its service knows it.
    Settled(MessageId),
    /// A message has ended without one: rejected, expired or cancelled. What the app is told then must stay true.
    GivenUp(MessageId),
    /// What to show at the next login.
    Ticket(Bytes),
    /// Ids up to this one may have been used: none of them is given to a new message after a crash. Lowered when the
    /// client is closed in an orderly way.
    Reserved(MessageId),
}
