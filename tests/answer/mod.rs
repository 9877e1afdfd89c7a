//! A request and a service that answers it at once: what is measured around them is all there is.

use std::{
    future::{Ready, ready},
    task::{Context, Poll},
};

use dagor::{
    clock::Timestamp,
    request::{Failure, Timed},
};
use tower::Service;

/// Asks at this business priority, and has all the time there is.
pub(crate) struct Ask(pub(crate) u8);

impl Timed for Ask {
    fn arrived(&self) -> Timestamp {
        Timestamp::ZERO
    }

    fn deadline(&self) -> Timestamp {
        Timestamp::MAX
    }
}

/// Answers at once.
#[derive(Clone)]
pub(crate) struct Answer;

impl<R> Service<R> for Answer {
    type Response = ();
    type Error = Failure;
    type Future = Ready<Result<(), Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        drop(request);
        ready(Ok(()))
    }
}
