//! A response body that holds its request's place: it is released when the body ends, fails or is dropped, not when the
//! headers are there.

use std::{
    pin::Pin,
    task::{self, Poll, ready},
};

use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::context::Context;
use crate::layer::Place;

/// The body of the responses of these layers; that of a refusal is empty. Where a body goes on calling other services,
/// it does so in its request's [`Context`].
#[pin_project]
#[derive(Debug)]
pub struct HeldBody<B> {
    #[pin]
    inner: Option<B>,
    context: Option<Context>,
    place: Option<Place>,
}

impl<B> HeldBody<B> {
    pub(super) const fn empty() -> Self {
        Self { inner: None, context: None, place: None }
    }

    pub(super) const fn plain(inner: B) -> Self {
        Self { inner: Some(inner), context: None, place: None }
    }
}

impl<B: Body> HeldBody<B> {
    /// Holds the place until `inner` ends, which may be now: nobody polls a body that is empty.
    pub(super) fn holding(inner: B, context: Context, mut place: Option<Place>) -> Self {
        if inner.is_end_stream() {
            complete(&mut place);
        }
        Self { inner: Some(inner), context: Some(context), place }
    }
}

fn complete(place: &mut Option<Place>) {
    if let Some(place) = place.take() {
        place.complete();
    }
}

impl<B: Body> Body for HeldBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(mut inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let polled = match this.context {
            Some(context) => context.enter(|| inner.as_mut().poll_frame(cx)),
            None => inner.as_mut().poll_frame(cx),
        };
        let frame = ready!(polled);
        match &frame {
            // A body of known length is not polled again after its last frame.
            None => complete(this.place),
            Some(Ok(_)) if inner.is_end_stream() => complete(this.place),
            Some(Ok(_)) => {}
            Some(Err(_)) => drop(this.place.take()),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
