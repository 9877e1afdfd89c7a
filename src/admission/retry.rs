//! When a refused request may try again: when it is forecast to pass, never all at the same moment.

use std::time::Duration;

use super::{
    level::{Cut, GRAIN_BITS, USER_LEVELS, Value},
    priority::SHIFT_CYCLE,
};

/// The soonest hint: a window of the paper, before which nothing changes.
const SOONEST_MILLIS: u64 = 1_000;
/// The hint for the far end of the scale, before the spread.
const FARTHEST_MILLIS: u64 = 8_000;
/// The grain spreads requests of one level over a quarter more.
const SPREAD_DIVISOR: u64 = 4;
/// Binary orders of magnitude between no level and all 8192.
const ORDERS: u64 = 13;

/// No hint of [`retry_after`] is longer: a user has passed all levels once.
pub const LONGEST_HINT: Duration = Duration::from_secs(SHIFT_CYCLE.as_secs() + 1);

/// The forecast of when a request of this value is worth another try.
///
/// If the cut lies within the request's business, a part of its users pass, and each user's turn comes as levels shift:
/// then the hint is the time until this user's level has come round to the most important one ([`SHIFT_CYCLE`], taken as
/// if its tier had all levels). Otherwise the whole business is refused until something changes: the hint is 1 s right at
/// the cut and grows with the order of magnitude of the levels in between (4.8 s at a whole business priority) to 8 s at
/// the far end of the scale, and a quarter on top by the request's grain.
///
/// Level and grain are hashes of user and message: clients that were refused together come back apart, and no generator
/// is asked.
pub fn retry_after(value: Value, cut: Cut) -> Duration {
    let (business, user) = (u64::from(value.level().business()), u64::from(value.level().user()));
    let (whole, width) = (cut.whole_levels() as u64, u64::from(USER_LEVELS));
    let spread =
        |millis: u64, over: u64| Duration::from_millis(millis + ((over * u64::from(value.grain())) >> GRAIN_BITS));
    if whole / width == business && whole % width > 0 {
        let per_level = SHIFT_CYCLE.as_millis() as u64 / width;
        return spread(((width - user) * per_level).max(SOONEST_MILLIS), per_level);
    }
    let levels_above = (value.level().index() as u64).saturating_sub(whole);
    let order = u64::from((levels_above + 1).ilog2());
    let base = SOONEST_MILLIS + (FARTHEST_MILLIS - SOONEST_MILLIS) * order / ORDERS;
    spread(base, base / SPREAD_DIVISOR)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::admission::{Level, level::LEVELS};

    fn hint(business: u8, user: u8, cut: Cut) -> Duration {
        retry_after(Value::new(Level::new(business, user), 0), cut)
    }

    #[test]
    fn within_its_business_a_user_comes_back_when_its_turn_has_come() {
        let cut = Cut::through(Level::new(8, 63));
        assert_eq!(hint(8, 64, cut), Duration::from_millis(64 * 226));
        assert_eq!(hint(8, 120, cut), Duration::from_millis(8 * 226));
        assert_eq!(hint(8, 127, cut), Duration::from_secs(1), "but not before anything changes");
    }

    #[test]
    fn a_whole_business_is_told_to_wait_for_better_times() {
        let cut = Cut::through(Level::new(8, 127));
        assert_eq!(hint(9, 0, cut), Duration::from_secs(1));
        assert!(hint(10, 0, cut) > Duration::from_secs(4));
        assert!(retry_after(Value::new(Level::LEAST_IMPORTANT, u32::MAX), Cut::CLOSED) > Duration::from_secs(9));
        assert_eq!(retry_after(Value::default(), Cut::OPEN), Duration::from_secs(1));
    }

    #[test]
    fn requests_of_one_level_are_spread() {
        let at = |grain| retry_after(Value::new(Level::new(9, 0), grain), Cut::through(Level::new(8, 127)));
        assert_eq!(at(0), Duration::from_secs(1));
        assert_eq!(at(1 << 18), Duration::from_millis(1125));
    }

    proptest! {
        #[test]
        fn no_hint_is_shorter_than_a_second_or_longer_than_a_cycle(level in 0..LEVELS, grain: u32, cut: u32) {
            let hint = retry_after(Value::new(Level::from_index(level), grain), Cut::from_bits(cut));
            prop_assert!(hint >= Duration::from_secs(1) && hint <= LONGEST_HINT);
        }

        #[test]
        fn in_businesses_that_are_refused_whole_farther_above_the_cut_never_waits_less(
            level in 0..LEVELS, farther in 0..LEVELS, grain: u32, business in 0..64_usize,
        ) {
            let cut = Cut::below_index(business * 128);
            let hint = |index| retry_after(Value::new(Level::from_index(index), grain), cut);
            prop_assert!(hint(level.min(farther)) <= hint(level.max(farther)));
        }
    }
}
