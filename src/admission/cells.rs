//! Counters that only grow, each with one writer: counting is a plain load and store, and nothing is ever reset. Whoever
//! reads keeps what it saw last and subtracts; the difference wraps as the counters do.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::{
    cost::{Cost, units},
    level::{BUSINESS_PRIORITIES, LEVELS, Level},
};

/// One for each business priority.
pub(super) const PRIORITIES: usize = BUSINESS_PRIORITIES as usize;

/// Two histograms behind each other: what was admitted, then what was refused.
const CELLS: usize = 2 * LEVELS;

/// Ages count as no more than this, so that the sum of a window's ages never wraps round to a small one.
const LONGEST_AGE: Duration = Duration::from_secs(3600);

/// The counters of one worker. The alignment keeps two workers off each other's cache lines (lines are fetched in pairs).
#[repr(align(128))]
pub(super) struct Shard {
    cells: [AtomicU32; CELLS],
    /// What arrived of each business priority, by cost.
    costs: [AtomicU64; PRIORITIES],
    samples: AtomicU32,
    queuing_nanos: AtomicU64,
    completed: AtomicU32,
    completed_cost: AtomicU64,
    limited_cost: AtomicU64,
    limited_nanos: AtomicU64,
    spared: AtomicU32,
    shared: AtomicU32,
}

/// Adds one without a locked instruction, which the single writer does not need.
fn bump(counter: &AtomicU32) {
    counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
}

fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(more), Relaxed);
}

impl Shard {
    pub(super) fn new() -> Self {
        Self {
            cells: [const { AtomicU32::new(0) }; CELLS],
            costs: [const { AtomicU64::new(0) }; PRIORITIES],
            samples: AtomicU32::new(0),
            queuing_nanos: AtomicU64::new(0),
            completed: AtomicU32::new(0),
            completed_cost: AtomicU64::new(0),
            limited_cost: AtomicU64::new(0),
            limited_nanos: AtomicU64::new(0),
            spared: AtomicU32::new(0),
            shared: AtomicU32::new(0),
        }
    }

    pub(super) fn admit(&self, level: Level, cost: Cost) {
        bump(&self.cells[level.index()]);
        add(&self.costs[usize::from(level.business())], cost.ticks());
    }

    pub(super) fn refuse(&self, level: Level, cost: Cost) {
        bump(&self.cells[LEVELS + level.index()]);
        add(&self.costs[usize::from(level.business())], cost.ticks());
    }

    /// Something that was counted as refused went through all the same, in a dry run.
    pub(super) fn spare(&self) {
        bump(&self.spared);
    }

    /// Something that was counted as refused went through, by its business's minimum share.
    pub(super) fn share(&self) {
        bump(&self.shared);
    }

    pub(super) fn sample(&self, queuing: Duration) {
        bump(&self.samples);
        add(&self.queuing_nanos, queuing.min(LONGEST_AGE).as_nanos() as u64);
    }

    pub(super) fn complete(&self, cost: Cost, at_limit: bool) {
        bump(&self.completed);
        add(&self.completed_cost, cost.ticks());
        if at_limit {
            add(&self.limited_cost, cost.ticks());
        }
    }

    /// All places were taken for so long.
    pub(super) fn limited(&self, time: Duration) {
        add(&self.limited_nanos, time.min(LONGEST_AGE).as_nanos() as u64);
    }
}

/// What one worker counted that is no histogram. Differences between two readings are what happened in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) samples: u32,
    pub(super) queuing_nanos: u64,
    pub(super) completed: u32,
    pub(super) completed_cost: u64,
    pub(super) limited_cost: u64,
    pub(super) limited_nanos: u64,
    pub(super) shared: u32,
}

impl Sums {
    pub(super) fn of(shard: &Shard) -> Self {
        Self {
            samples: shard.samples.load(Relaxed),
            queuing_nanos: shard.queuing_nanos.load(Relaxed),
            completed: shard.completed.load(Relaxed),
            completed_cost: shard.completed_cost.load(Relaxed),
            limited_cost: shard.limited_cost.load(Relaxed),
            limited_nanos: shard.limited_nanos.load(Relaxed),
            shared: shard.shared.load(Relaxed),
        }
    }

    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            samples: self.samples.wrapping_sub(earlier.samples),
            queuing_nanos: self.queuing_nanos.wrapping_sub(earlier.queuing_nanos),
            completed: self.completed.wrapping_sub(earlier.completed),
            completed_cost: self.completed_cost.wrapping_sub(earlier.completed_cost),
            limited_cost: self.limited_cost.wrapping_sub(earlier.limited_cost),
            limited_nanos: self.limited_nanos.wrapping_sub(earlier.limited_nanos),
            shared: self.shared.wrapping_sub(earlier.shared),
        }
    }
}

/// The sums of each worker at the last reading, to know what happened since.
#[derive(Clone, Debug)]
pub(super) struct Seen(Box<[Sums]>);

/// What all workers counted in a period.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Period {
    pub(super) samples: u32,
    pub(super) queuing: Duration,
    pub(super) completed: u32,
    pub(super) shared: u32,
    /// What was completed, by cost.
    pub(super) cost: f64,
    /// For how many seconds the places were taken: the mean over the workers, each weighed by what it completed.
    pub(super) limited_seconds: f64,
    /// What all workers together complete in that time, by cost.
    pub(super) limited_cost: f64,
}

impl Period {
    /// What a completed request cost in the mean.
    pub(super) fn mean_cost(&self) -> Option<f64> {
        (self.completed > 0).then(|| self.cost / f64::from(self.completed))
    }
}

/// Below this share of a period a worker's places were free too often to tell how much they bear.
const LIMITED: f64 = 0.1;

impl Seen {
    /// Nothing was read yet of so many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self(vec![Sums::default(); workers].into_boxed_slice())
    }

    /// Ends the period.
    pub(super) fn remember(&mut self, shards: &[Shard]) {
        self.0.iter_mut().zip(shards).for_each(|(seen, shard)| *seen = Sums::of(shard));
    }

    /// How many left the queues since the last reading.
    pub(super) fn samples(&self, shards: &[Shard]) -> u32 {
        self.since(shards).fold(0, |sum, sums| sum.wrapping_add(sums.samples))
    }

    /// What happened since the last reading, which was so long ago.
    ///
    /// A worker whose places were all taken tells what they bear, another one only what was asked of it; together they
    /// tell a capacity if the workers that do most of the work were at their limit.
    pub(super) fn period(&self, shards: &[Shard], elapsed: Duration) -> Period {
        let elapsed = elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let mut period = Period::default();
        let (mut rate, mut weighed, mut longest) = (0.0, 0.0, 0.0_f64);
        for sums in self.since(shards) {
            period.samples = period.samples.wrapping_add(sums.samples);
            period.queuing = period.queuing.saturating_add(Duration::from_nanos(sums.queuing_nanos));
            period.completed = period.completed.wrapping_add(sums.completed);
            period.shared = period.shared.wrapping_add(sums.shared);
            let (cost, limited) = (units(sums.completed_cost), Duration::from_nanos(sums.limited_nanos).as_secs_f64());
            rate += if limited > LIMITED * elapsed { units(sums.limited_cost) / limited } else { cost / elapsed };
            period.cost += cost;
            weighed += cost * limited;
            longest = longest.max(limited);
        }
        period.limited_seconds = if period.cost > 0.0 { weighed / period.cost } else { longest };
        period.limited_cost = rate * period.limited_seconds;
        period
    }

    fn since<'a>(&'a self, shards: &'a [Shard]) -> impl Iterator<Item = Sums> + 'a {
        shards.iter().zip(&self.0).map(|(shard, seen)| Sums::of(shard).since(*seen))
    }
}

/// What was offered and admitted per level between two readings of a gate. Each reader has a tally of its own: the gate's
/// window, the gateway's own gate, the report to the manager.
///
/// ```
/// use dagor::admission::{Cost, Gate, GateSettings, Level, Tally, Value};
/// use dagor::clock::Timestamp;
///
/// let gate = Gate::new(GateSettings::default(), 1);
/// let level = Level::new(3, 40);
/// gate.decide(0, Timestamp::ZERO, Value::new(level, 7), Cost::ONE).unwrap();
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
    costs_seen: [u64; PRIORITIES],
    costs_sum: [u64; PRIORITIES],
    costs: [f64; PRIORITIES],
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
            costs_seen: [0; PRIORITIES],
            costs_sum: [0; PRIORITIES],
            costs: [0.0; PRIORITIES],
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

    /// What arrived between the last two readings, by cost in units of [`Cost::ONE`], by business priority.
    pub fn costs(&self) -> &[f64] {
        &self.costs
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
        for (cost, (sum, seen)) in self.costs.iter_mut().zip(self.costs_sum.iter().zip(&self.costs_seen)) {
            *cost = units(sum.wrapping_sub(*seen));
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
        self.costs_sum.fill(0);
        self.spared_sum = 0;
        for shard in shards {
            for (sum, cost) in self.costs_sum.iter_mut().zip(&shard.costs) {
                *sum = sum.wrapping_add(cost.load(Relaxed));
            }
            self.spared_sum = self.spared_sum.wrapping_add(shard.spared.load(Relaxed));
            for (sum, cell) in self.sums.iter_mut().zip(&shard.cells) {
                *sum = sum.wrapping_add(cell.load(Relaxed));
            }
        }
    }

    fn remember(&mut self) {
        std::mem::swap(&mut self.seen, &mut self.sums);
        self.costs_seen = self.costs_sum;
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
    fn a_tally_counts_each_decision_once_with_its_cost() {
        let shards = [Shard::new(), Shard::new()];
        let mut tally = Tally::new();
        shards[0].admit(Level::from_index(7), Cost::ONE);
        shards[1].refuse(Level::from_index(7), Cost::from_units(2.0));
        assert_eq!(tally.pending(shards.iter()), Decided { admitted: 1, refused: 1, spared: 0 });
        tally.read_shards(shards.iter());
        assert_eq!((tally.admitted()[7], tally.offered()[7], tally.costs()[0]), (1, 2, 3.0));
        tally.read_shards(shards.iter());
        assert_eq!((tally.admitted()[7], tally.offered()[7], tally.costs()[0]), (0, 0, 0.0));
    }

    #[test]
    fn a_counter_that_wraps_between_two_readings_loses_nothing() {
        let shard = [Shard::new()];
        shard[0].cells[3].store(u32::MAX, Relaxed);
        shard[0].samples.store(u32::MAX, Relaxed);
        shard[0].queuing_nanos.store(u64::MAX, Relaxed);
        shard[0].costs[0].store(u64::MAX, Relaxed);
        let (mut tally, mut seen) = (Tally::new(), Seen::new(1));
        tally.start_from(shard.iter());
        seen.remember(&shard);
        for _ in 0..3 {
            shard[0].admit(Level::from_index(3), Cost::ONE);
            shard[0].sample(Duration::from_nanos(5));
        }
        tally.read_shards(shard.iter());
        let period = seen.period(&shard, Duration::from_secs(1));
        assert_eq!((tally.admitted()[3], period.samples, period.queuing), (3, 3, Duration::from_nanos(15)));
        assert_eq!(tally.costs()[0], 3.0);
    }

    #[test]
    fn absurd_ages_do_not_add_up_to_a_small_one() {
        let shard = [Shard::new()];
        (0..2000).for_each(|_| shard[0].sample(Duration::MAX));
        assert_eq!(Seen::new(1).period(&shard, Duration::from_secs(1)).queuing, LONGEST_AGE * 2000);
    }

    #[test]
    fn a_capacity_is_what_the_busy_workers_bear_and_what_the_others_did() {
        let shards = [Shard::new(), Shard::new()];
        shards[0].limited(Duration::from_millis(500));
        shards[0].complete(Cost::from_units(90.0), true);
        shards[1].complete(Cost::from_units(10.0), false);
        let period = Seen::new(2).period(&shards, Duration::from_secs(1));
        assert_eq!((period.cost, period.completed), (100.0, 2));
        assert!((period.limited_seconds - 0.45).abs() < 1e-9);
        assert!((period.limited_cost / period.limited_seconds - (90.0 / 0.5 + 10.0)).abs() < 1e-9);
    }

    #[test]
    fn a_standstill_is_seen_as_one() {
        let shards = [Shard::new(), Shard::new()];
        shards.iter().for_each(|shard| shard.limited(Duration::from_millis(100)));
        let period = Seen::new(2).period(&shards, Duration::from_millis(100));
        assert_eq!((period.limited_cost, period.limited_seconds), (0.0, 0.1));
    }
}
