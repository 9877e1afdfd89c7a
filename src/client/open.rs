//! A connection that is logged in: every frame of the gateway has its meaning here, and every frame to it its origin.

use std::{collections::VecDeque, mem, sync::Arc, time::Duration};

use bytes::BytesMut;
use prost::Message;

use super::{
    CloseReason, Event, Goaway, NewRequest, ProtocolError, Push, Reply, RequestError, Session, Verdict,
    cuts::Cuts,
    event::{Try, millis},
    liveness::Liveness,
    session,
    tries::Tries,
};
use crate::{
    clock::Timestamp,
    id::{BusinessCode, MessageId},
    pb::client as pb,
    wire::{self, Flags, Frame, Kind, Reason},
};

/// How long after its timeout a try waits for the gateway's own word on it.
const GRACE: Duration = Duration::from_millis(500);

/// Bytes that may wait to be sent. Above that no request is taken ([`RequestError::Busy`]) and no control frame is written:
/// a gateway that reads nothing cannot make this side remember answers to its pings.
const MAX_OUTGOING_BYTES: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Open {
    session: Arc<Session>,
    tries: Tries,
    liveness: Liveness,
    cuts: Cuts,
    /// The highest id that was sent, or given to a request that was held back.
    last_id: MessageId,
    spread: Duration,
    last_push: u64,
    acknowledged_push: u64,
}

impl Open {
    pub(super) fn new(welcome: pb::Welcome, mut cuts: Cuts, now: Timestamp) -> Self {
        let resolved = welcome.cuts.clone();
        let session = Arc::new(Session::from(welcome));
        cuts.remember(&resolved, &session, now);
        Self {
            liveness: Liveness::new(session.heartbeat, session.tolerance, now),
            spread: session.spread,
            session,
            tries: Tries::default(),
            cuts,
            last_id: MessageId(0),
            last_push: 0,
            acknowledged_push: 0,
        }
    }

    pub(super) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    pub(super) fn open_permille(&self, business: BusinessCode, now: Timestamp) -> u16 {
        self.cuts.open_permille(business, now)
    }

    pub(super) fn received(&mut self, now: Timestamp) {
        self.liveness.received(now);
    }

    pub(super) fn into_unanswered(self) -> impl Iterator<Item = MessageId> {
        self.tries.into_ids()
    }

    pub(super) fn send_request(
        &mut self,
        request: NewRequest,
        outgoing: &mut BytesMut,
        now: Timestamp,
    ) -> Result<MessageId, RequestError> {
        let NewRequest { business, payload, timeout, flags } = request;
        let id = MessageId(self.last_id.0 + 1);
        let nothing = MessageId(0);
        let message = Try {
            id,
            business,
            payload,
            timeout,
            flags,
            oldest_unsettled: nothing,
            oldest_of_business: nothing,
            after: nothing,
        };
        match self.send(message, outgoing, now) {
            Ok(try_timeout) => {
                self.last_id = id;
                if !flags.contains(Flags::NO_REPLY_WANTED) {
                    self.tries.start(id, try_timeout, GRACE, now);
                }
                Ok(id)
            }
            Err(error) => {
                if matches!(error, RequestError::HeldBack { .. }) {
                    // The next request is another one, with a chance of its own.
                    self.last_id = id;
                }
                Err(error)
            }
        }
    }

    /// Sends a try with the outbox's own id. Also one that wants no reply is watched until its timeout.
    pub(super) fn send_try(
        &mut self,
        message: Try,
        outgoing: &mut BytesMut,
        now: Timestamp,
    ) -> Result<(), RequestError> {
        let id = message.id;
        let try_timeout = self.send(message, outgoing, now)?;
        self.last_id = self.last_id.max(id);
        self.tries.start(id, try_timeout, GRACE, now);
        Ok(())
    }

    pub(super) fn forget_try(&mut self, id: MessageId) {
        self.tries.end(id);
    }

    /// Writes the frame, and returns the timeout that holds for it.
    fn send(&mut self, message: Try, outgoing: &mut BytesMut, now: Timestamp) -> Result<Duration, RequestError> {
        let Try { id, business, payload, timeout, flags, oldest_unsettled, oldest_of_business, after } = message;
        let known = self.session.business(business).ok_or(RequestError::UnknownBusiness(business))?;
        let try_timeout = timeout.unwrap_or(known.timeout);
        if self.tries.len() >= self.session.max_in_flight || outgoing.len() >= MAX_OUTGOING_BYTES {
            return Err(RequestError::Busy);
        }
        let body = pb::Request {
            timeout_ms: timeout.map_or(0, millis),
            oldest_unsettled: oldest_unsettled.0,
            oldest_unsettled_of_business: oldest_of_business.0,
            after: after.0,
            payload,
        };
        let limit = self.session.max_body_bytes.min(wire::MAX_BODY_BYTES);
        let bytes = body.encoded_len();
        let too_large = || RequestError::TooLarge { bytes, limit };
        if bytes > limit {
            return Err(too_large());
        }
        self.cuts.pass(business, id, now)?;
        wire::encode(outgoing, Kind::Request, flags, business, id, &body).map_err(|_| too_large())?;
        self.liveness.sent(now);
        Ok(try_timeout)
    }

    pub(super) fn handle_frame(
        &mut self,
        frame: Frame,
        outgoing: &mut BytesMut,
        events: &mut VecDeque<Event>,
        now: Timestamp,
    ) -> Result<(), CloseReason> {
        let (id, business) = (frame.id, frame.business);
        match frame.kind {
            Kind::Reply => self.handle_reply(id, business, frame.message()?, events, now),
            Kind::Refusals => self.handle_refusals(frame.message()?, events, now),
            Kind::Push => events.push_back(self.handle_push(id, business, frame.message()?)),
            Kind::Ping => {
                frame.message::<pb::Ping>()?;
                self.send_control(outgoing, Kind::Pong, &pb::Pong::default(), now);
            }
            Kind::Pong => {
                let pong: pb::Pong = frame.message()?;
                self.cuts.remember(&pong.cuts, &self.session, now);
                self.handle_spread(pong.spread_ms, events);
                if !pong.alternatives.is_empty() {
                    events.push_back(Event::Alternatives(session::alternatives(pong.alternatives)));
                }
            }
            Kind::Goaway => {
                let message: pb::Goaway = frame.message()?;
                settled_through(message.settled_through, events);
                events.push_back(goaway(message));
            }
            Kind::Settled => settled_through(frame.message::<pb::Settled>()?.settled_through, events),
            // The connection has dealt with the two that end it before; the rest only clients send, or only once.
            kind @ (Kind::Hello | Kind::Welcome | Kind::Refused | Kind::Request | Kind::PushAck | Kind::Kick) => {
                return Err(ProtocolError::Unexpected(kind).into());
            }
        }
        Ok(())
    }

    /// A reply that nobody waits for any more is told apart, because an outbox can still settle by it.
    fn handle_reply(
        &mut self,
        id: MessageId,
        business: BusinessCode,
        mut reply: pb::Reply,
        events: &mut VecDeque<Event>,
        now: Timestamp,
    ) {
        self.cuts.remember(&reply.cuts, &self.session, now);
        let (through, ticket) = (reply.settled_through, mem::take(&mut reply.ticket));
        let result = result(id, business, reply);
        if self.tries.end(id) {
            events.push_back(Event::Ended { id, result });
        } else if id <= self.last_id {
            events.extend(answer(result).map(|result| Event::Late { id, result }));
        }
        settled_through(through, events);
        if !ticket.is_empty() {
            events.push_back(Event::Ticket(ticket));
        }
    }

    fn handle_refusals(&mut self, refusals: pb::Refusals, events: &mut VecDeque<Event>, now: Timestamp) {
        self.cuts.remember(&refusals.cuts, &self.session, now);
        for refused in refusals.refused {
            let id = MessageId(refused.message_id);
            if self.tries.end(id) {
                let verdict = Verdict::new(refused.reason, String::new(), refused.retry_after_ms);
                events.push_back(Event::Ended { id, result: Err(RequestError::Refused(verdict)) });
            }
        }
    }

    /// Zero says nothing; the same again is no news.
    fn handle_spread(&mut self, spread_ms: u32, events: &mut VecDeque<Event>) {
        let spread = session::spread(spread_ms);
        if !spread.is_zero() && spread != self.spread {
            self.spread = spread;
            events.push_back(Event::Spread(spread));
        }
    }

    fn handle_push(&mut self, id: MessageId, business: BusinessCode, push: pb::Push) -> Event {
        self.last_push = self.last_push.max(id.0);
        Event::Pushed(Push { id: id.0, business, dedupe_key: push.dedupe_key, payload: push.payload })
    }

    /// One acknowledgement for all pushes of a round.
    pub(super) fn acknowledge_pushes(&mut self, outgoing: &mut BytesMut, now: Timestamp) {
        if self.last_push > self.acknowledged_push {
            self.acknowledged_push = self.last_push;
            self.send_control(outgoing, Kind::PushAck, &pb::PushAck { push_id: self.last_push }, now);
        }
    }

    /// `Some` if the connection must be given up.
    pub(super) fn handle_timeout(
        &mut self,
        outgoing: &mut BytesMut,
        events: &mut VecDeque<Event>,
        now: Timestamp,
    ) -> Option<CloseReason> {
        if now >= self.liveness.lost_at() {
            return Some(CloseReason::HeartbeatLost);
        }
        while let Some((id, timeout)) = self.tries.expire(now) {
            events.push_back(Event::Ended { id, result: Err(RequestError::TimedOut(timeout)) });
        }
        if now >= self.liveness.ping_at() {
            let next_interval_ms = millis(self.session.heartbeat);
            let ping = pb::Ping { last_push_id: self.last_push, next_interval_ms };
            self.send_control(outgoing, Kind::Ping, &ping, now);
            self.liveness.pinged(now);
        }
        None
    }

    pub(super) fn next_timeout(&self) -> Timestamp {
        let liveness = self.liveness.ping_at().min(self.liveness.lost_at());
        self.tries.next_deadline().map_or(liveness, |deadline| deadline.min(liveness))
    }

    fn send_control(&mut self, outgoing: &mut BytesMut, kind: Kind, message: &impl Message, now: Timestamp) {
        if outgoing.len() < MAX_OUTGOING_BYTES {
            wire::encode_control(outgoing, kind, message);
            self.liveness.sent(now);
        }
    }
}

/// An outcome that this version does not know is the weakest statement: unknown.
fn result(id: MessageId, business: BusinessCode, reply: pb::Reply) -> Result<Reply, RequestError> {
    let outcome = pb::Outcome::try_from(reply.outcome).unwrap_or(pb::Outcome::Unknown);
    if outcome == pb::Outcome::Replied && reply.reason == 0 {
        return Ok(Reply { id, business, payload: reply.payload });
    }
    let verdict = Verdict::new(reply.reason, reply.detail, reply.retry_after_ms);
    Err(match outcome {
        _ if verdict.reason() == Some(Reason::HandlerFailed) => RequestError::Failed(verdict),
        pb::Outcome::Replied => RequestError::Failed(verdict),
        pb::Outcome::Refused => RequestError::Refused(verdict),
        pb::Outcome::Unknown => RequestError::Unknown(verdict),
    })
}

/// What settles a message: the answer of its service, or that the handler failed.
fn answer(result: Result<Reply, RequestError>) -> Option<Result<Reply, Verdict>> {
    match result {
        Ok(reply) => Some(Ok(reply)),
        Err(RequestError::Failed(verdict)) => Some(Err(verdict)),
        Err(_) => None,
    }
}

/// Zero says nothing.
fn settled_through(through: u64, events: &mut VecDeque<Event>) {
    if through > 0 {
        events.push_back(Event::SettledThrough(MessageId(through)));
    }
}

fn goaway(goaway: pb::Goaway) -> Event {
    Event::MoveWanted(Goaway {
        verdict: Verdict::new(goaway.reason, goaway.detail, 0),
        alternatives: session::alternatives(goaway.alternatives),
        move_after: session::hint(goaway.move_after_ms),
    })
}
