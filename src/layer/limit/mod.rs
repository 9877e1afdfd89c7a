//! Bounds connections: in all and per peer. A request is decided upon at once; nothing waits.
//!
//! What passes carries a [`Permit`], which holds its places until it is dropped; the inner service keeps it for as long
//! as the connection lasts. What does not pass comes back [`Refused`].
//!
//! ```
//! # use std::net::IpAddr;
//! use dagor::{
//!     admission::{Cause, Refusal},
//!     layer::limit::{Incoming, LimitLayer, Limits, Permitted},
//! };
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! struct Socket { peer: IpAddr }
//!
//! impl Incoming for Socket {
//!     fn peer(&self) -> IpAddr { self.peer }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let (layer, limits) = LimitLayer::pair(Limits { connections: 1, ..Limits::NONE });
//! let session = layer.layer(service_fn(async |socket: Permitted<Socket>| Ok::<_, Refusal>(socket.permit)));
//!
//! let peer = IpAddr::from([192, 0, 2, 1]);
//! let permit = session.clone().oneshot(Socket { peer }).await.unwrap();
//! let refusal = session.clone().oneshot(Socket { peer }).await.unwrap_err();
//! assert_eq!((refusal.cause, limits.open()), (Cause::Limit, 1));
//!
//! drop(permit);
//! assert!(session.oneshot(Socket { peer }).await.is_ok());
//! # });
//! ```

mod peers;

use std::{
    fmt,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use pin_project::pin_project;
use tower::util::Oneshot;
use tower_layer::Layer;
use tower_service::Service;

use self::peers::{Peer, Peers};
use crate::admission::{Cause, Cut, Refusal, Value};

/// The hint with a refusal by a cap. Nobody knows when a connection will end, so it is the first step of a client's own
/// backing off.
pub const WAIT_FOR_A_PLACE: Duration = Duration::from_secs(1);

/// Something that comes from a peer and wants a place.
pub trait Incoming {
    /// Who sent it.
    fn peer(&self) -> IpAddr;
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Open at the same time, in all.
    pub connections: usize,
    /// Open at the same time from one IPv4 address or one /64 network of IPv6. Set while running, it counts what comes
    /// from then on. `None` saves the table of peers.
    pub connections_per_ip: Option<u32>,
}

impl Limits {
    /// No limits at all, to name only those that are wanted.
    pub const NONE: Self = Self { connections: usize::MAX, connections_per_ip: None };
}

/// A request with the places that it holds.
#[derive(Debug)]
pub struct Permitted<R> {
    /// The request itself.
    pub request: R,
    /// To be kept for as long as the connection lasts.
    pub permit: Permit,
}

/// A request that found no place. It comes back, so that whoever sent it can still be told.
#[derive(Debug, thiserror::Error)]
#[error("{refusal}")]
pub struct Refused<R> {
    /// Why, and when to try again.
    pub refusal: Refusal,
    /// The request as it came.
    pub request: R,
}

impl<R> From<Refused<R>> for Refusal {
    fn from(refused: Refused<R>) -> Self {
        refused.refusal
    }
}

/// The places of one connection, given back on drop.
pub struct Permit {
    state: Arc<State>,
    peer: Option<Peer>,
}

/// Changes and reads the limits while they are in force. Clones belong to the same limits.
#[derive(Clone, Debug)]
pub struct LimitHandle {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    open: AtomicUsize,
    max: AtomicUsize,
    /// `u32::MAX` for none.
    max_per_ip: AtomicU32,
    peers: Peers,
}

impl LimitHandle {
    /// Limits that nothing counts against yet.
    pub fn new(limits: Limits) -> Self {
        let state = State {
            open: AtomicUsize::new(0),
            max: AtomicUsize::new(0),
            max_per_ip: AtomicU32::new(0),
            peers: Peers::default(),
        };
        let handle = Self { state: Arc::new(state) };
        handle.set(limits);
        handle
    }

    /// Puts other limits in force. Connections above them stay; new ones wait until enough of them are gone.
    pub fn set(&self, limits: Limits) {
        self.state.max.store(limits.connections, Relaxed);
        self.state.max_per_ip.store(limits.connections_per_ip.unwrap_or(u32::MAX), Relaxed);
    }

    /// Permits that are held.
    pub fn open(&self) -> usize {
        self.state.open.load(Relaxed)
    }

    /// Takes places for a connection from `peer`, as the layer does.
    ///
    /// # Errors
    ///
    /// [`Cause::Limit`], with [`WAIT_FOR_A_PLACE`]. Many get the same hint; whoever passes it on spreads it.
    pub fn try_acquire(&self, peer: IpAddr) -> Result<Permit, Refusal> {
        let max = self.state.max.load(Relaxed);
        let take = |open| Some(open + 1).filter(|&open| open <= max);
        self.state.open.fetch_update(Relaxed, Relaxed, take).map_err(|_| refusal())?;
        // From here on, dropping the permit gives everything back.
        let mut permit = Permit { state: self.state.clone(), peer: None };
        let max_per_ip = self.state.max_per_ip.load(Relaxed);
        if max_per_ip < u32::MAX {
            let peer = Peer::of(peer);
            if !self.state.peers.try_take(peer, max_per_ip) {
                return Err(refusal());
            }
            permit.peer = Some(peer);
        }
        Ok(permit)
    }
}

/// A refusal that has nothing to do with the importance of what was refused.
fn refusal() -> Refusal {
    Refusal { cause: Cause::Limit, value: Value::default(), cut: Cut::CLOSED, retry_after: WAIT_FOR_A_PLACE }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(peer) = self.peer {
            self.state.peers.release(peer);
        }
        self.state.open.fetch_sub(1, Relaxed);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Applies [`Limit`].
#[derive(Clone, Debug)]
pub struct LimitLayer {
    handle: LimitHandle,
}

impl LimitLayer {
    /// A layer that holds to the limits of this handle.
    pub fn new(handle: LimitHandle) -> Self {
        Self { handle }
    }

    /// A layer, and the handle that changes its limits.
    pub fn pair(limits: Limits) -> (Self, LimitHandle) {
        let handle = LimitHandle::new(limits);
        (Self::new(handle.clone()), handle)
    }
}

impl<S> Layer<S> for LimitLayer {
    type Service = Limit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Limit { inner, handle: self.handle.clone() }
    }
}

/// Hands on what is within the limits and refuses the rest.
#[derive(Clone, Debug)]
pub struct Limit<S> {
    inner: S,
    handle: LimitHandle,
}

impl<S, R> Service<R> for Limit<S>
where
    S: Service<Permitted<R>> + Clone,
    S::Error: From<Refused<R>>,
    R: Incoming,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, R>;

    /// Always ready: a refusal needs nothing of the inner service, and a clone that is never called holds no place.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        ResponseFuture(match self.handle.try_acquire(request.peer()) {
            Ok(permit) => Outcome::Permitted(Oneshot::new(self.inner.clone(), Permitted { request, permit })),
            Err(refusal) => Outcome::Refused(Some(Refused { refusal, request })),
        })
    }
}

/// The inner service's response, or a refusal.
#[pin_project]
pub struct ResponseFuture<S: Service<Permitted<R>>, R>(#[pin] Outcome<S, R>);

#[pin_project(project = OutcomeProjection)]
enum Outcome<S: Service<Permitted<R>>, R> {
    Permitted(#[pin] Oneshot<S, Permitted<R>>),
    Refused(Option<Refused<R>>),
}

impl<S, R> Future for ResponseFuture<S, R>
where
    S: Service<Permitted<R>>,
    S::Error: From<Refused<R>>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().0.project() {
            OutcomeProjection::Permitted(response) => response.poll(cx),
            OutcomeProjection::Refused(refused) => {
                Poll::Ready(Err(refused.take().expect("a future is not polled after it resolved").into()))
            }
        }
    }
}

impl<S: Service<Permitted<R>>, R> fmt::Debug for ResponseFuture<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResponseFuture").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
