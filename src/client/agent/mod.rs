//! One user's presence at the gateways, whatever becomes of single connections: time, bytes and a seed come in; bytes,
//! commands and events go out. No socket, no clock, no task, no file; `handle_*` pushes in, `poll_*` pulls out.
//!
//! ```text
//!  app ── submit ──▶ outbox ──▶ current connection ══▶ gateway        lost ─▶ wait ─▶ dial ─▶ greet ─┐
//!   ▲                  ▲ │            ▲                                                            │
//!   │ events     stored│ │records     └───────────────────── the newest one that is welcome ◀───────┘
//!   └──────────────── store                  (on a Goaway the old one serves until then)
//! ```
//!
//! Every accepted message ends in exactly one [`ClientEvent::Ended`], unless the agent is durable and is closed first; one
//! that has no answer of its service is told to have ended once that is kept. Of a connection that is not the newest one
//! nothing is read any more.
//!
//! Whoever owns the sockets repeats, after each call that pushes something in: [`Agent::poll_record`] until there is
//! none (then [`Agent::handle_stored`] once they are kept), [`Agent::poll_command`], [`Agent::poll_transmit`] for each
//! link, [`Agent::poll_event`], and [`Agent::poll_timeout`].

mod answers;
pub mod backoff;
mod event;
mod gateways;
mod links;
mod plan;
mod records;
mod seen;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use fastrand::Rng;

pub use self::event::{ClientEvent, Command, LinkId, StopReason};
use self::{backoff::Backoff, gateways::Gateways, links::Line, records::Records, seen::Seen};
use super::{
    ClientConfig, Fate, GiveUp, Kept, KeptMessage, NewMessage, Record, Session, SubmitError, Token, outbox::Outbox,
};
use crate::{
    clock::Timestamp,
    id::{MessageId, OutboxId},
    pb::client::ConnectReason,
};

/// Ids reserved at once: so many may be left out after a crash.
const RESERVED_AT_ONCE: u64 = 256;

/// For each message that the outbox may hold, so many records may wait for the store.
const STORE_LAG: usize = 3;

/// What an agent begins with.
#[derive(Clone, Debug)]
pub struct AgentStart {
    /// A new outbox, or what a store kept of one.
    pub kept: Kept,
    /// Whether there is a store that keeps the records. Without one there are none, and what is accepted is sent at once.
    pub durable: bool,
    /// Of everything that is drawn at random.
    pub seed: u64,
    /// The present, in milliseconds since the Unix epoch: for how long messages have been kept is told by it.
    pub unix_millis: u64,
}

/// A client's state: its outbox and its connections.
#[derive(Debug)]
pub struct Agent {
    config: ClientConfig,
    id: OutboxId,
    outbox: Outbox,
    /// `None` without a store.
    records: Option<Records>,
    reserved_through: MessageId,
    store_failed: bool,
    unix_millis_at_zero: u64,
    ticket: Bytes,
    stage: Stage,
    /// Logged in, and the newest such.
    current: Option<Line>,
    /// On its way to be the next one.
    next: Option<Line>,
    /// When to dial, and where.
    redial: Option<(Timestamp, String)>,
    connect_reason: ConnectReason,
    /// Gateways that have sent this login elsewhere.
    redirects: u32,
    /// When a login was left without an answer: a late one may replace the next.
    abandoned: Option<Timestamp>,
    spread: Duration,
    backoff: Backoff,
    gateways: Gateways,
    seen: Seen,
    random: Rng,
    last_link: u64,
    /// Not settled at the end.
    left: usize,
    commands: VecDeque<Command>,
    events: VecDeque<ClientEvent>,
}

#[derive(Debug)]
enum Stage {
    Running,
    /// Accepts nothing more, and ends when everything is settled, or at this time.
    Closing(Timestamp),
    Stopped(StopReason),
}

impl Agent {
    /// Begins to connect at once.
    pub fn new(config: ClientConfig, start: AgentStart, now: Timestamp) -> Self {
        let AgentStart { kept, durable, seed, unix_millis } = start;
        let mut random = Rng::with_seed(seed);
        let is_new = kept.ticket.is_empty() && kept.reserved_through == MessageId(0);
        let mut outbox = Outbox::new(config.outbox, kept.reserved_through, now);
        for (id, message) in kept.messages {
            let age = Duration::from_millis(unix_millis.saturating_sub(message.accepted_unix_ms));
            outbox.restore(id, message, age, now);
        }
        let mut agent = Self {
            gateways: Gateways::new(config.gateways.clone()),
            config,
            id: kept.outbox,
            outbox,
            records: durable.then(Records::default),
            reserved_through: kept.reserved_through,
            store_failed: false,
            unix_millis_at_zero: unix_millis.saturating_sub(now.as_nanos() / 1_000_000),
            ticket: kept.ticket,
            stage: Stage::Running,
            current: None,
            next: None,
            redial: None,
            connect_reason: if is_new { ConnectReason::New } else { ConnectReason::Restart },
            redirects: 0,
            abandoned: None,
            spread: Duration::ZERO,
            backoff: Backoff::default(),
            seen: Seen::new(random.u128(..).to_le_bytes()),
            random,
            last_link: 0,
            left: 0,
            commands: VecDeque::new(),
            events: VecDeque::new(),
        };
        let address = agent.gateways.choose(&[], &mut agent.random);
        agent.dial(address, now);
        agent
    }

    /// Accepts a message. In a durable agent it is not sent before [`handle_stored`](Self::handle_stored).
    ///
    /// # Errors
    ///
    /// If it was not accepted: then it is not in the outbox and certainly was not run.
    pub fn submit(&mut self, message: NewMessage, now: Timestamp) -> Result<MessageId, SubmitError> {
        match &self.stage {
            Stage::Running => {}
            Stage::Closing(_) => return Err(SubmitError::Stopped(StopReason::Closed.to_string())),
            Stage::Stopped(reason) => return Err(SubmitError::Stopped(reason.to_string())),
        }
        if self.store_failed {
            return Err(SubmitError::Store("an earlier write failed".into()));
        }
        // A store that takes nothing holds the app up, and is not waited for with more and more.
        let waiting = self.records.as_ref().map_or(0, Records::waiting);
        if waiting >= STORE_LAG * self.config.outbox.messages {
            return Err(SubmitError::Full { messages: self.outbox.len(), bytes: self.outbox.bytes() });
        }
        let id = self.outbox.accept(message, self.records.is_some(), now)?;
        self.record_acceptance(id, now);
        self.pump(now);
        Ok(id)
    }

    fn record_acceptance(&mut self, id: MessageId, now: Timestamp) {
        let Some(records) = &mut self.records else { return };
        if id > self.reserved_through {
            self.reserved_through = MessageId(id.0 + RESERVED_AT_ONCE - 1);
            records.push(Record::Reserved(self.reserved_through));
        }
        let unix_millis = self.unix_millis_at_zero + now.as_nanos() / 1_000_000;
        let kept: Option<KeptMessage> = self.outbox.kept(id, unix_millis);
        if let Some(kept) = kept {
            records.push(Record::Accepted(id, kept));
        }
    }

    /// Gives a message up; `false` if it has ended before.
    pub fn cancel(&mut self, id: MessageId, now: Timestamp) -> bool {
        let known = self.outbox.contains(id);
        if known {
            self.give_up(id, GiveUp::Cancelled);
            self.pump(now);
        }
        known
    }

    /// Accepts nothing more, goes on until everything is settled, and stops then, or after `drain` at the latest. What is
    /// left is given up, or stays in the store.
    pub fn close(&mut self, drain: Duration, now: Timestamp) {
        match self.stage {
            Stage::Running => self.stage = Stage::Closing(now + drain),
            Stage::Closing(until) => self.stage = Stage::Closing(until.min(now + drain)),
            Stage::Stopped(StopReason::Closed) => {}
            Stage::Stopped(_) => self.finish(),
        }
        self.pump(now);
        self.finish_if_due(now);
    }

    /// Connects again after another client had taken over the outbox, or after a refusal, with a new token if there is
    /// one; `false` if it has not stopped, or for good.
    pub fn restart(&mut self, token: Option<Token>, now: Timestamp) -> bool {
        let stopped = matches!(self.stage, Stage::Stopped(StopReason::Replaced | StopReason::Refused(_)));
        if stopped {
            if let Some(token) = token {
                self.config.token = token;
            }
            self.stage = Stage::Running;
            let address = self.gateways.choose(&[], &mut self.random);
            self.dial(address, now);
        }
        stopped
    }

    /// The next change that the store is to keep; always `None` without one.
    pub fn poll_record(&mut self) -> Option<Record> {
        self.records.as_mut()?.poll()
    }

    /// The store has kept every record that was polled; the last accepted message among them is `through`.
    pub fn handle_stored(&mut self, through: MessageId, now: Timestamp) {
        while let Some(event) = self.records.as_mut().and_then(Records::stored) {
            self.events.push_back(event);
        }
        self.outbox.stored(through);
        self.pump(now);
    }

    /// The store cannot keep anything any more. What it has not kept leaves the outbox, is returned, and was not accepted;
    /// nothing new is accepted. What was kept is sent all the same.
    pub fn handle_store_failure(&mut self) -> Vec<MessageId> {
        self.store_failed = true;
        let mut lost = Vec::new();
        while let Some(id) = self.outbox.unstored() {
            self.outbox.remove(id);
            lost.push(id);
        }
        if let Some(records) = &mut self.records {
            self.events.extend(records.fail());
        }
        lost
    }

    /// What is to be done with streams.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// The next thing to know.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let closing = match self.stage {
            Stage::Closing(until) => Some(until),
            Stage::Running | Stage::Stopped(_) => None,
        };
        let redial = self.redial.as_ref().map(|&(at, _)| at);
        let lines = self.current.iter().chain(&self.next).filter_map(Line::poll_timeout);
        let outbox = self.outbox.next_timeout(self.current.is_some());
        lines.chain(closing).chain(redial).chain(outbox).min()
    }

    /// Does what is due by `now`.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while let Some(id) = self.outbox.expired(now) {
            self.give_up(id, GiveUp::Expired);
        }
        self.handle_line_timeouts(now);
        if self.redial.as_ref().is_some_and(|&(at, _)| at <= now)
            && let Some((_, address)) = self.redial.take()
        {
            self.dial(address, now);
        }
        self.pump(now);
        self.finish_if_due(now);
    }

    /// Whether there is a store that keeps the records.
    pub fn is_durable(&self) -> bool {
        self.records.is_some()
    }

    /// How many messages were not settled when the agent was closed.
    pub fn left(&self) -> usize {
        self.left
    }

    /// How many messages are not settled.
    pub fn unsettled(&self) -> usize {
        self.outbox.len()
    }

    /// What they count for in [`OutboxLimits::bytes`](super::OutboxLimits::bytes).
    pub fn unsettled_bytes(&self) -> usize {
        self.outbox.bytes()
    }

    /// The ids of the messages that are not settled, the oldest first.
    pub fn unsettled_ids(&self) -> impl Iterator<Item = MessageId> {
        self.outbox.ids()
    }

    /// What the gateway granted, while there is a connection.
    pub fn session(&self) -> Option<&Arc<Session>> {
        self.current.as_ref().and_then(Line::session)
    }

    /// Why nothing more is sent, once that is so.
    pub fn stopped(&self) -> Option<&StopReason> {
        match &self.stage {
            Stage::Stopped(reason) => Some(reason),
            Stage::Running | Stage::Closing(_) => None,
        }
    }

    fn finish_if_due(&mut self, now: Timestamp) {
        if let Stage::Closing(until) = self.stage
            && (now >= until || self.outbox.len() == 0)
        {
            self.finish();
        }
    }

    /// The orderly end.
    fn finish(&mut self) {
        self.left = self.outbox.len();
        if let Some(records) = &mut self.records {
            records.push(Record::Reserved(self.outbox.last_id()));
        } else {
            while let Some(id) = Some(self.outbox.oldest_unsettled()).filter(|&id| id != MessageId(0)) {
                self.give_up(id, GiveUp::Closed);
            }
        }
        self.stop(StopReason::Closed);
    }

    fn stop(&mut self, reason: StopReason) {
        for line in self.current.take().into_iter().chain(self.next.take()) {
            self.commands.push_back(Command::HangUp { link: line.link });
        }
        self.redial = None;
        self.outbox.disconnected();
        self.stage = Stage::Stopped(reason.clone());
        self.events.push_back(ClientEvent::Stopped(reason));
    }

    fn give_up(&mut self, id: MessageId, why: GiveUp) {
        let may_have_run = self.outbox.may_have_run(id);
        self.end(id, Fate::GivenUp { why, may_have_run });
    }

    /// A message has its fate.
    fn end(&mut self, id: MessageId, fate: Fate) {
        if !self.outbox.remove(id) {
            return;
        }
        if let Some(line) = &mut self.current {
            line.forget_try(id);
        }
        let answered = match fate {
            Fate::Replied(_) | Fate::Settled | Fate::Failed(_) => true,
            Fate::Rejected { .. } | Fate::GivenUp { .. } | Fate::Kept => false,
        };
        let event = ClientEvent::Ended { id, fate };
        let told = match &mut self.records {
            None => Some(event),
            Some(records) => {
                records.push(if answered { Record::Settled(id) } else { Record::GivenUp(id) });
                if answered { Some(event) } else { records.tell_later(event) }
            }
        };
        self.events.extend(told);
    }
}
