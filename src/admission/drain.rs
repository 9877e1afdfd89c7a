//! How fast a queue drains: dispatches per second of *backlogged* time. While nothing waits, dispatches tell the demand.
//!
//! Evidence counts, not wall time: time and dispatches are added up over as many backlogs as it takes, so that short
//! ones teach as well and a rate that once was low is unlearnt as soon as work flows again.
//!
//! A standstill is no rate. For how long nobody has gone although somebody waited is the best guess of how long it will
//! last; who has less time than that need not wait. It ends with the first one that goes, whether it waited or not, so that
//! nothing latches.

use std::time::Duration;

use crate::clock::Timestamp;

/// This many dispatches make a measure.
const ENOUGH: u32 = 16;
/// So does this much backlogged time, with however few dispatches.
const LONG_ENOUGH: Duration = Duration::from_secs(1);
/// A standstill is no chance from so many times the usual gap between two dispatches on: of random gaps one in fifty is as
/// long.
const UNUSUAL: f64 = 4.0;
/// The weight of a measure in the estimate.
const WEIGHT: f64 = 0.25;

/// An estimate of a queue's drain rate.
#[derive(Clone, Copy, Debug, Default)]
pub struct DrainRate {
    per_second: Option<f64>,
    backlogged_since: Option<Timestamp>,
    time: Duration,
    dispatched: u32,
    /// Since when somebody has waited and nobody has gone. Whoever gave up meanwhile has not ended it.
    standing_since: Option<Timestamp>,
}

impl DrainRate {
    /// The queue has (or still has) a backlog now, or has none.
    pub fn observe(&mut self, now: Timestamp, backlogged: bool) {
        if let Some(since) = self.backlogged_since {
            self.time += now.since(since);
        }
        self.backlogged_since = backlogged.then_some(now);
        if backlogged {
            self.standing_since.get_or_insert(now);
        }
        let enough = self.dispatched >= ENOUGH && !self.time.is_zero();
        if enough || self.time >= LONG_ENOUGH {
            self.learn();
        }
    }

    /// A request that had waited is dispatched. [`DrainRate::observe`] comes next.
    pub fn dispatched(&mut self) {
        self.dispatched += 1;
        self.standing_since = None;
    }

    /// A request has gone that did not have to wait: nothing stands still.
    pub fn passed_by(&mut self) {
        self.standing_since = None;
    }

    /// How long a request with this many before it will wait, as far as can be told; `None` while nothing is known.
    pub fn wait(&self, now: Timestamp, ahead: u32) -> Option<Duration> {
        let standing = self.standing(now);
        let Some(rate) = self.per_second else { return standing };
        let behind = Duration::try_from_secs_f64(f64::from(ahead) / rate).unwrap_or(Duration::MAX);
        Some(standing.map_or(behind, |standing| standing.max(behind)))
    }

    /// For how long the line has stood still, if that is no chance.
    fn standing(&self, now: Timestamp) -> Option<Duration> {
        let standing = now.since(self.standing_since?);
        let usual = self.per_second.map_or(0.0, |rate| UNUSUAL / rate);
        (standing.as_secs_f64() > usual).then_some(standing)
    }

    /// Dispatches per second of backlogged time, once known.
    pub fn per_second(&self) -> Option<f64> {
        self.per_second
    }

    fn learn(&mut self) {
        let measured = f64::from(self.dispatched) / self.time.as_secs_f64();
        // Whoever works on after a standstill usually is as fast as before.
        if self.dispatched > 0 {
            self.per_second = Some(self.per_second.map_or(measured, |known| known + WEIGHT * (measured - known)));
        }
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
        assert_eq!(rate.wait(Timestamp::ZERO + MILLI * 15, 10), None);
        let now = drain(&mut rate, Timestamp::ZERO + MILLI * 15, MILLI, 1);
        assert_eq!(rate.wait(now, 10), Some(MILLI * 10));
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
    fn a_trickle_lowers_the_rate_and_flow_raises_it_again() {
        let mut rate = DrainRate::default();
        let ebbed = drain(&mut rate, Timestamp::ZERO, MILLI, 16);
        let now = drain(&mut rate, ebbed, MILLI * 500, 2);
        assert_eq!(rate.per_second(), Some(750.5));
        drain(&mut rate, now, MILLI, 16 * 20);
        assert!(rate.per_second().unwrap() > 999.0);
    }

    #[test]
    fn a_standstill_will_last_as_long_as_it_has_lasted_and_teaches_nothing() {
        let mut rate = DrainRate::default();
        let stopped = drain(&mut rate, Timestamp::ZERO, MILLI, 16);
        assert_eq!(rate.wait(stopped + MILLI * 4, 0), Some(Duration::ZERO), "that may be chance");
        let now = stopped + MILLI * 3000;
        (1..=300).for_each(|step| rate.observe(stopped + MILLI * 10 * step, true));
        assert_eq!((rate.wait(now, 0), rate.wait(now, 5000)), (Some(MILLI * 3000), Some(MILLI * 5000)));
        assert_eq!(rate.per_second(), Some(1000.0));
        rate.observe(now, false);
        assert_eq!(rate.wait(now + MILLI, 0), Some(MILLI * 3001), "all gave up");
        rate.passed_by();
        assert_eq!(rate.wait(now + MILLI, 0), Some(Duration::ZERO));
    }

    #[test]
    fn a_line_that_never_moved_is_known_to_stand() {
        let mut rate = DrainRate::default();
        rate.observe(Timestamp::ZERO, true);
        assert_eq!(rate.wait(Timestamp::ZERO + MILLI * 700, 0), Some(MILLI * 700));
    }
}
