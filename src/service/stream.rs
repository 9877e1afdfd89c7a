//! One `Serve` stream. Its answers drive its calls: calls are read only when answers can be sent, so that a gateway that
//! does not read is not read from.

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use super::{
    batch::take_batch,
    desk::{Arrival, Desk, Job, Outbox, Seat},
    handler::{self, Handler, Request},
    push::{Gateway, Gateways},
};
use crate::{
    admission::{Cut, Value},
    clock::Timestamp,
    id::{BusinessCode, MessageId, OutboxId},
    pb::service as pb,
};

/// Batches of calls that are read before answers are sent again.
const BATCHES_PER_TURN: usize = 16;

/// What one stream yields: batches of answers.
pub(super) struct Serve<H> {
    handler: Arc<H>,
    desk: Arc<Desk>,
    gateways: Gateways,
    /// `None` once the gateway has sent its last.
    calls: Option<Streaming<pb::Calls>>,
    gateway: Option<Arc<Gateway>>,
    key: usize,
    outbox: Arc<Outbox>,
    ready: VecDeque<pb::Answer>,
    told_cut: Cut,
}

impl<H: Handler> Serve<H> {
    /// Serves the `calls` of a new stream.
    pub(super) fn new(handler: Arc<H>, desk: Arc<Desk>, gateways: Gateways, calls: Streaming<pb::Calls>) -> Self {
        let outbox = Arc::new(Outbox::default());
        let key = desk.open(Arc::clone(&outbox));
        let (calls, ready) = (Some(calls), VecDeque::new());
        Self { handler, desk, gateways, calls, gateway: None, key, outbox, ready, told_cut: Cut::OPEN }
    }

    /// Reads and starts what has come in; ends with the reader's waker registered or `calls` gone.
    fn read(&mut self, cx: &mut Context<'_>) {
        for _ in 0..BATCHES_PER_TURN {
            let Some(calls) = &mut self.calls else { return };
            match Pin::new(calls).poll_next(cx) {
                Poll::Ready(Some(Ok(batch))) => self.receive(batch),
                Poll::Ready(Some(Err(_)) | None) => self.calls = None,
                Poll::Pending => return,
            }
        }
        cx.waker().wake_by_ref();
    }

    fn receive(&mut self, batch: pb::Calls) {
        if let Some(caller) = batch.caller {
            self.gateway = Some(self.gateways.introduce(caller));
        }
        self.desk.received(self.key, batch.calls.len(), batch.waiting as usize);
        let now = self.desk.clock.now();
        for call in batch.calls {
            let (id, outbox) = (call.id, Arc::clone(&self.outbox));
            let job = Job { id, request: self.request(call, now), outbox };
            match self.desk.arrive(job) {
                Arrival::Runs(seat, job) => self.run(seat, job),
                Arrival::Waits => (),
                Arrival::Refused(answer) => self.ready.push_back(answer),
            }
        }
    }

    fn request(&self, call: pb::Call, arrived: Timestamp) -> Request {
        Request {
            user: call.user,
            device: call.device,
            outbox: OutboxId(call.outbox),
            message: MessageId(call.message_id),
            // A code that no policy can hold is no business.
            business: BusinessCode(u16::try_from(call.business).unwrap_or(0)),
            business_name: call.business_name,
            value: Value::from_bits(call.value),
            arrived,
            deadline: arrived + Duration::from_millis(call.timeout_ms.into()),
            resent: call.resent,
            reply_wanted: !call.no_reply_wanted,
            oldest_unsettled: MessageId(call.oldest_unsettled_of_business),
            payload: call.payload,
            clock: self.desk.clock.clone(),
            gateway: self.gateway.clone(),
        }
    }

    /// Runs a call here if it is answered at once, otherwise in a task of its own.
    fn run(&mut self, mut seat: Seat, job: Job) {
        let mut running = Running::start(Arc::clone(&self.handler), job);
        match running.answer.poll_unpin(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => {
                self.ready.push_back(answer);
                if let Some(next) = seat.next() {
                    tokio::spawn(work(
                        Arc::clone(&self.handler),
                        seat,
                        Running::start(Arc::clone(&self.handler), next),
                    ));
                }
            }
            Poll::Pending => {
                tokio::spawn(work(Arc::clone(&self.handler), seat, running));
            }
        }
    }
}

impl<H: Handler> Stream for Serve<H> {
    type Item = Result<pb::Answers, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        this.outbox.waker.register(cx.waker());
        if this.ready.is_empty() {
            this.read(cx);
        }
        this.outbox.drain_into(&mut this.ready);
        let answers = take_batch(&mut this.ready, |answer| answer.payload.len());
        let dispatch = this.desk.dispatch(this.key, answers.len(), this.calls.is_none());
        if answers.is_empty() && dispatch.grants.is_none() && dispatch.cut == this.told_cut {
            return if dispatch.ended { Poll::Ready(None) } else { Poll::Pending };
        }
        this.told_cut = dispatch.cut;
        let grants = dispatch.grants.map(|grants| u32::try_from(grants).unwrap_or(u32::MAX));
        Poll::Ready(Some(Ok(pb::Answers { answers, cut: Some(dispatch.cut.bits()), grants })))
    }
}

impl<H> Drop for Serve<H> {
    fn drop(&mut self) {
        self.desk.close(self.key, &self.outbox);
    }
}

/// A handler at work and where its answer goes.
struct Running {
    answer: BoxFuture<'static, pb::Answer>,
    outbox: Arc<Outbox>,
}

impl Running {
    fn start<H: Handler>(handler: Arc<H>, job: Job) -> Self {
        let Job { id, request, outbox } = job;
        let answer = async move {
            let clock = request.clock.clone();
            let begun = clock.now();
            // The handler's own code runs inside, also what comes before its first wait.
            let handled = AssertUnwindSafe(async { handler.handle(request).await }).catch_unwind().await;
            let mut answer = handled.map_or_else(|_| panicked(), handler::answer);
            answer.id = id;
            answer.handler_us = u32::try_from(clock.now().since(begun).as_micros()).unwrap_or(u32::MAX);
            answer
        };
        Self { answer: answer.boxed(), outbox }
    }
}

/// The panic's text stays in this process's log, where the panic hook has put it.
fn panicked() -> pb::Answer {
    handler::answer(Err(handler::HandlerError::failed("the handler panicked")))
}

/// Runs a worker until nothing waits.
async fn work<H: Handler>(handler: Arc<H>, mut seat: Seat, first: Running) {
    let mut next = Some(first);
    while let Some(Running { answer, outbox }) = next {
        outbox.send(answer.await);
        next = seat.next().map(|job| Running::start(Arc::clone(&handler), job));
        // Handlers that never wait must not keep this thread from everything else.
        tokio::task::coop::consume_budget().await;
    }
}
