//! When a link has lasted long enough: the rule alone, a function of its arguments.
//!
//! Each link's end is drawn from a fifth of the age around the age, so that links which began together do not end together.
//! A rule that comes into force among older links spreads them over the same time from then on. Whatever the links' ages:
//! at most all of them end within a fifth of the age, one after the other.

use std::time::Duration;

use crate::clock::Timestamp;

/// The part of an age within which ends are drawn: from a tenth before it to a tenth after it.
const SPREAD: u32 = 5;
/// The longest that a link may stay once it was told.
const LONGEST_GRACE: Duration = Duration::from_secs(60);

/// How old links may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxAge {
    age: Duration,
    /// Since when this holds.
    since: Timestamp,
}

/// What comes of an entry's age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aged {
    /// It has come to its end, and is to be told.
    Ends,
    /// It was told, and is still there after the [grace](MaxAge::grace).
    Stays,
}

impl MaxAge {
    /// The rule that holds from `now` on, if there is to be one. One that held before goes on; another age begins anew, as
    /// does the same one after a time without it.
    pub fn follow(before: Option<Self>, age: Option<Duration>, now: Timestamp) -> Option<Self> {
        let age = age?;
        before.filter(|before| before.age == age).or(Some(Self { age, since: now }))
    }

    /// When a link ends that began then. `draw` is its own, from 0 to 1.
    pub fn end(&self, began: Timestamp, draw: f64) -> Timestamp {
        (began + self.least()).max(self.since) + self.spread().mul_f64(draw)
    }

    /// No link that is younger ends.
    pub(super) fn least(&self) -> Duration {
        self.age - self.spread() / 2
    }

    /// Over which time links end that began together.
    pub fn spread(&self) -> Duration {
        self.age / SPREAD
    }

    /// How long a link may stay that was told.
    pub fn grace(&self) -> Duration {
        self.spread().min(LONGEST_GRACE)
    }

    /// Until when a link may stay that was told then.
    pub(super) fn stays_until(&self, told: Timestamp) -> Timestamp {
        told.max(self.since) + self.grace()
    }
}

/// A draw from 0 to 1 that follows from its arguments, so that nobody has to keep it (the finalizer of SplitMix64).
pub(super) fn draw(seed: u64, place: u16, began: u32) -> f64 {
    let mut mixed = seed ^ (u64::from(began) << 16 | u64::from(place)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 32) as f64 / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(seconds)
    }

    fn rule(since: u64) -> MaxAge {
        MaxAge { age: HOUR, since: at(since) }
    }

    #[test]
    fn a_link_ends_within_a_tenth_of_the_age() {
        assert_eq!(rule(0).end(at(100), 0.0), at(100 + 3240));
        assert_eq!(rule(0).end(at(100), 0.5), at(100 + 3600));
        assert_eq!(rule(0).end(at(100), 1.0), at(100 + 3960));
    }

    #[test]
    fn links_older_than_a_new_rule_are_spread_from_its_beginning_on() {
        for began in [0, 1000, 90_000] {
            assert_eq!(rule(100_000).end(at(began), 0.0), at(100_000));
            assert_eq!(rule(100_000).end(at(began), 1.0), at(100_000 + 720));
        }
        assert_eq!(rule(100_000).end(at(99_000), 0.5), at(99_000 + 3600), "a young one keeps its own end");
    }

    #[test]
    fn a_rule_goes_on_until_its_age_changes_or_it_pauses() {
        let begun = MaxAge::follow(None, Some(HOUR), at(5));
        assert_eq!(begun, Some(rule(5)));
        assert_eq!(MaxAge::follow(begun, Some(HOUR), at(9)), begun);
        assert_eq!(MaxAge::follow(begun, Some(2 * HOUR), at(9)), Some(MaxAge { age: 2 * HOUR, since: at(9) }));
        let paused = MaxAge::follow(begun, None, at(9));
        assert_eq!((paused, MaxAge::follow(paused, Some(HOUR), at(20))), (None, Some(rule(20))));
    }

    #[test]
    fn who_was_told_may_stay_for_a_fifth_of_the_age_and_a_minute_at_most() {
        assert_eq!(rule(0).stays_until(at(1000)), at(1060));
        assert_eq!(rule(5000).stays_until(at(1000)), at(5060), "a pause counts for nobody");
        let short = MaxAge { age: Duration::from_secs(10), since: at(0) };
        assert_eq!(short.stays_until(at(1000)), at(1002));
    }

    #[test]
    fn draws_are_even_over_places_seeds_and_times() {
        let even = |draws: &dyn Fn(u32) -> f64, what: &str| {
            let mut counts = [0; 10];
            for number in 0..10_000 {
                counts[((draws(number) * 10.0) as usize).min(9)] += 1;
            }
            assert!(counts.iter().all(|count| (850..1150).contains(count)), "{what}: {counts:?}");
        };
        even(&|place| draw(7, place as u16, 36_000), "places");
        even(&|seed| draw(u64::from(seed), 3, 36_000), "seeds");
        even(&|began| draw(7, 3, began), "times");
    }
}
