//! What a cut means for one user and one business in the time to come: the client is told this share, and never learns
//! its level.
//!
//! A user moves through its tier's levels from the more to the less important, and then begins anew. So once a business is
//! not open to it any more, it will not be again before the user begins anew or the cut moves. The share that is told is
//! the mean over the time for which it is told, and that time ends where the user's level gets better: a client that is
//! told to wait is never told to wait for longer than that.

use std::time::Duration;

use super::{
    level::{Cut, GRAIN_BITS, Level, Value},
    priority::UserHash,
};

/// All of a client's requests pass.
pub const WHOLE: u16 = 1000;

/// For what share of a client's requests of a business a cut is open, and for how long that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// In thousandths, below [`WHOLE`]; 0 is closed.
    pub open_permille: u16,
    /// At least a millisecond, counted from the time that was asked about.
    pub valid: Duration,
}

/// What `cut` means for the requests of this user and a business of this priority, from a common time (since the Unix
/// epoch) on, for at most the time `hold` (at least a millisecond). `None` if all of them pass at that time.
pub fn resolve(
    cut: Cut,
    business: u8,
    user: UserHash,
    since_epoch: Duration,
    tier: (u8, u8),
    hold: Duration,
) -> Option<Resolved> {
    let share_at = |at| share(cut, Level::new(business, user.level(at, tier)));
    let present = share_at(since_epoch);
    if present == GRAINS {
        return None;
    }
    let hold = hold.max(MILLISECOND);
    let (mut valid, mut passing) = (Duration::ZERO, 0);
    // Ends: each step takes at least a millisecond, and there is one for each level that is passed.
    while valid < hold {
        let at = since_epoch + valid;
        let share = share_at(at);
        if share > present {
            break;
        }
        let stay = user.stay(at, tier).min(hold - valid);
        passing += u128::from(share) * stay.as_millis();
        valid += stay;
    }
    let millis = valid.as_millis();
    let open_permille = (passing * u128::from(WHOLE) / millis / u128::from(GRAINS)) as u16;
    Some(Resolved { open_permille, valid: Duration::from_millis(millis as u64) })
}

/// The unit of what is told.
const MILLISECOND: Duration = Duration::from_millis(1);

/// All grains of a level.
const GRAINS: u64 = 1 << GRAIN_BITS;

/// How many of a level's grains lie below a cut.
fn share(cut: Cut, level: Level) -> u64 {
    let first = u64::from(Value::new(level, 0).bits());
    // An open cut leaves out the last grain of all, which no request has.
    let open = cut == Cut::OPEN;
    if open { GRAINS } else { u64::from(cut.bits()).saturating_sub(first).min(GRAINS) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: (u8, u8) = (0, 127);
    const HOLD: Duration = Duration::from_secs(1);
    /// Is on the first level at the time zero, and on each for 226 or 227 ms.
    const USER: UserHash = UserHash::from_bits(1 << 40);

    fn told(cut: Cut, millis: u64) -> Option<(u16, u64)> {
        let resolved = resolve(cut, 2, USER, Duration::from_millis(millis), ALL, HOLD)?;
        Some((resolved.open_permille, u64::try_from(resolved.valid.as_millis()).unwrap()))
    }

    /// Half of the level.
    fn within(business: u8, user: u8) -> Cut {
        Cut::from_bits(Value::new(Level::new(business, user), 1 << (GRAIN_BITS - 1)).bits())
    }

    #[test]
    fn what_is_open_now_is_not_told_even_if_it_closes_soon() {
        assert_eq!(told(Cut::OPEN, 0), None);
        assert_eq!(told(Cut::through(Level::new(2, 0)), 0), None);
        let last = Level::LEAST_IMPORTANT;
        let single = (last.user(), last.user());
        assert_eq!(resolve(Cut::OPEN, last.business(), USER, Duration::ZERO, single, HOLD), None);
    }

    #[test]
    fn what_lies_above_the_cut_at_every_level_is_closed_for_as_long_as_may_be_said() {
        assert_eq!(told(Cut::CLOSED, 0), Some((0, 1000)));
        assert_eq!(told(Cut::through(Level::new(1, 127)), 28_900), Some((0, 1000)));
    }

    #[test]
    fn what_will_be_open_when_the_user_begins_anew_is_closed_only_until_then() {
        let half_of_the_users = Cut::through(Level::new(2, 63));
        assert_eq!(told(half_of_the_users, 20_000), Some((0, 1000)));
        assert_eq!(told(half_of_the_users, 28_700), Some((0, 300)));
        assert_eq!(told(half_of_the_users, 28_999), Some((0, 1)));
    }

    #[test]
    fn the_share_is_the_mean_over_the_time_for_which_it_is_told() {
        // Half of the first level's 226 ms passes, and nothing behind it.
        assert_eq!(told(within(2, 0), 0), Some((113, 1000)));
        let single = resolve(within(2, 9), 2, USER, Duration::ZERO, (9, 9), HOLD).unwrap();
        assert_eq!(single, Resolved { open_permille: 500, valid: HOLD });
    }

    proptest! {
        /// Against the plain way: look at every millisecond.
        #[test]
        fn as_many_requests_pass_as_is_told(
            hash: u64, millis in 0_u64..1 << 40, first: u8, last: u8, business in 0_u8..64, user in 0_u8..128, grain: u32,
        ) {
            let cut = Cut::from_bits(Value::new(Level::new(business, user), grain).bits());
            let (who, tier) = (UserHash::from_bits(hash), (first, last));
            let share_at = |millis| {
                share(cut, Level::new(business, who.level(Duration::from_millis(millis), tier))) as f64 / GRAINS as f64
            };
            match resolve(cut, business, who, Duration::from_millis(millis), tier, HOLD) {
                None => prop_assert_eq!(share_at(millis), 1.0),
                Some(Resolved { open_permille, valid }) => {
                    let valid = u64::try_from(valid.as_millis()).unwrap();
                    prop_assert!((1..=1000).contains(&valid) && open_permille < WHOLE);
                    let mean = (0..valid).map(|at| share_at(millis + at)).sum::<f64>() / valid as f64;
                    prop_assert!((mean * 1000.0 - f64::from(open_permille)).abs() <= 1.5, "{mean}");
                    prop_assert!(valid == 1000 || share_at(millis + valid) > share_at(millis));
                }
            }
        }

        #[test]
        fn any_input_has_an_answer_and_a_stricter_cut_never_opens_more(
            hash: u64, nanos: u64, first: u8, last: u8, business: u8, one: u32, other: u32, hold in 0_u64..40_000,
        ) {
            let open = |cut| {
                let (at, hold) = (Duration::from_nanos(nanos), Duration::from_millis(hold));
                let resolved = resolve(Cut::from_bits(cut), business, UserHash::from_bits(hash), at, (first, last), hold);
                resolved.map_or(WHOLE, |resolved| resolved.open_permille)
            };
            // Both are told for the same time unless the looser cut opens before.
            prop_assert!(open(one.min(other)) <= WHOLE);
            if open(one.max(other)) == 0 {
                prop_assert_eq!(open(one.min(other)), 0);
            }
        }
    }
}
