//! The reading half of a session: bytes to frames, frames to requests.

use std::{
    mem,
    task::{Context, Poll},
};

use bytes::BytesMut;

use super::{Farewell, Outcome, Phase, Session};
use crate::{
    clock::{Timestamp, unix_millis},
    gateway::{
        request::{ClientRequest, MAX_TIMEOUT, Table},
        scratch::{Scratch, make_room},
        transport::Received,
    },
    id::{BusinessCode, MessageId},
    pb::client as pb,
    policy::table::Ordering,
    wire::{DecodeError, Flags, Frame, Kind, Reason, decode},
};

/// Reads of one turn; a client that has more waits until the others had theirs.
const READS_PER_TURN: usize = 4;

/// What is the same for all frames of one read: looked up once.
struct Batch {
    now: Timestamp,
    unix_ms: u64,
    table: std::sync::Arc<Table>,
}

impl From<DecodeError> for Farewell {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::TooLarge { .. } => Self::Refused(Reason::TooLarge),
            DecodeError::UnknownKind(_) | DecodeError::Malformed(_) => Self::Refused(Reason::Malformed),
        }
    }
}

impl Session {
    /// Hands on what came behind the `Hello`.
    pub(super) fn read_ahead(&mut self, scratch: &mut Scratch) -> Result<(), Farewell> {
        let Some(mut input) = self.partial.take() else { return Ok(()) };
        self.frames(&mut input, scratch)?;
        if !input.is_empty() {
            self.partial = Some(input);
        }
        Ok(())
    }

    /// Reads what the socket has and hands on every whole frame.
    pub(super) fn read(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<(), Farewell> {
        if self.is_paused(cx) {
            return Ok(());
        }
        for _ in 0..READS_PER_TURN {
            // A client that does not read its replies is not read from either.
            if self.unsent.is_some() {
                return Ok(());
            }
            let received = self.receive(cx, scratch)?;
            if !received {
                return Ok(());
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// One read. `false` if the socket has nothing more for now.
    fn receive(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<bool, Farewell> {
        // A frame that began earlier is finished in the buffer that it began in.
        if let Some(mut partial) = self.partial.take() {
            let more = self.receive_into(&mut partial, cx, scratch)?;
            if !partial.is_empty() {
                self.partial = Some(partial);
            }
            return Ok(more);
        }
        let mut input = mem::take(&mut scratch.input);
        let result = self.receive_into(&mut input, cx, scratch);
        if result.is_ok() && !input.is_empty() {
            self.partial = Some(Box::new(BytesMut::from(&input[..])));
        }
        input.clear();
        scratch.input = input;
        result
    }

    fn receive_into(
        &mut self,
        input: &mut BytesMut,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
    ) -> Result<bool, Farewell> {
        make_room(input);
        match self.transport.poll_receive(cx, input, scratch) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(Received::Bytes)) => self.frames(input, scratch).map(|()| true),
            Poll::Ready(Ok(Received::End)) | Poll::Ready(Err(_)) => Err(Farewell::Silent),
            Poll::Ready(Ok(Received::Malformed(reason))) => Err(Farewell::Refused(reason)),
        }
    }

    /// Hands on every whole frame in `input`.
    pub(super) fn frames(&mut self, input: &mut BytesMut, scratch: &mut Scratch) -> Result<(), Farewell> {
        let batch = Batch { now: self.worker.clock.now(), unix_ms: unix_millis(), table: self.worker.table() };
        let received = input.len();
        while let Some(frame) = decode(input, batch.table.policy.connections.max_body)? {
            self.frame(frame, &batch, scratch)?;
        }
        // Only whole frames are signs of life; skipped ones are.
        if input.len() < received {
            self.pulse.touch(batch.now);
        }
        Ok(())
    }

    fn frame(&mut self, frame: Frame, batch: &Batch, scratch: &mut Scratch) -> Result<(), Farewell> {
        match frame.kind {
            Kind::Request => self.request(frame, batch, scratch),
            Kind::Ping => {
                let ping: pb::Ping = frame.message()?;
                self.acknowledge(ping.last_push_id);
                self.pong_due = true;
                Ok(())
            }
            Kind::PushAck => {
                let ack: pb::PushAck = frame.message()?;
                self.acknowledge(ack.push_id);
                Ok(())
            }
            Kind::Pong => Ok(()),
            Kind::Hello
            | Kind::Welcome
            | Kind::Refused
            | Kind::Reply
            | Kind::Push
            | Kind::Goaway
            | Kind::Kick
            | Kind::Refusals
            | Kind::Settled => Err(Farewell::Refused(Reason::Unexpected)),
        }
    }

    fn acknowledge(&self, push_id: u64) {
        if push_id > 0 {
            self.connection.acknowledge(push_id, &self.worker.gateway.budget);
        }
    }

    fn request(&mut self, frame: Frame, batch: &Batch, scratch: &mut Scratch) -> Result<(), Farewell> {
        let (id, business) = (frame.id, frame.business);
        match self.resolve(frame, batch)? {
            Ok(request) => self.submit(request),
            Err(reason) => {
                self.ended(id, business, batch.now, Outcome::Failed(reason));
                self.refuse(id, business, reason, scratch);
            }
        }
        Ok(())
    }

    /// Looks a request up in the policy. The inner error refuses it and keeps the connection.
    fn resolve(&mut self, frame: Frame, batch: &Batch) -> Result<Result<ClientRequest, Reason>, Farewell> {
        let (id, business, flags) = (frame.id, frame.business, frame.flags);
        let message: pb::Request = frame.message()?;
        self.raise(MessageId(message.oldest_unsettled));
        let policy = &batch.table.policy;
        if self.phase != Phase::Serving {
            return Ok(Err(Reason::Draining));
        }
        if self.in_flight.as_ref().is_some_and(|set| set.len() >= policy.connections.max_in_flight) {
            return Ok(Err(Reason::Limit));
        }
        let Some(rule) = policy.business(business).filter(|_| business != BusinessCode::LOGIN) else {
            return Ok(Err(Reason::UnknownBusiness));
        };
        let tier = usize::from(self.connection.tier);
        if !rule.tiers.is_empty() && !rule.tiers.contains(&tier) {
            return Ok(Err(Reason::Misplaced));
        }
        let after = (rule.ordering == Ordering::Outbox).then_some(MessageId(message.after));
        if let Err(unfit) = self.admit(id, after) {
            return Ok(Err(unfit.into()));
        }
        let Some(service) = batch.table.service_of(rule) else { return Ok(Err(Reason::NoInstance)) };
        let timeout = match message.timeout_ms {
            0 => rule.timeout,
            millis => std::time::Duration::from_millis(u64::from(millis)),
        };
        Ok(Ok(ClientRequest {
            connection: self.connection.clone(),
            business,
            priority: rule.priority,
            levels: self.levels(&batch.table, batch.now),
            service,
            id,
            resent: flags.contains(Flags::RESENT),
            no_reply_wanted: flags.contains(Flags::NO_REPLY_WANTED),
            arrived: batch.now,
            unix_ms: batch.unix_ms,
            deadline: batch.now + timeout.min(MAX_TIMEOUT),
            oldest_unsettled_of_business: message.oldest_unsettled_of_business,
            cost: self.worker.costs.cost(business),
            payload: message.payload,
            table: batch.table.clone(),
        }))
    }
}
