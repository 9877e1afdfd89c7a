//! One window: its ids in order, each running or replied, none replied below the floor.

use std::{collections::VecDeque, mem, time::Duration};

use super::{End, Fingerprint, WINDOW_IDS};
use crate::clock::Timestamp;

/// What an id is reckoned to cost, in bytes, beside its answer's.
const ENTRY_BYTES: usize = 160;

/// The ids of one user, outbox and business.
#[derive(Debug)]
pub(super) struct Window<W, A> {
    floor: u64,
    /// The client has said what it has settled.
    told: bool,
    /// By id.
    entries: VecDeque<Entry<W, A>>,
    running: usize,
    reply_bytes: usize,
    touched: Timestamp,
    use_number: u64,
}

#[derive(Debug)]
struct Entry<W, A> {
    id: u64,
    payload: Fingerprint,
    state: State<W, A>,
}

#[derive(Debug)]
enum State<W, A> {
    Running { copies: Vec<W> },
    Replied { answer: A, bytes: usize, at: Timestamp },
}

impl<W, A> Entry<W, A> {
    fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }
}

/// What is known about an id.
pub(super) enum Found<'a, W, A> {
    Stale,
    Conflict,
    Replied(A),
    /// Those who wait for it.
    Running(&'a mut Vec<W>),
    Free,
}

impl<W, A: Clone> Window<W, A> {
    /// An empty window that was used for the `use_number`th time.
    pub(super) fn new(use_number: u64) -> Self {
        let entries = VecDeque::new();
        Self { floor: 0, told: false, entries, running: 0, reply_bytes: 0, touched: Timestamp::ZERO, use_number }
    }

    /// Notes a use; returns the number of the one before.
    pub(super) fn touch(&mut self, now: Timestamp, use_number: u64) -> u64 {
        self.touched = now;
        mem::replace(&mut self.use_number, use_number)
    }

    /// When it was last used.
    pub(super) fn touched(&self) -> Timestamp {
        self.touched
    }

    pub(super) fn is_running(&self) -> bool {
        self.running > 0
    }

    /// What its answers hold.
    pub(super) fn reply_bytes(&self) -> usize {
        self.reply_bytes
    }

    /// What its ids and answers hold.
    pub(super) fn bytes(&self) -> usize {
        self.reply_bytes + self.entries.len() * ENTRY_BYTES
    }

    /// A try of `id` came in that names `oldest` as the lowest unsettled id; 0 says nothing.
    pub(super) fn settle(&mut self, id: u64, oldest: u64) {
        self.told |= oldest > 0;
        // Its client would not have sent it otherwise.
        self.raise_floor(oldest.max(id.saturating_sub(WINDOW_IDS - 1)));
    }

    fn raise_floor(&mut self, floor: u64) {
        if floor <= self.floor {
            return;
        }
        self.floor = floor;
        let below = self.entries.partition_point(|entry| entry.id < floor);
        if self.entries.range(..below).any(Entry::is_running) {
            // Who runs it, and who waits, must still find each other.
            self.drop_where(|entry| entry.id < floor && !entry.is_running());
        } else {
            self.entries.drain(..below).for_each(|entry| self.reply_bytes -= held(&entry));
        }
    }

    /// Drops the lowest ids that were replied to longer than `keep` ago.
    pub(super) fn drop_aged(&mut self, now: Timestamp, keep: Duration) {
        while let Some(Entry { state: State::Replied { bytes, at, .. }, .. }) = self.entries.front()
            && now.since(*at) >= keep
        {
            self.reply_bytes -= bytes;
            self.entries.pop_front();
        }
    }

    /// Drops the lowest replied ids of a client that says nothing, until its answers hold less than `bound`.
    pub(super) fn forget_untold(&mut self, bound: usize) -> u64 {
        let before = self.entries.len();
        if !self.told && self.reply_bytes >= bound {
            let mut held_still = self.reply_bytes;
            self.drop_where(|entry| {
                let drops = held_still >= bound && !entry.is_running();
                held_still -= if drops { held(entry) } else { 0 };
                drops
            });
        }
        (before - self.entries.len()) as u64
    }

    fn drop_where(&mut self, mut drops: impl FnMut(&Entry<W, A>) -> bool) {
        let reply_bytes = &mut self.reply_bytes;
        self.entries.retain(|entry| {
            let dropped = drops(entry);
            *reply_bytes -= if dropped { held(entry) } else { 0 };
            !dropped
        });
    }

    /// Looks an id up.
    pub(super) fn find(&mut self, id: u64, payload: Fingerprint) -> Found<'_, W, A> {
        if id < self.floor {
            return Found::Stale;
        }
        let Ok(index) = self.index_of(id) else { return Found::Free };
        let entry = &mut self.entries[index];
        if entry.payload != payload {
            return Found::Conflict;
        }
        match &mut entry.state {
            State::Running { copies } => Found::Running(copies),
            State::Replied { answer, .. } => Found::Replied(answer.clone()),
        }
    }

    /// A free id runs from now on.
    pub(super) fn start(&mut self, id: u64, payload: Fingerprint) {
        if let Err(index) = self.index_of(id) {
            self.entries.insert(index, Entry { id, payload, state: State::Running { copies: Vec::new() } });
            self.running += 1;
        }
    }

    /// A running id ends; returns who waited for it.
    pub(super) fn finish(&mut self, now: Timestamp, id: u64, end: End<A>) -> Vec<W> {
        let Ok(index) = self.index_of(id) else { return Vec::new() };
        let State::Running { copies } = &mut self.entries[index].state else { return Vec::new() };
        let copies = mem::take(copies);
        self.running -= 1;
        match end {
            End::Final(answer, bytes) if id >= self.floor => {
                self.entries[index].state = State::Replied { answer, bytes, at: now };
                self.reply_bytes += bytes;
            }
            End::Final(..) | End::NoEffect => drop(self.entries.remove(index)),
        }
        copies
    }

    fn index_of(&self, id: u64) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&id, |entry| entry.id)
    }
}

/// The bytes of an entry's answer.
fn held<W, A>(entry: &Entry<W, A>) -> usize {
    match entry.state {
        State::Running { .. } => 0,
        State::Replied { bytes, .. } => bytes,
    }
}
