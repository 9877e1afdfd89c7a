//! Holds a place in the response future, for services that know nothing of places.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project::pin_project;
use tower_service::Service;

use super::place::{Place, Placed};

/// Keeps the place of each request until the inner service has answered, or its response is dropped. An answer that is
/// no error counts as completed.
#[derive(Clone, Copy, Debug)]
pub struct HoldPlace<S> {
    inner: S,
}

impl<S> HoldPlace<S> {
    /// Holds places for `inner`.
    pub const fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, R> Service<Placed<R>> for HoldPlace<S>
where
    S: Service<R>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = HoldFuture<S::Future>;

    /// Unlike that of the deciding layers, this asks the inner service: a place is held already.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, placed: Placed<R>) -> Self::Future {
        HoldFuture { inner: self.inner.call(placed.request), place: Some(placed.place) }
    }
}

/// The response of [`HoldPlace`].
#[pin_project]
#[derive(Debug)]
pub struct HoldFuture<F> {
    #[pin]
    inner: F,
    place: Option<Place>,
}

impl<F, T, E> Future for HoldFuture<F>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.inner.poll(cx));
        match this.place.take() {
            Some(place) if answer.is_ok() => place.complete(),
            _ => {}
        }
        Poll::Ready(answer)
    }
}
