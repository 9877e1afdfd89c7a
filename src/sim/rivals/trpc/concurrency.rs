//! How many calls may be in the server: the least mean cost times the greatest throughput (Little's law), stretched or
//! shrunk by how the wait compares with its target (`trpc/overload_control/high_percentile`).

use std::time::Duration;

use super::{Period, TrpcSettings};
use crate::clock::Timestamp;

/// A window is at least this long (`kMinWindowInterval`) ...
const SHORTEST: Duration = Duration::from_millis(1);
/// ... and at most this (`kMaxWindowInterval`).
const LONGEST: Duration = Duration::from_millis(100);
/// Below this part of the target nothing is limited any more (`kMinStrategyQuotient`).
const CALM: f64 = 0.5;
/// Above it the limit takes effect (`kMaxStrategyQuotient`).
const BUSY: f64 = 0.9;
/// The wait is that of the longest in so many calls (`HighAvg::kN`) ...
const CALLS: u32 = 30;
/// ... taken by so many counters that are out of step (`HighAvg::kK`).
const COUNTERS: u32 = 3;
/// The weight of the past in the mean of the longest waits (`HighAvg::AdvanceAndGet`).
const PAST: f64 = 0.9;

#[derive(Debug)]
pub(super) struct Concurrency {
    settings: TrpcSettings,
    limit: usize,
    /// Whether the limit is in effect.
    limited: bool,
    waits: LongestWaits,
    /// In seconds. Falls fast and rises slowly.
    least_cost: f64,
    /// Per second. Rises fast and falls slowly.
    greatest_throughput: f64,
    answers: u32,
    costs: Duration,
    period: Period,
}

impl Concurrency {
    pub(super) fn new(settings: &TrpcSettings) -> Self {
        Self {
            limit: 0,
            limited: false,
            waits: LongestWaits::new(),
            least_cost: 0.0,
            greatest_throughput: 0.0,
            answers: 0,
            costs: Duration::ZERO,
            period: Period::begin(Timestamp::ZERO, SHORTEST, settings.window_answers),
            settings: settings.clone(),
        }
    }

    /// Whether one more fits while `inside` are there, within so many times the limit.
    pub(super) fn has_place(&self, inside: usize, times: usize) -> bool {
        !self.limited || inside <= self.limit * times
    }

    /// A call was answered after this wait and this time altogether.
    pub(super) fn answered(&mut self, now: Timestamp, wait: Duration, cost: Duration) {
        self.waits.sample(wait.as_secs_f64());
        self.answers += 1;
        self.costs += cost;
        if self.period.touch(now) {
            self.period = self.close(now);
            (self.answers, self.costs) = (0, Duration::ZERO);
        }
    }

    /// Ends the window; returns the next one.
    fn close(&mut self, now: Timestamp) -> Period {
        let least_answers = self.settings.window_answers;
        if self.answers < least_answers {
            return Period::begin(now, (self.period.interval * 2).min(LONGEST), least_answers);
        }
        let cost = self.costs.as_secs_f64() / f64::from(self.answers);
        // A window of no time would make the throughput infinite.
        let elapsed = now.since(self.period.begun).max(Duration::from_micros(1));
        let throughput = f64::from(self.answers) / elapsed.as_secs_f64();
        follow(&mut self.least_cost, cost, 0.01, 0.1);
        follow(&mut self.greatest_throughput, throughput, 0.1, 0.01);
        let wait = self.waits.mean() / self.settings.target.as_secs_f64();
        self.limited = wait > BUSY || (self.limited && wait > CALM);
        let limit = stretched(self.least_cost, wait.max(CALM)) * self.greatest_throughput;
        self.limit = (limit as usize).max(self.settings.least_limit as usize);
        let twice_the_cost = Duration::from_millis((self.least_cost * 1000.0) as u64) * 2;
        let answers = ((cost * throughput) as u32).max(least_answers);
        Period::begin(now, twice_the_cost.clamp(SHORTEST, LONGEST), answers)
    }
}

/// Exponential mean that rises and falls with weights of its own.
fn follow(mean: &mut f64, value: f64, rising: f64, falling: f64) {
    let weight = if value >= *mean { rising } else { falling };
    *mean += weight * (value - *mean);
}

/// More room while the wait is below its target, less when it is above: about the root of the quotient.
fn stretched(cost: f64, wait: f64) -> f64 {
    if wait <= 1.0 { cost / wait } else { cost / (1.0 + (wait - 1.0) / 2.0) }
}

/// The mean of the longest wait in each thirty calls.
#[derive(Debug)]
struct LongestWaits {
    counters: [(u32, f64); COUNTERS as usize],
    total: f64,
    times: u32,
    mean: f64,
}

impl LongestWaits {
    fn new() -> Self {
        let begin = |number: usize| (number as u32 * CALLS / COUNTERS, 0.0);
        Self { counters: std::array::from_fn(begin), total: 0.0, times: 0, mean: 0.0 }
    }

    fn sample(&mut self, wait: f64) {
        for (calls, longest) in &mut self.counters {
            *calls += 1;
            *longest = longest.max(wait);
            if *calls >= CALLS {
                self.total += *longest;
                self.times += 1;
                (*calls, *longest) = (0, 0.0);
            }
        }
    }

    /// Takes in what was sampled since the last time.
    fn mean(&mut self) -> f64 {
        if self.times > 0 {
            self.mean = PAST * self.mean + (1.0 - PAST) * self.total / f64::from(self.times);
            (self.total, self.times) = (0.0, 0);
        }
        self.mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_that_of_the_unluckiest_in_thirty() {
        let mut waits = LongestWaits::new();
        for _ in 0..200 {
            for call in 0..30 {
                waits.sample(if call == 7 { 1.0 } else { 0.0 });
            }
            waits.mean();
        }
        assert!((waits.mean() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_limit_takes_effect_at_nine_tenths_of_the_target_and_lets_go_at_a_half() {
        let settings = TrpcSettings { window_answers: 30, ..TrpcSettings::default() };
        let mut concurrency = Concurrency::new(&settings);
        let mut now = Timestamp::ZERO;
        let mut answer = |concurrency: &mut Concurrency, wait_ms: f64| {
            for _ in 0..6000 {
                now = now + Duration::from_micros(100);
                let wait = Duration::from_secs_f64(wait_ms / 1e3);
                concurrency.answered(now, wait, wait + Duration::from_millis(1));
            }
            concurrency.has_place(1_000_000, 1)
        };
        assert!(answer(&mut concurrency, 10.0), "0.67 of the target");
        assert!(!answer(&mut concurrency, 14.0));
        assert!(!answer(&mut concurrency, 10.0), "still above a half");
        assert!(answer(&mut concurrency, 7.0));
    }
}
