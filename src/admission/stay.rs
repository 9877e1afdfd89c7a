//! How long a request holds its place, from going on until it is answered, for each unit of its cost. Not the mean but the
//! time in which half and in which most are answered, so that even work is expected to take what it takes and heavy tails
//! show.
//!
//! One look in so many answers is enough, and each moves the estimates by a step that does not ask how far off they were:
//! a pause, or an answer that never came, cannot spoil them.

use std::time::Duration;

use super::Cost;

/// This share of the requests is answered sooner than what most take.
const MOST: f64 = 0.95;
/// This share is answered sooner than what half of them take.
const HALF: f64 = 0.5;
/// A look moves the estimate by up to this factor.
const STEP: f64 = 1.2;
/// One answer in so many is looked at: to look means to read the clock.
const LOOK_AT: u32 = 4;
/// Looks from which the estimate is worth something.
const ENOUGH: u32 = 16;

/// An estimate of how long requests take; unknown until some were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stay {
    /// Seconds for each unit of cost.
    half: f64,
    most: f64,
    looks: u32,
    answers: u32,
}

impl Stay {
    /// Counts an answer; tells whether to look at how long it took.
    pub fn answered(&mut self) -> bool {
        self.answers = self.answers.wrapping_add(1);
        self.answers.is_multiple_of(LOOK_AT) || self.looks < ENOUGH
    }

    /// A request of this cost was answered after so long.
    pub fn observe(&mut self, cost: Cost, took: Duration) {
        let seconds = took.as_secs_f64() / cost.units();
        self.looks = self.looks.saturating_add(1);
        if self.looks == 1 {
            (self.half, self.most) = (seconds, seconds);
        }
        step(&mut self.half, seconds, HALF);
        step(&mut self.most, seconds, MOST);
    }

    /// In what time half of the requests of this cost are answered; zero while that is unknown.
    pub fn of_half(&self, cost: Cost) -> Duration {
        self.known(self.half, cost)
    }

    /// In what time most requests of this cost are answered; zero while that is unknown.
    pub fn of_most(&self, cost: Cost) -> Duration {
        self.known(self.most, cost)
    }

    fn known(&self, seconds: f64, cost: Cost) -> Duration {
        if self.looks < ENOUGH {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(seconds * cost.units()).unwrap_or(Duration::MAX)
    }
}

/// Moves an estimate up by more than down, in the proportion that leaves it where this share of all are below.
fn step(estimate: &mut f64, seen: f64, share: f64) {
    *estimate *= if seen > *estimate { STEP.powf(share) } else { STEP.powf(share - 1.0) };
    // A time of nothing could never grow again.
    *estimate = estimate.max(SHORTEST_SECONDS);
}

/// No estimate is shorter than a nanosecond.
const SHORTEST_SECONDS: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn after(looks: impl IntoIterator<Item = Duration>) -> Stay {
        let mut stay = Stay::default();
        looks.into_iter().for_each(|took| stay.observe(Cost::ONE, took));
        stay
    }

    fn millis(stay: Stay) -> f64 {
        stay.of_most(Cost::ONE).as_secs_f64() * 1000.0
    }

    #[test]
    fn it_is_unknown_until_there_is_evidence() {
        assert_eq!(after([MILLI; 15]).of_most(Cost::ONE), Duration::ZERO);
        assert!(after([MILLI; 16]).of_most(Cost::ONE) > Duration::ZERO);
    }

    #[test]
    fn even_work_takes_what_it_takes_and_uneven_work_what_most_of_it_takes() {
        let even = millis(after([MILLI * 10; 200]));
        assert!((9.0..13.0).contains(&even), "{even}");
        let uneven = millis(after((0..2000).map(|look| MILLI * (1 + look * 37 % 100))));
        assert!((75.0..110.0).contains(&uneven), "{uneven}");
        let half = after((0..2000).map(|look| MILLI * (1 + look * 37 % 100))).of_half(Cost::ONE).as_secs_f64() * 1000.0;
        assert!((40.0..60.0).contains(&half), "{half}");
    }

    #[test]
    fn what_costs_twice_as_much_takes_twice_as_long() {
        let mut stay = Stay::default();
        for cost in [1.0, 4.0].repeat(100) {
            stay.observe(Cost::from_units(cost), MILLI.mul_f64(10.0 * cost));
        }
        let of = |cost| stay.of_most(Cost::from_units(cost)).as_secs_f64();
        assert!((of(8.0) / of(2.0) - 4.0).abs() < 0.01);
        assert!((0.018..0.026).contains(&of(2.0)), "{}", of(2.0));
    }

    #[test]
    fn a_pause_moves_it_little_and_slower_work_is_learnt() {
        let mut stay = after([MILLI * 10; 200]);
        (0..4).for_each(|_| stay.observe(Cost::ONE, MILLI * 60_000));
        assert!(millis(stay) < 25.0, "{stay:?}");
        (0..120).for_each(|_| stay.observe(Cost::ONE, MILLI * 10));
        assert!(millis(stay) < 12.5, "{stay:?}");
        (0..40).for_each(|_| stay.observe(Cost::ONE, MILLI * 40));
        assert!(millis(stay) > 35.0, "{stay:?}");
    }

    #[test]
    fn one_answer_in_four_is_looked_at_once_it_is_known() {
        let mut stay = after([MILLI; 16]);
        assert_eq!((0..40).filter(|_| stay.answered()).count(), 10);
    }
}
