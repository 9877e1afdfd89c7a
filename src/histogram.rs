//! Durations counted by size: eight buckets for each power of two, so that a quantile is right to an eighth, two
//! histograms add up to that of both, and counting is one index and one increment.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Bits of a value below its leading one that tell buckets apart.
const PRECISION: u32 = 3;
/// Buckets of one power of two.
const STEPS: u64 = 1 << PRECISION;
/// Everything from 2^32 µs (71 minutes) on is in the last bucket.
const LARGEST_POWER: u32 = 32;

/// How many buckets there are.
pub const BUCKETS: usize = (STEPS + (LARGEST_POWER - PRECISION) as u64 * STEPS) as usize;

/// The bucket of a duration.
pub fn bucket(duration: Duration) -> usize {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    if micros < STEPS {
        return micros as usize;
    }
    let power = micros.ilog2();
    let step = (micros >> (power - PRECISION)) - STEPS;
    let index = STEPS + u64::from(power - PRECISION) * STEPS + step;
    (index as usize).min(BUCKETS - 1)
}

/// The largest duration of a bucket.
pub fn upper(bucket: usize) -> Duration {
    let bucket = bucket.min(BUCKETS - 1) as u64;
    if bucket < STEPS {
        return Duration::from_micros(bucket);
    }
    let (power, step) = ((bucket - STEPS) / STEPS, (bucket - STEPS) % STEPS);
    Duration::from_micros(((STEPS + step + 1) << power) - 1)
}

/// Counts of one writer that only grow; readers keep what they saw last.
#[derive(Debug)]
pub struct Cells(Box<[AtomicU64]>);

impl Default for Cells {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Cells {
    /// Counts a duration. Only one thread may: two writers lose counts.
    pub fn record(&self, duration: Duration) {
        let cell = &self.0[bucket(duration)];
        cell.store(cell.load(Relaxed) + 1, Relaxed);
    }

    /// Adds all counts so far to `histogram`.
    pub fn add_to(&self, histogram: &mut Histogram) {
        for (count, cell) in histogram.0.iter_mut().zip(&self.0) {
            *count += cell.load(Relaxed);
        }
    }
}

/// Counts at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram(Box<[u64]>);

impl Default for Histogram {
    fn default() -> Self {
        Self(vec![0; BUCKETS].into_boxed_slice())
    }
}

impl Histogram {
    /// Adds so many to a bucket; one that does not exist is the last.
    pub fn add(&mut self, bucket: usize, count: u64) {
        let cell = &mut self.0[bucket.min(BUCKETS - 1)];
        *cell = cell.saturating_add(count);
    }

    /// What was counted since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self(self.0.iter().zip(&earlier.0).map(|(now, before)| now.saturating_sub(*before)).collect())
    }

    /// The buckets that have a count, in order.
    pub fn counts(&self) -> impl Iterator<Item = (usize, u64)> {
        self.0.iter().copied().enumerate().filter(|&(_, count)| count > 0)
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// The duration that this share of what was counted does not exceed, to an eighth; `None` if nothing was counted.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        let rank = ((total as f64 * share).ceil() as u64).clamp(1, total);
        let mut seen = 0_u64;
        self.counts().find_map(|(bucket, count)| {
            seen = seen.saturating_add(count);
            (seen >= rank).then(|| upper(bucket))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_are_an_eighth_wide() {
        for at in 0..BUCKETS - 1 {
            assert_eq!(bucket(upper(at)), at);
            assert_eq!(bucket(upper(at) + Duration::from_micros(1)), at + 1);
        }
        let micros = Duration::from_micros(1_000_000);
        assert!(upper(bucket(micros)) < micros.mul_f64(1.125));
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_quantile_is_that_of_all_that_were_added_up() {
        let (here, there) = (Cells::default(), Cells::default());
        (0..99).for_each(|_| here.record(Duration::from_millis(1)));
        there.record(Duration::from_millis(100));
        let mut both = Histogram::default();
        here.add_to(&mut both);
        assert_eq!((both.total(), both.quantile(1.0)), (99, both.quantile(0.0)));
        let before = both.clone();
        there.add_to(&mut both);
        assert!(both.quantile(0.99).unwrap() < Duration::from_micros(1_125));
        assert!(both.quantile(1.0).unwrap() >= Duration::from_millis(100));
        assert_eq!(both.since(&before).total(), 1);
        assert_eq!(Histogram::default().quantile(0.5), None);
    }
}
