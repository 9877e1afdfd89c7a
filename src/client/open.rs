//! A connection that is logged in: every frame of the gateway has its meaning here, and every frame to it its origin.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::BytesMut;
use prost::Message;

use super::{
    CloseReason, Event, Goaway, NewRequest, ProtocolError, Push, Reply, RequestError, Session, Verdict, cuts::Cuts,
    event::millis, liveness::Liveness, session, tries::Tries,
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
    last_id: MessageId,
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
        let known = self.session.business(business).ok_or(RequestError::UnknownBusiness(business))?;
        let try_timeout = timeout.unwrap_or(known.timeout);
        if self.tries.len() >= self.session.max_in_flight || outgoing.len() >= MAX_OUTGOING_BYTES {
            return Err(RequestError::Busy);
        }
        let body = pb::Request { timeout_ms: timeout.map_or(0, millis), payload, ..pb::Request::default() };
        let limit = self.session.max_body_bytes.min(wire::MAX_BODY_BYTES);
        let bytes = body.encoded_len();
        let too_large = || RequestError::TooLarge { bytes, limit };
        if bytes > limit {
            return Err(too_large());
        }
        let id = MessageId(self.last_id.0 + 1);
        if let Err(held_back) = self.cuts.pass(business, id, now) {
            // The next request is another one, with a chance of its own.
            self.last_id = id;
            return Err(held_back);
        }
        wire::encode(outgoing, Kind::Request, flags, business, id, &body).map_err(|_| too_large())?;
        self.last_id = id;
        self.liveness.sent(now);
        if !flags.contains(Flags::NO_REPLY_WANTED) {
            self.tries.start(id, try_timeout, GRACE, now);
        }
        Ok(id)
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
            Kind::Reply => events.extend(self.handle_reply(id, business, frame.message()?, now)),
            Kind::Push => events.push_back(self.handle_push(id, business, frame.message()?)),
            Kind::Ping => {
                frame.message::<pb::Ping>()?;
                self.send_control(outgoing, Kind::Pong, &pb::Pong::default(), now);
            }
            Kind::Pong => self.cuts.remember(&frame.message::<pb::Pong>()?.cuts, &self.session, now),
            Kind::Goaway => events.push_back(goaway(frame.message()?)),
            Kind::Settled => {
                frame.message::<pb::Settled>()?;
            }
            // The connection has dealt with the two that end it before; the rest only clients send, or only once.
            kind @ (Kind::Hello
            | Kind::Welcome
            | Kind::Refused
            | Kind::Request
            | Kind::PushAck
            | Kind::Kick
            // This client's Hello does not ask for it.
            | Kind::Refusals) => return Err(ProtocolError::Unexpected(kind).into()),
        }
        Ok(())
    }

    /// `None` for a reply that nobody waits for any more.
    fn handle_reply(
        &mut self,
        id: MessageId,
        business: BusinessCode,
        reply: pb::Reply,
        now: Timestamp,
    ) -> Option<Event> {
        self.cuts.remember(&reply.cuts, &self.session, now);
        self.tries.end(id).then(|| Event::Ended { id, result: result(id, business, reply) })
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

fn goaway(goaway: pb::Goaway) -> Event {
    Event::MoveWanted(Goaway {
        verdict: Verdict::new(goaway.reason, goaway.detail, 0),
        alternatives: session::alternatives(goaway.alternatives),
        move_after: Duration::from_millis(goaway.move_after_ms.into()),
    })
}
