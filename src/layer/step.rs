//! A layer that runs an asynchronous step before the inner service and hands its result on with the request. Login and
//! route registration are such steps.
//!
//! ```
//! use dagor::layer::step::{Step, StepLayer, With};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! #[derive(Clone)]
//! struct Greeter;
//!
//! impl Step<String> for Greeter {
//!     type Output = usize;
//!     type Error = &'static str;
//!
//!     async fn run(&self, name: &String) -> Result<usize, &'static str> {
//!         if name.is_empty() { Err("nobody") } else { Ok(name.len()) }
//!     }
//! }
//!
//! # fn main() { futures_util_block_on(async {
//! let mut service = ServiceBuilder::new()
//!     .layer(StepLayer::new(Greeter))
//!     .service(service_fn(|with: With<String, usize>| async move { Ok::<_, &str>(with.output) }));
//! assert_eq!(service.ready().await.unwrap().call("alice".into()).await, Ok(5));
//! assert_eq!(service.ready().await.unwrap().call(String::new()).await, Err("nobody"));
//! # }) }
//! # fn futures_util_block_on<F: std::future::Future>(f: F) -> F::Output {
//! #     let mut f = std::pin::pin!(f);
//! #     let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
//! #     loop { if let std::task::Poll::Ready(output) = f.as_mut().poll(&mut cx) { break output } }
//! # }
//! ```

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

/// Something to be done for a request before it goes on.
pub trait Step<R> {
    /// What the inner service gets beside the request.
    type Output;
    /// Why the request does not go on.
    type Error;

    /// Looks at the request and does its part. Whatever must be undone when the request ends belongs into a guard in the
    /// output.
    fn run(&self, request: &R) -> impl Future<Output = Result<Self::Output, Self::Error>> + Send;
}

/// A request with the output of a step.
#[derive(Clone, Debug)]
pub struct With<R, T> {
    /// The request as it came.
    pub request: R,
    /// What the step made.
    pub output: T,
}

/// Makes [`Stepped`] services.
#[derive(Clone, Debug)]
pub struct StepLayer<T> {
    step: T,
}

impl<T> StepLayer<T> {
    /// A layer that runs `step` before the inner service.
    pub const fn new(step: T) -> Self {
        Self { step }
    }
}

impl<S, T: Clone> Layer<S> for StepLayer<T> {
    type Service = Stepped<S, T>;

    fn layer(&self, inner: S) -> Self::Service {
        Stepped { inner, step: self.step.clone() }
    }
}

/// Runs a step, then the inner service.
#[derive(Clone, Debug)]
pub struct Stepped<S, T> {
    inner: S,
    step: T,
}

impl<S, T, R> Service<R> for Stepped<S, T>
where
    R: Send + Sync + 'static,
    T: Step<R> + Clone + Send + Sync + 'static,
    T::Output: Send,
    S: Service<With<R, T::Output>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: From<T::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    // A step is for handshakes, not for the path of every request, so one allocation does no harm.
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let (step, mut inner) = (self.step.clone(), self.inner.clone());
        Box::pin(async move {
            let output = step.run(&request).await?;
            std::future::poll_fn(|cx| inner.poll_ready(cx)).await?;
            inner.call(With { request, output }).await
        })
    }
}
