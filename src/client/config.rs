//! What a client is told before it connects.

use std::{net::IpAddr, time::Duration};

use super::{ConnectError, OutboxLimits, Token};
use crate::id::MAX_NAME_BYTES;

/// The largest token, in bytes: a gateway reads at most 4 KiB before the login, and the names need their part.
const MAX_TOKEN_BYTES: usize = 3 * 1024;

/// Where and as whom to connect. Start from [`ClientConfig::new`] and change what differs.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `host:port` of each gateway. The first login goes to a random one; one that was lost comes last. A
    /// [`DirectClient`](super::DirectClient) knows the first only.
    pub gateways: Vec<String>,
    /// What to speak below the frames. Default: [`TransportKind::Tcp`].
    pub transport: TransportKind,
    /// Who connects; at most 128 bytes.
    pub user: String,
    /// With which device; at most 128 bytes. A second login of the same user and device replaces the first. Default:
    /// empty, which means `default`.
    pub device: String,
    /// Proof of identity, at most 3 KiB. Default: empty, which gateways take on loopback only.
    pub token: Token,
    /// From the name look-up to the `Welcome`. Default: 10 s.
    pub connect_timeout: Duration,
    /// The local address to connect from; for load generators that need more ports than one address has. Default: none,
    /// the system chooses.
    pub source_address: Option<IpAddr>,
    /// The heartbeat that the client would like; the gateway has the last word. Shorter notices a dead link sooner and
    /// wakes a phone's radio more often. Default: zero, which leaves it to the gateway.
    pub heartbeat: Duration,
    /// Whether requests are held back while the gateway says that it would refuse them
    /// ([`RequestError::HeldBack`](super::RequestError::HeldBack)). Without it they are sent and refused, which costs a
    /// round trip each and gains nothing but the gateway's own word. Default: true.
    pub hold_back: bool,
    /// How much the outbox holds, and for how long. A [`DirectClient`](super::DirectClient) has none.
    pub outbox: OutboxLimits,
    /// How many pushes may wait to be received. One more drops the oldest. At least 1. Default: 256.
    pub push_capacity: usize,
    /// How many events may wait to be received. One more drops the oldest. At least 1. Default: 256.
    pub event_capacity: usize,
    /// The largest body that is read, in bytes; a larger one ends the connection. Not below what gateways send (64 KiB).
    /// Default: 256 KiB.
    pub max_body_bytes: usize,
}

/// What to speak below the frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportKind {
    /// Frames on plain TCP.
    #[default]
    Tcp,
    /// Frames in binary WebSocket messages.
    WebSocket,
}

impl ClientConfig {
    /// A plain TCP client of one gateway with the defaults.
    pub fn new(gateway: impl Into<String>, user: impl Into<String>) -> Self {
        Self {
            gateways: vec![gateway.into()],
            transport: TransportKind::default(),
            user: user.into(),
            device: String::new(),
            token: Token::default(),
            connect_timeout: Duration::from_secs(10),
            source_address: None,
            heartbeat: Duration::ZERO,
            hold_back: true,
            outbox: OutboxLimits::default(),
            push_capacity: 256,
            event_capacity: 256,
            max_body_bytes: 256 * 1024,
        }
    }

    pub(super) fn check(&self) -> Result<(), ConnectError> {
        if self.gateways.is_empty() {
            return Err(ConnectError::NoGateway);
        }
        let fields = [
            ("user name", self.user.len(), MAX_NAME_BYTES),
            ("device name", self.device.len(), MAX_NAME_BYTES),
            ("token", self.token.0.len(), MAX_TOKEN_BYTES),
        ];
        match fields.into_iter().find(|&(_, bytes, limit)| bytes > limit) {
            Some((field, bytes, limit)) => Err(ConnectError::TooLong { field, bytes, limit }),
            None => Ok(()),
        }
    }
}
