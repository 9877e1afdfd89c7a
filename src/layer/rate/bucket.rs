//! A rate with a burst, decided from one number: the time at which the bucket will be full again.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::clock::Timestamp;

/// The longest wait that a refusal names. A rate of zero would name eternity, but rates are changed while running.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A token bucket as the generic cell rate algorithm has it: no timer refills it, and taking a token is one
/// compare-and-swap. Time must not be measured with different clocks; small steps back are harmless.
#[derive(Debug)]
pub struct TokenBucket {
    /// Nanoseconds at which the bucket is full.
    full_at: AtomicU64,
    /// Nanoseconds in which one token comes back.
    interval: AtomicU64,
    /// Nanoseconds in which an empty bucket fills up.
    depth: AtomicU64,
}

impl TokenBucket {
    /// A full bucket. A rate of zero or less lets nothing through; a burst of zero is taken for one.
    pub fn new(per_second: f64, burst: u32) -> Self {
        let bucket = Self { full_at: 0.into(), interval: 0.into(), depth: 0.into() };
        bucket.set(per_second, burst);
        bucket
    }

    /// Changes rate and burst. The tokens that are there stay, up to the new burst.
    pub fn set(&self, per_second: f64, burst: u32) {
        let (interval, depth) = if per_second > 0.0 {
            let interval = (1e9 / per_second) as u64;
            (interval, interval.saturating_mul(burst.max(1).into()))
        } else {
            (u64::MAX, 0)
        };
        // Between the two stores, one decision may see the new interval with the old depth.
        self.interval.store(interval, Relaxed);
        self.depth.store(depth, Relaxed);
    }

    /// Takes a token.
    ///
    /// # Errors
    ///
    /// The time until there will be one, at most [`LONGEST_WAIT`]. It is not reserved.
    pub fn try_take(&self, now: Timestamp) -> Result<(), Duration> {
        let now = now.as_nanos();
        let (interval, depth) = (self.interval.load(Relaxed), self.depth.load(Relaxed));
        // A bucket is never emptier than empty, even if it was deeper before it was changed or time stepped back.
        let empty = now.saturating_add(depth);
        let after = |full_at: u64| full_at.clamp(now, empty).saturating_add(interval) - now;
        let take = |full_at| Some(after(full_at)).filter(|&fill| fill <= depth).map(|fill| now + fill);
        self.full_at.fetch_update(Relaxed, Relaxed, take).map(drop).map_err(|full_at| {
            if full_at > empty {
                // Whoever came in between has seen to it.
                let _ = self.full_at.compare_exchange(full_at, empty, Relaxed, Relaxed);
            }
            Duration::from_nanos(after(full_at).saturating_sub(depth)).min(LONGEST_WAIT)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(millis)
    }

    fn taken(bucket: &TokenBucket, now: Timestamp) -> usize {
        (0..1000).take_while(|_| bucket.try_take(now).is_ok()).count()
    }

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_the_rate() {
        let bucket = TokenBucket::new(10.0, 3);
        assert_eq!(taken(&bucket, at(0)), 3);
        assert_eq!(bucket.try_take(at(0)), Err(Duration::from_millis(100)));
        assert_eq!(bucket.try_take(at(60)), Err(Duration::from_millis(40)));
        assert_eq!(taken(&bucket, at(100)), 1);
        assert_eq!(taken(&bucket, at(60_000)), 3);
    }

    #[test]
    fn a_rate_of_zero_lets_nothing_through_and_an_infinite_one_everything() {
        for closed in [0.0, -1.0, f64::NAN] {
            assert_eq!(TokenBucket::new(closed, 5).try_take(at(1)), Err(LONGEST_WAIT));
        }
        assert_eq!(taken(&TokenBucket::new(f64::INFINITY, 1), at(1)), 1000);
        assert_eq!(taken(&TokenBucket::new(1.0, 0), at(1)), 1);
    }

    #[test]
    fn a_new_rate_takes_effect_at_once() {
        let bucket = TokenBucket::new(0.01, 1);
        assert_eq!(taken(&bucket, at(0)), 1);
        bucket.set(100.0, 2);
        assert_eq!(bucket.try_take(at(0)), Err(Duration::from_millis(10)));
        assert_eq!(taken(&bucket, at(10)), 1);
        bucket.set(0.0, 2);
        assert_eq!(taken(&bucket, at(10_000)), 0);
    }

    #[test]
    fn a_step_back_in_time_neither_panics_nor_closes_the_bucket() {
        let bucket = TokenBucket::new(1000.0, 1);
        assert_eq!(taken(&bucket, at(10_000)), 1);
        assert_eq!(bucket.try_take(at(5_000)), Err(Duration::from_millis(1)));
        assert!(bucket.try_take(at(10_001)).is_ok());
        assert!(bucket.try_take(Timestamp::MAX).is_ok());
        assert_eq!(taken(&bucket, at(20_000)), 0);
        assert_eq!(taken(&bucket, at(20_001)), 1);
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_gives_more_than_burst_and_rate(
            rate in 1_u64..1000,
            burst in 1_u32..20,
            steps in prop::collection::vec(0_u64..50, 1..200),
        ) {
            let bucket = TokenBucket::new(rate as f64, burst);
            let mut now = 0;
            let mut given = Vec::new();
            for step in steps {
                now += step;
                if bucket.try_take(at(now)).is_ok() {
                    given.push(now);
                }
            }
            for (index, &start) in given.iter().enumerate() {
                for (count, &end) in given[index..].iter().enumerate() {
                    prop_assert!(count as u64 * 1000 <= u64::from(burst) * 1000 + rate * (end - start) + 1);
                }
            }
        }
    }
}
