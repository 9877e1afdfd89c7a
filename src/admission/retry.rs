//! When a refused request may try again: sooner the closer it was to the cut, never all at the same moment.

use std::time::Duration;

use super::level::{Cut, GRAIN_BITS, Value};

/// The hint for a request right at the cut: a window of the paper, before which nothing changes.
const SOONEST_MILLIS: u64 = 1_000;
/// The hint for the far end of the scale, before the spread.
const FARTHEST_MILLIS: u64 = 8_000;
/// The grain spreads requests of one level over a quarter more.
const SPREAD_DIVISOR: u64 = 4;
/// Binary orders of magnitude between no level and all 8192.
const ORDERS: u64 = 13;

/// No hint of [`retry_after`] is longer.
pub const LONGEST_HINT: Duration = Duration::from_secs(10);

/// The forecast of when a request of this value is worth another try: 1 s right at the cut, growing with the order of
/// magnitude of the levels in between (3.7 s at 31 levels, 4.8 s at a whole business priority) to 8 s at the far end of
/// the scale, and a quarter on top by the request's grain. Between two requests of the same grain, the one that lies
/// farther above the cut never waits less.
///
/// The grain is a hash of user and message: clients that were refused together come back apart, and no generator is
/// asked.
pub fn retry_after(value: Value, cut: Cut) -> Duration {
    let levels_above = value.level().index().saturating_sub(cut.whole_levels()) as u64;
    let order = u64::from((levels_above + 1).ilog2());
    let base = SOONEST_MILLIS + (FARTHEST_MILLIS - SOONEST_MILLIS) * order / ORDERS;
    let spread = ((base * u64::from(value.grain())) >> GRAIN_BITS) / SPREAD_DIVISOR;
    Duration::from_millis(base + spread)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::admission::{Level, level::LEVELS};

    #[test]
    fn the_hint_runs_from_one_second_to_ten() {
        let worst = Value::new(Level::LEAST_IMPORTANT, u32::MAX);
        assert_eq!(retry_after(Value::default(), Cut::OPEN), Duration::from_secs(1));
        assert!(retry_after(worst, Cut::CLOSED) <= LONGEST_HINT);
        assert!(retry_after(worst, Cut::CLOSED) > Duration::from_secs(9));
    }

    #[test]
    fn requests_of_one_level_are_spread() {
        let at = |grain| retry_after(Value::new(Level::new(9, 0), grain), Cut::through(Level::new(8, 127)));
        assert_eq!(at(0), Duration::from_secs(1));
        assert_eq!(at(1 << 18), Duration::from_millis(1125));
    }

    proptest! {
        #[test]
        fn farther_above_the_cut_never_waits_less(
            level in 0..LEVELS, farther in 0..LEVELS, grain: u32, cut: u32,
        ) {
            let hint = |index| retry_after(Value::new(Level::from_index(index), grain), Cut::from_bits(cut));
            prop_assert!(hint(level.min(farther)) <= hint(level.max(farther)));
            prop_assert!(hint(level) <= LONGEST_HINT);
        }
    }
}
