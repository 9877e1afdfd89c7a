//! What goes into a [`Connection`](super::Connection) and what comes out of it.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message as _;

use super::{Alternative, CloseReason, RequestError, Session, Verdict};
use crate::{
    id::{BusinessCode, MessageId, OutboxId},
    pb::client as pb,
    wire,
};

/// The largest body that a gateway reads before the login, in bytes.
const MAX_HELLO_BYTES: usize = 4 * 1024;

/// Who logs in, and how.
#[derive(Clone, Debug)]
pub struct Login {
    /// At most 128 bytes.
    pub user: String,
    /// At most 128 bytes; empty means `default`.
    pub device: String,
    /// Proof of identity.
    pub token: Token,
    /// Random, new whenever an outbox is created.
    pub outbox: OutboxId,
    /// The lowest message id that is not settled yet; 0 if none.
    pub oldest_unsettled: MessageId,
    /// What a gateway gave before; left out where the `Hello` would get larger than a gateway reads.
    pub ticket: Bytes,
    /// How many gateways have sent this login elsewhere.
    pub gateways_tried: u32,
    /// Why it connects.
    pub reason: pb::ConnectReason,
    /// The heartbeat that the client would like; zero leaves it to the gateway.
    pub heartbeat: Duration,
    /// How long to wait for the `Welcome`.
    pub timeout: Duration,
    /// The largest body that is read, in bytes.
    pub max_body_bytes: usize,
    /// Whether requests are held back while the gateway says that it would refuse them.
    pub hold_back: bool,
}

impl Login {
    pub(super) fn hello(&self) -> pb::Hello {
        let mut hello = pb::Hello {
            versions: vec![wire::VERSION],
            user: self.user.clone(),
            device: self.device.clone(),
            token: self.token.0.clone(),
            ticket: self.ticket.clone(),
            outbox: self.outbox.0,
            oldest_unsettled: self.oldest_unsettled.0,
            heartbeat_ms: millis(self.heartbeat),
            gateways_tried: self.gateways_tried,
            reason: self.reason.into(),
            reads_refusals: true,
        };
        if hello.encoded_len() > MAX_HELLO_BYTES {
            hello.ticket = Bytes::new();
        }
        hello
    }
}

/// A secret that does not show itself in logs.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Token(pub Bytes);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({} bytes)", self.0.len())
    }
}

/// A request to be sent.
#[derive(Clone, Debug)]
pub struct NewRequest {
    /// A code of the session's table.
    pub business: BusinessCode,
    /// Passed to the logic service as it is.
    pub payload: Bytes,
    /// How long this try may take; `None` for the business's own.
    pub timeout: Option<Duration>,
    /// With [`wire::Flags::NO_REPLY_WANTED`] there is no [`Event::Ended`] for it.
    pub flags: wire::Flags,
}

/// One try of a message that has its id from an outbox.
#[derive(Clone, Debug)]
pub(super) struct Try {
    pub(super) id: MessageId,
    pub(super) business: BusinessCode,
    pub(super) payload: Bytes,
    pub(super) timeout: Option<Duration>,
    pub(super) flags: wire::Flags,
    pub(super) oldest_unsettled: MessageId,
    pub(super) oldest_of_business: MessageId,
    pub(super) after: MessageId,
}

/// What a connection tells its owner.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Logged in; requests can be sent from now on.
    Welcomed(Arc<Session>),
    /// A request ended. Each has exactly one of these.
    Ended {
        /// Which.
        id: MessageId,
        /// How.
        result: Result<Reply, RequestError>,
    },
    /// A logic service's answer to a request whose try had ended before, mostly by its timeout.
    Late {
        /// Which.
        id: MessageId,
        /// The service's answer, or that its handler failed.
        result: Result<Reply, Verdict>,
    },
    /// Every id from the oldest unsettled one up to this has its service's answer written on this connection.
    SettledThrough(MessageId),
    /// What to show at the next login, where it changed.
    Ticket(Bytes),
    /// After a loss of this connection, wait a random part of this before the first new try.
    Spread(Duration),
    /// Where to go after a loss of this connection, in the place of what was known.
    Alternatives(Vec<Alternative>),
    /// A logic service pushed something.
    Pushed(Push),
    /// The gateway wants this client to move; it keeps serving until then.
    MoveWanted(Goaway),
    /// The end; always the last event.
    Closed(CloseReason),
}

/// A logic service's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Of the request.
    pub id: MessageId,
    /// Of the request.
    pub business: BusinessCode,
    /// What the logic service said. It may share memory with its neighbours on the wire: copy what is kept for long.
    pub payload: Bytes,
}

/// A message from a logic service that nobody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Increases on each connection in the order of writing.
    pub id: u64,
    /// What it is about.
    pub business: BusinessCode,
    /// Equal keys are the same push.
    pub dedupe_key: Bytes,
    /// What the logic service said. It may share memory with its neighbours on the wire: copy what is kept for long.
    pub payload: Bytes,
}

/// The gateway's wish that this client moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goaway {
    /// Why.
    pub verdict: Verdict,
    /// Where to.
    pub alternatives: Vec<Alternative>,
    /// When, from the receipt.
    pub move_after: Duration,
}

/// Whole milliseconds for the wire: rounded up, so that a short time never becomes the zero that means "unset".
pub(super) fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_keeps_its_bytes_to_itself() {
        assert_eq!(format!("{:?}", Token(Bytes::from_static(b"secret"))), "Token(6 bytes)");
    }

    #[test]
    fn a_short_time_does_not_become_unset() {
        assert_eq!(millis(Duration::from_nanos(1)), 1);
        assert_eq!(millis(Duration::ZERO), 0);
        assert_eq!(millis(Duration::MAX), u32::MAX);
    }
}
