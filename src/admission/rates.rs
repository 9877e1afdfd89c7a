//! How much arrives per second at each level, by cost, learnt from windows however short: a window's edge never empties
//! it, chance hardly moves it, and a change that is more than chance replaces it at once.
//!
//! Arrivals below the cut are demand as it is. Those above may be held back by callers who know that they would be
//! refused; that they stay away is no proof that they are gone. So what is remembered above the cut fades slowly, while
//! what is seen below it is believed at once.

use super::{
    cells::PRIORITIES,
    dispersion::Dispersion,
    level::{Cut, GRAIN_BITS, LEVELS, Level, USER_LEVELS},
    share::MinimumShare,
};

/// Arrivals in the memory: chance then moves their sum by about 2 %.
const REMEMBERED: f64 = 2500.0;
/// Bounds of the memory in seconds: long enough for the phases of periodic senders, short enough for a changing mix.
const SHORTEST_MEMORY: f64 = 1.0;
const LONGEST_MEMORY: f64 = 12.0;
/// The fresh measure that is held against the memory, in seconds.
const FRESH_SECONDS: f64 = 0.25;
/// A change is a difference of so many standard deviations.
const CHANGE: f64 = 4.5;
/// Bounds of what is believed of the dispersion of arrivals: independent ones have 1, and calls of one task come in
/// bundles.
const LEAST_DISPERSION: f64 = 1.0;
const MOST_DISPERSION: f64 = 30.0;
/// In how many seconds the memory of what stays away above the cut fades to a third.
const FADING_SECONDS: f64 = 3.0;

/// Decayed arrivals per level.
#[derive(Clone, Debug)]
pub struct LevelRates {
    /// Cost, decayed, by the index of the level.
    costs: Box<[f32]>,
    /// The time that these are of, decayed alike.
    seconds: f64,
    /// How many requests these were, decayed alike.
    requests: f64,
    /// What arrived of late, and what should have by the memory.
    fresh: Halves,
    expected: Halves,
    /// Of the arrivals below the cut.
    dispersion: Dispersion,
}

/// Requests below and above the cut.
#[derive(Clone, Copy, Debug, Default)]
struct Halves {
    below: f64,
    above: f64,
}

impl Halves {
    /// Fades, and takes on what came in a window.
    fn add(&mut self, keep: f64, window: Self) {
        self.below = self.below * keep + window.below;
        self.above = self.above * keep + window.above;
    }
}

/// The points on the scale that let a given rate through.
#[derive(Clone, Debug, PartialEq)]
pub struct Division {
    /// What is below it fits.
    pub cut: Cut,
    /// For each business priority with a minimum share that the cut does not fulfil, up to which value it passes all the
    /// same; zero elsewhere.
    pub floors: [u32; PRIORITIES],
}

impl LevelRates {
    /// Nothing is known.
    pub fn new() -> Self {
        Self {
            costs: vec![0.0; LEVELS].into_boxed_slice(),
            seconds: 0.0,
            requests: 0.0,
            fresh: Halves::default(),
            expected: Halves::default(),
            dispersion: Dispersion::new(LEAST_DISPERSION),
        }
    }

    /// Learns what arrived in a window of `elapsed` seconds under this cut. `costs` has the cost of what arrived by
    /// business priority, `offered` the count by level.
    pub fn observe(&mut self, offered: &[u32], costs: &[f64], elapsed: f64, cut: Cut) {
        let whole = cut.whole_levels().min(LEVELS);
        let count = |levels: &[u32]| levels.iter().map(|&count| u64::from(count)).sum::<u64>() as f64;
        let arrived = Halves { below: count(&offered[..whole]), above: count(&offered[whole..]) };
        let expected = self.expect(whole, elapsed);
        let fade = (-elapsed / FRESH_SECONDS).exp();
        self.fresh.add(fade, arrived);
        self.expected.add(fade, expected);
        match self.keep(elapsed) {
            Some(keep) => {
                self.dispersion.observe(arrived.below, expected.below);
                self.decay(whole, keep);
            }
            None => {
                self.costs.fill(0.0);
                (self.seconds, self.requests, self.fresh, self.expected) = (0.0, 0.0, arrived, arrived);
            }
        }
        self.seconds += elapsed;
        self.requests += arrived.below + arrived.above;
        self.add(offered, costs);
    }

    /// Cost per second over all levels.
    pub fn total(&self) -> f64 {
        self.rate(sum(&self.costs))
    }

    /// Cost per second at the levels that a cut admits, whole or in part.
    pub fn below(&self, cut: Cut) -> f64 {
        let levels = (cut.whole_levels() + 1).min(LEVELS);
        self.rate(sum(&self.costs[..levels]))
    }

    /// Cost per second at each level that had any, in order.
    pub fn per_level(&self) -> impl Iterator<Item = (Level, f64)> + '_ {
        let known = self.costs.iter().enumerate().filter(|(_, cost)| **cost > 0.0);
        known.map(|(index, &cost)| (Level::from_index(index), self.rate(f64::from(cost))))
    }

    /// The requests that the rates are known from.
    pub const fn evidence(&self) -> f64 {
        self.requests
    }

    /// The variance of the arrivals below the cut over their mean.
    pub fn dispersion(&self) -> f64 {
        self.dispersion.within(LEAST_DISPERSION, MOST_DISPERSION)
    }

    /// The cut that lets `wanted` cost per second through, down to a point inside the level at its edge, and what more the
    /// minimum shares of a capacity let through; their part is taken from `wanted` first.
    pub fn divide(&self, wanted: f64, capacity: f64, shares: &[MinimumShare]) -> Division {
        let reserved = self.reserve(capacity, shares);
        let cut = self.cut(wanted - reserved.iter().sum::<f64>(), reserved);
        let mut floors = [0; PRIORITIES];
        for share in shares {
            let priority = usize::from(share.priority) % PRIORITIES;
            floors[priority] = self.floor(priority, reserved[priority], cut);
        }
        Division { cut, floors }
    }

    /// The cut that lets `room` cost per second through beside what each business priority has in reserve.
    fn cut(&self, room: f64, reserve: [f64; PRIORITIES]) -> Cut {
        // In decayed cost, as the histogram has it, so that nothing is divided per level.
        let mut room = room * self.seconds;
        let width = usize::from(USER_LEVELS);
        for (priority, levels) in self.costs.chunks(width).enumerate() {
            let mut reserve = reserve[priority] * self.seconds;
            let whole = sum(levels);
            if whole - reserve.min(whole) <= room {
                room -= whole - reserve.min(whole);
                continue;
            }
            for (level, &cost) in levels.iter().enumerate() {
                let cost = f64::from(cost);
                let own = cost.min(reserve);
                reserve -= own;
                if cost - own > room {
                    return point(priority * width + level, own + room.max(0.0), cost);
                }
                room -= cost - own;
            }
        }
        Cut::OPEN
    }

    /// How much of each business priority passes in any case.
    fn reserve(&self, capacity: f64, shares: &[MinimumShare]) -> [f64; PRIORITIES] {
        let mut reserve = [0.0; PRIORITIES];
        for share in shares {
            let priority = usize::from(share.priority) % PRIORITIES;
            let demand: f64 = self.levels_of(priority).map(|(_, rate)| rate).sum();
            reserve[priority] = demand.min(share.share * capacity);
        }
        reserve
    }

    /// The value below which `wanted` of a priority passes, zero if the cut lets as much through anyway.
    fn floor(&self, priority: usize, wanted: f64, cut: Cut) -> u32 {
        let mut room = wanted;
        for (index, rate) in self.levels_of(priority).filter(|&(_, rate)| rate > 0.0) {
            if rate >= room {
                let floor = point(index, room, rate);
                return if floor <= cut { 0 } else { floor.bits() };
            }
            room -= rate;
        }
        0
    }

    fn levels_of(&self, priority: usize) -> impl Iterator<Item = (usize, f64)> {
        let width = usize::from(USER_LEVELS);
        let levels = priority * width..(priority + 1) * width;
        levels.map(|index| (index, self.rate(f64::from(self.costs[index]))))
    }

    fn rate(&self, cost: f64) -> f64 {
        if self.seconds > 0.0 { cost / self.seconds } else { 0.0 }
    }

    /// How many requests should arrive in a window, below so many whole levels and above.
    fn expect(&self, whole: usize, elapsed: f64) -> Halves {
        let (below, above) = (sum(&self.costs[..whole]), sum(&self.costs[whole..]));
        let per_cost = if below + above > 0.0 { self.requests / (below + above) } else { 0.0 };
        Halves { below: self.rate(below) * per_cost * elapsed, above: self.rate(above) * per_cost * elapsed }
    }

    /// How much of the memory stays, below and above the cut; nothing if what arrived of late contradicts it.
    fn keep(&self, elapsed: f64) -> Option<Halves> {
        if self.seconds <= 0.0 {
            return None;
        }
        let dispersion = self.dispersion();
        let deviation = |fresh: f64, expected: f64| (fresh - expected) / (expected * dispersion + 1.0).sqrt();
        let below = deviation(self.fresh.below, self.expected.below);
        let above = deviation(self.fresh.above, self.expected.above);
        if below.abs() > CHANGE || above > CHANGE {
            return None;
        }
        let rate = self.requests / self.seconds;
        let span = (REMEMBERED / rate.max(f64::MIN_POSITIVE)).clamp(SHORTEST_MEMORY, LONGEST_MEMORY);
        let keep = (-elapsed / span).exp();
        // Who stays away is missed for a while.
        let fading = if above < -CHANGE { (-elapsed / FADING_SECONDS).exp() } else { 0.0 };
        Some(Halves { below: keep, above: keep.max(fading) })
    }

    fn decay(&mut self, whole: usize, keep: Halves) {
        self.seconds *= keep.below;
        self.requests *= keep.below;
        let (front, back) = self.costs.split_at_mut(whole);
        front.iter_mut().for_each(|cost| *cost *= keep.below as f32);
        back.iter_mut().for_each(|cost| *cost *= keep.above as f32);
    }

    fn add(&mut self, offered: &[u32], costs: &[f64]) {
        let width = usize::from(USER_LEVELS);
        for ((levels, memory), cost) in offered.chunks(width).zip(self.costs.chunks_mut(width)).zip(costs) {
            let count: u64 = levels.iter().map(|&count| u64::from(count)).sum();
            if count == 0 {
                continue;
            }
            let mean = (cost / count as f64) as f32;
            for (memory, &count) in memory.iter_mut().zip(levels) {
                *memory += count as f32 * mean;
            }
        }
    }
}

impl Default for LevelRates {
    fn default() -> Self {
        Self::new()
    }
}

/// The sum of decayed costs, in lanes that do not wait for each other.
fn sum(costs: &[f32]) -> f64 {
    let (lanes, rest) = costs.as_chunks::<8>();
    let mut sums = [0.0_f64; 8];
    for lane in lanes {
        for (sum, &cost) in sums.iter_mut().zip(lane) {
            *sum += f64::from(cost);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|&cost| f64::from(cost)).sum::<f64>()
}

/// The point in a level below which `part` of its `whole` lies; the grain spreads a level's requests evenly.
fn point(index: usize, part: f64, whole: f64) -> Cut {
    let share = (part / whole).clamp(0.0, 1.0);
    let grain = (share * f64::from(1_u32 << GRAIN_BITS)) as u64;
    let bits = ((index as u64) << GRAIN_BITS) + grain;
    Cut::from_bits(u32::try_from(bits).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::{Level, Value};

    const WINDOW: f64 = 0.1;

    struct Source {
        rates: LevelRates,
        offered: Vec<u32>,
        costs: [f64; PRIORITIES],
    }

    impl Source {
        fn new() -> Self {
            Self { rates: LevelRates::new(), offered: vec![0; LEVELS], costs: [0.0; PRIORITIES] }
        }

        /// Windows in which `count` requests of unit cost arrive at each of the levels.
        fn windows(&mut self, windows: u32, cut: Cut, levels: &[(usize, u32)]) {
            self.offered.fill(0);
            self.costs.fill(0.0);
            for &(index, count) in levels {
                self.offered[index] += count;
                self.costs[index / 128] += f64::from(count);
            }
            (0..windows).for_each(|_| self.rates.observe(&self.offered, &self.costs, WINDOW, cut));
        }

        fn cut(&self, wanted: f64) -> Cut {
            self.rates.divide(wanted, wanted, &[]).cut
        }
    }

    fn about(actual: f64, expected: f64) -> bool {
        (actual - expected).abs() <= expected * 0.02
    }

    #[test]
    fn the_cut_lets_the_wanted_rate_through_down_to_a_part_of_a_level() {
        let mut source = Source::new();
        source.windows(20, Cut::OPEN, &[(10, 50), (20, 50)]);
        assert!(about(source.rates.total(), 1000.0));
        let cut = source.cut(750.0);
        assert_eq!(cut.whole_levels(), 20);
        let grain = f64::from(cut.bits() & ((1 << GRAIN_BITS) - 1)) / f64::from(1 << GRAIN_BITS);
        assert!(about(grain, 0.5), "{grain}");
        assert_eq!(source.cut(1100.0), Cut::OPEN);
        assert!(!source.cut(0.0).admits(Value::new(Level::from_index(10), 0)));
    }

    #[test]
    fn ten_times_as_much_is_believed_in_one_window() {
        let mut source = Source::new();
        source.windows(50, Cut::OPEN, &[(10, 50), (20, 50)]);
        source.windows(1, Cut::OPEN, &[(10, 500), (20, 500)]);
        assert!(about(source.rates.total(), 10_000.0), "{}", source.rates.total());
        source.windows(1, Cut::below_index(15), &[(10, 50), (20, 50)]);
        assert!(about(source.rates.total(), 1000.0), "{}", source.rates.total());
    }

    #[test]
    fn chance_is_smoothed() {
        let mut source = Source::new();
        source.windows(50, Cut::OPEN, &[(10, 50), (20, 50)]);
        source.windows(1, Cut::OPEN, &[(10, 65), (20, 60)]);
        assert!((source.rates.total() - 1000.0).abs() < 30.0, "{}", source.rates.total());
    }

    #[test]
    fn what_stays_away_above_the_cut_is_forgotten_slowly() {
        let mut source = Source::new();
        let cut = Cut::below_index(15);
        source.windows(50, cut, &[(10, 50), (20, 50)]);
        source.windows(5, cut, &[(10, 50)]);
        assert!(source.rates.total() > 850.0, "{}", source.rates.total());
        source.windows(200, cut, &[(10, 50)]);
        assert!(about(source.rates.total(), 500.0), "{}", source.rates.total());
    }

    #[test]
    fn dear_requests_use_up_more_of_the_room() {
        let mut source = Source::new();
        let (cheap, dear) = (10, 200);
        let mut offered = vec![0; LEVELS];
        (offered[cheap], offered[dear]) = (50, 50);
        let mut costs = [0.0; PRIORITIES];
        (costs[0], costs[1]) = (50.0, 500.0);
        source.rates.observe(&offered, &costs, WINDOW, Cut::OPEN);
        assert!(about(source.rates.total(), 5500.0));
        assert_eq!(source.cut(600.0).whole_levels(), dear);
    }

    #[test]
    fn a_minimum_share_passes_above_the_cut_and_is_taken_from_the_rest() {
        let mut source = Source::new();
        source.windows(20, Cut::OPEN, &[(10, 100), (128 * 5 + 3, 100), (128 * 5 + 9, 100)]);
        let shares = [MinimumShare { priority: 5, share: 0.1 }];
        let division = source.rates.divide(1000.0, 1000.0, &shares);
        // 900 of level 10's 1000 pass, and 100 of priority 5's 2000.
        assert_eq!(division.cut.whole_levels(), 10);
        let floor = Value::from_bits(division.floors[5]);
        assert_eq!(floor.level(), Level::from_index(128 * 5 + 3));
        assert!((f64::from(floor.grain()) / f64::from(1 << GRAIN_BITS) - 0.1).abs() < 0.01);
        assert_eq!(source.rates.divide(9000.0, 9000.0, &shares).floors[5], 0, "the cut lets as much through");
    }

    #[test]
    fn without_any_arrivals_the_cut_is_open() {
        assert_eq!(Source::new().cut(0.0), Cut::OPEN);
        let mut source = Source::new();
        source.windows(3, Cut::CLOSED, &[]);
        assert_eq!((source.cut(0.0), source.rates.total()), (Cut::OPEN, 0.0));
    }
}
