//! Starts an inner service from within `call`, which has no task to wake: at once if it is ready, later otherwise.

use std::{
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use pin_project::pin_project;
use tower::util::Oneshot;
use tower_service::Service;

/// A call of an inner service, which may still have to become ready.
#[pin_project(project = StartedProj)]
pub(super) enum Started<S: Service<R>, R> {
    Running(#[pin] S::Future),
    GettingReady(#[pin] Oneshot<S, R>),
    Failed(Option<S::Error>),
}

impl<S: Service<R> + Clone, R> Started<S, R> {
    /// Calls `inner` without a clone if it is ready. Otherwise the instance that was polled goes along with the request,
    /// together with whatever it has reserved or waits for, and a fresh clone stays behind.
    pub(super) fn new(inner: &mut S, request: R) -> Self {
        match inner.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => Self::Running(inner.call(request)),
            Poll::Ready(Err(error)) => Self::Failed(Some(error)),
            Poll::Pending => {
                let clone = inner.clone();
                Self::later(mem::replace(inner, clone), request)
            }
        }
    }

    /// Makes `service` ready when polled, then calls it.
    pub(super) fn later(service: S, request: R) -> Self {
        Self::GettingReady(Oneshot::new(service, request))
    }
}

impl<S: Service<R>, R> Future for Started<S, R> {
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            StartedProj::Running(future) => future.poll(cx),
            StartedProj::GettingReady(future) => future.poll(cx),
            StartedProj::Failed(error) => Poll::Ready(Err(error.take().expect("polled after it was ready"))),
        }
    }
}
