//! What an [`Agent`](super::Agent) tells: commands for whoever owns the sockets, events for the app.

use std::{fmt, time::Duration};

use super::super::{CloseReason, Fate, Push, RequestError, Verdict};
use crate::id::{Epoch, MessageId};

/// One of an agent's streams, from the command to dial to its end. Numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// What is to be done with streams, at once and in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Open a stream, then call [`Agent::handle_connected`](super::Agent::handle_connected), or
    /// [`Agent::handle_disconnect`](super::Agent::handle_disconnect) if that fails.
    Dial {
        /// What to call it from then on.
        link: LinkId,
        /// `host:port`.
        address: String,
    },
    /// Send what there is as far as that takes no time, and close the stream, or stop opening it. Nothing more is to be said about it.
    HangUp {
        /// Which.
        link: LinkId,
    },
}

/// What an app may want to know, in the order in which it happened.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientEvent {
    /// A gateway is tried.
    Connecting {
        /// Which.
        address: String,
    },
    /// Logged in.
    Connected {
        /// Where.
        address: String,
        /// The gateway's name.
        gateway: String,
        /// The number of this login.
        epoch: Epoch,
        /// How many messages are sent again, because they may have been lost.
        resent: usize,
        /// How many messages are not settled, these included.
        unsettled: usize,
    },
    /// There is no connection, or the next one could not be made; it is tried again.
    Waiting {
        /// Why.
        reason: CloseReason,
        /// Where the next try goes.
        address: String,
        /// When.
        delay: Duration,
        /// How many messages wait.
        unsettled: usize,
    },
    /// The gateway wants this client elsewhere. It serves until the client is there.
    Moving {
        /// Why.
        reason: Verdict,
        /// Where to.
        address: String,
        /// When.
        delay: Duration,
    },
    /// A message is on its way.
    Sent {
        /// Which.
        id: MessageId,
        /// The how manieth time, from 1.
        attempt: u32,
    },
    /// A message is not sent for now: most likely it would be refused, or it comes after another one.
    HeldBack {
        /// Which.
        id: MessageId,
        /// Why.
        reason: RequestError,
        /// When it is looked at again.
        delay: Duration,
    },
    /// A try was refused: certainly not run. It is sent again.
    Refused {
        /// Which.
        id: MessageId,
        /// Why.
        verdict: Verdict,
        /// When at the earliest; `None` where it waits for the message before it.
        delay: Option<Duration>,
    },
    /// A try has no answer: it may have run. It is sent again.
    Unknown {
        /// Which.
        id: MessageId,
        /// Why.
        reason: RequestError,
        /// When at the earliest.
        delay: Duration,
    },
    /// A message has ended.
    Ended {
        /// Which.
        id: MessageId,
        /// How.
        fate: Fate,
    },
    /// A logic service pushed something; each key once.
    Pushed(Push),
    /// Nothing more is sent, and no gateway is tried any more.
    Stopped(StopReason),
}

/// Why a client has stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// An operator, the policy, or a login with another outbox ended it for good.
    Kicked(Verdict),
    /// Another client has taken over the same outbox.
    Replaced,
    /// The gateway refused the login in a way that no further try can mend.
    Refused(Verdict),
    /// The app closed it.
    Closed,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kicked(verdict) => write!(f, "kicked: {verdict}"),
            Self::Replaced => f.write_str("another client has taken over this outbox"),
            Self::Refused(verdict) => write!(f, "refused by the gateway: {verdict}"),
            Self::Closed => f.write_str("closed"),
        }
    }
}
