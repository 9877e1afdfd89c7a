//! Where a request stands within its business priority: a keyed hash places the user, common time moves all users round,
//! and a hash of user and message gives the grain. Gateways with the same key and clock agree; clients without the key
//! cannot aim.

use std::{fmt, hash::Hasher, time::Duration};

use siphasher::sip::SipHasher13;

use super::level::{GRAIN_BITS, Level, USER_LEVELS, Value};
use crate::id::MessageId;

/// The time in which a user passes through all levels of its tier. Long enough for a task to stay on its level, short
/// enough that everyone is served alike within a minute. A divisor of a minute would always catch clients that send once
/// a minute at the same level, so it is a prime number of seconds.
pub const SHIFT_CYCLE: Duration = Duration::from_secs(29);

const CYCLE_MILLIS: u64 = SHIFT_CYCLE.as_secs() * 1000;
/// How far a user moves in a millisecond, where the whole range of a hash is one cycle.
const STEP_PER_MILLI: u64 = u64::MAX / CYCLE_MILLIS;
/// 2^64 divided by the golden ratio: consecutive message ids fall far apart.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The fleet's secret for placing users. Not shown by `Debug`.
#[derive(Clone)]
pub struct PriorityKey(
    /// 128 random bits, the same on every gateway.
    pub [u8; 16],
);

impl fmt::Debug for PriorityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PriorityKey(..)")
    }
}

impl PriorityKey {
    /// The place of this user: SipHash-1-3 of the bytes of its id, the same in every version of this library.
    pub fn user(&self, id: &[u8]) -> UserHash {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        // `write` alone: what `Hash` feeds for a slice is not stable between versions.
        hasher.write(id);
        UserHash(hasher.finish())
    }
}

/// A user's place, from [`PriorityKey::user`]; kept with its connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct UserHash(u64);

impl fmt::Debug for UserHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserHash(..)")
    }
}

impl UserHash {
    /// A place that was computed elsewhere, or that a test chooses.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The place as a number, to spread users by.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The user level at a common time (since the Unix epoch) within a tier's levels, both included. All users move
    /// through their tier's range in [`SHIFT_CYCLE`], each changing level at a moment of its own.
    pub fn level(self, since_epoch: Duration, (first, last): (u8, u8)) -> u8 {
        let (first, levels) = range(first, last);
        // The upper half of the product is the place scaled down to the range.
        let offset = (u128::from(self.place(since_epoch)) * u128::from(levels)) >> 64;
        (u64::from(first) + offset as u64) as u8
    }

    /// How long the user stays on the level that it has at this time, to the millisecond; the whole cycle if its tier has
    /// only one.
    pub fn stay(self, since_epoch: Duration, (first, last): (u8, u8)) -> Duration {
        let (_, levels) = range(first, last);
        // How far into its level the user is, where a level is 2^64 wide; scaled up by the number of levels.
        let into = u128::from(self.place(since_epoch).wrapping_mul(levels));
        let step = u128::from(STEP_PER_MILLI) * u128::from(levels);
        let millis = ((1_u128 << 64) - into).div_ceil(step);
        Duration::from_millis(u64::try_from(millis).map_or(CYCLE_MILLIS, |millis| millis.min(CYCLE_MILLIS)))
    }

    /// The user's place at a common time; it passes through all of the numbers in a cycle.
    fn place(self, since_epoch: Duration) -> u64 {
        let seconds = since_epoch.as_secs() % SHIFT_CYCLE.as_secs();
        let millis = seconds * 1000 + u64::from(since_epoch.subsec_millis());
        self.0.wrapping_add(millis * STEP_PER_MILLI)
    }

    /// The grain of this user's message, 19 bits: a retry has the same. Keyed, because the user's hash is.
    pub const fn grain(self, message: MessageId) -> u32 {
        let mut mixed = self.0.wrapping_add(message.0.wrapping_mul(GOLDEN));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed >> (64 - GRAIN_BITS)) as u32
    }

    /// The value of this user's message under a business priority, at a common time, in a tier's levels.
    pub fn value(self, business: u8, since_epoch: Duration, tier: (u8, u8), message: MessageId) -> Value {
        Value::new(Level::new(business, self.level(since_epoch, tier)), self.grain(message))
    }
}

/// The first level of a tier, and how many it has.
fn range(first: u8, last: u8) -> (u8, u64) {
    let most = (USER_LEVELS - 1) as u8;
    let (first, last) = (first.min(most), last.min(most));
    (first.min(last), u64::from(first.abs_diff(last)) + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: PriorityKey = PriorityKey(*b"0123456789abcdef");
    const ALL: (u8, u8) = (0, 127);

    #[test]
    fn a_users_place_is_the_same_in_every_version() {
        // The first vector of SipHash-1-3, as published with the function.
        let counting = PriorityKey(std::array::from_fn(|at| at as u8));
        assert_eq!(counting.user(b"").0, 0xABAC_0158_050F_C4DC);
        assert_eq!(KEY.user(b"user-1").0, 0x62BA_0A4A_0460_52E4);
    }

    #[test]
    fn another_key_places_users_elsewhere() {
        assert_ne!(KEY.user(b"user-1"), PriorityKey([0; 16]).user(b"user-1"));
    }

    #[test]
    fn in_one_cycle_a_user_spends_the_same_time_on_each_level() {
        let mut millis = [0_u32; 128];
        for now in 0..CYCLE_MILLIS {
            millis[usize::from(KEY.user(b"someone").level(Duration::from_millis(now), ALL))] += 1;
        }
        assert!(millis.iter().all(|time| (226..=227).contains(time)), "{millis:?}");
    }

    #[test]
    fn users_change_level_at_different_moments() {
        let moves = |user: &[u8]| {
            let level = |now| KEY.user(user).level(Duration::from_millis(now), ALL);
            (1..500).find(|&now| level(now) != level(0))
        };
        assert_ne!(moves(b"anna"), moves(b"bert"));
    }

    #[test]
    fn consecutive_messages_have_grains_all_over_the_range() {
        let user = KEY.user(b"someone");
        let upper = (0..1000).filter(|&id| user.grain(MessageId(id)) >> (GRAIN_BITS - 1) == 1).count();
        assert!((450..550).contains(&upper), "{upper}");
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{KEY:?} {:?}", UserHash(7)), "PriorityKey(..) UserHash(..)");
    }

    proptest! {
        #[test]
        fn a_level_stays_within_its_tier(hash: u64, millis: u64, first: u8, last: u8) {
            let level = UserHash(hash).level(Duration::from_millis(millis), (first, last));
            let (first, last) = (first.min(127), last.min(127));
            prop_assert!((first.min(last)..=first.max(last)).contains(&level));
        }

        #[test]
        fn a_user_stays_on_its_level_exactly_as_long_as_is_said(hash: u64, millis in 0_u64..1 << 40, first: u8, last: u8) {
            let (user, tier) = (UserHash(hash), (first, last));
            let level = |millis| user.level(Duration::from_millis(millis), tier);
            let stay = u64::try_from(user.stay(Duration::from_millis(millis), tier).as_millis()).unwrap();
            prop_assert!((1..=CYCLE_MILLIS).contains(&stay));
            prop_assert_eq!(level(millis + stay - 1), level(millis));
            prop_assert!(level(millis + stay) != level(millis) || first.min(127) == last.min(127));
        }

        #[test]
        fn a_retry_keeps_its_grain(hash: u64, id: u64) {
            let grain = UserHash(hash).grain(MessageId(id));
            prop_assert_eq!(grain, UserHash(hash).grain(MessageId(id)));
            prop_assert!(grain < 1 << GRAIN_BITS);
        }
    }
}
