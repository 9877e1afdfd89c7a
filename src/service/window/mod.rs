//! Remembers which messages were run and what was answered: while a window lives, no message is run twice, and every try
//! of a message gets the same answer.
//!
//! A pure core: time comes in as an argument, and whoever waits is a value of the caller's (`W`), as is the answer (`A`).
//!
//! **What is remembered.** A window belongs to one user, outbox and business. It knows its *floor*, the highest
//! oldest-unsettled id that any try named: the client has settled everything below. Above the floor an id is *running*,
//! or *replied* with its answer, or free. A high-water mark alone would not do: messages arrive out of order, and one that
//! was refused comes after its successors.
//!
//! **What a try becomes** ([`Windows::claim`]): below the floor it is stale. Of a known id with another payload it is a
//! conflict. A copy of a running id waits for the first, a copy of a replied one gets the same answer. What is left runs.
//!
//! **How it ends** ([`Windows::finish`]): with an answer that is final and is remembered, or without effect, and then the
//! id is free again. Only who ran it knows which.
//!
//! **What bounds it.** A client sends nothing above its oldest unsettled id plus 1,023; so seeing an id means that
//! everything 1,024 below it is settled, and the floor follows. Bytes are bounded per window, windows and bytes in all
//! ([`WindowSettings`]). Beyond a bound the least recently used windows go, if they have rested for longer than any
//! message lives; if there are none, the try is refused, but never a window's own oldest for what the window itself
//! holds. Nothing is forgotten to make room, with one exception, which is
//! counted: of a client that never says what it has settled, the lowest ids.

mod key;
mod one;
mod settings;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

pub use key::{CallKey, Fingerprint, WindowKey};
use one::{Found, Window};
pub use settings::{WindowSettings, WindowStats};

use crate::{clock::Timestamp, id::MessageId};

/// How many ids of an outbox may be unsettled at a time, by the protocol.
pub const WINDOW_IDS: u64 = 1024;
/// How many tries of one running id may wait for its answer. A client has one connection, and a copy on it per
/// reconnection while the first runs: more than a handful is an attack.
const MOST_COPIES: usize = 32;
/// What an empty window is reckoned to cost, in bytes, beside its user's name: it stands in a map and in an order.
const WINDOW_BYTES: usize = 512;
/// How many rested windows one sweep drops, so that it never takes long.
const SWEPT_AT_ONCE: usize = 64;
/// The hint of a refusal because of a window's own bound: its client is about to settle something.
const RETRY_WHEN_WINDOW_FULL: Duration = Duration::from_secs(1);
/// The longest hint of a refusal because of the bounds of all.
const RETRY_AT_MOST: Duration = Duration::from_secs(30);

/// What a try of a message becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim<W, A> {
    /// It is for the caller to run, and then to [`finish`](Windows::finish).
    Run(W),
    /// Another try of it runs; who waits comes back when that ends.
    Waits,
    /// It does not run.
    Known(W, Known<A>),
}

/// Why a try does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known<A> {
    /// It was run before: its answer.
    Replied(A),
    /// The client has settled it.
    Stale,
    /// The id was used for another payload.
    Conflict,
    /// There is no room to remember it. Certainly not run.
    Refused {
        /// Which bound was reached.
        bound: Bound,
        /// When to try again.
        retry_after: Duration,
    },
}

/// A bound of [`WindowSettings`], or of the tries that wait for one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bound {
    /// Too many tries wait for one running id.
    Copies,
    /// The answers of one window.
    ReplyBytes,
    /// All windows.
    Windows,
    /// The bytes of all windows.
    TotalBytes,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End<A> {
    /// With an answer that is final, and its size in bytes.
    Final(A, usize),
    /// Certainly without effect: the id is free again.
    NoEffect,
}

/// All windows of an instance. `W` is who waits for an answer, `A` an answer.
#[derive(Debug)]
pub struct Windows<W, A> {
    settings: WindowSettings,
    windows: HashMap<WindowKey, Window<W, A>>,
    /// The windows by when they were last used.
    order: BTreeMap<u64, WindowKey>,
    uses: u64,
    bytes: usize,
    stats: WindowStats,
}

impl<W, A: Clone> Windows<W, A> {
    /// No windows.
    pub fn new(settings: WindowSettings) -> Self {
        let (windows, order) = (HashMap::new(), BTreeMap::new());
        Self { settings, windows, order, uses: 0, bytes: 0, stats: WindowStats::default() }
    }

    /// A try of a message came in, which names `oldest` as the lowest unsettled id (0 names none).
    pub fn claim(
        &mut self,
        now: Timestamp,
        key: &CallKey,
        oldest: MessageId,
        payload: Fingerprint,
        waiter: W,
    ) -> Claim<W, A> {
        let claim = self
            .decide(now, key, oldest.0, payload, waiter)
            .unwrap_or_else(|(waiter, bound)| Claim::Known(waiter, self.refused(bound, now)));
        self.stats.count(&claim);
        claim
    }

    fn decide(
        &mut self,
        now: Timestamp,
        key: &CallKey,
        oldest: u64,
        payload: Fingerprint,
        waiter: W,
    ) -> Result<Claim<W, A>, (W, Bound)> {
        if !self.windows.contains_key(&key.window) {
            if let Err(bound) = self.make_room(now) {
                return Err((waiter, bound));
            }
            self.open(&key.window);
        }
        if self.bytes >= self.settings.total_bytes {
            self.evict_oldest(now, Some(&key.window));
        }
        self.with(now, &key.window, |window, settings, stats, others| {
            window.settle(key.message.0, oldest);
            window.drop_aged(now, settings.keep);
            match window.find(key.message.0, payload) {
                Found::Stale => Ok(Claim::Known(waiter, Known::Stale)),
                Found::Conflict => Ok(Claim::Known(waiter, Known::Conflict)),
                Found::Replied(answer) => Ok(Claim::Known(waiter, Known::Replied(answer))),
                Found::Running(copies) if copies.len() >= MOST_COPIES => Err((waiter, Bound::Copies)),
                Found::Running(copies) => {
                    copies.push(waiter);
                    Ok(Claim::Waits)
                }
                Found::Free => {
                    stats.forgotten += window.forget_untold(settings.reply_bytes);
                    // The oldest one is let in: nothing of the window can go before it has its answer.
                    if window.reply_bytes() >= settings.reply_bytes && key.message.0 > oldest {
                        return Err((waiter, Bound::ReplyBytes));
                    }
                    if others + window.bytes() >= settings.total_bytes {
                        return Err((waiter, Bound::TotalBytes));
                    }
                    window.start(key.message.0, payload);
                    Ok(Claim::Run(waiter))
                }
            }
        })
    }

    /// A run ended; returns the tries that waited for it. After [`End::Final`] they get the same answer; after
    /// [`End::NoEffect`] they may claim again, or be told so.
    pub fn finish(&mut self, now: Timestamp, key: &CallKey, end: End<A>) -> Vec<W> {
        if !self.windows.contains_key(&key.window) {
            return Vec::new();
        }
        self.with(now, &key.window, |window, _, _, _| window.finish(now, key.message.0, end))
    }

    /// Drops windows that have rested for longer than [`WindowSettings::keep`]; a few at a time, so call it often.
    pub fn sweep(&mut self, now: Timestamp) {
        for _ in 0..SWEPT_AT_ONCE {
            if !self.evict_oldest(now, None) {
                return;
            }
        }
    }

    /// What there is, and what happened so far.
    pub fn stats(&self) -> WindowStats {
        WindowStats { windows: self.windows.len(), bytes: self.bytes, ..self.stats }
    }

    fn open(&mut self, key: &WindowKey) {
        self.uses += 1;
        self.order.insert(self.uses, key.clone());
        self.bytes += WINDOW_BYTES + key.user.len();
        self.windows.insert(key.clone(), Window::new(self.uses));
    }

    /// Uses a window that exists, which makes it the last to go. `change` is also told the bytes of all the rest.
    fn with<R>(
        &mut self,
        now: Timestamp,
        key: &WindowKey,
        change: impl FnOnce(&mut Window<W, A>, &WindowSettings, &mut WindowStats, usize) -> R,
    ) -> R {
        let window = self.windows.get_mut(key).expect("the caller has seen it");
        self.uses += 1;
        let place = self.order.remove(&window.touch(now, self.uses)).expect("every window has a place in the order");
        self.order.insert(self.uses, place);
        let others = self.bytes - window.bytes();
        let result = change(window, &self.settings, &mut self.stats, others);
        self.bytes = others + window.bytes();
        result
    }

    /// Room for one more window.
    fn make_room(&mut self, now: Timestamp) -> Result<(), Bound> {
        let bound = if self.windows.len() >= self.settings.windows {
            Bound::Windows
        } else if self.bytes >= self.settings.total_bytes {
            Bound::TotalBytes
        } else {
            return Ok(());
        };
        if self.evict_oldest(now, None) { Ok(()) } else { Err(bound) }
    }

    /// Drops the window that rests for longest, unless it is `spared`, has not rested for long enough, or all of the
    /// few oldest run something.
    fn evict_oldest(&mut self, now: Timestamp, spared: Option<&WindowKey>) -> bool {
        for _ in 0..SWEPT_AT_ONCE {
            let Some((_, key)) = self.order.first_key_value() else { return false };
            let window = &self.windows[key];
            if spared == Some(key) || now.since(window.touched()) < self.settings.keep {
                return false;
            }
            let key = key.clone();
            if window.is_running() {
                // It is used, if by a slow handler.
                self.with(now, &key, |_, _, _, _| ());
                continue;
            }
            self.bytes -= window.bytes() + WINDOW_BYTES + key.user.len();
            self.windows.remove(&key);
            self.order.pop_first();
            self.stats.evicted += 1;
            return true;
        }
        false
    }

    fn refused(&self, bound: Bound, now: Timestamp) -> Known<A> {
        let retry_after = match bound {
            Bound::Copies | Bound::ReplyBytes => RETRY_WHEN_WINDOW_FULL,
            Bound::Windows | Bound::TotalBytes => {
                let rested = self.order.values().next().map_or(Timestamp::ZERO, |key| self.windows[key].touched());
                (rested + self.settings.keep).since(now).clamp(RETRY_WHEN_WINDOW_FULL, RETRY_AT_MOST)
            }
        };
        Known::Refused { bound, retry_after }
    }
}
