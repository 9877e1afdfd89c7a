//! When a link has lasted long enough: the rule alone, a function of its arguments.
//!
//! Each link's end is drawn from a fifth of the age around the age, so that links which began together do not end together.
//! A rule that comes into force among older links spreads them over the same time from then on.
//!
//! While nobody can be moved the rule pauses: its time stands still. Then it runs twice as fast until it has caught up, so
//! that the ends which fell into the pause come within as long as the pause lasted, and recurring pauses keep no link for
//! ever. A rule that is a whole spread behind begins anew, with other draws, so that nobody is the last one again and again.

use std::time::Duration;

use crate::{clock::Timestamp, layer::rate::LONGEST_WAIT};

/// The part of an age within which ends are drawn: from a tenth before it to a tenth after it.
const SPREAD: u32 = 5;
/// How much faster than time a rule runs that has fallen behind.
const CATCH_UP: u32 = 2;
/// How long a link may stay that was told: longer than a login elsewhere that has to wait for its turn.
const GRACE: Duration = LONGEST_WAIT.saturating_mul(2);

/// How old links may become, at the moment up to which it was [followed](MaxAge::follow).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxAge {
    age: Duration,
    grace: Duration,
    /// Since when this holds.
    since: Timestamp,
    /// When it was followed last.
    now: Timestamp,
    /// Whose end is before this has come to it; behind `now` after a pause.
    reached: Timestamp,
    /// When it was followed first.
    first: Timestamp,
    /// The same and the time since, but for the pauses: what the grace is measured by.
    unpaused: Timestamp,
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
    /// The rule at `now`, if there is to be one. One that held before goes on unless `pauses`; another age begins anew.
    pub fn follow(before: Option<Self>, age: Option<Duration>, pauses: bool, now: Timestamp) -> Option<Self> {
        let age = age?;
        let Some(before) = before.filter(|before| before.age == age) else { return Some(Self::new(age, now)) };
        let mut rule = Self { now, ..before };
        if !pauses {
            let passed = now.since(before.now);
            rule.unpaused = before.unpaused + passed;
            if now.since(before.reached) > rule.spread() + passed {
                (rule.since, rule.reached) = (now, now);
            } else {
                rule.reached = now.min(before.reached + passed * CATCH_UP);
            }
        }
        Some(rule)
    }

    fn new(age: Duration, now: Timestamp) -> Self {
        let grace = age.saturating_mul(2).min(GRACE);
        Self { age, grace, since: now, now, reached: now, first: now, unpaused: now }
    }

    /// The same with another [grace](Self::grace), where a login elsewhere does not wait for a turn.
    #[must_use]
    pub const fn with_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// When a link ends that began then, if nothing pauses. `draw` is its own, of all numbers there are.
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

    /// How long a link may stay that was told, without pauses: two minutes, or two ages where that is less.
    pub const fn grace(&self) -> Duration {
        self.grace
    }

    /// Up to which end links have come to theirs.
    pub(super) const fn reached(&self) -> Timestamp {
        self.reached
    }

    /// The present, for [`Self::is_over`].
    pub(super) const fn unpaused(&self) -> Timestamp {
        self.unpaused
    }

    /// Whether a link may stay no longer that was told when [`Self::unpaused`] was this.
    pub(super) fn is_over(&self, told: Timestamp) -> bool {
        told.max(self.first) + self.grace() <= self.unpaused
    }
}

/// Where the ends of a rule are, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// No link that is younger ends.
    pub(super) least: u64,
    /// Since when the rule holds.
    pub(super) since: u64,
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
        MaxAge::new(HOUR, at(since))
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
    fn a_rule_goes_on_until_its_age_changes() {
        let begun = MaxAge::follow(None, Some(HOUR), false, at(5));
        assert_eq!(begun, Some(rule(5)));
        let later = MaxAge::follow(begun, Some(HOUR), false, at(9)).unwrap();
        assert_eq!((later.since, later.reached), (at(5), at(9)));
        assert_eq!(MaxAge::follow(begun, Some(2 * HOUR), false, at(9)), Some(MaxAge::new(2 * HOUR, at(9))));
        let none = MaxAge::follow(begun, None, false, at(9));
        assert_eq!((none, MaxAge::follow(none, Some(HOUR), false, at(20))), (None, Some(rule(20))));
    }

    #[test]
    fn a_pause_is_caught_up_with_in_the_time_that_it_lasted() {
        let mut rule = Some(rule(0));
        let mut reached = |pauses: bool, seconds: u64| {
            rule = MaxAge::follow(rule, Some(HOUR), pauses, at(seconds));
            rule.map(|rule| (rule.since, rule.reached)).unwrap()
        };
        assert_eq!(reached(false, 100), (at(0), at(100)));
        assert_eq!((reached(true, 200), reached(true, 400)), ((at(0), at(100)), (at(0), at(100))));
        assert_eq!((reached(false, 401), reached(false, 500)), ((at(0), at(102)), (at(0), at(300))));
        assert_eq!((reached(false, 700), reached(false, 701)), ((at(0), at(700)), (at(0), at(701))));
        assert_eq!((reached(true, 1421), reached(false, 1422)), ((at(0), at(701)), (at(0), at(703))));
        assert_eq!((reached(true, 1424), reached(false, 1425)), ((at(0), at(703)), (at(1425), at(1425))), "a spread");
    }

    #[test]
    fn who_was_told_may_stay_for_longer_than_a_login_waits_for_its_turn() {
        let first = rule(1000);
        let after = |rule, pauses, seconds| MaxAge::follow(Some(rule), Some(HOUR), pauses, at(seconds)).unwrap();
        assert!(first.grace() > LONGEST_WAIT + Duration::from_secs(30), "{:?}", first.grace());
        let [early, over] = [1119, 1120].map(|seconds| after(first, false, seconds).is_over(first.unpaused()));
        assert_eq!((early, over), (false, true));
        assert!(!after(first, false, 1119).is_over(at(7)), "who was told by an earlier rule has as much time");
        let paused = after(after(first, false, 1100), true, 9000);
        let [early, over] = [9019, 9020].map(|seconds| after(paused, false, seconds).is_over(first.unpaused()));
        assert_eq!((paused.is_over(first.unpaused()), early, over), (false, false, true), "a pause counts for nobody");
        assert_eq!(MaxAge::new(Duration::from_secs(60), at(0)).grace(), first.grace());
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
