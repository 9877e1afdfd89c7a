//! The reasons that a gateway gives a client. The range says what to do: 0–99 stop, 100–199 back off and retry, 200–299
//! reconnect after the spread, 300–399 go elsewhere.

use crate::{admission::Cause, request::Failure};

/// What a client does about a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Trying again cannot help.
    Stop,
    /// Wait for the hint, then try again here.
    BackOff,
    /// Reconnect after the spread.
    Reconnect,
    /// Go to one of the alternatives.
    GoElsewhere,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal $text:literal,)*) => {
        /// Why a gateway refused something or closed a connection.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Reason {
            $($(#[$doc])* $name = $code,)*
        }

        impl Reason {
            /// Every reason, in the order of their codes.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The reason with this code, if this version knows it.
            pub const fn from_code(code: u32) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The position in [`Reason::ALL`], for tables.
            pub fn index(self) -> usize {
                Self::ALL.iter().position(|&reason| reason == self).unwrap_or_default()
            }

            /// The label in metrics, logs and reports.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    /// The bytes are not the protocol: wrong magic, malformed body, unknown critical frame.
    Malformed = 1 "malformed",
    /// A frame over the size limit.
    TooLarge = 2 "too_large",
    /// None of the client's versions is spoken here.
    Version = 3 "version",
    /// The token was not accepted.
    Unauthorized = 4 "unauthorized",
    /// A frame that has no place here, such as a second `Hello`.
    Unexpected = 5 "unexpected",
    /// The same user and device logged in again, with another outbox.
    Replaced = 6 "replaced",
    /// An operator or the policy ended the connection.
    Kicked = 7 "kicked",
    /// The policy has no business with this code, or it cannot be requested.
    UnknownBusiness = 20 "unknown_business",
    /// This user may not claim this business.
    Misplaced = 21 "misplaced",
    /// The handler of the logic service failed.
    HandlerFailed = 22 "handler_failed",
    /// Another payload was sent under this message id before.
    Conflict = 23 "conflict",
    /// The client has settled this message id already.
    Stale = 24 "stale",
    /// Connections or logins are at their limit.
    Limit = 100 "limit",
    /// Not below the gateway's own cut.
    GatewayCut = 101 "gateway_cut",
    /// No complete `Hello` within the handshake timeout.
    HandshakeTimeout = 102 "handshake_timeout",
    /// Not below the cut of the service's gate.
    ServiceCut = 110 "service_cut",
    /// Not below the cut of the chosen instance.
    InstanceCut = 111 "instance_cut",
    /// Not below the manager's cap.
    ManagerCap = 112 "manager_cap",
    /// The queue is full of requests at least as important.
    QueueFull = 113 "queue_full",
    /// A more important request took its place in the queue.
    PushedOut = 114 "pushed_out",
    /// The timeout passed in the queue.
    Expired = 115 "expired",
    /// The timeout would have passed in the queue.
    TooLate = 116 "too_late",
    /// No instance of the service is connected.
    NoInstance = 117 "no_instance",
    /// The logic service refused it.
    ServiceRefused = 118 "service_refused",
    /// The request before it in the outbox has no reply on this connection yet.
    Behind = 119 "behind",
    /// Dispatched, no answer within the timeout.
    TimedOut = 130 "timed_out",
    /// Dispatched, the instance was lost.
    Lost = 131 "lost",
    /// This gateway is shutting down.
    Draining = 200 "draining",
    /// Nothing was received within the heartbeat's tolerance.
    HeartbeatLost = 201 "heartbeat_lost",
    /// The client reads too slowly for what is sent to it.
    SlowConsumer = 202 "slow_consumer",
    /// The same client has a newer connection.
    Superseded = 203 "superseded",
    /// The connection has lasted for as long as connections may here.
    Aged = 204 "aged",
    /// This gateway takes no logins at present.
    GatewayClosed = 300 "gateway_closed",
}

impl Reason {
    /// The code in frames.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The WebSocket close code: 4000 above the reason's own.
    pub const fn close_code(self) -> u16 {
        4000 + self as u16
    }

    /// What a client does about it.
    pub const fn advice(self) -> Advice {
        Advice::of_code(self as u32)
    }
}

impl Advice {
    /// What to do about a code, also one that this version does not know. Codes above all ranges say back off.
    pub const fn of_code(code: u32) -> Self {
        match code {
            0..=99 => Self::Stop,
            200..=299 => Self::Reconnect,
            300..=399 => Self::GoElsewhere,
            _ => Self::BackOff,
        }
    }
}

impl From<Cause> for Reason {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::GatewayCut => Self::GatewayCut,
            Cause::ServiceCut => Self::ServiceCut,
            Cause::InstanceCut => Self::InstanceCut,
            Cause::ManagerCap => Self::ManagerCap,
            Cause::QueueFull => Self::QueueFull,
            Cause::PushedOut => Self::PushedOut,
            Cause::Expired => Self::Expired,
            Cause::TooLate => Self::TooLate,
            Cause::NoInstance => Self::NoInstance,
            Cause::Limit => Self::Limit,
            Cause::Draining => Self::Draining,
        }
    }
}

impl From<&Failure> for Reason {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => refusal.cause.into(),
            Failure::RefusedByService { .. } => Self::ServiceRefused,
            Failure::Misplaced { .. } => Self::Misplaced,
            Failure::Conflict => Self::Conflict,
            Failure::Stale => Self::Stale,
            Failure::Failed { .. } => Self::HandlerFailed,
            Failure::TimedOut => Self::TimedOut,
            Failure::Lost => Self::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_found_by_its_code() {
        for &reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(reason));
        }
    }

    #[test]
    fn the_range_of_a_code_says_what_to_do() {
        assert_eq!(Reason::Kicked.advice(), Advice::Stop);
        assert_eq!(Reason::ServiceCut.advice(), Advice::BackOff);
        assert_eq!(Reason::Draining.advice(), Advice::Reconnect);
        assert_eq!(Reason::GatewayClosed.advice(), Advice::GoElsewhere);
        assert_eq!(Advice::of_code(9999), Advice::BackOff);
    }
}
