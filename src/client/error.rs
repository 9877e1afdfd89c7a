//! Every error says two things that a caller branches on: whether trying again can help, and how long to wait first.

use std::{fmt, io, time::Duration};

use tokio_tungstenite::tungstenite::{self, http::StatusCode};

use super::{Alternative, session};
use crate::{
    id::{BusinessCode, MessageId},
    wire::{DecodeError, Kind, Reason, reason::Advice},
};

/// What a gateway said about a request, a login or a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The reason code of `docs/protocol.md`; its range says what to do, also where the code itself is not known here.
    pub code: u32,
    /// For a person who reads a log.
    pub detail: String,
    /// The gateway's hint for this client, if it gave one.
    pub retry_after: Option<Duration>,
}

impl Verdict {
    pub(super) fn new(code: u32, detail: String, retry_after_ms: u32) -> Self {
        let hint = session::hint(retry_after_ms);
        Self { code, detail, retry_after: (!hint.is_zero()).then_some(hint) }
    }

    /// The reason, if this version knows its code.
    pub fn reason(&self) -> Option<Reason> {
        Reason::from_code(self.code)
    }

    /// What to do about it.
    pub fn advice(&self) -> Advice {
        Advice::of_code(self.code)
    }

    fn is_retryable(&self) -> bool {
        match self.advice() {
            Advice::Stop => false,
            Advice::BackOff | Advice::Reconnect | Advice::GoElsewhere => true,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            Some(reason) => write!(f, "{} ({})", reason.name(), self.code)?,
            None => write!(f, "reason {}", self.code)?,
        }
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The gateway refused the login, or ended the connection with a reason.
    #[error("refused by the gateway: {verdict}")]
    Refused {
        /// Why, and when to come back.
        verdict: Verdict,
        /// Where to go instead.
        alternatives: Vec<Alternative>,
    },
    /// The gateway ended the connection for good: do not reconnect.
    #[error("kicked: {0}")]
    Kicked(Verdict),
    /// Nothing was received within the tolerance.
    #[error("nothing was received within the heartbeat's tolerance")]
    HeartbeatLost,
    /// No `Welcome` within the connect timeout.
    #[error("the gateway did not answer the login in time")]
    LoginTimedOut,
    /// The gateway closed the stream without a word.
    #[error("the gateway closed the stream")]
    Disconnected,
    /// The stream failed.
    #[error("the stream failed: {0}")]
    Io(io::ErrorKind),
    /// No stream was opened.
    #[error("the gateway cannot be reached: {0}")]
    Unreachable(String),
    /// What the gateway sent is not the protocol.
    #[error("the gateway broke the protocol: {0}")]
    Protocol(ProtocolError),
    /// This side closed it.
    #[error("closed by this side")]
    Local,
}

/// What a gateway sent that is not the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The bytes are not acceptable frames.
    #[error(transparent)]
    Frame(#[from] DecodeError),
    /// A frame that has no place here.
    #[error("a {0:?} frame has no place here")]
    Unexpected(Kind),
    /// A protocol version that this side did not offer.
    #[error("version {0} was not offered")]
    Version(u32),
    /// A fault of the WebSocket layer, or a message that is not binary.
    #[error("WebSocket: {0}")]
    WebSocket(String),
}

impl CloseReason {
    /// Whether connecting again, here or elsewhere, can help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused { verdict, .. } => verdict.is_retryable(),
            Self::Kicked(_) | Self::Protocol(_) | Self::Local => false,
            Self::HeartbeatLost | Self::LoginTimedOut | Self::Disconnected | Self::Io(_) | Self::Unreachable(_) => true,
        }
    }

    /// How long the gateway asks this client to wait, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { verdict, .. } => verdict.retry_after,
            _ => None,
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A field of the login is longer than any gateway takes. Nothing was sent.
    #[error("the {field} has {bytes} bytes, more than {limit}")]
    TooLong {
        /// Which field.
        field: &'static str,
        /// What it has.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// There is no gateway to connect to. Nothing was sent.
    #[error("no gateway is configured")]
    NoGateway,
    /// The address could not be resolved or reached.
    #[error("the gateway cannot be reached")]
    Io(#[from] io::Error),
    /// No connection within the connect timeout.
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    /// The gateway does not speak WebSocket with this subprotocol here.
    #[error("the WebSocket handshake failed")]
    Handshake(#[source] Box<tungstenite::Error>),
    /// The connection ended before the login was done.
    #[error("not logged in: {0}")]
    Closed(CloseReason),
}

impl ConnectError {
    /// Whether trying again, here or elsewhere, can help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::TooLong { .. } | Self::NoGateway => false,
            Self::Handshake(error) => is_passing(error),
            Self::Io(_) | Self::TimedOut(_) => true,
            Self::Closed(reason) => reason.is_retryable(),
        }
    }

    /// How long the gateway asks this client to wait, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Closed(reason) => reason.retry_after(),
            _ => None,
        }
    }
}

/// Whether a handshake failed on a server that cannot serve right now, rather than on one that never will.
fn is_passing(error: &tungstenite::Error) -> bool {
    match error {
        tungstenite::Error::Http(response) => {
            let status = response.status();
            status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
        }
        _ => false,
    }
}

/// How a request ended that got no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The gateway or the logic service refused it: certainly not run.
    #[error("refused: {0}")]
    Refused(Verdict),
    /// The gateway dispatched it and got no answer: it may have run.
    #[error("no answer from the service: {0}")]
    Unknown(Verdict),
    /// The handler of the logic service ran and failed.
    #[error("failed: {0}")]
    Failed(Verdict),
    /// Not even the gateway answered within the try timeout: it may have run.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The connection ended before the answer: it may have run.
    #[error("the connection ended before the answer: {0}")]
    Lost(CloseReason),
    /// The connection had ended before: not sent.
    #[error("the connection is closed: {0}")]
    Closed(CloseReason),
    /// Larger than the gateway reads: not sent.
    #[error("a request of {bytes} bytes is over the gateway's limit of {limit}")]
    TooLarge {
        /// The encoded body.
        bytes: usize,
        /// What the gateway said that it reads.
        limit: usize,
    },
    /// The gateway's table has no business with this code: not sent.
    #[error("there is no business with code {0}")]
    UnknownBusiness(BusinessCode),
    /// The gateway has said that it would most likely refuse it: not sent. The id that it would have had is used up.
    #[error("held back: the gateway takes {} of business {business} at present", share(*open_permille))]
    HeldBack {
        /// The request's id.
        id: MessageId,
        /// Its business.
        business: BusinessCode,
        /// How many of a thousand requests of this client pass.
        open_permille: u16,
        /// When to try again.
        retry_after: Duration,
    },
    /// As many requests or bytes wait on this connection as may: not sent.
    #[error("too many requests wait on this connection")]
    Busy,
}

impl RequestError {
    /// Whether sending it again can help. Look at [`may_have_run`](Self::may_have_run) too before doing so.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(verdict) | Self::Unknown(verdict) | Self::Failed(verdict) => verdict.is_retryable(),
            Self::Lost(reason) | Self::Closed(reason) => reason.is_retryable(),
            Self::TimedOut(_) | Self::HeldBack { .. } | Self::Busy => true,
            Self::TooLarge { .. } | Self::UnknownBusiness(_) => false,
        }
    }

    /// How long to wait before trying again, as far as the gateway has said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::HeldBack { retry_after, .. } => Some(*retry_after),
            Self::Refused(verdict) | Self::Unknown(verdict) | Self::Failed(verdict) => verdict.retry_after,
            Self::Lost(reason) | Self::Closed(reason) => reason.retry_after(),
            Self::TimedOut(_) | Self::TooLarge { .. } | Self::UnknownBusiness(_) | Self::Busy => None,
        }
    }

    /// Whether the logic service may have run it. If not, it certainly has not.
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::Unknown(_) | Self::Failed(_) | Self::TimedOut(_) | Self::Lost(_) => true,
            Self::Refused(_)
            | Self::Closed(_)
            | Self::TooLarge { .. }
            | Self::UnknownBusiness(_)
            | Self::HeldBack { .. }
            | Self::Busy => false,
        }
    }
}

fn share(open_permille: u16) -> String {
    match open_permille {
        0 => "no requests".to_owned(),
        some => format!("{} % of the requests", f64::from(some) / 10.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(reason: Reason, retry_after_ms: u32) -> RequestError {
        RequestError::Refused(Verdict::new(reason.code(), String::new(), retry_after_ms))
    }

    #[test]
    fn the_range_of_the_reason_decides_on_a_retry() {
        assert!(!refused(Reason::Misplaced, 0).is_retryable());
        assert!(refused(Reason::ServiceCut, 250).is_retryable());
        assert!(refused(Reason::Draining, 0).is_retryable());
        assert!(RequestError::Refused(Verdict::new(199, String::new(), 0)).is_retryable(), "not known, but in range");
    }

    #[test]
    fn no_hint_and_a_hint_of_zero_are_the_same() {
        assert_eq!(refused(Reason::ServiceCut, 0).retry_after(), None);
        assert_eq!(refused(Reason::ServiceCut, 250).retry_after(), Some(Duration::from_millis(250)));
    }

    #[test]
    fn a_kick_ends_it_and_a_lost_heartbeat_does_not() {
        assert!(!CloseReason::Kicked(Verdict::new(7, String::new(), 0)).is_retryable());
        assert!(CloseReason::HeartbeatLost.is_retryable());
        assert!(RequestError::Lost(CloseReason::HeartbeatLost).may_have_run());
        assert!(!RequestError::Closed(CloseReason::HeartbeatLost).may_have_run());
    }

    #[test]
    fn a_verdict_names_its_reason_where_it_is_known() {
        assert_eq!(Verdict::new(110, "wait".into(), 0).to_string(), "service_cut (110): wait");
        assert_eq!(Verdict::new(9999, String::new(), 0).to_string(), "reason 9999");
    }
}
