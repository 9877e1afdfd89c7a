//! A logged-in connection: the only owner of its socket. It reads frames, sends requests into the request stack, and
//! writes what comes back; between two frames it holds no buffer.

mod read;
mod settle;
mod standing;
mod write;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::stream::{FuturesUnordered, StreamExt};

use self::{standing::Standing, write::Unsent};
use super::{
    answers::Last,
    connection::{Connection, Ending},
    counters::Outcome,
    deadline::Deadline,
    presence::Presence,
    request::ClientRequest,
    roster::Member,
    sample::Ended,
    scratch::{self, Scratch},
    stack::RequestFuture,
    transport::{LEAVE_TIME, Transport},
    worker::Worker,
};
use crate::{
    admission::{Cause, Cost},
    clock::Timestamp,
    id::{BusinessCode, MessageId},
    layer::{heartbeat::Pulse, limit::Permit},
    request::{Failure, Timed},
    wire::{Kind, Reason},
};

/// The future of one connection, for as long as the link lives.
pub struct Session {
    transport: Transport,
    connection: Arc<Connection>,
    /// There until the connection begins to leave.
    presence: Option<Presence>,
    worker: Arc<Worker>,
    /// Shows the reaper that something was received.
    pulse: Pulse<Arc<Connection>>,
    /// Counts the connection against the gateway's limits.
    _permit: Permit,
    /// The beginning of a frame whose end has not been read.
    partial: Option<Box<bytes::BytesMut>>,
    /// What the socket did not take yet.
    unsent: Option<Box<Unsent>>,
    /// Requests without an answer; there only while there are any.
    in_flight: Option<Box<FuturesUnordered<InFlight>>>,
    pushes_written: u64,
    /// A ping came in this turn. However many did, one pong says all there is to say.
    pong_due: bool,
    phase: Phase,
    /// The client reads many refusals in one frame.
    reads_refusals: bool,
    /// When the client's ticket is to be renewed.
    ticket_due: Timestamp,
    /// What is remembered of the client's requests.
    standing: Option<Box<Standing>>,
    /// While serving: nothing is read before. While leaving: bounds the time for the last frame.
    timer: Option<Box<Deadline>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Has not looked at what came behind the `Hello`.
    Starting,
    Serving,
    /// Reads nothing more; closes when the last request is answered.
    Finishing(Reason),
    /// The last frame is about to be written.
    Closing(Farewell),
    /// The last frame is written; the client has a moment to read it.
    Leaving,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    /// With a `Refused` frame.
    Refused(Reason),
    /// With a `Kick` frame.
    Kick(Reason),
    /// The client has closed it, or it is broken.
    Silent,
}

/// One request without an answer.
#[pin_project::pin_project]
struct InFlight {
    id: MessageId,
    business: BusinessCode,
    service: u16,
    cost: Cost,
    arrived: Timestamp,
    no_reply_wanted: bool,
    #[pin]
    future: RequestFuture,
}

/// A request that has ended.
struct Done {
    id: MessageId,
    business: BusinessCode,
    service: u16,
    cost: Cost,
    arrived: Timestamp,
    no_reply_wanted: bool,
    result: Result<super::link::Answer, Failure>,
}

impl Future for InFlight {
    type Output = Done;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Done> {
        let this = self.project();
        let result = ready!(this.future.poll(cx));
        let (id, business, service, cost) = (*this.id, *this.business, *this.service, *this.cost);
        let (arrived, no_reply_wanted) = (*this.arrived, *this.no_reply_wanted);
        Poll::Ready(Done { id, business, service, cost, arrived, no_reply_wanted, result })
    }
}

/// What a handshake leaves to the session.
pub struct Parts {
    /// The socket with its framing.
    pub transport: Transport,
    /// Who it is.
    pub presence: Presence,
    /// Where it runs.
    pub worker: Arc<Worker>,
    /// Its place in the heartbeat table.
    pub pulse: Pulse<Arc<Connection>>,
    /// Its place among the connections.
    pub permit: Permit,
    /// What was read behind the `Hello`.
    pub read_ahead: bytes::BytesMut,
    /// The first frame to the client.
    pub welcome: crate::pb::client::Welcome,
    /// What the client has said of its outbox.
    pub terms: Terms,
}

/// What a session keeps of the `Hello`.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The client's oldest unsettled id; 0 if it has none.
    pub oldest_unsettled: MessageId,
    /// It reads many refusals in one frame.
    pub reads_refusals: bool,
}

impl Session {
    /// Takes over a connection that has logged in; its first frame is the `Welcome`.
    pub fn new(parts: Parts) -> Self {
        let welcome = scratch::with(|scratch| {
            scratch.control(Kind::Welcome, &parts.welcome);
            parts.transport.framed(scratch)
        });
        let now = parts.worker.clock.now();
        let standing = Standing::welcomed(&parts.welcome, parts.terms.oldest_unsettled, now);
        let ticket_due = now + parts.worker.table().policy.tickets.validity / settle::RENEWALS_IN_VALIDITY;
        let partial = (!parts.read_ahead.is_empty()).then(|| Box::new(parts.read_ahead));
        Self {
            transport: parts.transport,
            connection: parts.presence.connection.clone(),
            presence: Some(parts.presence),
            worker: parts.worker,
            pulse: parts.pulse,
            _permit: parts.permit,
            partial,
            unsent: Some(Box::new(Unsent::from(welcome))),
            in_flight: None,
            pushes_written: 0,
            pong_due: false,
            phase: Phase::Starting,
            reads_refusals: parts.terms.reads_refusals,
            ticket_due,
            standing,
            timer: None,
        }
    }

    /// One turn: take what others want, read, collect answers, write.
    fn turn(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<()> {
        if self.phase == Phase::Leaving {
            return self.leave(cx, scratch);
        }
        // What an earlier turn left goes first: nothing is read for a client that does not read.
        if self.flush_unsent(cx).is_err() {
            return Poll::Ready(());
        }
        self.take_outgoing(cx, scratch);
        if let Err(farewell) = self.take_incoming(cx, scratch) {
            self.phase = Phase::Closing(farewell);
        }
        if std::mem::take(&mut self.pong_due) {
            let pong = self.pong();
            scratch.control(Kind::Pong, &pong);
        }
        let last = self.collect_answers(cx, scratch);
        self.settle(last, scratch);
        if let Phase::Finishing(reason) = self.phase
            && self.in_flight.is_none()
        {
            self.phase = Phase::Closing(Farewell::Refused(reason));
        }
        let flushed = self.flush(cx, scratch);
        if let (Err(farewell), Phase::Starting | Phase::Serving | Phase::Finishing(_)) = (flushed, self.phase) {
            self.phase = Phase::Closing(farewell);
        }
        match self.phase {
            Phase::Closing(farewell) => self.close(farewell, cx, scratch),
            Phase::Starting | Phase::Serving | Phase::Finishing(_) | Phase::Leaving => Poll::Pending,
        }
    }

    fn take_outgoing(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) {
        let (pushes, ending) = self.connection.take_outgoing(cx.waker(), &self.worker.gateway.budget);
        for push in pushes {
            self.write_push(push, scratch);
        }
        if let Some(ending) = ending {
            self.begin_ending(ending, scratch);
        }
    }

    fn take_incoming(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<(), Farewell> {
        if self.phase == Phase::Starting {
            self.phase = Phase::Serving;
            self.read_ahead(scratch)?;
        }
        if self.phase == Phase::Serving { self.read(cx, scratch) } else { Ok(()) }
    }

    fn begin_ending(&mut self, ending: Ending, scratch: &mut Scratch) {
        match ending {
            Ending::Goaway(reason, within) => {
                let gateway = &self.worker.gateway;
                let alternatives = gateway.fleet.destinations(gateway.is_draining(), self.worker.clock.now());
                write::goaway(scratch, reason, within, alternatives, self.settled_through());
            }
            // What is in flight would only go behind what it does not take.
            Ending::Close(reason @ Reason::SlowConsumer) => self.phase = Phase::Closing(Farewell::Refused(reason)),
            Ending::Close(reason) => self.phase = Phase::Finishing(reason),
            Ending::Kick(reason) => self.phase = Phase::Closing(Farewell::Kick(reason)),
        }
    }

    /// Hands a resolved request to the stack and keeps its future.
    fn submit(&mut self, request: ClientRequest) {
        let ClientRequest { id, business, arrived, no_reply_wanted, .. } = request;
        let cost = request.cost();
        // No gateway has so many services.
        let service = u16::try_from(request.service).unwrap_or(u16::MAX);
        let future = self.worker.call(request);
        let in_flight = InFlight { id, business, service, cost, arrived, no_reply_wanted, future };
        self.in_flight.get_or_insert_default().push(in_flight);
    }

    /// Writes all answers but the last reply, which says more than the others.
    fn collect_answers(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Option<Last> {
        let mut in_flight = self.in_flight.take()?;
        let (mut now, mut shut_out, mut last) = (None, None, None);
        while let Poll::Ready(Some(done)) = in_flight.poll_next_unpin(cx) {
            if let Err(Failure::Refused(refusal)) = &done.result
                && refusal.cause == Cause::GatewayCut
            {
                shut_out = Some(*refusal);
            }
            let now = *now.get_or_insert_with(|| self.worker.clock.now());
            if let Some(reply) = self.finish(done, now, scratch)
                && let Some(before) = last.replace(reply)
            {
                self.put(before, scratch);
                // The rest when the socket has had this.
                if scratch.is_full() {
                    cx.waker().wake_by_ref();
                    break;
                }
            }
        }
        if let Some(refusal) = shut_out {
            self.pause_if_shut_out(&refusal, cx);
        }
        // The set is dropped as soon as it is empty: an idle connection must not pay for it.
        if !in_flight.is_empty() {
            self.in_flight = Some(in_flight);
        }
        last
    }

    /// Counts how a request ended, and tells the sample if it is in it.
    fn ended(&self, id: MessageId, business: BusinessCode, arrived: Timestamp, outcome: Outcome) {
        self.worker.counters.count(business, outcome);
        let user = self.connection.user_hash;
        if let Some(sample) = self.worker.sample.as_ref().filter(|sample| sample.has(user, id))
            && let Some(rule) = self.worker.table().policy.business(business)
        {
            sample.tell(Ended { business: &rule.name, user, arrived, outcome }, self.worker.clock.now());
        }
    }

    /// Queues the last frame and begins to leave. From here on nobody finds the connection any more.
    fn close(&mut self, farewell: Farewell, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<()> {
        self.presence = None;
        self.in_flight = None;
        let reason = match farewell {
            Farewell::Silent => return Poll::Ready(()),
            Farewell::Refused(reason) => {
                // Who was let in while all were told to move has not been told where to, and who has stayed since it was told
                // knows what may hold no longer.
                let elsewhere = if matches!(reason, Reason::Draining | Reason::Aged) {
                    self.worker.gateway.fleet.destinations(reason == Reason::Draining, self.worker.clock.now())
                } else {
                    Vec::new()
                };
                write::refused(scratch, reason, elsewhere);
                reason
            }
            Farewell::Kick(reason) => {
                write::kick(scratch, reason);
                reason
            }
        };
        self.worker.gateway.count_closed(reason);
        tracing::debug!(user = self.connection.user(), reason = reason.name(), "connection ends");
        let mut last = self.unsent.take().unwrap_or_default();
        self.transport.frame_onto(scratch, last.bytes());
        self.transport.put_close(reason, last.bytes());
        self.unsent = Some(last);
        self.timer = Some(Box::new(self.worker.deadlines.at(self.worker.clock.now() + LEAVE_TIME)));
        self.phase = Phase::Leaving;
        self.leave(cx, scratch)
    }

    /// Writes what is left, then waits for the client to close its side; both only until the deadline.
    fn leave(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<()> {
        let late = self.timer.as_mut().is_none_or(|deadline| Pin::new(deadline).poll(cx).is_ready());
        if late {
            return Poll::Ready(());
        }
        match self.flush_unsent(cx) {
            Err(_) => return Poll::Ready(()),
            Ok(()) if self.unsent.is_some() => return Poll::Pending,
            Ok(()) => {}
        }
        self.transport.poll_leave(cx, scratch)
    }
}

impl Future for Session {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        scratch::with(|scratch| self.turn(cx, scratch))
    }
}
