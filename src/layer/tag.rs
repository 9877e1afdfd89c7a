//! Gives each request its value before anything decides on it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::start::Started;
use crate::{admission::Value, request::Tagged};

/// Says how important a request is. Closures from a reference to a [`Value`] do.
pub trait Tagger<R> {
    /// The value of this request.
    fn tag(&self, request: &R) -> Value;
}

impl<F, R> Tagger<R> for F
where
    F: Fn(&R) -> Value,
{
    fn tag(&self, request: &R) -> Value {
        self(request)
    }
}

/// Tags requests with their value.
///
/// ```
/// use dagor::{admission::{Level, Value}, layer::TagLayer, request::Tagged};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// # use std::convert::Infallible;
///
/// let service = ServiceBuilder::new()
///     .layer(TagLayer::new(|path: &&str| match *path {
///         "/pay" => Value::new(Level::new(1, 0), 0),
///         _ => Value::new(Level::new(9, 0), 0),
///     }))
///     .service(service_fn(|tagged: Tagged<&'static str>| async move { Ok::<_, Infallible>(tagged.value.level()) }));
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// assert_eq!(service.oneshot("/pay").await.unwrap(), Level::new(1, 0));
/// # });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TagLayer<F> {
    tagger: F,
}

impl<F> TagLayer<F> {
    /// A layer that asks `tagger`.
    pub const fn new(tagger: F) -> Self {
        Self { tagger }
    }
}

impl<S, F: Clone> Layer<S> for TagLayer<F> {
    type Service = Tag<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        Tag { inner, tagger: self.tagger.clone() }
    }
}

/// The service of [`TagLayer`].
#[derive(Clone, Copy, Debug)]
pub struct Tag<S, F> {
    inner: S,
    tagger: F,
}

impl<S, F, R> Service<R> for Tag<S, F>
where
    S: Service<Tagged<R>> + Clone,
    F: Tagger<R>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, R>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let value = self.tagger.tag(&request);
        ResponseFuture { inner: Started::new(&mut self.inner, Tagged { value, request }) }
    }
}

/// The response of [`Tag`].
#[pin_project]
pub struct ResponseFuture<S: Service<Tagged<R>>, R> {
    #[pin]
    inner: Started<S, Tagged<R>>,
}

impl<S: Service<Tagged<R>>, R> Future for ResponseFuture<S, R> {
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().inner.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::layer::testing::{Ask, Fault, Inner, Readiness, Task, ask, value};

    fn tag(inner: Inner) -> Tag<Inner, impl Fn(&Ask) -> Value + Clone> {
        TagLayer::new(|ask: &Ask| value(ask.name as u8)).layer(inner)
    }

    #[test]
    fn a_request_passes_through_with_its_value() {
        let Poll::Ready(Ok(answer)) = Task::new(tag(Inner::default()).call(ask(7))).poll() else { panic!("no answer") };
        assert_eq!((answer.value, answer.request), (value(7), ask(7)));
    }

    #[test]
    fn being_polled_ready_reserves_nothing_inside() {
        let inner = Inner::default();
        let mut idle = tag(inner.clone());
        let _ = idle.poll_ready(&mut Context::from_waker(std::task::Waker::noop()));
        assert_eq!(inner.polled_ready.load(Relaxed), 0);
    }

    #[test]
    fn an_inner_service_that_is_not_ready_is_awaited() {
        let inner = Inner { ready: Readiness::Later, ..Inner::default() };
        let mut task = Task::new(tag(inner.clone()).call(ask(7)));
        assert_eq!(inner.calls.load(Relaxed), 0);
        assert!(task.poll().is_ready());
        assert_eq!(inner.calls.load(Relaxed), 1);
    }

    #[test]
    fn a_failure_to_get_ready_is_the_answer() {
        let inner = Inner { ready: Readiness::Failed, ..Inner::default() };
        let Poll::Ready(Err(fault)) = Task::new(tag(inner).call(ask(7))).poll() else { panic!("no failure") };
        assert_eq!(fault, Fault::Broken);
    }
}
