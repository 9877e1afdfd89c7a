//! A client's process: the real agent, with a model of its disk and of the app that uses it.

use std::{collections::BTreeMap, time::Duration};

use bytes::BytesMut;
use dagor::{
    client::{
        Agent, AgentStart, ClientConfig, ClientEvent, CloseReason, Command, Kept, LinkId, NewMessage, OutboxLimits,
        Record, StopReason, SyncPolicy,
    },
    clock::Timestamp,
    id::{MessageId, OutboxId},
    wire::{HEADER_BYTES, Kind},
};

use crate::{
    bugs::Bug,
    ledger::{self, IN_ORDER},
    net::{Item, Link, Pipe},
    trace::Count,
    world::{CLIENTS, Event, GATEWAYS, World},
};

pub(crate) const OUTBOX: OutboxLimits =
    OutboxLimits { messages: 12, bytes: 3_000, keep_for: Duration::from_secs(3_600) };

/// Names and codes of what is asked for.
pub(crate) const BUSINESSES: [(&str, u16); 3] = [("message", 2), ("ledger", 3), ("order", IN_ORDER)];

/// Less than this unsent, in bytes, and more is taken from the agent.
const REFILL_BELOW_BYTES: usize = 1_000;

/// One client, over all runs of its process.
#[derive(Debug)]
pub(crate) struct Client {
    /// `None` between two runs.
    pub(crate) agent: Option<Agent>,
    pub(crate) run: u32,
    pub(crate) durable: bool,
    pub(crate) outbox: u64,
    /// Outboxes that this user and device had before.
    pub(crate) had_others: bool,
    /// The process's clock begins anywhere.
    origin: Duration,
    disk: Disk,
    pub(crate) sockets: BTreeMap<LinkId, Socket>,
    armed: Timestamp,
}

/// A stream as its client has it.
#[derive(Debug)]
pub(crate) struct Socket {
    /// `None` while it is being opened.
    pub(crate) link: Option<usize>,
    received: BytesMut,
}

/// What a file would hold: batches that are on the disk, and some that the system has but could still lose.
#[derive(Debug)]
struct Disk {
    synced: Kept,
    written: Vec<Vec<Record>>,
    writing: Option<Vec<Record>>,
}

impl Disk {
    fn new(outbox: u64) -> Self {
        Self { synced: Kept::new(OutboxId(outbox)), written: Vec::new(), writing: None }
    }

    /// A write has come to its end.
    fn wrote(&mut self) -> Option<MessageId> {
        let batch = self.writing.take()?;
        let through = batch.iter().filter_map(|record| match record {
            Record::Accepted(id, _) => Some(*id),
            Record::Settled(_) | Record::GivenUp(_) | Record::Ticket(_) | Record::Reserved(_) => None,
        });
        let through = through.max().unwrap_or_default();
        let sync = SyncPolicy::Always.flushes(&batch);
        self.written.push(batch);
        if sync {
            self.sync(self.written.len());
        }
        Some(through)
    }

    fn sync(&mut self, batches: usize) {
        self.written.drain(..batches).flatten().for_each(|record| self.synced.apply(record));
    }
}

impl Client {
    pub(crate) fn new(durable: bool, outbox: u64) -> Self {
        Self {
            agent: None,
            run: 0,
            durable,
            outbox,
            had_others: false,
            origin: Duration::ZERO,
            disk: Disk::new(outbox),
            sockets: BTreeMap::new(),
            armed: Timestamp::MAX,
        }
    }

    /// The process's own time.
    fn time(&self, now: Timestamp) -> Timestamp {
        now + self.origin
    }
}

impl World {
    /// Starts a client's process with what its disk has.
    pub(crate) fn start_client(&mut self, c: usize) {
        let gateways = (0..GATEWAYS).map(|g| format!("g{g}:1")).collect();
        let config = ClientConfig {
            gateways,
            device: format!("d{c}"),
            connect_timeout: Duration::from_secs(3),
            outbox: OUTBOX,
            ..ClientConfig::new("", USERS[c])
        };
        let (seed, origin) = (self.random.u64(..), self.random.u64(0..1 << 50));
        let unix_millis = self.unix_millis(self.client_skew[c]);
        let client = &mut self.clients[c];
        client.origin = Duration::from_nanos(origin);
        client.run += 1;
        let start = AgentStart { kept: client.disk.synced.clone(), durable: client.durable, seed, unix_millis };
        client.agent = Some(Agent::new(config, start, client.time(self.now)));
        client.armed = Timestamp::MAX;
        self.attend(c);
    }

    /// Does what an agent wants done.
    pub(crate) fn attend(&mut self, c: usize) {
        if self.clients[c].agent.is_none() {
            return;
        }
        self.take_records(c);
        loop {
            let moved = self.obey(c) | self.transmit(c);
            self.take_events(c);
            if !moved || self.clients[c].agent.is_none() {
                break;
            }
        }
        self.take_records(c);
        self.arm(c);
        self.check_client(c);
    }

    fn arm(&mut self, c: usize) {
        let client = &mut self.clients[c];
        let Some(due) = client.agent.as_ref().and_then(Agent::poll_timeout) else { return };
        let due = (due - client.origin).max(self.now);
        if due < client.armed {
            client.armed = due;
            let run = client.run;
            self.schedule(due, Event::Wake { client: c, run });
        }
    }

    pub(crate) fn wake_client(&mut self, c: usize, run: u32) {
        let now = self.now;
        let client = &mut self.clients[c];
        // A later one has been set, or an earlier one has gone off.
        if client.run != run || client.armed != now {
            return;
        }
        client.armed = Timestamp::MAX;
        let time = client.time(now);
        if let Some(agent) = client.agent.as_mut().filter(|agent| agent.poll_timeout().is_some_and(|due| due <= time)) {
            agent.handle_timeout(time);
        }
        self.attend(c);
    }

    fn take_records(&mut self, c: usize) {
        let client = &mut self.clients[c];
        let Some(agent) = client.agent.as_mut().filter(|_| client.disk.writing.is_none()) else { return };
        let batch: Vec<_> = std::iter::from_fn(|| agent.poll_record()).collect();
        if batch.is_empty() {
            return;
        }
        for record in &batch {
            if let Record::Settled(id) | Record::GivenUp(id) = record {
                self.ledger.settling(client.outbox, id.0);
            }
        }
        client.disk.writing = Some(batch);
        let run = client.run;
        let stalls = !self.calm && self.random.u32(0..50) == 0;
        let takes = if stalls { self.millis(100, 3_000) } else { self.millis(0, 10) };
        self.schedule(self.now + takes, Event::Kept { client: c, run });
    }

    /// A write has come to its end.
    pub(crate) fn kept(&mut self, c: usize, run: u32) {
        let now = self.now;
        let client = &mut self.clients[c];
        if client.run != run || client.agent.is_none() {
            return;
        }
        let Some(through) = client.disk.wrote() else { return };
        let time = client.time(now);
        if through > MessageId(0) {
            for id in client.disk.synced.messages.range(..=through).map(|(id, _)| id.0) {
                self.ledger.accepted(client.outbox, id);
            }
        }
        if let Some(agent) = &mut client.agent {
            agent.handle_stored(through, time);
        }
        self.attend(c);
    }

    fn obey(&mut self, c: usize) -> bool {
        let mut any = false;
        while let Some(command) = self.clients[c].agent.as_mut().and_then(Agent::poll_command) {
            any = true;
            match command {
                Command::Dial { link, address } => {
                    let gateway = usize::from(address.as_bytes()[1] - b'0');
                    self.clients[c].sockets.insert(link, Socket { link: None, received: BytesMut::new() });
                    let (at, run) = (self.now + self.delay(), self.clients[c].run);
                    self.schedule(at, Event::Connect { client: c, run, link, gateway });
                }
                Command::HangUp { link } => {
                    if let Some(Socket { link: Some(link), .. }) = self.clients[c].sockets.remove(&link) {
                        self.end(link, true);
                        self.links[link].down.broken = true;
                    }
                }
            }
        }
        any
    }

    /// A stream may have been opened.
    pub(crate) fn connect(&mut self, c: usize, run: u32, id: LinkId, g: usize) {
        let now = self.now;
        let client = &self.clients[c];
        if client.run != run || !client.sockets.contains_key(&id) {
            return;
        }
        let open_at = self.partitions[c][g];
        if open_at[0] > now || open_at[1] > now {
            // Nothing comes back: the client gives up by itself.
            return;
        }
        let time = client.time(now);
        if !self.gateways[g].is_up() {
            if let Some(agent) = &mut self.clients[c].agent {
                agent.handle_disconnect(id, CloseReason::Unreachable("nobody listens".into()), time);
            }
            return self.attend(c);
        }
        let (link, gateway_run) = (self.links.len(), self.gateways[g].run);
        let (up, down) = (Pipe::default(), Pipe::default());
        self.links.push(Link { client: c, client_run: run, id, gateway: g, gateway_run, open: true, up, down });
        self.gateways[g].accept(link, now);
        if let Some(socket) = self.clients[c].sockets.get_mut(&id) {
            socket.link = Some(link);
        }
        if let Some(agent) = &mut self.clients[c].agent {
            agent.handle_connected(id, time);
        }
        self.attend(c);
    }

    fn transmit(&mut self, c: usize) -> bool {
        let mut any = false;
        let sockets: Vec<_> =
            self.clients[c].sockets.iter().filter_map(|(&id, socket)| Some((id, socket.link?))).collect();
        for (id, link) in sockets {
            if self.links[link].up.in_transit >= REFILL_BELOW_BYTES {
                continue;
            }
            let client = &mut self.clients[c];
            let time = client.time(self.now);
            let mut out = BytesMut::new();
            if client.agent.as_mut().is_some_and(|agent| agent.poll_transmit(id, &mut out, time)) {
                any = true;
                if self.bug == Some(Bug::NewIdOnResend) {
                    renumber(&mut out);
                }
                self.send(link, true, out.freeze());
            }
        }
        any
    }

    /// Something arrives at a client.
    pub(crate) fn client_receives(&mut self, link: usize, item: Item) {
        let Link { client: c, client_run, id, gateway, gateway_run, .. } = self.links[link];
        let now = self.now;
        let client = &mut self.clients[c];
        if client.run == client_run
            && let Some(socket) = client.sockets.get_mut(&id)
        {
            let time = now + client.origin;
            if let Some(agent) = &mut client.agent {
                match item {
                    Item::Bytes(bytes) => {
                        socket.received.extend_from_slice(&bytes);
                        agent.handle_bytes(id, &mut socket.received, time);
                    }
                    Item::End => agent.handle_disconnect(id, CloseReason::Disconnected, time),
                }
            }
            self.attend(c);
        }
        // There is room in the socket again.
        if self.gateways[gateway].run == gateway_run {
            self.gateway_turn(gateway, link);
        }
    }

    fn take_events(&mut self, c: usize) {
        while let Some(event) = self.clients[c].agent.as_mut().and_then(Agent::poll_event) {
            let (outbox, run) = (self.clients[c].outbox, self.clients[c].run);
            match event {
                ClientEvent::Ended { id, fate } => {
                    self.trace.note(self.now, "ended", [c as u64, id.0, run.into()]);
                    self.ledger.ended(outbox, id.0, run, &fate, &mut self.trace);
                }
                ClientEvent::Sent { id, attempt } => {
                    self.trace.note(self.now, "sent", [c as u64, id.0, attempt.into()]);
                    self.trace.count(if attempt == 1 { Count::Sent } else { Count::Resent });
                }
                ClientEvent::Refused { id, verdict, .. } => {
                    self.trace.note(self.now, "refused", [c as u64, id.0, verdict.code.into()]);
                    let behind = verdict.code == dagor::wire::Reason::Behind.code();
                    self.trace.count(if behind { Count::HeldBackByOrder } else { Count::Refused });
                }
                ClientEvent::Unknown { id, .. } => {
                    self.trace.note(self.now, "unknown", [c as u64, id.0, 0]);
                    self.trace.count(Count::Unknown);
                }
                ClientEvent::Connected { epoch, unsettled, .. } => {
                    self.trace.note(self.now, "connected", [c as u64, epoch.0, unsettled as u64]);
                    self.trace.count(Count::Connected);
                }
                ClientEvent::Stopped(reason) => self.stopped(c, &reason),
                ClientEvent::Connecting { .. }
                | ClientEvent::Waiting { .. }
                | ClientEvent::Moving { .. }
                | ClientEvent::HeldBack { .. }
                | ClientEvent::Pushed(_) => {}
            }
        }
    }

    /// An agent goes on no more: somebody opens the app again.
    fn stopped(&mut self, c: usize, reason: &StopReason) {
        let code = match reason {
            StopReason::Closed => 0,
            StopReason::Kicked(verdict) | StopReason::Refused(verdict) => verdict.code,
            StopReason::Replaced => dagor::wire::Reason::Replaced.code(),
        };
        self.trace.note(self.now, "stopped", [c as u64, code.into(), 0]);
        match reason {
            StopReason::Closed => {}
            StopReason::Kicked(_) | StopReason::Replaced => {
                self.trace.count(Count::Kicked);
                if !self.clients[c].had_others {
                    self.trace
                        .violated(format!("client {c} was stopped ({reason}), and no other outbox ever logged in"));
                }
            }
            StopReason::Refused(_) => self.trace.violated(format!("client {c} was stopped: {reason}")),
        }
        let run = self.clients[c].run;
        let at = self.now + Duration::from_secs(1);
        self.schedule(at, Event::Reopen { client: c, run });
    }

    /// The app is opened again after its client has stopped.
    pub(crate) fn reopen(&mut self, c: usize, run: u32) {
        if self.clients[c].run == run && self.clients[c].agent.is_some() {
            if self.clients[c].disk.writing.is_some() {
                // The end of a client waits for its store.
                return self.schedule(self.now + Duration::from_millis(10), Event::Reopen { client: c, run });
            }
            self.end_client(c, false, true);
            self.start_client(c);
        }
    }

    /// The process dies; with `power` what the system had not written is gone as well.
    pub(crate) fn end_client(&mut self, c: usize, power: bool, quiet: bool) {
        let client = &mut self.clients[c];
        client.agent = None;
        // Events that are due belong to a run that is over.
        client.run += 1;
        let mut last = client.disk.written.len();
        if let Some(batch) = client.disk.writing.take()
            && self.random.bool()
        {
            // Whole or not at all.
            client.disk.written.push(batch);
            last += 1;
        }
        let reaches_disk = if power { self.random.usize(0..=last) } else { last };
        client.disk.sync(reaches_disk);
        client.disk.written.clear();
        if client.durable {
            let kept = &client.disk.synced.messages;
            let is_kept = |id: u64| kept.contains_key(&MessageId(id));
            self.ledger.died(client.outbox, Some(&is_kept), &mut self.trace);
        } else {
            self.ledger.died(client.outbox, None, &mut self.trace);
            client.outbox = self.random.u64(1..);
            client.had_others = true;
            client.disk = Disk::new(client.outbox);
        }
        let sockets = std::mem::take(&mut self.clients[c].sockets);
        for link in sockets.into_values().filter_map(|socket| socket.link) {
            let told = quiet || !power && self.random.u32(0..4) > 0;
            self.cut(link, [false, told]);
        }
    }

    /// The app hands a message over.
    pub(crate) fn submit(&mut self, c: usize) {
        let place = self.ledger.next();
        let (name, code) = BUSINESSES[self.random.usize(0..BUSINESSES.len())];
        let padding = if self.random.u32(0..8) == 0 { self.random.usize(0..600) } else { self.random.usize(0..40) };
        let mut message = NewMessage::new(name, ledger::payload(place, padding));
        let wants_reply = self.random.u32(0..5) > 0;
        message.wants_reply = wants_reply;
        if self.random.u32(0..10) == 0 {
            message.keep_for = Some(self.millis(500, 30_000));
        }
        if self.random.u32(0..10) == 0 {
            message.try_timeout = Some(self.millis(20, 1_000));
        }
        let now = self.now;
        let client = &mut self.clients[c];
        let time = client.time(now);
        let Some(agent) = &mut client.agent else { return };
        match agent.submit(message, time) {
            Ok(id) => {
                self.trace.count(Count::Accepted);
                self.trace.note(now, "submitted", [c as u64, id.0, place as u64]);
                self.ledger.submitted(c, client.outbox, id.0, code, wants_reply);
                if !client.durable {
                    self.ledger.accepted(client.outbox, id.0);
                }
            }
            Err(_) => self.trace.count(Count::Full),
        }
        if self.random.u32(0..40) == 0 {
            self.cancel(c);
        }
        self.attend(c);
    }

    fn cancel(&mut self, c: usize) {
        let now = self.now;
        let client = &mut self.clients[c];
        let time = client.time(now);
        let Some(agent) = &mut client.agent else { return };
        let ids: Vec<_> = agent.unsettled_ids().collect();
        if let Some(&id) = self.random.choice(&ids) {
            agent.cancel(id, time);
        }
    }

    /// Closes a client in an orderly way; its store keeps what is left.
    pub(crate) fn close_client(&mut self, c: usize) {
        let drain = self.millis(0, 2_000);
        let now = self.now;
        let client = &mut self.clients[c];
        let time = client.time(now);
        if let Some(agent) = &mut client.agent {
            agent.close(drain, time);
        }
        self.attend(c);
    }

    fn check_client(&mut self, c: usize) {
        let Some(agent) = &self.clients[c].agent else { return };
        let (messages, bytes) = (agent.unsettled(), agent.unsettled_bytes());
        if messages > OUTBOX.messages || bytes > OUTBOX.bytes {
            self.trace.violated(format!("the outbox of client {c} holds {messages} messages of {bytes} bytes"));
        }
        if self.clients[c].sockets.len() > 2 {
            self.trace.violated(format!("client {c} has {} links", self.clients[c].sockets.len()));
        }
    }

    /// Whether a client has nothing left to do.
    pub(crate) fn is_settled(&self, c: usize) -> bool {
        let client = &self.clients[c];
        let idle = |agent: &Agent| agent.unsettled() == 0 && agent.stopped().is_none();
        client.agent.as_ref().is_some_and(idle) && client.disk.writing.is_none()
    }
}

/// Who uses which client: two devices of one user, and somebody else.
pub(crate) const USERS: [&str; CLIENTS] = ["ann", "ann", "bob"];

/// The bug: each request that is sent again gets another id on its way out.
fn renumber(out: &mut BytesMut) {
    let mut at = 0;
    while at + HEADER_BYTES <= out.len() {
        let body = u32::from_be_bytes([0, out[at], out[at + 1], out[at + 2]]) as usize;
        let resent = out[at + 4] & 2 != 0;
        if out[at + 3] == Kind::Request as u8 && resent {
            out[at + 14] = out[at + 14].wrapping_add(2);
        }
        at += HEADER_BYTES + body;
    }
}
