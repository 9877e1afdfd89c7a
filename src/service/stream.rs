//! One `Serve` stream. Its answers drive its calls: calls are read only when answers can be sent, so that a gateway that
//! does not read is not read from.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures_util::FutureExt;
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use super::{
    batch::take_batch,
    desk::{Arrival, Desk, Job, Outbox, Seat},
    handler::{Handler, Request},
    push::{Gateway, Gateways},
    worker::{Running, work},
};
use crate::{admission::Cut, pb::service as pb};

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
            let request = Request::read(call, now, &self.desk.clock, self.gateway.clone());
            let job = Job { id, request, outbox };
            match self.desk.arrive(job) {
                Arrival::Runs(seat, job) => self.run(seat, job),
                Arrival::Waits => (),
                Arrival::Answered(answer) => self.ready.push_back(answer),
            }
        }
    }

    /// Runs a call here if it is answered at once, otherwise in a task of its own.
    fn run(&mut self, mut seat: Seat, job: Job) {
        let mut running = Running::start(&self.handler, &self.desk, job);
        let Poll::Ready(answer) = running.answer.poll_unpin(&mut Context::from_waker(Waker::noop())) else {
            tokio::spawn(work(Arc::clone(&self.handler), Arc::clone(&self.desk), seat, running));
            return;
        };
        self.ready.extend(answer);
        if let Some(next) = seat.next() {
            let running = Running::start(&self.handler, &self.desk, next);
            tokio::spawn(work(Arc::clone(&self.handler), Arc::clone(&self.desk), seat, running));
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
