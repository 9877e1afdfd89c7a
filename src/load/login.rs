//! From nothing to `Welcome`: connect, say hello, wait for the gateway's decision. Callers bound the wait.

use std::{io, net::Ipv4Addr, time::Duration};

use bytes::BytesMut;

use super::{
    error::reason_name,
    socket::{Closing, Reader, Target, Writer},
};
use crate::{
    clock::{Clock, Timestamp},
    pb::client::{Hello, Refused, Welcome},
    wire::{self, Frame, Kind, VERSION, reason::Advice},
};

/// What a gateway may send in one frame, in bytes.
pub(super) const MAX_BODY_BYTES: usize = 64 << 10;

/// How long one login may take.
pub(super) const LOGIN_WITHIN: Duration = Duration::from_secs(5);

/// Room for a first read; an idle connection costs no more.
const INBOX_BYTES: usize = 512;

/// Who logs in, and from where.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// A number in the population.
    pub(super) user: usize,
    pub(super) device: String,
    pub(super) source: Option<Ipv4Addr>,
}

impl Identity {
    /// The user's name.
    pub(super) fn name(&self) -> String {
        format!("load-{}", self.user)
    }
}

/// A connection that is logged in.
pub(super) struct Session {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    /// What came in behind `Welcome`.
    pub(super) inbox: BytesMut,
    pub(super) welcome: Welcome,
}

/// Why a login did not end in a [`Session`].
#[derive(Debug, thiserror::Error)]
pub(super) enum LoginFailure {
    #[error("{0}")]
    Socket(#[from] io::Error),
    #[error("refused: {}", reason_name(*.reason))]
    Refused { reason: u32, retry_after: Duration },
    #[error("the connection was closed before an answer")]
    Closed,
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error("{0}")]
    Protocol(String),
}

impl LoginFailure {
    /// How long to wait before another try, if the gateway may then take the login.
    pub(super) fn try_again_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { reason, retry_after } if Advice::of_code(*reason) == Advice::BackOff => {
                Some((*retry_after).clamp(SHORTEST_PAUSE, LONGEST_PAUSE))
            }
            // A listener whose backlog is full in a burst of connections resets some.
            Self::Socket(error) if error.kind() == io::ErrorKind::ConnectionReset => Some(SHORTEST_PAUSE),
            _ => None,
        }
    }
}

/// What a gateway's hint is held to.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Logs in.
pub(super) async fn log_in(target: Target, who: &Identity, closing: Closing) -> Result<Session, LoginFailure> {
    let (mut reader, mut writer) = target.open(who.source, closing).await?;
    let mut out = BytesMut::new();
    wire::encode_control(&mut out, Kind::Hello, &hello(who));
    writer.send(out).await?;
    let mut inbox = BytesMut::with_capacity(INBOX_BYTES);
    loop {
        if !reader.receive(&mut inbox).await? {
            return Err(LoginFailure::Closed);
        }
        if let Some(frame) = wire::decode(&mut inbox, MAX_BODY_BYTES).map_err(protocol)? {
            let welcome = decision(frame)?;
            return Ok(Session { reader, writer, inbox, welcome });
        }
    }
}

/// Logs in, and tries again for as long as the gateway asks to come back later, until the deadline.
pub(super) async fn log_in_until(
    deadline: Timestamp,
    clock: &Clock,
    target: Target,
    who: &Identity,
) -> Result<Session, LoginFailure> {
    loop {
        let within = LOGIN_WITHIN.min(deadline.since(clock.now()));
        let login = log_in(target, who, Closing::Graceful);
        let failure = match tokio::time::timeout(within, login).await {
            Ok(Ok(session)) => return Ok(session),
            Ok(Err(failure)) => failure,
            Err(_) => LoginFailure::Silent(within),
        };
        match failure.try_again_after() {
            Some(pause) if clock.now() + pause < deadline => tokio::time::sleep(pause).await,
            _ => return Err(failure),
        }
    }
}

fn hello(who: &Identity) -> Hello {
    Hello {
        versions: vec![VERSION],
        user: who.name(),
        device: who.device.clone(),
        // Never from the run's seed: a service that remembers an outbox would take a second run for copies of the first.
        outbox: fastrand::u64(1..),
        ..Hello::default()
    }
}

fn decision(frame: Frame) -> Result<Welcome, LoginFailure> {
    match frame.kind {
        Kind::Welcome => frame.message().map_err(protocol),
        Kind::Refused => {
            let refused: Refused = frame.message().map_err(protocol)?;
            let retry_after = Duration::from_millis(refused.retry_after_ms.into());
            Err(LoginFailure::Refused { reason: refused.reason, retry_after })
        }
        other => Err(LoginFailure::Protocol(format!("a {other:?} frame in answer to Hello"))),
    }
}

fn protocol(error: wire::DecodeError) -> LoginFailure {
    LoginFailure::Protocol(error.to_string())
}
