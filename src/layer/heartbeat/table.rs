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
mod tests {
    use super::*;

    const TOLERANCE: Duration = Duration::from_secs(10);

    fn at(millis: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(millis)
    }

    fn silent<T: Clone + Ord>(table: &Heartbeats<T>, now: Timestamp) -> Vec<T> {
        let mut found = Vec::new();
        let count = table.scan(now, TOLERANCE, |entry| found.push(entry));
        assert_eq!(count, found.len());
        found.sort();
        found
    }

    #[test]
    fn a_pulse_is_small() {
        assert!(size_of::<Pulse<Arc<u8>>>() <= 16);
    }

    #[test]
    fn only_what_was_not_touched_is_reported_and_only_once() {
        let table = Heartbeats::new();
        let lively = table.insert("lively", at(0));
        let _quiet = table.insert("quiet", at(0));
        lively.touch(at(5_000));
        assert_eq!(silent(&table, at(10_300)), ["quiet"]);
        assert_eq!(silent(&table, at(10_400)), [""; 0]);
        assert_eq!(silent(&table, at(15_300)), ["lively"]);
    }

    #[test]
    fn silence_is_never_reported_early_and_at_most_three_ticks_late() {
        for start in (0..300).step_by(29) {
            let table = Heartbeats::new();
            let _pulse = table.insert((), at(start));
            let tolerance = TOLERANCE.as_millis() as u64;
            let reported = (start..).step_by(10).find(|&now| !silent(&table, at(now)).is_empty()).unwrap();
            assert!(reported > start + tolerance && reported <= start + tolerance + 300, "{start} {reported}");
        }
    }

    #[test]
    fn a_second_silence_is_reported_again() {
        let table = Heartbeats::new();
        let pulse = table.insert(1, at(0));
        assert_eq!(silent(&table, at(20_000)), [1]);
        pulse.touch(at(21_000));
        assert_eq!(silent(&table, at(22_000)), [0; 0]);
        assert_eq!(silent(&table, at(40_000)), [1]);
    }

    #[test]
    fn the_tolerance_may_change_between_two_scans() {
        let table = Heartbeats::new();
        let _pulse = table.insert((), at(0));
        assert_eq!(table.scan(at(20_000), Duration::MAX, |()| ()), 0);
        assert_eq!(table.scan(at(20_000), Duration::ZERO, |()| ()), 1);
    }

    #[test]
    fn dropping_the_pulse_drops_the_entry_and_frees_its_place() {
        let table = Heartbeats::new();
        let entry = Arc::new(());
        let pulse = table.insert(entry.clone(), at(0));
        assert_eq!((table.len(), Arc::strong_count(&entry)), (1, 2));
        drop(pulse);
        assert_eq!((table.len(), Arc::strong_count(&entry)), (0, 1));
        assert!(silent(&table, at(60_000)).is_empty());
        assert!(lock(&table.chunks).is_empty());
    }

    #[test]
    fn a_report_may_drop_the_pulse_and_use_the_table() {
        let table = Heartbeats::new();
        let mut pulses: Vec<_> = (0..3).map(|entry| Some(table.insert(entry, at(0)))).collect();
        table.scan(at(20_000), TOLERANCE, |entry: usize| {
            pulses[entry] = None;
            drop(table.insert(7, at(20_000)));
        });
        assert!(table.is_empty());
    }

    const HOUR: u64 = 3_600_000;

    /// Everyone who comes to an end, and everyone who stays, second by second from `from` to `to`.
    fn aged(table: &Heartbeats<u64>, rule: &MaxAge, from: u64, to: u64) -> (Vec<(u64, u64)>, Vec<u64>) {
        let (mut ends, mut stays) = (Vec::new(), Vec::new());
        for second in from / 1000..=to / 1000 {
            let rule = followed(rule, false, second * 1000);
            table.scan_ages(&rule, |entry, what| match what {
                Aged::Ends => ends.push((entry, second)),
                Aged::Stays => stays.push(entry),
            });
        }
        (ends, stays)
    }

    fn hour(since: u64) -> MaxAge {
        MaxAge::follow(None, Some(Duration::from_millis(HOUR)), false, at(since)).unwrap()
    }

    fn followed(rule: &MaxAge, pauses: bool, millis: u64) -> MaxAge {
        MaxAge::follow(Some(*rule), Some(Duration::from_millis(HOUR)), pauses, at(millis)).unwrap()
    }

    /// How many in the fullest ten seconds, of those that begin with a full ten.
    fn fullest(ends: &[(u64, u64)]) -> usize {
        let mut counts = std::collections::BTreeMap::<_, usize>::new();
        ends.iter().for_each(|(_, second)| *counts.entry(second / 10).or_default() += 1);
        counts.into_values().max().unwrap_or(0)
    }

    #[test]
    fn entries_that_began_together_end_one_after_the_other_around_the_age() {
        for seed in 0..3 {
            let table = Heartbeats::seeded(seed);
            let _pulses: Vec<_> = (0..7200).map(|entry| table.insert(entry, at(1000))).collect();
            let (mut ends, stays) = aged(&table, &hour(0), HOUR * 8 / 9, HOUR * 8 / 7);
            let (first, last) = (ends[0].1, ends[ends.len() - 1].1);
            assert!((3241..3260).contains(&first) && (3940..=3962).contains(&last), "seed {seed}: {first} to {last}");
            assert!(fullest(&ends) < 150, "seed {seed}: {} in 10 s, where 100 are even", fullest(&ends));
            assert_eq!(stays.len(), 7200, "each is told once, and once more");
            ends.sort_unstable();
            assert_eq!(ends.iter().map(|&(entry, _)| entry).collect::<Vec<_>>(), Vec::from_iter(0..7200));
        }
    }

    #[test]
    fn a_rule_that_comes_into_force_among_old_entries_spreads_them() {
        let table = Heartbeats::seeded(1);
        let _pulses: Vec<_> = (0..7200).map(|entry| table.insert(entry, at(entry))).collect();
        let day = 24 * HOUR;
        let (ends, _) = aged(&table, &hour(day), day, day + HOUR / 4);
        let (begin, last) = (day / 1000, ends[ends.len() - 1].1);
        assert!(ends.len() == 7200 && last > begin + 700 && last <= begin + 721, "{} until {last}", ends.len());
        assert!(fullest(&ends) < 150, "{} in 10 s, where 100 are even", fullest(&ends));
    }

    #[test]
    fn recurring_pauses_keep_nobody_for_ever_and_make_no_crowd() {
        // In seconds: a blip each minute, a long one each ten, and more time with than without, for five hours.
        for (every, lasts) in [(60, 1), (600, 60), (600, 400), (2400, 1500)] {
            let table = Heartbeats::seeded(3);
            let _pulses: Vec<_> = (0..1800).map(|entry| table.insert(entry, at(entry * 2000))).collect();
            let (mut rule, mut ends) = (hour(0), Vec::new());
            for second in 0..5 * 3600 {
                let pauses = second % every < lasts;
                rule = followed(&rule, pauses, second * 1000);
                if !pauses {
                    table.scan_ages(&rule, |entry, what| ends.extend((what == Aged::Ends).then_some((entry, second))));
                }
            }
            let last = ends[ends.len() - 1].1;
            // Twice the even number while the rule catches up, and that of all within the spread when it begins anew.
            let most = if lasts > 60 { 45 } else { 25 };
            assert!(fullest(&ends) < most, "{every}, {lasts}: {} in 10 s, where 5 are even", fullest(&ends));
            let left = 1800 - ends.len();
            assert!(left <= 2, "{every}, {lasts}: {left} of 1800 stay, the last went after {last} s");
            assert!(lasts > 60 || left == 0 && last <= 7650, "{every}, {lasts}: {left} stay, the last after {last} s");
        }
    }

    #[test]
    fn a_steady_crowd_moves_at_its_number_by_the_age() {
        // One login each half second for an hour; whoever comes to an end begins anew, in the same place of the table.
        let table = Heartbeats::seeded(2);
        let mut pulses: Vec<_> = (0..7200).map(|entry| Some(table.insert(entry, at(entry * 500)))).collect();
        let mut ends = 0;
        for second in (3600..4 * 3600).step_by(15) {
            table.scan_ages(&followed(&hour(0), false, second * 1000), |entry, what| {
                assert_eq!(what, Aged::Ends);
                ends += 1;
                pulses[entry as usize] = None;
                pulses[entry as usize] = Some(table.insert(entry, at(second * 1000)));
            });
        }
        assert!((3 * 7200 - 720..3 * 7200 + 720).contains(&ends), "{ends} of 7200 in 3 h, each once an hour");
    }

    #[test]
    fn who_leaves_in_time_is_told_once_and_a_sign_of_life_changes_no_age() {
        let table = Heartbeats::new();
        let pulse = table.insert(7, at(0));
        pulse.touch(at(HOUR));
        let (ends, stays) = aged(&table, &hour(0), HOUR / 2, HOUR + HOUR / 10 + 121_000);
        assert!(matches!(ends[..], [(7, 3240..=3960)]), "{ends:?}");
        assert_eq!(stays, [7]);
        drop(pulse);
        let again = table.insert(8, at(2 * HOUR));
        let (ends, _) = aged(&table, &hour(0), 2 * HOUR, 2 * HOUR + HOUR / 10);
        assert_eq!(ends, [], "its place has a new age");
        drop(again);
        assert!(table.is_empty());
    }

    #[test]
    fn entries_come_and_go_on_other_threads_while_scans_run() {
        let table = Heartbeats::new();
        let kept = std::thread::scope(|scope| {
            let threads = [0, 1, 2].map(|thread| {
                let table = &table;
                scope.spawn(move || {
                    let pulses: Vec<_> = (0..CHUNK).map(|entry| table.insert(thread * CHUNK + entry, at(0))).collect();
                    pulses.into_iter().step_by(2).collect::<Vec<_>>()
                })
            });
            (0..100).for_each(|_| assert_eq!(table.scan(at(0), TOLERANCE, |_| ()), 0));
            threads.map(|thread| thread.join().unwrap())
        });
        assert_eq!(table.len(), 3 * CHUNK / 2);
        assert_eq!(silent(&table, at(20_000)), Vec::from_iter((0..3 * CHUNK).step_by(2)));
        drop(kept);
        assert!(table.is_empty());
    }

    #[test]
    fn places_are_used_again_before_the_table_grows() {
        let table = Heartbeats::new();
        let mut pulses: Vec<_> = (0..2 * CHUNK).map(|entry| table.insert(entry, at(0))).collect();
        assert_eq!(lock(&table.chunks).len(), 2);
        pulses.drain(..10);
        pulses.extend((0..10).map(|entry| table.insert(entry, at(0))));
        assert_eq!((table.len(), lock(&table.chunks).len()), (2 * CHUNK, 2));
        assert_eq!(silent(&table, at(20_000)), Vec::from_iter(0..2 * CHUNK));
    }
}
