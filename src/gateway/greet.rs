//! The only layer of the connection stack that knows bytes: it waits for the `Hello`, lets the layers below decide on it,
//! and says `Welcome` or `Refused` for all of them.

mod handshake;

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{io::ReadBuf, net::TcpStream};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    connection::Connection, deadline::Deadline, fleet::rules::scattered, presence::Presence, session::Terms,
    worker::Worker,
};
use crate::{
    admission::{Cause, Refusal},
    clock::{Timestamp, whole_millis_u32},
    layer::{
        heartbeat::Pulse,
        limit::{Incoming, Permit, Permitted, Refused},
    },
    pb::client as pb,
    request::Timed,
    ticket::Ticket,
    wire::Reason,
};

/// A socket that was just accepted.
#[derive(Debug)]
pub struct Accepted {
    /// The socket.
    pub socket: TcpStream,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// When it was accepted.
    pub arrived: Timestamp,
}

/// A client's `Hello`, and where it came from.
#[derive(Debug)]
pub struct Greeting {
    /// What the client says.
    pub hello: pb::Hello,
    /// The ticket in it, if that counts.
    pub ticket: Option<Ticket>,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// When the hello was complete.
    pub arrived: Timestamp,
    /// When its answer is of no use any more.
    pub deadline: Timestamp,
}

impl Timed for Greeting {
    fn arrived(&self) -> Timestamp {
        self.arrived
    }

    fn deadline(&self) -> Timestamp {
        self.deadline
    }
}

impl Incoming for Accepted {
    fn peer(&self) -> std::net::IpAddr {
        self.peer.ip()
    }
}

/// What the layers below make of a `Hello`.
#[derive(Debug)]
pub struct Established {
    /// Who it is, in the roster from now on.
    pub presence: Presence,
    /// Its place in the heartbeat table.
    pub pulse: Pulse<Arc<Connection>>,
    /// What the client is told.
    pub welcome: pb::Welcome,
    /// What the session keeps of the `Hello`.
    pub terms: Terms,
}

/// Why a connection got no `Welcome`.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// Refused at the door; the socket comes back to be told.
    #[error(transparent)]
    AtTheDoor(#[from] Refused<Accepted>),
    /// Logins are at their rate, or this one is less important than what the gateway can serve.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The fleet's managers want it elsewhere, or later.
    #[error("{}", .0.reason.name())]
    Elsewhere(Elsewhere),
    /// Not who it says, or not said as it must be.
    #[error("{detail}")]
    Login {
        /// What the client did wrong.
        reason: Reason,
        /// For a person who reads a log.
        detail: &'static str,
    },
    /// No `Hello` came, or no `Welcome` could be written. Whatever could be told has been told.
    #[error("{}", .0.name())]
    Handshake(Reason),
    /// The client has gone.
    #[error("the client closed the connection")]
    Gone,
}

/// What the fleet wants of a client that is not let in here.
#[derive(Clone, Debug, PartialEq)]
pub struct Elsewhere {
    /// Whether it may go elsewhere or has to come back.
    pub reason: Reason,
    /// When, chosen for this client.
    pub retry_after: Duration,
    /// Where to, drawn for this client; empty if it has to come back.
    pub alternatives: Vec<pb::Alternative>,
}

impl Rejection {
    /// The one place that turns a rejection into a reason. `None` if the client simply left.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::AtTheDoor(Refused { refusal, .. }) | Self::Refused(refusal) => Some(refusal.cause.into()),
            Self::Login { reason, .. } | Self::Handshake(reason) => Some(*reason),
            Self::Elsewhere(elsewhere) => Some(elsewhere.reason),
            Self::Gone => None,
        }
    }

    /// What the client is told; `None` if there is nobody to tell.
    pub fn told(&self) -> Option<pb::Refused> {
        let reason = self.reason()?;
        let (detail, retry_after) = match self {
            Self::Refused(refusal) if refusal.cause == Cause::GatewayCut => (reason.name(), until_storm_ends(refusal)),
            // Each has a turn of its own.
            Self::Refused(refusal) if refusal.cause == Cause::Limit => (reason.name(), refusal.retry_after),
            Self::AtTheDoor(Refused { refusal, .. }) | Self::Refused(refusal) => {
                (reason.name(), scattered(refusal.retry_after, fastrand::f64()))
            }
            Self::Login { detail, .. } => (*detail, Duration::ZERO),
            Self::Elsewhere(elsewhere) => (reason.name(), elsewhere.retry_after),
            Self::Handshake(_) | Self::Gone => (reason.name(), RETRY_AFTER),
        };
        let alternatives = match self {
            Self::Elsewhere(elsewhere) => elsewhere.alternatives.clone(),
            _ => Vec::new(),
        };
        let (detail, retry_after_ms) = (detail.into(), whole_millis_u32(retry_after));
        Some(pb::Refused { reason: reason.code(), detail, retry_after_ms, alternatives, ..pb::Refused::default() })
    }
}

/// A cut's hint is spread over users and grains already. But it forecasts the user's turn in an overload that lasts, and a
/// storm of logins is over in seconds.
fn until_storm_ends(refusal: &Refusal) -> Duration {
    refusal.retry_after.mul_f64(STORM_PART).max(RETRY_AFTER)
}

/// Of the longest hint, as long as a storm may last: 7 s.
const STORM_PART: f64 = 0.25;

/// When to come back after a handshake that failed for no reason of load.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Makes [`Greet`] services.
#[derive(Clone, Debug)]
pub struct GreetLayer {
    worker: Arc<Worker>,
}

impl GreetLayer {
    /// For connections of this worker.
    pub const fn new(worker: Arc<Worker>) -> Self {
        Self { worker }
    }
}

impl<S> Layer<S> for GreetLayer {
    type Service = Greet<S>;

    fn layer(&self, inner: S) -> Greet<S> {
        Greet { inner, worker: self.worker.clone() }
    }
}

/// Waits for the `Hello` and answers it.
#[derive(Clone, Debug)]
pub struct Greet<S> {
    inner: S,
    worker: Arc<Worker>,
}

impl<S> Service<Permitted<Accepted>> for Greet<S>
where
    S: Service<Greeting, Response = Established, Error = Rejection> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = ();
    type Error = Rejection;
    type Future = Greeted<S>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, permitted: Permitted<Accepted>) -> Greeted<S> {
        let until = permitted.request.arrived + self.worker.table().policy.connections.handshake_timeout;
        Greeted::Silent(Some(Silent {
            accepted: permitted.request,
            permit: permitted.permit,
            until,
            deadline: self.worker.deadlines.at(until),
            inner: self.inner.clone(),
            worker: self.worker.clone(),
        }))
    }
}

/// A connection on its way to its `Welcome`.
///
/// Most of the life of a hostile connection is silence, so what it takes to wait for the first byte is kept small; the
/// rest is allocated when that byte is there.
pub enum Greeted<S> {
    /// Nothing was received.
    Silent(Option<Silent<S>>),
    /// Something was.
    Talking(Pin<Box<dyn Future<Output = Result<(), Rejection>> + Send>>),
}

/// What it takes to wait for the first byte.
pub struct Silent<S> {
    accepted: Accepted,
    permit: Permit,
    until: Timestamp,
    deadline: Deadline,
    inner: S,
    worker: Arc<Worker>,
}

impl<S> Unpin for Greeted<S> {}

impl<S> Future for Greeted<S>
where
    S: Service<Greeting, Response = Established, Error = Rejection> + Clone + Send + 'static,
    S::Future: Send,
{
    type Output = Result<(), Rejection>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut *self {
                Self::Talking(future) => return future.as_mut().poll(cx),
                Self::Silent(silent) => {
                    let Some(waiting) = silent else { return Poll::Ready(Err(Rejection::Gone)) };
                    match ready!(waiting.poll_first_byte(cx)) {
                        FirstByte::Gone => return Poll::Ready(Err(Rejection::Gone)),
                        FirstByte::TooLate => return Poll::Ready(Err(waiting.turn_away())),
                        FirstByte::Received => {
                            let silent = silent.take().expect("it was there a line ago");
                            *self = Self::Talking(Box::pin(handshake::run(silent)));
                        }
                    }
                }
            }
        }
    }
}

/// How the silence ends.
enum FirstByte {
    Received,
    TooLate,
    Gone,
}

impl<S> Silent<S> {
    fn poll_first_byte(&mut self, cx: &mut Context<'_>) -> Poll<FirstByte> {
        if Pin::new(&mut self.deadline).poll(cx).is_ready() {
            return Poll::Ready(FirstByte::TooLate);
        }
        let mut byte = [0];
        let received = ready!(self.accepted.socket.poll_peek(cx, &mut ReadBuf::new(&mut byte)));
        let spoke = received.is_ok_and(|bytes| bytes > 0);
        Poll::Ready(if spoke { FirstByte::Received } else { FirstByte::Gone })
    }

    /// Tells a client that never spoke. There is nothing unread that could reset the connection, so the socket need not
    /// be held until the client has read why; thousands may come here at the same time.
    fn turn_away(&self) -> Rejection {
        let rejection = Rejection::Handshake(Reason::HandshakeTimeout);
        if let Some(told) = rejection.told() {
            handshake::say(&self.accepted.socket, &told);
        }
        rejection
    }
}

pub use handshake::refuse_at_the_door;
