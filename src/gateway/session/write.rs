//! The writing half of a session: replies and pushes to frames, frames to the socket.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, BufMut, BytesMut};

use super::{Done, Farewell, Outcome, Session};
use crate::{
    clock::{Timestamp, whole_millis_u32},
    gateway::{
        answers::{self, Ended, Last, RETRY_AFTER_MS},
        connection::PendingPush,
        link::Answer,
        scratch::Scratch,
        transport::Transport,
    },
    id::{BusinessCode, MessageId},
    pb::client as pb,
    request::Failure,
    wire::{Flags, HEADER_BYTES, Header, Kind, MAX_BODY_BYTES, Reason},
};

/// Bytes that the socket did not take, framed as the transport wants them.
#[derive(Debug, Default)]
pub(super) struct Unsent(BytesMut);

impl From<BytesMut> for Unsent {
    fn from(bytes: BytesMut) -> Self {
        Self(bytes)
    }
}

impl Unsent {
    pub(super) fn bytes(&mut self) -> &mut BytesMut {
        &mut self.0
    }
}

impl Session {
    /// Counts how a request ended, and returns the reply if it gets one.
    pub(super) fn finish(&mut self, done: Done, now: Timestamp, scratch: &mut Scratch) -> Option<Last> {
        let Done { id, business, service, arrived, cost, no_reply_wanted, .. } = done;
        let result = match done.result.and_then(fits) {
            Ok(answer) => {
                self.ended(id, business, arrived, Outcome::Replied);
                self.served(cost, now);
                self.took(service, now.since(arrived), now.since(answer.received));
                // A service that does not tell its handlers' time says zero.
                if answer.handler_us > 0 {
                    self.worker.costs.observe(business, Duration::from_micros(answer.handler_us.into()));
                }
                if let Some(mark) = &answer.mark {
                    self.mark(mark, business);
                }
                Ok(answer)
            }
            Err(failure) => {
                self.ended(id, business, arrived, Outcome::Failed((&failure).into()));
                if failure.has_cost() {
                    self.served(cost, now);
                }
                let cuts = self.cuts_after(&failure, business, now);
                Err(pb::Reply { cuts, ..answers::failed(failure) })
            }
        };
        let ended = Ended { id, business, no_reply_wanted, result, now };
        answers::finish(ended, self.reads_refusals, self.settlement(), scratch)
    }

    /// Counts how long a reply took, and how much of it was this gateway's doing.
    fn took(&self, service: u16, latency: Duration, own: Duration) {
        let counted = &self.worker.latency;
        counted.own.record(own);
        if let Some(cells) = counted.services.get(usize::from(service)) {
            cells.record(latency);
        }
    }

    /// Refuses a request that did not get as far as the request stack.
    pub(super) fn refuse(&self, id: MessageId, business: BusinessCode, reason: Reason, scratch: &mut Scratch) {
        answers::refuse(id, business, reason, self.reads_refusals, scratch);
    }

    /// Writes a push. Its id counts the pushes of this connection in the order of writing.
    pub(super) fn write_push(&mut self, push: PendingPush, scratch: &mut Scratch) {
        self.pushes_written += 1;
        if let Some(mark) = &push.mark {
            self.mark(mark, push.business);
        }
        let header = Header {
            body_bytes: push.body.len(),
            kind: Kind::Push as u8,
            flags: Flags::default(),
            business: push.business,
            id: MessageId(self.pushes_written),
        };
        scratch.output.reserve(HEADER_BYTES + push.body.len());
        scratch.output.put_slice(&header.encode());
        scratch.output.put_slice(&push.body);
    }

    /// Gives everything written in this turn to the socket and keeps what it does not take.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<(), Farewell> {
        if self.unsent.is_some() { self.flush_behind(cx, scratch) } else { self.flush_now(cx, scratch) }
    }

    /// The usual case: nothing waits, and most often nothing will.
    fn flush_now(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<(), Farewell> {
        let mut bytes = self.transport.framed(scratch);
        let done = write_some(&self.transport, cx, &mut bytes);
        if matches!(done, Ok(false)) {
            self.unsent = Some(Box::new(Unsent(BytesMut::from(&bytes[..]))));
            self.count_unsent();
        }
        scratch.give_back(bytes);
        done.map(drop)
    }

    /// Replies are never dropped, so they go behind what waits. A client that takes nothing of a full backlog while
    /// still more comes is disconnected.
    fn flush_behind(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<(), Farewell> {
        let Some(unsent) = &mut self.unsent else { return Ok(()) };
        let before = unsent.0.len();
        self.transport.frame_onto(scratch, &mut unsent.0);
        let added = unsent.0.len() > before;
        self.flush_unsent(cx)?;
        let left = self.unsent.as_ref().map_or(0, |unsent| unsent.0.len());
        let limit = self.worker.table().policy.connections.outgoing_bytes;
        if added && before > limit && left >= before { Err(Farewell::Refused(Reason::SlowConsumer)) } else { Ok(()) }
    }

    /// Counts what is unsent against the bounds of the connection and of the process.
    fn count_unsent(&self) {
        let bytes = self.unsent.as_ref().map_or(0, |unsent| unsent.0.len());
        self.connection.set_unsent(bytes, &self.worker.gateway.budget);
    }

    /// Writes what an earlier turn left.
    pub(super) fn flush_unsent(&mut self, cx: &mut Context<'_>) -> Result<(), Farewell> {
        let Some(mut unsent) = self.unsent.take() else { return Ok(()) };
        if !write_some(&self.transport, cx, &mut unsent.0)? {
            self.unsent = Some(unsent);
        }
        self.count_unsent();
        Ok(())
    }
}

/// What a payload's key and length take of a reply's body, in bytes.
const PAYLOAD_HEAD_BYTES: usize = 5;

/// Services are trusted with the size of their replies only as far as a frame can carry them.
fn fits(answer: Answer) -> Result<Answer, Failure> {
    if answer.payload.len() + PAYLOAD_HEAD_BYTES <= MAX_BODY_BYTES {
        return Ok(answer);
    }
    Err(Failure::Failed { detail: "the reply is too large".into() })
}

/// Writes until the socket takes no more. `true` if nothing is left.
fn write_some(transport: &Transport, cx: &mut Context<'_>, bytes: &mut BytesMut) -> Result<bool, Farewell> {
    while !bytes.is_empty() {
        match transport.poll_write(cx, bytes) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => return Err(Farewell::Silent),
            Poll::Ready(Ok(written)) => bytes.advance(written),
        }
    }
    Ok(true)
}

/// Tells the client to move within `within`, to one of these.
pub(super) fn goaway(
    scratch: &mut Scratch,
    reason: Reason,
    within: Duration,
    alternatives: Vec<pb::Alternative>,
    settled_through: MessageId,
) {
    let message = pb::Goaway {
        alternatives,
        reason: reason.code(),
        detail: reason.name().into(),
        move_after_ms: whole_millis_u32(within),
        settled_through: settled_through.0,
    };
    scratch.control(Kind::Goaway, &message);
}

/// The last frame of a connection that the client may come back from, to one of these if there are any.
pub(super) fn refused(scratch: &mut Scratch, reason: Reason, alternatives: Vec<pb::Alternative>) {
    let message = pb::Refused {
        reason: reason.code(),
        detail: reason.name().into(),
        retry_after_ms: RETRY_AFTER_MS,
        alternatives,
        ..pb::Refused::default()
    };
    scratch.control(Kind::Refused, &message);
}

/// The last frame of a connection that the client must not come back from.
pub(super) fn kick(scratch: &mut Scratch, reason: Reason) {
    scratch.control(Kind::Kick, &pb::Kick { reason: reason.code(), detail: reason.name().into() });
}
