//! Bounds how fast requests come. What is beyond the rate is refused at once, with the time until it would pass; nothing
//! waits, and a refusal costs no token.
//!
//! ```
//! # use std::time::Duration;
//! use dagor::{admission::Refusal, clock::Timestamp, layer::rate::RateLayer, request::Timed};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! struct Login;
//!
//! impl Timed for Login {
//!     fn arrived(&self) -> Timestamp { Timestamp::ZERO }
//!     fn deadline(&self) -> Timestamp { Timestamp::MAX }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let (layer, _rate) = RateLayer::pair(0.5, 1);
//! let service = layer.layer(service_fn(async |_: Login| Ok::<_, Refusal>("welcome")));
//! assert!(service.clone().oneshot(Login).await.is_ok());
//! assert_eq!(service.oneshot(Login).await.unwrap_err().retry_after, Duration::from_secs(2));
//! # });
//! ```

mod bucket;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project::pin_project;
use tower::util::Oneshot;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    admission::{Cause, Cut, Refusal, Value},
    request::Timed,
};

pub use bucket::{LONGEST_WAIT, TokenBucket};

/// Applies [`Rate`].
#[derive(Clone, Debug)]
pub struct RateLayer {
    bucket: Arc<TokenBucket>,
}

impl RateLayer {
    /// A layer that takes its tokens from this bucket, which others may share.
    pub const fn new(bucket: Arc<TokenBucket>) -> Self {
        Self { bucket }
    }

    /// A layer, and its bucket to change the rate while it is in force.
    pub fn pair(per_second: f64, burst: u32) -> (Self, Arc<TokenBucket>) {
        let bucket = Arc::new(TokenBucket::new(per_second, burst));
        (Self::new(bucket.clone()), bucket)
    }
}

impl<S> Layer<S> for RateLayer {
    type Service = Rate<S>;

    fn layer(&self, inner: S) -> Rate<S> {
        Rate { inner, bucket: self.bucket.clone() }
    }
}

/// Hands on what is within the rate and refuses the rest.
#[derive(Clone, Debug)]
pub struct Rate<S> {
    inner: S,
    bucket: Arc<TokenBucket>,
}

impl<S, R> Service<R> for Rate<S>
where
    S: Service<R> + Clone,
    S::Error: From<Refusal>,
    R: Timed,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, R>;

    /// Always ready: a refusal needs nothing of the inner service, and an idle clone has taken no token.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        ResponseFuture(match self.bucket.try_take(request.arrived()) {
            Ok(()) => Outcome::Passed(Oneshot::new(self.inner.clone(), request)),
            // The rate asks nobody for importance.
            Err(retry_after) => Outcome::Refused(Refusal {
                cause: Cause::Limit,
                value: Value::default(),
                cut: Cut::CLOSED,
                retry_after,
            }),
        })
    }
}

/// The inner service's response, or a refusal.
#[pin_project]
#[derive(Debug)]
pub struct ResponseFuture<S: Service<R>, R>(#[pin] Outcome<S, R>);

#[pin_project(project = OutcomeProjection)]
#[derive(Debug)]
enum Outcome<S: Service<R>, R> {
    Passed(#[pin] Oneshot<S, R>),
    Refused(Refusal),
}

impl<S, R> Future for ResponseFuture<S, R>
where
    S: Service<R>,
    S::Error: From<Refusal>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().0.project() {
            OutcomeProjection::Passed(response) => response.poll(cx),
            OutcomeProjection::Refused(refusal) => Poll::Ready(Err((*refusal).into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, task::Waker, time::Duration};

    use tower::service_fn;

    use super::*;
    use crate::clock::Timestamp;

    struct At(u64);

    impl Timed for At {
        fn arrived(&self) -> Timestamp {
            Timestamp::ZERO + Duration::from_secs(self.0)
        }

        fn deadline(&self) -> Timestamp {
            Timestamp::MAX
        }
    }

    fn answer(future: impl Future<Output = Result<(), Refusal>>) -> Result<(), Refusal> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer,
            Poll::Pending => panic!("neither passed nor refused"),
        }
    }

    #[test]
    fn requests_pass_at_their_rate_and_a_refusal_says_when() {
        let (layer, bucket) = RateLayer::pair(0.5, 1);
        let mut service = layer.layer(service_fn(async |_: At| Ok::<_, Refusal>(())));
        assert!(answer(service.call(At(0))).is_ok());
        let refusal = answer(service.call(At(0))).unwrap_err();
        assert_eq!((refusal.cause, refusal.retry_after), (Cause::Limit, Duration::from_secs(2)));
        assert!(answer(service.call(At(2))).is_ok());
        bucket.set(f64::INFINITY, 1);
        assert!(answer(service.call(At(2))).is_ok());
    }

    #[test]
    fn being_polled_ready_takes_no_token() {
        let (layer, _bucket) = RateLayer::pair(0.001, 1);
        let mut idle = layer.layer(service_fn(async |_: At| Ok::<_, Refusal>(())));
        let mut busy = idle.clone();
        assert!(Service::<At>::poll_ready(&mut idle, &mut Context::from_waker(Waker::noop())).is_ready());
        assert!(answer(busy.call(At(0))).is_ok());
    }
}
