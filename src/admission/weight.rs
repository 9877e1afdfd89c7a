//! A heavy user's use counts against its own level: the more it uses beyond its fair share, the smaller the part of its
//! tier that it moves in, at the unimportant end. Nobody ever leaves the range of the tier.
//!
//! **What is measured.** The cost of what a connection has been served decays with a half-life of [`HALF_LIFE`]. What was refused is no use: a user that is held back uses less, its weight decays, and it comes back; so
//! it settles near the threshold rather than being shut out.
//!
//! **The fair share** is the mean use of an active user. A mean over requests would be size-biased: a user with ten times
//! the requests would count ten times, and look ordinary. So a [`Population`] keeps sums that decay alike: what all users
//! were served, and how many users were, where each counts as one with each of its requests and as 2^(−t/half-life)
//! a time t after it. Their quotient is the mean of the users' own weights, exactly and at every moment, also while
//! everyone has just begun: equal users are never told apart by when they started to be measured.
//!
//! **The move.** Above [`TOLERANCE`] times the fair share, each doubling takes [`PER_DOUBLING`] of the tier's range away
//! from its important end, up to [`FARTHEST`]. In what is left the user moves through its cycle as everyone does, so that a
//! user who is not far above the threshold has its good moments too.
//!
//! **Whose weight.** A connection's. Whoever logs in anew begins anew, and pays with a login, whose rate is bounded.
//!
//! **Cold start.** One user's weight cannot exceed the fair share by more than the number of active users, so that a
//! handful of them is never told apart; nor is anybody who was served less than [`LEAST_REQUESTS`] cost.

use std::time::Duration;

use super::Cost;
use crate::clock::Timestamp;

/// The time in which what was served counts half. Long enough that a burst on opening an app is forgiven (it is spread
/// over a mean life of 14 s), short enough that whoever stops is an ordinary user again within half a minute or so.
pub const HALF_LIFE: Duration = Duration::from_secs(10);

/// How many times the fair share a user may use without any effect. People differ: a share of the Poisson noise and of
/// ordinary eagerness, with a margin.
pub const TOLERANCE: f64 = 4.0;

/// The part of the tier's range that each doubling above the tolerance takes away: at twice the capacity the better half
/// of each tier passes, and is out of reach for who uses 16 times its share.
pub const PER_DOUBLING: f64 = 0.25;

/// The largest part that is taken away; in the rest even the heaviest user keeps moving.
pub const FARTHEST: f64 = 0.9375;

/// Nobody is heavy who was served less than so many requests cost in the mean, whatever the others do: a burst of a
/// dozen, or about one per second for a while.
pub const LEAST_REQUESTS: f64 = 16.0;

/// With fewer active users nobody is heavy: below [`TOLERANCE`] it follows from arithmetic, up to here from prudence.
pub const LEAST_ACTIVE: f64 = 8.0;

/// What one user has been served of late. Starts with nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weight {
    /// At the time of the last request.
    served: f64,
    last: Timestamp,
}

impl Weight {
    /// The cost of what was served until now, with its age taken into account.
    pub fn at(&self, now: Timestamp) -> f64 {
        self.served * remaining(now.since(self.last))
    }
}

/// What all users of a worker have been served of late, and how many of them are active. Starts with nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Population {
    served: f64,
    requests: f64,
    active: f64,
    last: Timestamp,
}

impl Population {
    /// From the numbers of [`Population::parts`].
    pub const fn from_parts([served, requests, active]: [f64; 3], last: Timestamp) -> Self {
        Self { served, requests, active, last }
    }

    /// For keeping it in cells: what all were served, in how many requests, how many users are active; and when.
    pub const fn parts(self) -> ([f64; 3], Timestamp) {
        ([self.served, self.requests, self.active], self.last)
    }

    /// A request of this cost of the user with this weight was served.
    pub fn served(&mut self, weight: &mut Weight, cost: Cost, now: Timestamp) {
        let cost = cost.units();
        let aged = remaining(now.since(self.last));
        let presence = if weight.served > 0.0 { remaining(now.since(weight.last)) } else { 0.0 };
        self.served = self.served * aged + cost;
        self.requests = self.requests * aged + 1.0;
        self.active = self.active * aged + (1.0 - presence);
        self.last = self.last.max(now);
        weight.served = weight.served * presence + cost;
        weight.last = weight.last.max(now);
    }

    /// The mean weight of an active user.
    pub fn fair_share(&self) -> f64 {
        if self.active > 0.0 { self.served / self.active } else { 0.0 }
    }

    /// The weight above which a user is moved.
    fn threshold(&self) -> f64 {
        let mean_cost = if self.requests > 0.0 { self.served / self.requests } else { 0.0 };
        (self.fair_share() * TOLERANCE).max(mean_cost * LEAST_REQUESTS)
    }

    /// How many users are active.
    pub fn active(&self, now: Timestamp) -> f64 {
        self.active * remaining(now.since(self.last))
    }

    /// The part of a tier's levels, first and last included, that a user of this weight moves in: all of them, or those
    /// at the unimportant end.
    pub fn levels(&self, weight: &Weight, (first, last): (u8, u8), now: Timestamp) -> (u8, u8) {
        let threshold = self.threshold();
        // Without its age a weight is at least what it is with it: an ordinary user costs no more than this.
        if weight.served <= threshold {
            return (first, last);
        }
        let excess = weight.at(now) / threshold;
        if excess <= 1.0 || self.active(now) < LEAST_ACTIVE {
            return (first, last);
        }
        let part = (excess.log2() * PER_DOUBLING).min(FARTHEST);
        let (first, last) = (first.min(last), first.max(last));
        // Rounds down, and is less than the range.
        (first + (f64::from(last - first) * part) as u8, last)
    }
}

/// Below this part of a half-life two terms of the series are exact to a millionth, and much cheaper than the power: most
/// requests of a busy worker follow each other more closely.
const SHORT: f64 = 0.01;

/// The part that counts of something of this age.
fn remaining(age: Duration) -> f64 {
    let half_lives = age.as_secs_f64() / HALF_LIFE.as_secs_f64();
    if half_lives < SHORT {
        let lives = half_lives * std::f64::consts::LN_2;
        1.0 - lives + lives * lives / 2.0
    } else {
        (-half_lives).exp2()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: (u8, u8) = (0, 127);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    /// Users that each send at a regular interval of milliseconds, with a phase of their own.
    struct Crowd {
        population: Population,
        users: Vec<(u64, Weight)>,
        now: u64,
    }

    impl Crowd {
        fn new(intervals: impl IntoIterator<Item = u64>) -> Self {
            let users = intervals.into_iter().map(|interval| (interval, Weight::default())).collect();
            Self { population: Population::default(), users, now: 0 }
        }

        /// Lets time pass; `look` sees everything each millisecond.
        fn pass(&mut self, millis: u64, mut look: impl FnMut(&Self)) {
            for now in self.now..self.now + millis {
                for (at_user, (interval, weight)) in self.users.iter_mut().enumerate() {
                    if *interval > 0 && (now + at_user as u64 * 37).is_multiple_of(*interval) {
                        self.population.served(weight, Cost::ONE, at(now));
                    }
                }
                self.now = now;
                look(self);
            }
            self.now += 1;
        }

        fn first(&self, user: usize) -> u8 {
            self.population.levels(&self.users[user].1, ALL, at(self.now)).0
        }
    }

    #[test]
    fn equal_users_are_never_moved_not_even_while_all_of_them_have_just_begun() {
        for interval in [20, 100, 1000, 60_000] {
            let mut crowd = Crowd::new([interval; 30]);
            crowd.pass(70_000, |crowd| {
                let moved = (0..30).find(|&user| crowd.first(user) > 0);
                assert_eq!(moved, None, "an interval of {interval} ms, after {} ms", crowd.now);
            });
        }
    }

    #[test]
    fn a_user_with_ten_times_the_use_is_moved_and_the_others_are_not() {
        let mut crowd = Crowd::new([100].into_iter().chain([1000; 99]));
        crowd.pass(60_000, |crowd| assert!((1..100).all(|user| crowd.first(user) == 0)));
        // 10 / 1.09 of the mean is 1.2 doublings above four times of it.
        assert!((30..=42).contains(&crowd.first(0)), "{}", crowd.first(0));
    }

    #[test]
    fn whoever_goes_quiet_is_an_ordinary_user_again() {
        let mut crowd = Crowd::new([10].into_iter().chain([1000; 99]));
        crowd.pass(60_000, |_| ());
        assert!(crowd.first(0) > 100, "{}", crowd.first(0));
        crowd.users[0].0 = 0;
        crowd.pass(60_000, |_| ());
        assert_eq!(crowd.first(0), 0);
    }

    #[test]
    fn a_handful_of_users_is_not_told_apart() {
        let mut crowd = Crowd::new([10, 1000, 1000, 1000, 1000]);
        crowd.pass(60_000, |crowd| assert_eq!(crowd.first(0), 0));
    }

    #[test]
    fn a_burst_after_a_silence_is_no_heavy_use() {
        let mut crowd = Crowd::new([0].into_iter().chain([2000; 99]));
        crowd.pass(60_000, |_| ());
        for _ in 0..16 {
            let (_, weight) = &mut crowd.users[0];
            crowd.population.served(weight, Cost::ONE, at(crowd.now));
        }
        assert_eq!(crowd.first(0), 0);
    }

    #[test]
    fn what_counts_of_an_age_is_halved_with_each_half_life_and_the_short_way_is_as_good() {
        assert_eq!((remaining(HALF_LIFE), remaining(2 * HALF_LIFE), remaining(Duration::MAX)), (0.5, 0.25, 0.0));
        for nanos in [0, 1, 1_000_000, 99_999_999] {
            let age = Duration::from_nanos(nanos);
            let exact = (-age.as_secs_f64() / 10.0).exp2();
            assert!((remaining(age) - exact).abs() < 1e-6, "{age:?}");
        }
    }

    #[test]
    fn the_unit_of_cost_has_no_meaning() {
        let first_level = |unit: f64| {
            let (mut population, mut weights) = (Population::default(), [Weight::default(); 20]);
            for (at_user, weight) in weights.iter_mut().enumerate() {
                let requests = if at_user == 0 { 400 } else { 4 };
                (0..requests).for_each(|_| population.served(weight, Cost::from_units(unit), at(0)));
            }
            population.levels(&weights[0], ALL, at(0)).0
        };
        assert!(first_level(1.0) > 0);
        assert_eq!(first_level(1.0), first_level(0.125));
        assert_eq!(first_level(1.0), first_level(64.0));
    }

    #[test]
    fn a_few_dear_requests_weigh_as_much_as_many_cheap_ones() {
        let (mut population, mut weights) = (Population::default(), [Weight::default(); 20]);
        for weight in &mut weights {
            (0..4).for_each(|_| population.served(weight, Cost::ONE, at(0)));
        }
        population.served(&mut weights[0], Cost::from_units(400.0), at(0));
        assert!(population.levels(&weights[0], ALL, at(0)).0 > 0);
        assert_eq!(population.levels(&weights[1], ALL, at(0)).0, 0);
    }

    #[test]
    fn the_fair_share_is_that_of_a_user_and_not_that_of_a_request() {
        let mut crowd = Crowd::new([10].into_iter().chain([1000; 99]));
        crowd.pass(120_000, |_| ());
        // The mean life is 14.4 s, in which one user is served 1443 and each of the others 14.4.
        let fair = crowd.population.fair_share();
        assert!((26.0..32.0).contains(&fair), "{fair}");
        let active = crowd.population.active(at(crowd.now));
        assert!((94.0..101.0).contains(&active), "{active}");
    }

    proptest! {
        #[test]
        fn nobody_leaves_its_tier_and_nothing_overflows(
            costs in prop::collection::vec((0_usize..12, prop_oneof![any::<f64>(), 0.0..100.0], any::<u32>()), 0..200),
            first: u8, last: u8,
        ) {
            let (mut population, mut weights, mut now) = (Population::default(), [Weight::default(); 12], at(0));
            for (user, cost, nanos) in costs {
                now = now + Duration::from_nanos(nanos.into());
                population.served(&mut weights[user], Cost::from_units(cost), now);
                let ([served, _, active], _) = population.parts();
                prop_assert!(served.is_finite() && active <= 12.01);
                for weight in &weights {
                    let (low, high) = population.levels(weight, (first, last), now);
                    prop_assert!(low.min(high) >= first.min(last) && low.max(high) == first.max(last));
                }
            }
        }

        #[test]
        fn who_uses_more_is_never_moved_less(one in 0.0..1e6, other in 0.0..1e6, active in 0.0..1e4, share in 0.0..1e3) {
            let population = Population::from_parts([share * active, active, active], at(0));
            let first = |served| population.levels(&Weight { served, last: at(0) }, ALL, at(0)).0;
            prop_assert!(first(f64::min(one, other)) <= first(f64::max(one, other)));
        }
    }
}
