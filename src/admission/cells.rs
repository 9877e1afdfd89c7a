//! Counters that only grow, each with one writer: counting is a plain load and store, and nothing is ever reset. Whoever
//! reads keeps what it saw last and subtracts; the difference wraps as the counters do.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::level::{LEVELS, Level};

/// Two histograms behind each other: what was admitted, then what was refused.
const CELLS: usize = 2 * LEVELS;

/// Ages count as no more than this, so that the sum of a window's ages never wraps round to a small one.
const LONGEST_AGE: Duration = Duration::from_secs(3600);

/// The counters of one worker. The alignment keeps two workers off each other's cache lines (lines are fetched in pairs).
#[repr(align(128))]
pub(super) struct Shard {
    cells: [AtomicU32; CELLS],
    samples: AtomicU32,
    queuing_nanos: AtomicU64,
    completed: AtomicU32,
    completed_at_limit: AtomicU32,
    looks: AtomicU32,
    looks_at_limit: AtomicU32,
    at_limit: AtomicBool,
    spared: AtomicU32,
}

/// Adds one without a locked instruction, which the single writer does not need.
fn bump(counter: &AtomicU32) {
    counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
}

impl Shard {
    pub(super) fn new() -> Self {
        Self {
            cells: [const { AtomicU32::new(0) }; CELLS],
            samples: AtomicU32::new(0),
            queuing_nanos: AtomicU64::new(0),
            completed: AtomicU32::new(0),
            completed_at_limit: AtomicU32::new(0),
            looks: AtomicU32::new(0),
            looks_at_limit: AtomicU32::new(0),
            at_limit: AtomicBool::new(false),
            spared: AtomicU32::new(0),
        }
    }

    pub(super) fn admit(&self, level: Level) {
        bump(&self.cells[level.index()]);
    }

    pub(super) fn refuse(&self, level: Level) {
        bump(&self.cells[LEVELS + level.index()]);
    }

    /// Something that was counted as refused went through all the same.
    pub(super) fn spare(&self) {
        bump(&self.spared);
    }

    pub(super) fn sample(&self, queuing: Duration) {
        let nanos = queuing.min(LONGEST_AGE).as_nanos() as u64;
        bump(&self.samples);
        self.queuing_nanos.store(self.queuing_nanos.load(Relaxed).wrapping_add(nanos), Relaxed);
    }

    pub(super) fn complete(&self) {
        bump(&self.completed);
        if self.at_limit.load(Relaxed) {
            bump(&self.completed_at_limit);
        }
    }

    /// One look at whether all places were taken; what completes until the next look counts as the look says.
    pub(super) fn look(&self, at_limit: bool) {
        self.at_limit.store(at_limit, Relaxed);
        bump(&self.looks);
        if at_limit {
            bump(&self.looks_at_limit);
        }
    }
}

/// The sums over all workers of what is no histogram. Differences between two readings are what happened in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) samples: u32,
    pub(super) queuing_nanos: u64,
    pub(super) completed: u32,
    pub(super) completed_at_limit: u32,
    pub(super) looks: u32,
    pub(super) looks_at_limit: u32,
}

impl Sums {
    pub(super) fn of(shards: &[Shard]) -> Self {
        shards.iter().fold(Self::default(), |sums, shard| Self {
            samples: sums.samples.wrapping_add(shard.samples.load(Relaxed)),
            queuing_nanos: sums.queuing_nanos.wrapping_add(shard.queuing_nanos.load(Relaxed)),
            completed: sums.completed.wrapping_add(shard.completed.load(Relaxed)),
            completed_at_limit: sums.completed_at_limit.wrapping_add(shard.completed_at_limit.load(Relaxed)),
            looks: sums.looks.wrapping_add(shard.looks.load(Relaxed)),
            looks_at_limit: sums.looks_at_limit.wrapping_add(shard.looks_at_limit.load(Relaxed)),
        })
    }

    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            samples: self.samples.wrapping_sub(earlier.samples),
            queuing_nanos: self.queuing_nanos.wrapping_sub(earlier.queuing_nanos),
            completed: self.completed.wrapping_sub(earlier.completed),
            completed_at_limit: self.completed_at_limit.wrapping_sub(earlier.completed_at_limit),
            looks: self.looks.wrapping_sub(earlier.looks),
            looks_at_limit: self.looks_at_limit.wrapping_sub(earlier.looks_at_limit),
        }
    }

    /// The share of the time in which all places were taken, 0 to 1.
    pub(super) fn share_at_limit(&self) -> f64 {
        if self.looks == 0 { 0.0 } else { f64::from(self.looks_at_limit) / f64::from(self.looks) }
    }
}

/// What was offered and admitted per level between two readings of a gate. Each reader has a tally of its own: the gate's
/// window, the gateway's own gate, the report to the manager.
///
/// ```
/// use dagor::admission::{Gate, GateSettings, Level, Tally, Value};
/// use dagor::clock::Timestamp;
///
/// let gate = Gate::new(GateSettings::default(), 1);
/// let level = Level::new(3, 40);
/// gate.decide(0, Timestamp::ZERO, Value::new(level, 7)).unwrap();
///
/// let mut tally = Tally::new();
/// tally.read(&gate);
/// assert_eq!(tally.offered()[level.index()], 1);
/// tally.read(&gate);
/// assert_eq!(tally.offered()[level.index()], 0, "nothing since the last reading");
/// ```
#[derive(Clone, Debug)]
pub struct Tally {
    seen: Box<[u32]>,
    sums: Box<[u32]>,
    admitted: Box<[u32]>,
    offered: Box<[u32]>,
    spared_seen: u32,
    spared_sum: u32,
}

/// What was decided in a period, over all levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Decided {
    /// Below the cut.
    pub(super) admitted: u64,
    /// Not below the cut.
    pub(super) refused: u64,
    /// Not below the cut, and let through all the same.
    pub(super) spared: u64,
}

impl std::ops::Add for Decided {
    type Output = Self;

    fn add(self, rhs: Self) -> Self {
        Self {
            admitted: self.admitted + rhs.admitted,
            refused: self.refused + rhs.refused,
            spared: self.spared + rhs.spared,
        }
    }
}

impl Tally {
    /// A tally whose first reading counts from the gate's beginning.
    pub fn new() -> Self {
        let zeros = |len| vec![0; len].into_boxed_slice();
        Self {
            seen: zeros(CELLS),
            sums: zeros(CELLS),
            admitted: zeros(LEVELS),
            offered: zeros(LEVELS),
            spared_seen: 0,
            spared_sum: 0,
        }
    }

    /// Counts what `gate` decided since the last reading. Always read the same gate with the same tally.
    pub fn read(&mut self, gate: &super::Gate) {
        self.read_shards(gate.shards().iter());
    }

    /// What was admitted between the last two readings, by the index of the level.
    pub fn admitted(&self) -> &[u32] {
        &self.admitted
    }

    /// What was admitted or refused between the last two readings, by the index of the level.
    pub fn offered(&self) -> &[u32] {
        &self.offered
    }

    /// Ends the period.
    pub(super) fn read_shards<'a>(&mut self, shards: impl Iterator<Item = &'a Shard>) -> Decided {
        let decided = self.pending(shards);
        for index in 0..LEVELS {
            let admitted = self.sums[index].wrapping_sub(self.seen[index]);
            let refused = self.sums[LEVELS + index].wrapping_sub(self.seen[LEVELS + index]);
            self.admitted[index] = admitted;
            self.offered[index] = admitted.wrapping_add(refused);
        }
        self.remember();
        decided
    }

    /// From now on `shards` are read: what they counted so far is no news.
    pub(super) fn start_from<'a>(&mut self, shards: impl Iterator<Item = &'a Shard>) {
        self.add_up(shards);
        self.remember();
    }

    /// What was decided since the last reading, without ending the period.
    pub(super) fn pending<'a>(&mut self, shards: impl Iterator<Item = &'a Shard>) -> Decided {
        self.add_up(shards);
        let total = |range: std::ops::Range<usize>| {
            range.map(|index| u64::from(self.sums[index].wrapping_sub(self.seen[index]))).sum()
        };
        let spared = u64::from(self.spared_sum.wrapping_sub(self.spared_seen));
        Decided { admitted: total(0..LEVELS), refused: total(LEVELS..CELLS), spared }
    }

    fn add_up<'a>(&mut self, shards: impl Iterator<Item = &'a Shard>) {
        self.sums.fill(0);
        self.spared_sum = 0;
        for shard in shards {
            self.spared_sum = self.spared_sum.wrapping_add(shard.spared.load(Relaxed));
            for (sum, cell) in self.sums.iter_mut().zip(&shard.cells) {
                *sum = sum.wrapping_add(cell.load(Relaxed));
            }
        }
    }

    fn remember(&mut self) {
        std::mem::swap(&mut self.seen, &mut self.sums);
        self.spared_seen = self.spared_sum;
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_counts_each_decision_once() {
        let shards = [Shard::new(), Shard::new()];
        let mut tally = Tally::new();
        shards[0].admit(Level::from_index(7));
        shards[1].refuse(Level::from_index(7));
        assert_eq!(tally.pending(shards.iter()), Decided { admitted: 1, refused: 1, spared: 0 });
        tally.read_shards(shards.iter());
        assert_eq!((tally.admitted()[7], tally.offered()[7]), (1, 2));
        tally.read_shards(shards.iter());
        assert_eq!((tally.admitted()[7], tally.offered()[7]), (0, 0));
    }

    #[test]
    fn a_counter_that_wraps_between_two_readings_loses_nothing() {
        let shard = [Shard::new()];
        shard[0].cells[3].store(u32::MAX, Relaxed);
        shard[0].samples.store(u32::MAX, Relaxed);
        shard[0].queuing_nanos.store(u64::MAX, Relaxed);
        let mut tally = Tally::new();
        tally.start_from(shard.iter());
        let before = Sums::of(&shard);
        for _ in 0..3 {
            shard[0].admit(Level::from_index(3));
            shard[0].sample(Duration::from_nanos(5));
        }
        tally.read_shards(shard.iter());
        let after = Sums::of(&shard).since(before);
        assert_eq!((tally.admitted()[3], after.samples, after.queuing_nanos), (3, 3, 15));
    }

    #[test]
    fn absurd_ages_do_not_add_up_to_a_small_one() {
        let shard = [Shard::new()];
        (0..2000).for_each(|_| shard[0].sample(Duration::MAX));
        assert_eq!(Duration::from_nanos(Sums::of(&shard).queuing_nanos), LONGEST_AGE * 2000);
    }

    #[test]
    fn what_completes_counts_as_the_last_look_says() {
        let shard = [Shard::new()];
        shard[0].complete();
        shard[0].look(true);
        shard[0].complete();
        shard[0].look(false);
        shard[0].complete();
        let sums = Sums::of(&shard);
        assert_eq!((sums.completed, sums.completed_at_limit), (3, 1));
        assert_eq!(sums.share_at_limit(), 0.5);
    }
}
