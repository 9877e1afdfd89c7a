//! What an app has handed over and no service has answered yet: each accepted message stays here until it has its fate,
//! and ids are consecutive and never given twice. Decides from its arguments alone.
//!
//! ```text
//!            kept             sent               replied, settled, rejected
//!  Storing ───────▶ Ready ──────────▶ InFlight ────────────────────────────▶ gone
//!                     ▲                  │ refused, unknown, behind
//!                     ├── Unpaid ◀─ Later ◀┤
//!                     └── Behind ◀─────────┘       (any state ── expired, cancelled ──▶ gone)
//! ```
//!
//! A new connection makes everything ready again, in the order of the ids: what was in flight may have run.

mod budget;
mod entry;
mod kept;
mod message;
mod ramp;

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
    time::Duration,
};

pub use kept::Kept;
pub use message::{Fate, GiveUp, KeptMessage, NewMessage, OutboxLimits, Record, SubmitError};

use self::{
    budget::Budget,
    entry::{Entry, State},
    ramp::Ramp,
};
use super::event::Try;
use crate::{
    clock::Timestamp,
    id::{BusinessCode, MAX_NAME_BYTES, MessageId},
    wire::Flags,
};

/// Nothing is sent with an id further above the oldest unsettled one: what a service remembers of a client is bounded.
const WINDOW: u64 = 1023;

/// What is not settled, and what of it may be sent now.
#[derive(Debug)]
pub(super) struct Outbox {
    limits: OutboxLimits,
    /// The gateway's limit on how long a message is kept.
    longest_keep: Duration,
    last_id: MessageId,
    bytes: usize,
    entries: BTreeMap<MessageId, Entry>,
    by_business: BTreeMap<Arc<str>, BTreeSet<MessageId>>,
    by_deadline: BTreeSet<(Timestamp, MessageId)>,
    storing: BTreeSet<MessageId>,
    ready: BTreeSet<MessageId>,
    later: BTreeSet<(Timestamp, MessageId)>,
    unpaid: BTreeSet<MessageId>,
    in_flight: BTreeSet<MessageId>,
    /// Businesses that this connection's gateway has been seen to keep in order.
    ordered: BTreeSet<Arc<str>>,
    budget: Budget,
    ramp: Ramp,
}

impl Outbox {
    /// Begins behind `last_id`.
    pub(super) fn new(limits: OutboxLimits, last_id: MessageId, now: Timestamp) -> Self {
        Self {
            limits,
            longest_keep: Duration::MAX,
            last_id,
            bytes: 0,
            entries: BTreeMap::new(),
            by_business: BTreeMap::new(),
            by_deadline: BTreeSet::new(),
            storing: BTreeSet::new(),
            ready: BTreeSet::new(),
            later: BTreeSet::new(),
            unpaid: BTreeSet::new(),
            in_flight: BTreeSet::new(),
            ordered: BTreeSet::new(),
            budget: Budget::new(now),
            ramp: Ramp::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn last_id(&self) -> MessageId {
        self.last_id
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = MessageId> {
        self.entries.keys().copied()
    }

    /// 0 if there is none.
    pub(super) fn oldest_unsettled(&self) -> MessageId {
        self.entries.first_key_value().map_or(MessageId(0), |(&id, _)| id)
    }

    pub(super) fn contains(&self, id: MessageId) -> bool {
        self.entries.contains_key(&id)
    }

    pub(super) fn business(&self, id: MessageId) -> Option<&str> {
        self.entries.get(&id).map(|entry| &*entry.business)
    }

    pub(super) fn may_have_run(&self, id: MessageId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.may_have_run || entry.state == State::InFlight)
    }

    /// The same but for the try that is in flight.
    pub(super) fn may_have_run_before(&self, id: MessageId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.may_have_run)
    }

    pub(super) fn wants_reply(&self, id: MessageId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.wants_reply)
    }

    /// How often a message was sent.
    pub(super) fn tries(&self, id: MessageId) -> u32 {
        self.entries.get(&id).map_or(0, |entry| entry.tries)
    }

    /// Accepts a message. With `storing` it is not sent before [`stored`](Self::stored).
    pub(super) fn accept(
        &mut self,
        message: NewMessage,
        storing: bool,
        now: Timestamp,
    ) -> Result<MessageId, SubmitError> {
        self.check(&message)?;
        let id = MessageId(self.last_id.0 + 1);
        self.last_id = id;
        let state = if storing { State::Storing } else { State::Ready };
        let keep_for = message.keep_for.unwrap_or(self.limits.keep_for);
        let entry = Entry {
            business: self.name(&message.business),
            payload: message.payload,
            wants_reply: message.wants_reply,
            try_timeout: message.try_timeout,
            entered: now,
            age: Duration::ZERO,
            keep_for,
            state,
            tries: 0,
            may_have_run: false,
            after: MessageId(0),
            sent_here: false,
            is_retry: false,
        };
        self.insert(id, entry);
        Ok(id)
    }

    fn check(&self, message: &NewMessage) -> Result<(), SubmitError> {
        if message.business.len() > MAX_NAME_BYTES {
            return Err(SubmitError::NameTooLong { bytes: message.business.len(), limit: MAX_NAME_BYTES });
        }
        let bytes = entry::size(&message.payload);
        if bytes > self.limits.bytes {
            return Err(SubmitError::TooLarge { bytes, limit: self.limits.bytes });
        }
        if self.entries.len() >= self.limits.messages || self.bytes + bytes > self.limits.bytes {
            return Err(SubmitError::Full { messages: self.entries.len(), bytes: self.bytes });
        }
        Ok(())
    }

    /// Takes back what a store kept. It may have been sent before, so it counts as such.
    pub(super) fn restore(&mut self, id: MessageId, kept: KeptMessage, age: Duration, now: Timestamp) {
        let entry = Entry {
            business: self.name(&kept.business),
            payload: kept.payload,
            wants_reply: kept.wants_reply,
            try_timeout: kept.try_timeout,
            entered: now,
            age,
            keep_for: kept.keep_for,
            state: State::Ready,
            tries: 1,
            may_have_run: true,
            after: MessageId(0),
            sent_here: false,
            is_retry: false,
        };
        self.last_id = self.last_id.max(id);
        self.insert(id, entry);
    }

    /// The same text is kept once.
    fn name(&self, business: &str) -> Arc<str> {
        self.by_business.get_key_value(business).map_or_else(|| business.into(), |(name, _)| Arc::clone(name))
    }

    fn insert(&mut self, id: MessageId, entry: Entry) {
        self.bytes += entry.size();
        self.by_business.entry(Arc::clone(&entry.business)).or_default().insert(id);
        self.by_deadline.insert((entry.deadline(self.longest_keep), id));
        self.enlist(id, entry.state);
        self.entries.insert(id, entry);
    }

    /// A message as its store keeps it; `unix_ms` is now.
    pub(super) fn kept(&self, id: MessageId, unix_ms: u64) -> Option<KeptMessage> {
        self.entries.get(&id).map(|entry| KeptMessage {
            business: entry.business.to_string(),
            payload: entry.payload.clone(),
            wants_reply: entry.wants_reply,
            try_timeout: entry.try_timeout,
            accepted_unix_ms: unix_ms,
            keep_for: entry.keep_for,
        })
    }

    /// Everything up to `through` is kept, and may be sent.
    pub(super) fn stored(&mut self, through: MessageId) {
        while let Some(id) = self.storing.first().copied().filter(|&id| id <= through) {
            self.set_state(id, State::Ready);
        }
    }

    /// What is not kept, the oldest first.
    pub(super) fn unstored(&self) -> Option<MessageId> {
        self.storing.first().copied()
    }

    /// A connection is there: everything is to be sent on it, beginning slowly. Returns how many were sent before.
    pub(super) fn connected(&mut self, longest_keep: Option<Duration>) -> usize {
        self.disconnected();
        self.ramp = Ramp::new();
        self.ordered.clear();
        self.limit_keep(longest_keep.unwrap_or(Duration::MAX));
        let later = self.later.iter().map(|&(_, id)| id);
        let waiting: Vec<_> = later.chain(self.unpaid.iter().copied()).chain(self.behind()).collect();
        for id in waiting {
            self.set_state(id, State::Ready);
        }
        for entry in self.entries.values_mut() {
            entry.is_retry = false;
        }
        self.entries.values().filter(|entry| entry.tries > 0).count()
    }

    fn behind(&self) -> impl Iterator<Item = MessageId> {
        self.entries.iter().filter(|(_, entry)| entry.state == State::Behind).map(|(&id, _)| id)
    }

    fn limit_keep(&mut self, longest_keep: Duration) {
        if longest_keep != self.longest_keep {
            self.longest_keep = longest_keep;
            self.by_deadline = self.entries.iter().map(|(&id, entry)| (entry.deadline(longest_keep), id)).collect();
        }
    }

    /// The connection is gone: what was in flight may have run.
    pub(super) fn disconnected(&mut self) {
        for id in mem::take(&mut self.in_flight) {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.may_have_run = true;
                entry.state = State::Ready;
                self.ready.insert(id);
            }
        }
        for entry in self.entries.values_mut() {
            entry.sent_here = false;
        }
    }

    /// Makes ready what has waited long enough, as far as the budget of retries allows.
    pub(super) fn wake(&mut self, now: Timestamp) {
        while let Some(id) = self.later.first().filter(|&&(at, _)| at <= now).map(|&(_, id)| id) {
            let is_retry = self.entries.get(&id).is_some_and(|entry| entry.is_retry);
            self.set_state(id, if is_retry { State::Unpaid } else { State::Ready });
        }
        while let Some(&id) = self.unpaid.first()
            && self.budget.take(now)
        {
            self.set_state(id, State::Ready);
        }
    }

    /// The next message to be sent, if one may be: the oldest that is ready.
    pub(super) fn next(&mut self, max_in_flight: usize) -> Option<MessageId> {
        loop {
            let id = *self.ready.first()?;
            let outside = id.0 > self.oldest_unsettled().0.saturating_add(WINDOW);
            if outside || self.in_flight.len() >= self.ramp.window().min(max_in_flight) {
                return None;
            }
            if !self.must_wait(id) {
                return Some(id);
            }
            self.set_state(id, State::Behind);
        }
    }

    /// Whether the gateway would only say that the message before it comes first.
    fn must_wait(&self, id: MessageId) -> bool {
        let ordered = |entry: &Entry| self.ordered.contains(&entry.business);
        self.entries.get(&id).is_some_and(ordered) && self.before(id) != MessageId(0)
    }

    /// The message before this one of the same business; 0 if there is none.
    fn before(&self, id: MessageId) -> MessageId {
        let siblings = self.entries.get(&id).and_then(|entry| self.by_business.get(&entry.business));
        siblings.and_then(|ids| ids.range(..id).next_back().copied()).unwrap_or(MessageId(0))
    }

    /// What is sent of a message. Its second copy wants the reply even if the app does not: `settled_through` may be held
    /// up by other messages for long.
    pub(super) fn prepare(&self, id: MessageId, business: BusinessCode) -> Option<Try> {
        let entry = self.entries.get(&id)?;
        let oldest_of_business = self.by_business.get(&entry.business)?.first().copied()?;
        let flags = match (entry.tries, entry.wants_reply) {
            (0, true) => Flags::default(),
            (0, false) => Flags::NO_REPLY_WANTED,
            (_, _) => Flags::RESENT,
        };
        Some(Try {
            id,
            business,
            payload: entry.payload.clone(),
            timeout: entry.try_timeout,
            flags,
            oldest_unsettled: self.oldest_unsettled(),
            oldest_of_business,
            after: self.before(id),
        })
    }

    /// A try is on its way.
    pub(super) fn sent(&mut self, id: MessageId, after: MessageId) {
        self.set_state(id, State::InFlight);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.tries == 0 {
            self.budget.fresh_send();
        }
        entry.tries = entry.tries.saturating_add(1);
        entry.after = after;
        entry.sent_here = true;
    }

    /// A try ended without an answer: it may have run.
    pub(super) fn unknown(&mut self, id: MessageId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.may_have_run = true;
        }
    }

    /// Sends a message again at `at`, out of the budget of retries.
    pub(super) fn retry(&mut self, id: MessageId, at: Timestamp) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.is_retry = true;
            self.set_state(id, State::Later(at));
        }
    }

    /// Does not send a message before `at`.
    pub(super) fn hold(&mut self, id: MessageId, at: Timestamp) {
        self.set_state(id, State::Later(at));
    }

    /// Lets a message wait for the one before it; `false` if there was none when it was sent, so that there is nothing to
    /// wait for.
    pub(super) fn wait_for_predecessor(&mut self, id: MessageId) -> bool {
        let Some(entry) = self.entries.get(&id).filter(|entry| entry.after != MessageId(0)) else { return false };
        self.ordered.insert(Arc::clone(&entry.business));
        let first = self.before(id) == MessageId(0);
        self.set_state(id, if first { State::Ready } else { State::Behind });
        true
    }

    /// Ids that were sent on this connection, want no reply, and are covered by `through`.
    pub(super) fn covered(&self, through: MessageId) -> Vec<MessageId> {
        let covered = self.entries.range(..=through).filter(|(_, entry)| entry.sent_here && !entry.wants_reply);
        covered.map(|(&id, _)| id).collect()
    }

    /// A reply has come on this connection.
    pub(super) fn replied(&mut self) {
        self.ramp.replied();
    }

    /// The end of a message; `false` if it had one. The next of its business need not wait any more, if it is the first now.
    pub(super) fn remove(&mut self, id: MessageId) -> bool {
        let Some(entry) = self.entries.remove(&id) else { return false };
        self.bytes -= entry.size();
        self.by_deadline.remove(&(entry.deadline(self.longest_keep), id));
        self.delist(id, entry.state);
        let first = self.by_business.get_mut(&entry.business).and_then(|ids| {
            ids.remove(&id);
            ids.first().copied()
        });
        match first {
            Some(first) if self.entries.get(&first).is_some_and(|next| next.state == State::Behind) => {
                self.set_state(first, State::Ready);
            }
            Some(_) => {}
            None => {
                self.by_business.remove(&entry.business);
            }
        }
        true
    }

    /// A message whose time is over.
    pub(super) fn expired(&self, now: Timestamp) -> Option<MessageId> {
        self.by_deadline.first().filter(|&&(deadline, _)| deadline <= now).map(|&(_, id)| id)
    }

    /// When something is due: with a connection what waits, without one only what expires.
    pub(super) fn next_timeout(&self, connected: bool) -> Option<Timestamp> {
        let expires = self.by_deadline.first().map(|&(at, _)| at);
        let wakes = self.later.first().filter(|_| connected).map(|&(at, _)| at);
        let pays = self.unpaid.first().filter(|_| connected).map(|_| self.budget.next());
        expires.into_iter().chain(wakes).chain(pays).min()
    }

    fn set_state(&mut self, id: MessageId, state: State) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let previous = mem::replace(&mut entry.state, state);
        self.delist(id, previous);
        self.enlist(id, state);
    }

    fn enlist(&mut self, id: MessageId, state: State) {
        match state {
            State::Storing => self.storing.insert(id),
            State::Ready => self.ready.insert(id),
            State::InFlight => self.in_flight.insert(id),
            State::Later(at) => self.later.insert((at, id)),
            State::Unpaid => self.unpaid.insert(id),
            State::Behind => false,
        };
    }

    fn delist(&mut self, id: MessageId, state: State) {
        match state {
            State::Storing => self.storing.remove(&id),
            State::Ready => self.ready.remove(&id),
            State::InFlight => self.in_flight.remove(&id),
            State::Later(at) => self.later.remove(&(at, id)),
            State::Unpaid => self.unpaid.remove(&id),
            State::Behind => false,
        };
    }
}
