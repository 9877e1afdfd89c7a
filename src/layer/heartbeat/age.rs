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

    /// When a link ends that began then. `draw` is its own, of all numbers there are.
    pub fn end(&self, began: Timestamp, draw: u32) -> Timestamp {
        Timestamp::from_nanos(self.ends().end(began.as_nanos(), draw))
    }

    /// The rule in numbers, worked out once for many links.
    pub(super) fn ends(&self) -> Ends {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (least, spread) = (self.age - self.spread() / 2, self.spread());
        Ends { least: nanos(least), since: self.since.as_nanos(), spread: nanos(spread) }
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

/// Where the ends of a rule are, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// No link that is younger ends.
    pub(super) least: u64,
    since: u64,
    spread: u64,
}

impl Ends {
    /// When a link ends that began then.
    pub(super) fn end(&self, began: u64, draw: u32) -> u64 {
        let part = (u128::from(self.spread) * u128::from(draw)) >> u32::BITS;
        began.saturating_add(self.least).max(self.since).saturating_add(part as u64)
    }
}

/// A draw that follows from its arguments, so that nobody has to keep it (the finalizer of SplitMix64).
pub(super) fn draw(seed: u64, place: u16, began: u32) -> u32 {
    let mut mixed = seed ^ (u64::from(began) << 16 | u64::from(place)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> u32::BITS) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const HALF: u32 = 1 << 31;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(seconds)
    }

    fn rule(since: u64) -> MaxAge {
        MaxAge { age: HOUR, since: at(since) }
    }

    #[test]
    fn a_link_ends_within_a_tenth_of_the_age() {
        assert_eq!(rule(0).end(at(100), 0), at(100 + 3240));
        assert_eq!(rule(0).end(at(100), HALF), at(100 + 3600));
        assert!((at(100 + 3959)..at(100 + 3960)).contains(&rule(0).end(at(100), u32::MAX)));
    }

    #[test]
    fn links_older_than_a_new_rule_are_spread_from_its_beginning_on() {
        for began in [0, 1000, 90_000] {
            assert_eq!(rule(100_000).end(at(began), 0), at(100_000));
            assert_eq!(rule(100_000).end(at(began), HALF), at(100_000 + 360));
        }
        assert_eq!(rule(100_000).end(at(99_000), HALF), at(99_000 + 3600), "a young one keeps its own end");
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
        let even = |draws: &dyn Fn(u32) -> u32, what: &str| {
            let mut counts = [0; 10];
            for number in 0..10_000 {
                counts[draws(number) as usize / (u32::MAX as usize / 10 + 1)] += 1;
            }
            assert!(counts.iter().all(|count| (850..1150).contains(count)), "{what}: {counts:?}");
        };
        even(&|place| draw(7, place as u16, 36_000), "places");
        even(&|seed| draw(u64::from(seed), 3, 36_000), "seeds");
        even(&|began| draw(7, 3, began), "times");
    }
}
