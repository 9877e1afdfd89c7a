//! A gateway's process: the real roster, connections, settlement, answers and tickets. What is modelled is the way between
//! them: sockets, the calls that are under way, and shedding by a draw.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    task::Waker,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use dagor::{
    admission::{Cause, Cut, PriorityKey, Refusal, Value},
    clock::Timestamp,
    gateway::{
        answers::{self, Ended},
        connection::{ByteBudget, Connection, Ending, PendingPush, PushLimits},
        link::{self, Answer},
        presence,
        roster::{Member, Roster},
        scratch::Scratch,
        settlement::Settlement,
    },
    id::{BusinessCode, Epoch, Incarnation, MessageId, OutboxId},
    layer::heartbeat::{Aged, Heartbeats, MaxAge, Pulse},
    pb::{client as pb, service},
    registry::Home,
    request::Failure,
    wire::{Flags, HEADER_BYTES, Header, Kind, Reason, decode},
};

use crate::{
    audit::Audit,
    bugs::Bug,
    client::{BUSINESSES, USERS},
    ledger::IN_ORDER,
    net::Item,
    routes::Op,
    trace::Count,
    world::{Event, INSTANCES, World},
};

/// Requests that a connection may have unanswered.
pub(crate) const MAX_IN_FLIGHT: usize = 10;
/// What a connection may have waiting to be written before it is a slow consumer, in bytes.
pub(crate) const OUTGOING_BYTES: usize = 200;
/// The largest that one turn may add: a reply to each request in flight, and what is said besides.
pub(crate) const TURN_BYTES: usize = MAX_IN_FLIGHT * 160 + 1_000;
const PUSHES: PushLimits = PushLimits { bytes: OUTGOING_BYTES, unacked: 20 };
const TIMEOUT: Duration = Duration::from_secs(2);
const HEARTBEAT_MS: u32 = 3_000;
const TOLERANCE: Duration = Duration::from_secs(8);
/// Around which age clients are told to move.
const MAX_AGE: Duration = Duration::from_secs(6);
/// How long a login waits for the registry.
const REGISTRY_TIMEOUT: Duration = Duration::from_millis(500);

/// One gateway, over all runs of its process.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) run: u32,
    up: bool,
    /// An older version, which does not say which businesses keep the order.
    is_silent: bool,
    pub(crate) home: Arc<Home>,
    roster: Roster<Arc<Connection>>,
    ages: Heartbeats<Arc<Connection>>,
    budget: ByteBudget,
    sessions: BTreeMap<usize, Session>,
    calls: BTreeMap<u64, Call>,
    last_call: u64,
    /// The stream to each instance.
    pub(crate) streams: [Option<usize>; INSTANCES],
    pub(crate) skew: i64,
    pub(crate) sheds_until: Timestamp,
}

/// A request that was dispatched.
#[derive(Debug)]
struct Call {
    link: usize,
    id: MessageId,
    business: BusinessCode,
    no_reply_wanted: bool,
    deadline: Timestamp,
    stream: usize,
    told: bool,
}

#[derive(Debug)]
struct Session {
    phase: Phase,
    input: BytesMut,
    unsent: BytesMut,
    connection: Option<Arc<Connection>>,
    /// Its place among the ages of all.
    age: Option<Pulse<Arc<Connection>>>,
    /// `None` as long as the client has named no oldest unsettled id.
    settlement: Option<Settlement>,
    in_flight: usize,
    ended: Vec<(MessageId, BusinessCode, bool, Result<Answer, Failure>)>,
    heard: Timestamp,
    pushes: u64,
    pong_due: bool,
    ticket_due: Timestamp,
    audit: Audit,
}

#[derive(Debug)]
enum Phase {
    Greeting,
    /// Waits for the registry.
    Entering(Box<pb::Hello>),
    Serving,
    Finishing(Reason),
}

impl Gateway {
    pub(crate) fn new(g: usize) -> Self {
        Self {
            run: 0,
            up: false,
            is_silent: false,
            home: home(g, 0),
            roster: Roster::default(),
            ages: Heartbeats::new(),
            budget: ByteBudget::new(1 << 20),
            sessions: BTreeMap::new(),
            calls: BTreeMap::new(),
            last_call: 0,
            streams: [None; INSTANCES],
            skew: 0,
            sheds_until: Timestamp::ZERO,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up
    }

    /// A new run, which knows nothing.
    pub(crate) fn start(&mut self, g: usize, is_silent: bool) {
        let (run, skew) = (self.run + 1, self.skew);
        let home = home(g, run);
        let ages = Heartbeats::seeded(home.incarnation.0);
        *self = Self { run, up: true, is_silent, home, ages, skew, ..Self::new(g) };
    }

    pub(crate) fn stop(&mut self) {
        self.up = false;
        self.sessions.clear();
        self.calls.clear();
        self.streams = [None; INSTANCES];
    }

    pub(crate) fn accept(&mut self, link: usize, now: Timestamp) {
        let session = Session {
            phase: Phase::Greeting,
            input: BytesMut::new(),
            unsent: BytesMut::new(),
            connection: None,
            age: None,
            settlement: None,
            in_flight: 0,
            ended: Vec::new(),
            heard: now,
            pushes: 0,
            pong_due: false,
            ticket_due: now + Duration::from_secs(20),
            audit: Audit::default(),
        };
        self.sessions.insert(link, session);
    }

    pub(crate) fn links(&self) -> Vec<usize> {
        self.sessions.keys().copied().collect()
    }

    /// Asks every session to do this.
    pub(crate) fn end_all(&self, ending: &Ending) {
        for connection in self.sessions.values().filter_map(|session| session.connection.as_ref()) {
            connection.end(ending.clone());
        }
    }
}

fn home(g: usize, run: u32) -> Arc<Home> {
    let incarnation = Incarnation(1_000 * g as u64 + u64::from(run));
    Arc::new(Home { gateway: format!("g{g}"), incarnation, address: String::new() })
}

impl World {
    pub(crate) fn gateway_reads(&self, link: usize) -> bool {
        let gateway = &self.gateways[self.links[link].gateway];
        gateway.sessions.get(&link).is_none_or(|session| session.unsent.is_empty())
    }

    /// Something arrives at a gateway.
    pub(crate) fn gateway_receives(&mut self, link: usize, item: Item) {
        let (g, run) = (self.links[link].gateway, self.links[link].gateway_run);
        if self.gateways[g].run != run {
            return;
        }
        let Some(session) = self.gateways[g].sessions.get_mut(&link) else { return };
        match item {
            Item::Bytes(bytes) => {
                session.input.extend_from_slice(&bytes);
                self.gateway_turn(g, link);
                // The client may have more for the socket.
                self.attend(self.links[link].client);
            }
            Item::End => self.drop_session(g, link),
        }
    }

    /// A session is over: what a presence does when it is dropped.
    pub(crate) fn drop_session(&mut self, g: usize, link: usize) {
        let gateway = &mut self.gateways[g];
        let Some(session) = gateway.sessions.remove(&link) else { return };
        if let Some(connection) = session.connection {
            connection.shut(&gateway.budget);
            gateway.roster.remove(&connection);
            self.unregister(g, device(connection.device()), connection.epoch);
        }
        self.links[link].up.broken = true;
        self.links[link].open = false;
        self.end(link, false);
    }

    /// One turn of a session, as the gateway's own makes it.
    pub(crate) fn gateway_turn(&mut self, g: usize, link: usize) {
        let Some(mut session) = self.gateways[g].sessions.remove(&link) else { return };
        let waited = !session.unsent.is_empty();
        self.flush(link, &mut session);
        let mut scratch = std::mem::take(&mut self.scratch);
        let alive = self.take_outgoing(g, &mut session, &mut scratch)
            && self.read(g, link, &mut session, &mut scratch)
            && self.write(g, link, &mut session, &mut scratch);
        scratch.output.clear();
        self.scratch = scratch;
        if !alive {
            // A moment is left for the last bytes.
            self.send(link, false, session.unsent.split().freeze());
        }
        let heard_again = waited && session.unsent.is_empty();
        self.gateways[g].sessions.insert(link, session);
        if !alive {
            return self.drop_session(g, link);
        }
        if heard_again {
            self.listen(link, true);
        }
    }

    /// Gives the socket what it takes.
    fn flush(&mut self, link: usize, session: &mut Session) {
        let room = self.links[link].down.room().min(session.unsent.len());
        if room > 0 {
            let bytes = session.unsent.split_to(room).freeze();
            self.send(link, false, bytes);
        }
    }

    /// `false` if the session ends.
    fn take_outgoing(&mut self, g: usize, session: &mut Session, scratch: &mut Scratch) -> bool {
        let Some(connection) = session.connection.clone() else { return true };
        connection.set_unsent(session.unsent.len(), &self.gateways[g].budget);
        let (pushes, ending) = connection.take_outgoing(Waker::noop(), &self.gateways[g].budget);
        for push in pushes {
            session.pushes += 1;
            self.trace.count(Count::Pushes);
            let header = Header {
                body_bytes: push.body.len(),
                kind: Kind::Push as u8,
                flags: Flags::default(),
                business: push.business,
                id: MessageId(session.pushes),
            };
            scratch.output.extend_from_slice(&header.encode());
            scratch.output.extend_from_slice(&push.body);
        }
        match ending {
            None => {}
            Some(Ending::Goaway(reason, within)) => {
                let settled_through = session.settlement.as_mut().map_or(0, |settlement| {
                    settlement.tell();
                    settlement.through().0
                });
                let move_after_ms = within.as_millis() as u32;
                let goaway =
                    pb::Goaway { reason: reason.code(), move_after_ms, settled_through, ..pb::Goaway::default() };
                scratch.control(Kind::Goaway, &goaway);
            }
            Some(Ending::Close(reason)) => session.phase = Phase::Finishing(reason),
            Some(Ending::Kick(reason)) => {
                scratch.control(Kind::Kick, &pb::Kick { reason: reason.code(), detail: String::new() });
                session.unsent.extend_from_slice(&scratch.output);
                return false;
            }
        }
        true
    }

    /// `false` if the session ends.
    fn read(&mut self, g: usize, link: usize, session: &mut Session, scratch: &mut Scratch) -> bool {
        if !session.unsent.is_empty() {
            return true;
        }
        loop {
            match &session.phase {
                Phase::Greeting | Phase::Serving => {}
                Phase::Entering(_) | Phase::Finishing(_) => return true,
            }
            let frame = match decode(&mut session.input, 4_096) {
                Ok(Some(frame)) => frame,
                Ok(None) => return true,
                Err(error) => {
                    self.trace.violated(format!("a client sent what is no frame: {error}"));
                    return false;
                }
            };
            session.heard = self.now;
            match (&session.phase, frame.kind) {
                (Phase::Greeting, Kind::Hello) => match frame.message::<pb::Hello>() {
                    Ok(hello) => self.greet(g, link, session, hello),
                    Err(_) => return false,
                },
                (Phase::Serving, Kind::Request) => {
                    let (id, business, flags) = (frame.id, frame.business, frame.flags);
                    let Ok(request) = frame.message::<pb::Request>() else { return false };
                    if let Err(reason) = self.request(g, link, session, id, business, flags, request) {
                        if self.bug == Some(Bug::AckOverRefused)
                            && let Some(settlement) = &mut session.settlement
                        {
                            settlement.answered(id);
                        }
                        answers::refuse(id, business, reason, true, scratch);
                    }
                }
                (Phase::Serving, Kind::Ping) => session.pong_due = true,
                (Phase::Serving, Kind::PushAck) => {
                    if let (Ok(ack), Some(connection)) = (frame.message::<pb::PushAck>(), &session.connection) {
                        connection.acknowledge(ack.push_id, &self.gateways[g].budget);
                    }
                }
                (_, Kind::Pong) => {}
                (_, kind) => {
                    self.trace.violated(format!("a client sent {kind:?} out of place"));
                    return false;
                }
            }
        }
    }

    fn greet(&mut self, g: usize, link: usize, session: &mut Session, hello: pb::Hello) {
        let unix_ms = self.unix_millis(self.gateways[g].skew);
        let ticket = self.tickets.read(&hello, unix_ms);
        let asked = ticket.map_or(Epoch(0), |ticket| ticket.last_epoch).max(Epoch(unix_ms));
        let (run, device) = (self.gateways[g].run, device(&hello.device));
        self.trace.note(self.now, "hello", [g as u64, device as u64, asked.0]);
        let outbox = OutboxId(hello.outbox);
        self.ask_registry(g, Op::Register { device, asked, outbox, link });
        let timeout = self.now + REGISTRY_TIMEOUT;
        self.schedule(timeout, Event::Registered { gateway: g, run, link, epoch: Epoch(asked.0 + 1) });
        session.phase = Phase::Entering(Box::new(hello));
    }

    /// The registry has granted an epoch, or the gateway has waited long enough for it.
    pub(crate) fn registered(&mut self, g: usize, run: u32, link: usize, epoch: Epoch) {
        let unix_ms = self.unix_millis(self.gateways[g].skew);
        let gateway = &mut self.gateways[g];
        if gateway.run != run {
            return;
        }
        let Some(session) = gateway.sessions.get_mut(&link) else { return };
        let Phase::Entering(hello) = std::mem::replace(&mut session.phase, Phase::Serving) else {
            // It has entered before: this answer came too late.
            return;
        };
        let hash = PriorityKey([0; 16]).user(hello.user.as_bytes());
        let connection = Connection::new(&hello.user, &hello.device, 0, hash, epoch, OutboxId(hello.outbox));
        let before = gateway.roster.get(&hello.user, &hello.device);
        let entered = presence::enter(&gateway.roster, &connection);
        if let Some(before) = before.filter(|before| entered.is_ok() && before.outbox == connection.outbox) {
            self.trace.count(Count::Superseded);
            if self.bug == Some(Bug::KickOnMigration) {
                before.end(Ending::Kick(Reason::Replaced));
            }
        }
        let mut first = Scratch::default();
        match entered {
            Ok(_) => {
                session.connection = Some(connection.clone());
                session.age = Some(gateway.ages.insert(connection.clone(), self.now));
                if hello.oldest_unsettled > 0 {
                    session.settlement.get_or_insert_default().raise(MessageId(hello.oldest_unsettled));
                }
                session.audit.raise(hello.oldest_unsettled);
                let ticket = self.tickets.issue(&connection, &self.policy, unix_ms);
                first.control(Kind::Welcome, &welcome(&gateway.home, !gateway.is_silent, epoch, ticket));
                session.unsent.extend_from_slice(&first.output);
            }
            Err(rejection) => {
                if let Some(refused) = rejection.told() {
                    first.control(Kind::Refused, &refused);
                    session.unsent.extend_from_slice(&first.output);
                }
                // A login that did not enter leaves as one that did: its route must not stay.
                session.phase = Phase::Greeting;
                let mut leaving = self.gateways[g].sessions.remove(&link);
                if let Some(session) = &mut leaving {
                    self.flush(link, session);
                }
                self.end(link, false);
                self.links[link].up.broken = true;
                self.unregister(g, device(connection.device()), epoch);
                return;
            }
        }
        self.gateway_turns(g);
    }

    /// The registry may have lost the routes of this gateway: the roster is the truth.
    pub(crate) fn restore_routes(&mut self, g: usize, run: u32) {
        if self.gateways[g].run != run || !self.gateways[g].is_up() {
            return;
        }
        let connections: Vec<_> =
            self.gateways[g].sessions.values().filter_map(|session| session.connection.clone()).collect();
        for connection in connections {
            let (device, epoch, outbox) = (device(connection.device()), connection.epoch, connection.outbox);
            self.ask_registry(g, Op::Restore { device, epoch, outbox });
        }
    }

    /// A connection's route was not restored, because a later login is known.
    pub(crate) fn outdated(&mut self, g: usize, run: u32, device: usize, epoch: Epoch) {
        let gateway = &self.gateways[g];
        let held = gateway.roster.get(USERS[device], &format!("d{device}"));
        if let Some(connection) = held.filter(|held| gateway.run == run && held.epoch == epoch) {
            connection.end(Ending::Close(Reason::Superseded));
            self.gateway_turns(g);
        }
    }

    /// A device has logged in elsewhere: what is older is closed.
    pub(crate) fn supersede(&mut self, g: usize, run: u32, device: usize, epoch: Epoch, outbox: OutboxId) {
        let gateway = &self.gateways[g];
        if gateway.run != run || !gateway.is_up() {
            return;
        }
        let Some(older) = gateway.roster.get(USERS[device], &format!("d{device}")) else { return };
        if older.epoch < epoch {
            self.trace.count(Count::Superseded);
            let kick = self.bug == Some(Bug::KickOnMigration);
            older.end(if kick { Ending::Kick(Reason::Replaced) } else { presence::ending_of(&older, outbox) });
            self.gateway_turns(g);
        }
    }

    /// A request that a client sent; what refuses it at once is returned.
    #[allow(clippy::too_many_arguments, reason = "a frame in its parts")]
    fn request(
        &mut self,
        g: usize,
        link: usize,
        session: &mut Session,
        id: MessageId,
        business: BusinessCode,
        flags: Flags,
        request: pb::Request,
    ) -> Result<(), Reason> {
        if request.oldest_unsettled > 0 {
            session.settlement.get_or_insert_default().raise(MessageId(request.oldest_unsettled));
        }
        session.audit.raise(request.oldest_unsettled);
        if session.in_flight >= MAX_IN_FLIGHT {
            return Err(Reason::Limit);
        }
        let after = (business.0 == IN_ORDER).then_some(MessageId(request.after));
        session.settlement.clone().unwrap_or_default().admit(id, after)?;
        let no_reply_wanted = flags.contains(Flags::NO_REPLY_WANTED);
        let timeout = match request.timeout_ms {
            0 => TIMEOUT,
            millis => Duration::from_millis(millis.into()),
        };
        let service = usize::from(business.0 != 2);
        let shed = self.now < self.gateways[g].sheds_until && self.random.bool();
        let stream =
            self.stream_for(g, service, usize::from(session.connection.as_ref().is_some_and(|c| c.user() == "bob")));
        let cause = if shed { Some(Cause::ServiceCut) } else { stream.is_none().then_some(Cause::NoInstance) };
        session.in_flight += 1;
        if let Some(cause) = cause {
            let retry_after = self.millis(50, 1_500);
            let refusal = Refusal { cause, value: Value::from_bits(1), cut: Cut::OPEN, retry_after };
            session.ended.push((id, business, no_reply_wanted, Err(refusal.into())));
            return Ok(());
        }
        let (Some(stream), Some(connection)) = (stream, &session.connection) else { return Err(Reason::NoInstance) };
        let gateway = &mut self.gateways[g];
        gateway.last_call += 1;
        let call = gateway.last_call;
        let deadline = self.now + timeout;
        gateway.calls.insert(call, Call { link, id, business, no_reply_wanted, deadline, stream, told: false });
        let message = service::Call {
            id: call,
            user: connection.user().to_owned(),
            device: connection.device().to_owned(),
            outbox: connection.outbox.0,
            business: business.0.into(),
            business_name: String::new(),
            message_id: id.0,
            value: 1,
            timeout_ms: timeout.as_millis() as u32,
            resent: flags.contains(Flags::RESENT),
            no_reply_wanted,
            oldest_unsettled_of_business: request.oldest_unsettled_of_business,
            payload: request.payload,
        };
        self.dispatch(stream, message);
        Ok(())
    }

    /// Writes what is to be said; `false` if the session ends.
    fn write(&mut self, g: usize, link: usize, session: &mut Session, scratch: &mut Scratch) -> bool {
        if std::mem::take(&mut session.pong_due) {
            scratch.control(Kind::Pong, &pb::Pong::default());
        }
        if self.bug == Some(Bug::AckBeforeWrite) {
            ack_early(session, scratch);
        }
        let now = self.now;
        let mut last = None;
        for (id, business, no_reply_wanted, result) in std::mem::take(&mut session.ended) {
            session.in_flight -= 1;
            session.audit.ended(id.0, no_reply_wanted, &result);
            if self.bug == Some(Bug::AckOverRefused)
                && result.is_err()
                && let Some(settlement) = &mut session.settlement
            {
                settlement.answered(id);
            }
            let result = result.map_err(answers::failed);
            let ended = Ended { id, business, no_reply_wanted, result, now };
            if let Some(reply) = answers::finish(ended, true, session.settlement.as_mut(), scratch)
                && let Some(before) = last.replace(reply)
            {
                answers::put(before, session.settlement.as_mut(), scratch);
            }
        }
        let ticket = match (&last, &session.connection) {
            (Some(_), Some(connection)) if now >= session.ticket_due => {
                session.ticket_due = now + Duration::from_secs(20);
                self.tickets.issue(connection, &self.policy, self.unix_millis(self.gateways[g].skew))
            }
            _ => Bytes::new(),
        };
        answers::settle(last, ticket, session.settlement.as_mut(), scratch);
        if let Phase::Finishing(reason) = session.phase
            && session.in_flight == 0
        {
            let refused = pb::Refused { reason: reason.code(), retry_after_ms: 200, ..pb::Refused::default() };
            scratch.control(Kind::Refused, &refused);
            self.put_out(link, session, scratch);
            return false;
        }
        self.put_out(link, session, scratch)
    }

    /// Hands a turn's bytes to the socket; `false` for a slow consumer.
    fn put_out(&mut self, link: usize, session: &mut Session, scratch: &mut Scratch) -> bool {
        let before = session.unsent.len();
        let added = !scratch.output.is_empty();
        if added {
            session.audit.written(&scratch.output, &mut self.trace);
            session.unsent.extend_from_slice(&scratch.output);
            scratch.output.clear();
        }
        self.flush(link, session);
        if added && before > OUTGOING_BYTES && session.unsent.len() >= before {
            self.trace.count(Count::SlowConsumer);
            return false;
        }
        if session.unsent.len() > OUTGOING_BYTES + TURN_BYTES {
            self.trace.violated(format!("{} bytes wait for one connection", session.unsent.len()));
        }
        if session.in_flight > MAX_IN_FLIGHT {
            self.trace.violated(format!("{} requests are in flight on one connection", session.in_flight));
        }
        true
    }

    /// A turn for each session.
    pub(crate) fn gateway_turns(&mut self, g: usize) {
        for link in self.gateways[g].links() {
            self.gateway_turn(g, link);
        }
    }

    /// What came back on a stream.
    pub(crate) fn answered(&mut self, g: usize, stream: usize, answers: VecDeque<service::Answer>) {
        let gateway = &mut self.gateways[g];
        let mut links = Vec::new();
        for answer in answers {
            let Some(call) = gateway.calls.remove(&answer.id) else { continue };
            debug_assert_eq!(call.stream, stream);
            links.push(call.link);
            resolve(&mut gateway.sessions, &call, link::outcome(answer, Value::from_bits(1), self.now));
        }
        self.turns(g, links);
    }

    fn turns(&mut self, g: usize, mut links: Vec<usize>) {
        links.dedup();
        for link in links {
            self.gateway_turn(g, link);
        }
    }

    /// A stream is gone: what it carried is lost.
    pub(crate) fn stream_lost(&mut self, g: usize, stream: usize) {
        let gateway = &mut self.gateways[g];
        for own in &mut gateway.streams {
            if *own == Some(stream) {
                *own = None;
            }
        }
        let lost: Vec<_> = gateway.calls.iter().filter(|(_, call)| call.stream == stream).map(|(&id, _)| id).collect();
        let mut links = Vec::new();
        for id in lost {
            let Some(call) = gateway.calls.remove(&id) else { continue };
            links.push(call.link);
            resolve(&mut gateway.sessions, &call, Err(Failure::Lost));
        }
        self.turns(g, links);
    }

    /// What a gateway does by the clock: calls that are over, connections that are dead, streams to be opened.
    pub(crate) fn tick(&mut self, g: usize) {
        let now = self.now;
        let gateway = &mut self.gateways[g];
        let mut links = Vec::new();
        for call in gateway.calls.values_mut().filter(|call| call.deadline <= now && !call.told) {
            call.told = true;
            links.push(call.link);
            resolve(&mut gateway.sessions, call, Err(Failure::TimedOut));
        }
        gateway.calls.retain(|_, call| !call.told || call.deadline + Duration::from_secs(10) > now);
        let dead = |session: &Session| now.since(session.heard) > TOLERANCE;
        let silent: Vec<_> =
            gateway.sessions.iter().filter(|(_, session)| dead(session)).map(|(&link, _)| link).collect();
        self.turns(g, links);
        for link in silent {
            self.trace.count(Count::HeartbeatLost);
            self.drop_session(g, link);
        }
        self.move_aged(g);
        self.renew_lease(g);
        self.open_streams(g);
    }

    /// Clients that were here for long enough are told to move, and their connections end if they stay.
    fn move_aged(&mut self, g: usize) {
        let begun = MaxAge::follow(None, Some(MAX_AGE), false, Timestamp::ZERO);
        let Some(rule) = MaxAge::follow(begun, Some(MAX_AGE), false, self.now) else { return };
        let mut aged = Vec::new();
        self.gateways[g]
            .ages
            .scan_ages(&rule.with_grace(MAX_AGE / 5), |connection, what| aged.push((connection, what)));
        for (connection, what) in aged.into_iter().filter(|(connection, _)| !connection.is_replaced()) {
            connection.end(match what {
                Aged::Ends => {
                    self.trace.count(Count::Aged);
                    Ending::Goaway(Reason::Aged, self.millis(0, 1_000))
                }
                Aged::Stays => {
                    self.trace.count(Count::AgedOut);
                    Ending::Close(Reason::Aged)
                }
            });
        }
        self.gateway_turns(g);
    }

    /// A service pushes to whoever is at this route.
    pub(crate) fn push(&mut self, g: usize, user: &str, device: &str) {
        let gateway = &self.gateways[g];
        let Some(connection) = gateway.roster.get(user, device) else { return };
        let body = Bytes::from_static(&[0; 40]);
        // One that finds no room is dropped.
        let push = PendingPush { business: BusinessCode(BUSINESSES[0].1), body, mark: None };
        let _dropped = connection.push(push, PUSHES, &gateway.budget);
        self.gateway_turns(g);
    }
}

/// Brings a call's end to its session, unless that is gone or was told before.
fn resolve(sessions: &mut BTreeMap<usize, Session>, call: &Call, result: Result<Answer, Failure>) {
    if call.told && !matches!(result, Err(Failure::TimedOut)) {
        return;
    }
    if let Some(session) = sessions.get_mut(&call.link) {
        session.ended.push((call.id, call.business, call.no_reply_wanted, result));
    }
}

/// The bug: what is settled is told before the answers are there.
fn ack_early(session: &mut Session, scratch: &mut Scratch) {
    let Some(settlement) = &mut session.settlement else { return };
    for (id, _, _, result) in &session.ended {
        if result.is_ok() {
            settlement.answered(*id);
        }
    }
    if let Some(through) = settlement.tell() {
        scratch.control(Kind::Settled, &pb::Settled { settled_through: through.0 });
    }
}

fn welcome(home: &Home, tells_order: bool, epoch: Epoch, ticket: Bytes) -> pb::Welcome {
    let business = |&(name, code): &(&str, u16)| pb::Business {
        code: code.into(),
        name: name.into(),
        timeout_ms: TIMEOUT.as_millis() as u32,
        ordering: if code == IN_ORDER && tells_order { pb::Ordering::Outbox } else { pb::Ordering::None }.into(),
    };
    pb::Welcome {
        version: dagor::wire::VERSION,
        gateway: home.gateway.clone(),
        incarnation: home.incarnation.0,
        connection_epoch: epoch.0,
        ticket,
        heartbeat_ms: HEARTBEAT_MS,
        tolerance_ms: TOLERANCE.as_millis() as u32,
        limits: Some(pb::Limits { max_body_bytes: 2_000, max_in_flight: MAX_IN_FLIGHT as u32, keep_for_ms: 3_600_000 }),
        businesses: BUSINESSES.iter().map(business).collect(),
        spread_ms: 500,
        ..pb::Welcome::default()
    }
}

/// The number in the name of a device.
pub(crate) fn device(name: &str) -> usize {
    usize::from(name.as_bytes().get(1).copied().unwrap_or(b'0') - b'0')
}

/// Bytes of a frame without a body.
const _: () = assert!(HEADER_BYTES == 16);
