//! Watches over connections: whatever gives no sign of life for longer than the tolerance is found by a scan, and whatever
//! has lasted for long enough by another one.
//!
//! The layer adds a request to the table and hands its [`Pulse`] to the inner service, which keeps it for as long as the
//! connection lasts and touches it for every frame that was *received*. What was sent proves nothing: the system accepts
//! bytes for a link that has been dead for minutes.
//!
//! ```
//! # use std::{convert::Infallible, time::Duration};
//! use dagor::{clock::Timestamp, layer::heartbeat::{HeartbeatLayer, Linked, Monitored}};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! struct Login { user: &'static str }
//!
//! impl Linked for Login {
//!     type Link = &'static str;
//!     fn link(&self) -> &'static str { self.user }
//!     fn heard(&self) -> Timestamp { Timestamp::ZERO }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let (layer, heartbeats) = HeartbeatLayer::pair();
//! let session = layer.layer(service_fn(async |login: Monitored<Login>| Ok::<_, Infallible>(login.pulse)));
//! let pulse = session.oneshot(Login { user: "ann" }).await.unwrap();
//!
//! let second = Duration::from_secs(1);
//! pulse.touch(Timestamp::ZERO + 5 * second);
//! assert_eq!(heartbeats.scan(Timestamp::ZERO + 10 * second, 8 * second, |_| ()), 0);
//! heartbeats.scan(Timestamp::ZERO + 20 * second, 8 * second, |user| assert_eq!(user, "ann"));
//! # });
//! ```

mod age;
mod table;

use std::{
    fmt,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use crate::clock::Timestamp;

pub use age::{Aged, MaxAge};
pub use table::{Heartbeats, Pulse, TICK};

/// A request that opens a link which must give signs of life.
pub trait Linked {
    /// What a scan reports, typically an `Arc` of the connection.
    type Link;

    /// What a scan reports for this request.
    fn link(&self) -> Self::Link;

    /// When something was received on the link: the first sign of life.
    fn heard(&self) -> Timestamp;
}

/// A request with the pulse of its link. The link is watched over until the pulse is dropped.
#[derive(Debug)]
pub struct Monitored<R: Linked> {
    /// The request itself.
    pub request: R,
    /// To be touched for everything that is received.
    pub pulse: Pulse<R::Link>,
}

/// Applies [`Heartbeat`].
pub struct HeartbeatLayer<T> {
    heartbeats: Heartbeats<T>,
}

impl<T> HeartbeatLayer<T> {
    /// A layer that adds to this table.
    pub fn new(heartbeats: Heartbeats<T>) -> Self {
        Self { heartbeats }
    }

    /// A layer, and the table to scan.
    pub fn pair() -> (Self, Heartbeats<T>) {
        let heartbeats = Heartbeats::new();
        (Self::new(heartbeats.clone()), heartbeats)
    }
}

impl<S, T> Layer<S> for HeartbeatLayer<T> {
    type Service = Heartbeat<S, T>;

    fn layer(&self, inner: S) -> Self::Service {
        Heartbeat { inner, heartbeats: self.heartbeats.clone() }
    }
}

/// Adds every request to a table of heartbeats.
pub struct Heartbeat<S, T> {
    inner: S,
    heartbeats: Heartbeats<T>,
}

impl<S, R> Service<R> for Heartbeat<S, R::Link>
where
    R: Linked,
    S: Service<Monitored<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    // The pulse travels in the request, so there is nothing for a future of our own to hold.
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let pulse = self.heartbeats.insert(request.link(), request.heard());
        self.inner.call(Monitored { request, pulse })
    }
}

impl<T> Clone for HeartbeatLayer<T> {
    fn clone(&self) -> Self {
        Self { heartbeats: self.heartbeats.clone() }
    }
}

impl<S: Clone, T> Clone for Heartbeat<S, T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), heartbeats: self.heartbeats.clone() }
    }
}

impl<T> fmt::Debug for HeartbeatLayer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeartbeatLayer").field("heartbeats", &self.heartbeats).finish()
    }
}

impl<S: fmt::Debug, T> fmt::Debug for Heartbeat<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeat").field("inner", &self.inner).field("heartbeats", &self.heartbeats).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, pending, ready};

    use tower::service_fn;

    use super::*;

    struct Login(u32);

    impl Linked for Login {
        type Link = u32;

        fn link(&self) -> u32 {
            self.0
        }

        fn heard(&self) -> Timestamp {
            Timestamp::ZERO
        }
    }

    type Outcome = Ready<Result<Monitored<Login>, u32>>;

    #[test]
    fn the_inner_service_gets_the_request_and_its_pulse() {
        let (layer, heartbeats) = HeartbeatLayer::pair();
        let mut service = layer.layer(service_fn(|login| -> Outcome { ready(Ok(login)) }));
        let monitored = service.call(Login(7)).into_inner().unwrap();
        assert_eq!((monitored.request.0, heartbeats.len()), (7, 1));
        drop(monitored);
        assert!(heartbeats.is_empty());
    }

    #[test]
    fn an_error_of_the_inner_service_takes_the_entry_out() {
        let (layer, heartbeats) = HeartbeatLayer::pair();
        let mut service = layer.layer(service_fn(|login: Monitored<Login>| -> Outcome { ready(Err(login.request.0)) }));
        assert!(service.call(Login(7)).into_inner().is_err());
        assert!(heartbeats.is_empty());
    }

    #[test]
    fn dropping_the_future_takes_the_entry_out() {
        let (layer, heartbeats) = HeartbeatLayer::pair();
        let mut service = layer.layer(service_fn(async |_login: Monitored<Login>| pending::<Result<(), u32>>().await));
        let future = service.call(Login(7));
        assert_eq!(heartbeats.len(), 1);
        drop(future);
        assert!(heartbeats.is_empty());
    }
}
