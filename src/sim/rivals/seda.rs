//! SEDA's adaptive admission (Welsh & Culler, *Adaptive Overload Control for Busy Internet Servers*, USITS 2003, §3).
//!
//! **Signal**: the 90th percentile of the response times of the last hundred calls (or of a second), smoothed. **Decision**:
//! a token bucket refuses on arrival; its rate grows by a step when the percentile is below half of the target and is
//! divided when it is above. Only calls that were worked on have a response time. **What it cannot do**: it steers a rate without knowing the capacity, so each change of load
//! or of capacity is searched for again; response time also grows when something further down is slow; importance does
//! not count (the paper's classes have a bucket each, with targets set by hand).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{knob::Knob, written};
use crate::{
    clock::Timestamp,
    sim::guard::{Arrangement, Call, Guard, Refused, Server},
};

/// The percentile that is bounded (USITS 2003, title of §3.2).
const PERCENTILE: f64 = 0.9;

/// Settings of SEDA.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SedaSettings {
    /// What the 90th percentile of the response times should be.
    #[serde(with = "written::time")]
    pub target: Duration,
    /// The rate is adjusted after this many calls,
    #[serde(deserialize_with = "written::count")]
    pub calls: u32,
    /// or after this long.
    #[serde(with = "written::time")]
    pub timeout: Duration,
    /// The weight of the past in the smoothed percentile.
    #[serde(deserialize_with = "written::share")]
    pub alpha: f64,
    /// The relative error above which the rate is divided.
    pub error_decrease: f64,
    /// The relative error below which the rate grows.
    pub error_increase: f64,
    /// What the error is offset by when the rate grows.
    pub offset: f64,
    /// The rate grows by this many calls per second, times the offset error.
    #[serde(deserialize_with = "written::positive")]
    pub increase: f64,
    /// What the rate is divided by.
    #[serde(deserialize_with = "written::factor")]
    pub decrease: f64,
    /// The largest rate, per second; also the first one.
    #[serde(deserialize_with = "written::positive")]
    pub rate_max: f64,
    /// The smallest rate, per second.
    #[serde(deserialize_with = "written::positive")]
    pub rate_min: f64,
    /// How many calls the bucket lets through at once.
    #[serde(deserialize_with = "written::count")]
    pub depth: u32,
}

impl SedaSettings {
    /// What a search may vary.
    pub const KNOBS: &[Knob] = &[
        Knob::time("target", 10.0, 500.0),
        Knob::whole("calls", 10.0, 1000.0),
        Knob::time("timeout", 50.0, 2000.0),
        Knob::linear("alpha", 0.0, 0.95),
        Knob::linear("error_increase", -0.9, -0.05),
        Knob::log("increase", 0.5, 200.0),
        Knob::log("decrease", 1.01, 2.0),
        Knob::whole("depth", 1.0, 100.0),
    ];
}

impl Default for SedaSettings {
    /// The paper's table of parameters, with two exceptions. It leaves the target to the service and uses seconds, for
    /// people at browsers: here half of WeChat's 500 ms. It gives no depth: that of Breakwater's authors, who used it as
    /// a baseline.
    fn default() -> Self {
        Self {
            target: Duration::from_millis(250),
            calls: 100,
            timeout: Duration::from_secs(1),
            alpha: 0.7,
            error_decrease: 0.0,
            error_increase: -0.5,
            offset: -0.1,
            increase: 2.0,
            decrease: 1.2,
            rate_max: 5000.0,
            rate_min: 0.05,
            depth: 4,
        }
    }
}

impl Arrangement for SedaSettings {
    fn guard(&self, _workers: usize, _seed: u64) -> Box<dyn Guard> {
        Box::new(Seda {
            rate: self.rate_max,
            tokens: f64::from(self.depth),
            filled: Timestamp::ZERO,
            adjusted: None,
            times: Vec::with_capacity(self.calls as usize),
            smoothed: Duration::ZERO,
            settings: self.clone(),
        })
    }
}

#[derive(Debug)]
struct Seda {
    settings: SedaSettings,
    /// Tokens per second.
    rate: f64,
    tokens: f64,
    filled: Timestamp,
    adjusted: Option<Timestamp>,
    /// Response times since the last adjustment.
    times: Vec<Duration>,
    smoothed: Duration,
}

impl Seda {
    fn fill(&mut self, now: Timestamp) {
        let new = self.rate * now.since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + new).min(f64::from(self.settings.depth));
        self.filled = now;
    }

    fn adjust(&mut self, now: Timestamp) {
        self.fill(now);
        self.adjusted = Some(now);
        let Some(sample) = percentile(&mut self.times, PERCENTILE) else { return };
        self.times.clear();
        let settings = &self.settings;
        self.smoothed = self.smoothed.mul_f64(settings.alpha) + sample.mul_f64(1.0 - settings.alpha);
        let target = settings.target.as_secs_f64();
        let error = (self.smoothed.as_secs_f64() - target) / target;
        if error > settings.error_decrease {
            self.rate /= settings.decrease;
        } else if error < settings.error_increase {
            self.rate -= (error - settings.offset) * settings.increase;
        }
        self.rate = self.rate.min(settings.rate_max).max(settings.rate_min);
    }
}

/// The value at this share of the sorted values; nothing of nothing.
fn percentile(values: &mut [Duration], share: f64) -> Option<Duration> {
    values.sort_unstable();
    let place = (values.len() as f64 * share) as usize;
    values.get(place.min(values.len().saturating_sub(1))).copied()
}

impl Guard for Seda {
    fn arrive(&mut self, now: Timestamp, _call: &Call, _server: &Server) -> Result<(), Refused> {
        self.fill(now);
        if self.tokens < 1.0 {
            return Err(Refused { retry_after: None });
        }
        self.tokens -= 1.0;
        Ok(())
    }

    fn completed(&mut self, now: Timestamp, _call: &Call, queuing: Duration, service: Duration, _in_time: bool) {
        self.times.push(queuing + service);
        if self.times.len() >= self.settings.calls as usize {
            self.adjust(now);
        }
    }

    fn tick(&mut self, now: Timestamp, _server: &Server) {
        if now.since(*self.adjusted.get_or_insert(now)) >= self.settings.timeout {
            self.adjust(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Bench, SERVICE};
    use super::*;

    #[test]
    fn a_storm_cuts_the_rate_below_the_capacity_and_it_creeps_back_by_two_per_second() {
        let mut bench = Bench::new(&SedaSettings::default());
        let storm = bench.run(2.0, 5);
        assert!(storm.good as f64 <= 0.9 * storm.capacity, "{storm:?}");
        let early = bench.run(2.0, 10);
        let later = bench.run(2.0, 10);
        assert!(early.longest_queuing + SERVICE < Duration::from_millis(500), "{early:?}");
        assert!(early.good < later.good && later.good as f64 <= 0.9 * later.capacity, "{early:?} {later:?}");
        bench.run(2.0, 60);
        let latest = bench.run(2.0, 10);
        assert!(f64::from(latest.good) > 1.1 * f64::from(later.good), "{later:?} {latest:?}");
    }

    #[test]
    fn a_percentile_of_few_values_is_one_of_them() {
        let of = |millis: &[u64]| {
            percentile(&mut millis.iter().copied().map(Duration::from_millis).collect::<Vec<_>>(), 0.9)
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[7]), Some(Duration::from_millis(7)));
        assert_eq!(of(&[1, 9, 2]), Some(Duration::from_millis(9)));
    }
}
