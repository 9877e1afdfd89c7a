//! Two coarse ticks per entry, in dense chunks: a sign of life is one relaxed store, and finding the silent ones is a walk
//! over four bytes each, as is finding the old ones. No timer, no clock, and nothing to cancel.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use super::age::{Aged, MaxAge, draw};
use crate::clock::Timestamp;

/// The unit of time here. A tick in 31 bits lasts for 6 years.
pub const TICK: Duration = Duration::from_millis(100);

/// Entries of a chunk: small enough that one with a single entry costs 32 KiB, large enough that a million entries are 250
/// chunks. An idle table has none.
const CHUNK: usize = 4096;

/// The tick of a place that is free, or whose silence has been reported.
const SILENT: u32 = 0;

/// The beginning of a place that is free, or whose stay has been reported.
const AGELESS: u32 = 0;
/// The entry has been told; the other bits say when, in place of when it began.
const TOLD: u32 = 1 << 31;

/// Everything that must give a sign of life from time to time. Clones share the table.
///
/// An entry costs 8 bytes and a `T`, and 2 bytes more once its place has been given back.
pub struct Heartbeats<T> {
    chunks: Arc<Mutex<Vec<Arc<Chunk<T>>>>>,
    /// Where the entries' ends are drawn from.
    seed: u64,
}

/// The sign of life of one entry, which leaves the table when this is dropped.
///
/// It must not be kept inside its own entry: the two would keep each other alive.
pub struct Pulse<T> {
    chunk: Arc<Chunk<T>>,
    index: u16,
}

struct Chunk<T> {
    ticks: [AtomicU32; CHUNK],
    /// When each entry began or, with [`TOLD`], was told, by its rule's own time. Changed under the lock of `places` only.
    begun: [AtomicU32; CHUNK],
    places: Mutex<Places<T>>,
    /// Entries in `places`. Rises under the table's lock only, so that an empty chunk can be taken out under it.
    occupied: AtomicUsize,
}

struct Places<T> {
    entries: Vec<Option<T>>,
    free: Vec<u16>,
}

impl<T> Heartbeats<T> {
    /// An empty table.
    pub fn new() -> Self {
        Self::seeded(0)
    }

    /// An empty table whose entries end at other ages than those of a table with another seed.
    pub fn seeded(seed: u64) -> Self {
        Self { chunks: Arc::default(), seed }
    }

    /// Adds an entry whose first sign of life is `now`.
    pub fn insert(&self, entry: T, now: Timestamp) -> Pulse<T> {
        let mut chunks = lock(&self.chunks);
        // The last chunk first: while the table grows, it is the one with room.
        let chunk = match chunks.iter().rev().find(|chunk| chunk.occupied.load(Relaxed) < CHUNK) {
            Some(chunk) => chunk.clone(),
            None => {
                let chunk = Arc::new(Chunk::new());
                chunks.push(chunk.clone());
                chunk
            }
        };
        let index = chunk.occupy(entry, tick(now));
        Pulse { chunk, index }
    }

    /// Entries in the table.
    pub fn len(&self) -> usize {
        lock(&self.chunks).iter().map(|chunk| chunk.occupied.load(Relaxed)).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Clone> Heartbeats<T> {
    /// Reports every entry that gave no sign of life for longer than `tolerance`, each once per silence, and returns how
    /// many there were: never too early, and at most three [`TICK`]s late.
    ///
    /// `report` may drop pulses and use the table; no lock is held while it runs.
    pub fn scan(&self, now: Timestamp, tolerance: Duration, mut report: impl FnMut(T)) -> usize {
        let tolerance = u32::try_from(tolerance.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u32::MAX);
        let earliest = tick(now).saturating_sub(tolerance);
        let mut silent = Vec::new();
        let mut count = 0;
        for chunk in self.occupied_chunks() {
            chunk.take_silent(earliest, &mut silent);
            count += silent.len();
            silent.drain(..).for_each(&mut report);
        }
        count
    }

    /// Reports every entry that has come to its end by this rule, and once more if it is still there after the grace.
    /// An end is found by the first scan after it; nobody's is more than a [`TICK`] too early.
    ///
    /// `report` may drop pulses and use the table; no lock is held while it runs.
    pub fn scan_ages(&self, rule: &MaxAge, mut report: impl FnMut(T, Aged)) {
        let mut aged = Vec::new();
        for chunk in self.occupied_chunks() {
            chunk.take_aged(rule, self.seed, &mut aged);
            aged.drain(..).for_each(|(entry, what)| report(entry, what));
        }
    }

    /// The chunks with entries. The empty ones are given back, so that a burst of connections leaves nothing behind.
    fn occupied_chunks(&self) -> Vec<Arc<Chunk<T>>> {
        let mut chunks = lock(&self.chunks);
        chunks.retain(|chunk| chunk.occupied.load(Relaxed) > 0);
        chunks.clone()
    }
}

impl<T> Pulse<T> {
    /// A sign of life: something was *received* from this entry.
    pub fn touch(&self, now: Timestamp) {
        self.chunk.ticks[usize::from(self.index)].store(tick(now), Relaxed);
    }
}

impl<T> Drop for Pulse<T> {
    fn drop(&mut self) {
        // The entry's own drop may do anything, so it comes after the lock.
        drop(self.chunk.vacate(self.index));
    }
}

impl<T> Chunk<T> {
    fn new() -> Self {
        Self {
            ticks: [const { AtomicU32::new(SILENT) }; CHUNK],
            begun: [const { AtomicU32::new(AGELESS) }; CHUNK],
            places: Mutex::new(Places { entries: Vec::new(), free: Vec::new() }),
            occupied: AtomicUsize::new(0),
        }
    }

    /// Fills a place; the caller has seen that there is one.
    fn occupy(&self, entry: T, tick: u32) -> u16 {
        let mut places = lock(&self.places);
        let index = match places.free.pop() {
            Some(index) => {
                places.entries[usize::from(index)] = Some(entry);
                index
            }
            None => {
                places.entries.push(Some(entry));
                (places.entries.len() - 1) as u16
            }
        };
        self.ticks[usize::from(index)].store(tick, Relaxed);
        self.begun[usize::from(index)].store(tick.min(TOLD - 1), Relaxed);
        self.occupied.fetch_add(1, Relaxed);
        index
    }

    fn vacate(&self, index: u16) -> Option<T> {
        let mut places = lock(&self.places);
        self.ticks[usize::from(index)].store(SILENT, Relaxed);
        self.begun[usize::from(index)].store(AGELESS, Relaxed);
        places.free.push(index);
        let entry = places.entries[usize::from(index)].take();
        self.occupied.fetch_sub(1, Relaxed);
        entry
    }
}

impl<T: Clone> Chunk<T> {
    /// Appends the entries whose tick is before `earliest`. The lock is taken only if there are any.
    fn take_silent(&self, earliest: u32, silent: &mut Vec<T>) {
        let due = |tick: u32| tick != SILENT && tick < earliest;
        if !self.ticks.iter().any(|tick| due(tick.load(Relaxed))) {
            return;
        }
        let places = lock(&self.places);
        for (tick, entry) in self.ticks.iter().zip(&places.entries) {
            let seen = tick.load(Relaxed);
            // A touch that comes at this very moment wins over the report.
            if let Some(entry) = entry
                && due(seen)
                && tick.compare_exchange(seen, SILENT, Relaxed, Relaxed).is_ok()
            {
                silent.push(entry.clone());
            }
        }
    }

    /// Appends the entries of which this rule has something to say. The lock is taken only if there are any.
    fn take_aged(&self, rule: &MaxAge, seed: u64, aged: &mut Vec<(T, Aged)>) {
        let (ends, reached) = (rule.ends(), rule.reached());
        let youngest = tick(reached - Duration::from_nanos(ends.least));
        // Other draws for each beginning of a rule.
        let seed = seed ^ ends.since;
        let look = |(index, begun): (usize, &AtomicU32)| match begun.load(Relaxed) {
            AGELESS => None,
            told @ TOLD.. => rule.is_over(time(told & !TOLD)).then_some((AGELESS, Aged::Stays)),
            // Drawn for those only who may be at their end already.
            begun if begun > youngest => None,
            begun => {
                let end = ends.end(time(begun).as_nanos(), draw(seed, index as u16, begun));
                (end <= reached.as_nanos()).then_some((TOLD | tick(rule.unpaused()).min(TOLD - 1), Aged::Ends))
            }
        };
        let Some(first) = self.begun.iter().enumerate().position(|place| look(place).is_some()) else { return };
        let places = lock(&self.places);
        for (place, entry) in self.begun.iter().enumerate().zip(&places.entries).skip(first) {
            if let (Some((then, what)), Some(entry)) = (look(place), entry) {
                place.1.store(then, Relaxed);
                aged.push((entry.clone(), what));
            }
        }
    }
}

/// The tick of a time; never [`SILENT`] or [`AGELESS`].
fn tick(time: Timestamp) -> u32 {
    let ticks = time.as_nanos() / TICK.as_nanos() as u64;
    u32::try_from(ticks).unwrap_or(u32::MAX).saturating_add(1)
}

/// When a tick begins.
const fn time(tick: u32) -> Timestamp {
    Timestamp::from_nanos((tick as u64).saturating_sub(1) * TICK.as_nanos() as u64)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Clone for Heartbeats<T> {
    fn clone(&self) -> Self {
        Self { chunks: self.chunks.clone(), seed: self.seed }
    }
}

impl<T> Default for Heartbeats<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Heartbeats<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeats").field("len", &self.len()).finish()
    }
}

impl<T> fmt::Debug for Pulse<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse").field("index", &self.index).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
