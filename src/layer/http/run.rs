//! What stands behind the queue: runs a request in its context, and hands its place to the response's body.

use std::{
    future::Future,
    pin::Pin,
    task::{self, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tower_service::Service;

use super::{
    body::HeldBody,
    context::{Context, Scoped},
};
use crate::{
    admission::{Cost, Refusal, Value},
    clock::Timestamp,
    layer::{Place, Placed},
    request::{Prioritized, Timed},
};

/// A request with what its entry has found out.
#[derive(Debug)]
pub(super) struct Incoming<B> {
    pub(super) context: Context,
    pub(super) request: Request<B>,
}

impl<B> Prioritized for Incoming<B> {
    fn value(&self) -> Value {
        self.context.value()
    }
}

impl<B> Timed for Incoming<B> {
    fn arrived(&self) -> Timestamp {
        self.context.arrived()
    }

    fn deadline(&self) -> Timestamp {
        self.context.deadline()
    }

    fn cost(&self) -> Cost {
        self.context.cost()
    }
}

/// Why there is no response.
#[derive(Debug)]
pub(super) enum Stopped<E> {
    Refused(Refusal),
    Failed(E),
}

impl<E> From<Refusal> for Stopped<E> {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The inner service, seen from the queue.
#[derive(Clone, Debug)]
pub(super) struct Run<S>(pub(super) S);

impl<S, B, RB> Service<Placed<Incoming<B>>> for Run<S>
where
    S: Service<Request<B>, Response = Response<RB>>,
    RB: Body,
{
    type Response = Response<HeldBody<RB>>;
    type Error = Stopped<S::Error>;
    type Future = Running<S::Future>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx).map_err(Stopped::Failed)
    }

    fn call(&mut self, placed: Placed<Incoming<B>>) -> Self::Future {
        Running::new(&mut self.0, placed.request, Some(placed.place))
    }
}

/// The inner service, seen by what needs no place.
#[derive(Clone, Debug)]
pub(super) struct RunAtOnce<S>(pub(super) S);

impl<S, B, RB> Service<Incoming<B>> for RunAtOnce<S>
where
    S: Service<Request<B>, Response = Response<RB>>,
    RB: Body,
{
    type Response = Response<HeldBody<RB>>;
    type Error = Stopped<S::Error>;
    type Future = Running<S::Future>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx).map_err(Stopped::Failed)
    }

    fn call(&mut self, incoming: Incoming<B>) -> Self::Future {
        Running::new(&mut self.0, incoming, None)
    }
}

/// The response of both.
#[pin_project]
pub(super) struct Running<F> {
    #[pin]
    inner: Scoped<F>,
    context: Context,
    place: Option<Place>,
}

impl<F> Running<F> {
    fn new<S, B>(service: &mut S, Incoming { context, request }: Incoming<B>, place: Option<Place>) -> Self
    where
        S: Service<Request<B>, Future = F>,
    {
        let future = context.enter(|| service.call(request));
        Self { inner: context.scope(future), context, place }
    }
}

impl<F, RB, E> Future for Running<F>
where
    F: Future<Output = Result<Response<RB>, E>>,
    RB: Body,
{
    type Output = Result<Response<HeldBody<RB>>, Stopped<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx)).map_err(Stopped::Failed)?;
        let (context, place) = (this.context.clone(), this.place.take());
        Poll::Ready(Ok(response.map(|body| HeldBody::holding(body, context, place))))
    }
}
