//! What the tests of the HTTP layers share: a server that notes what reaches it, and bodies that are polled by hand.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{self, Poll, Waker},
};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body::{Body, Frame};
use tower_service::Service;

use super::Context;

/// A body of these frames. After the last it has ended, or nothing comes any more.
#[derive(Debug, Default)]
pub(super) struct Frames {
    pub(super) frames: VecDeque<Result<&'static str, &'static str>>,
    pub(super) endless: bool,
}

impl Frames {
    pub(super) fn of(frames: impl IntoIterator<Item = Result<&'static str, &'static str>>) -> Self {
        Self { frames: frames.into_iter().collect(), endless: false }
    }

    pub(super) fn endless() -> Self {
        Self { endless: true, ..Self::default() }
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        match self.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(frame.map(|text| Frame::data(Bytes::from_static(text.as_bytes()))))),
            None if self.endless => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && !self.endless
    }
}

/// One poll of a body.
pub(super) fn next_frame(body: &mut (impl Body + Unpin)) -> Poll<Option<bool>> {
    let polled = Pin::new(body).poll_frame(&mut task::Context::from_waker(Waker::noop()));
    polled.map(|frame| frame.map(|frame| frame.is_ok()))
}

/// The head of a request, and the context that was current while it was served.
type Seen = (Parts, Option<Context>);
type Answer = Box<dyn FnOnce() -> Result<Response<Frames>, &'static str> + Send>;

/// Notes each request with the context in which it ran, and answers with what it was told to; otherwise with 200.
#[derive(Clone, Default)]
pub(super) struct Server {
    pub(super) seen: Arc<Mutex<Vec<Seen>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    pub(super) never_answers: bool,
    pub(super) polled_ready: Arc<Mutex<usize>>,
}

impl Server {
    pub(super) fn answer(&self, answer: impl FnOnce() -> Result<Response<Frames>, &'static str> + Send + 'static) {
        self.answers.lock().unwrap().push_back(Box::new(answer));
    }

    pub(super) fn answer_with(&self, body: Frames) {
        self.answer(move || Ok(Response::new(body)));
    }

    pub(super) fn calls(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// The head and the context of the latest request.
    pub(super) fn latest(&self) -> Seen {
        self.seen.lock().unwrap().last().cloned().unwrap()
    }
}

impl Service<Request<()>> for Server {
    type Response = Response<Frames>;
    type Error = &'static str;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Frames>, &'static str>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), &'static str>> {
        *self.polled_ready.lock().unwrap() += 1;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            // From within the future, because that is where a handler looks.
            this.seen.lock().unwrap().push((request.into_parts().0, Context::current()));
            if this.never_answers {
                std::future::pending::<()>().await;
            }
            let answer = this.answers.lock().unwrap().pop_front();
            answer.map_or_else(|| Ok(Response::default()), |answer| answer())
        })
    }
}
