//! How fast a queue drains: dispatches per second of *backlogged* time. While nothing waits, dispatches tell the demand.
//!
//! Evidence counts, not wall time: time and dispatches are added up over as many backlogs as it takes, so that short
//! ones teach as well and a rate that once was low is unlearnt as soon as work flows again.

use std::time::Duration;

use crate::clock::Timestamp;

/// This many dispatches make a measure.
const ENOUGH: u32 = 16;
/// So does this much backlogged time, with however few dispatches: the queue has come to a standstill.
const STANDSTILL: Duration = Duration::from_secs(1);
/// The weight of a measure in the estimate.
const WEIGHT: f64 = 0.25;

/// An estimate of a queue's drain rate.
#[derive(Clone, Copy, Debug, Default)]
pub struct DrainRate {
    per_second: Option<f64>,
    backlogged_since: Option<Timestamp>,
    time: Duration,
    dispatched: u32,
}

impl DrainRate {
    /// The queue has (or still has) a backlog now, or has none.
    pub fn observe(&mut self, now: Timestamp, backlogged: bool) {
        if let Some(since) = self.backlogged_since {
            self.time += now.since(since);
        }
        self.backlogged_since = backlogged.then_some(now);
        let enough = self.dispatched >= ENOUGH && !self.time.is_zero();
        if enough || self.time >= STANDSTILL {
            self.learn();
        }
    }

    /// A request that had waited is dispatched. [`DrainRate::observe`] comes next.
    pub fn dispatched(&mut self) {
        self.dispatched += 1;
    }

    /// How long a request with this many before it will wait; `None` while the rate is unknown.
    pub fn wait(&self, ahead: u32) -> Option<Duration> {
        let rate = self.per_second?;
        if ahead == 0 {
            return Some(Duration::ZERO);
        }
        Some(Duration::try_from_secs_f64(f64::from(ahead) / rate).unwrap_or(Duration::MAX))
    }

    /// Dispatches per second of backlogged time, once known.
    pub fn per_second(&self) -> Option<f64> {
        self.per_second
    }

    fn learn(&mut self) {
        let measured = f64::from(self.dispatched) / self.time.as_secs_f64();
        self.per_second = Some(match self.per_second {
            Some(known) => known + WEIGHT * (measured - known),
            None => measured,
        });
        self.time = Duration::ZERO;
        self.dispatched = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    /// Dispatches with a backlog, one each `every`.
    fn drain(rate: &mut DrainRate, from: Timestamp, every: Duration, count: u32) -> Timestamp {
        rate.observe(from, true);
        for step in 1..=count {
            rate.dispatched();
            rate.observe(from + every * step, true);
        }
        from + every * count
    }

    #[test]
    fn the_rate_is_unknown_until_there_is_evidence() {
        let mut rate = DrainRate::default();
        drain(&mut rate, Timestamp::ZERO, MILLI, 15);
        assert_eq!(rate.wait(10), None);
        drain(&mut rate, Timestamp::ZERO + MILLI * 15, MILLI, 1);
        assert_eq!(rate.wait(10), Some(MILLI * 10));
    }

    #[test]
    fn time_without_a_backlog_does_not_count() {
        let mut rate = DrainRate::default();
        for round in 0..16 {
            let at = Timestamp::ZERO + Duration::from_secs(round);
            rate.observe(at, true);
            rate.dispatched();
            rate.observe(at + MILLI, false);
        }
        assert_eq!(rate.per_second(), Some(1000.0));
    }

    #[test]
    fn a_standstill_lowers_the_rate_and_flow_raises_it_again() {
        let mut rate = DrainRate::default();
        let stopped = drain(&mut rate, Timestamp::ZERO, MILLI, 16);
        rate.observe(stopped + Duration::from_secs(1), true);
        assert_eq!(rate.per_second(), Some(750.0));
        drain(&mut rate, stopped + Duration::from_secs(1), MILLI, 16 * 20);
        assert!(rate.per_second().unwrap() > 999.0);
    }

    #[test]
    fn at_a_rate_of_zero_only_the_first_in_line_waits() {
        let mut rate = DrainRate::default();
        rate.observe(Timestamp::ZERO, true);
        rate.observe(Timestamp::ZERO + STANDSTILL, true);
        assert_eq!((rate.wait(0), rate.wait(1)), (Some(Duration::ZERO), Some(Duration::MAX)));
    }
}
