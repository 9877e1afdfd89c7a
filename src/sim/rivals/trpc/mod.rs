//! The overload control of Tencent's tRPC-Cpp (`trpc/overload_control/high_percentile`), which DAGOR's home uses today: a
//! concurrency limit found by Little's law, and two priority thresholds that decide who takes it.
//!
//! **Signal**: the longest wait of thirty calls, averaged, against 15 ms. **Decision**: nothing is limited until that
//! reaches 0.9 of the target. Then the server holds as many calls as the least cost times the greatest throughput allow.
//! Calls above the upper threshold may use twice that, calls below the lower threshold are refused outright, calls
//! between them take their chance ([`bands`]). **What it cannot do**: it looks at windows of at most 100 ms and ignores
//! those with less than 200 answers, so that a server of less than 2,000 calls per second is never limited at the
//! authors' settings. Below the lower threshold nothing is learnt, and between the thresholds importance does not count.

mod bands;
mod concurrency;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::{bands::Bands, concurrency::Concurrency};
use super::{chance::Chance, knob::Knob, written};
use crate::{
    admission::level::LEVELS,
    clock::Timestamp,
    sim::guard::{Arrangement, Call, Guard, Refused, Server},
};

/// Priorities are 0 to 255, higher being more important (`HighPercentileConf::max_priority`).
const PRIORITIES: usize = 256;

/// Settings of tRPC's overload control.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrpcSettings {
    /// The wait that should not be exceeded (`max_schedule_delay`).
    #[serde(with = "written::time")]
    pub target: Duration,
    /// A window with fewer answers says nothing (`min_concurrency_window_size`).
    #[serde(deserialize_with = "written::count")]
    pub window_answers: u32,
    /// The least that a limit can be (`min_max_concurrency`).
    #[serde(deserialize_with = "written::count")]
    pub least_limit: u32,
    /// How much of the calls the lower threshold moves over in a step.
    #[serde(deserialize_with = "written::share")]
    pub lower_step: f64,
    /// How much of the calls the upper threshold moves over in a step.
    #[serde(deserialize_with = "written::share")]
    pub upper_step: f64,
    /// Admitted calls between the thresholds for each one above them.
    #[serde(deserialize_with = "written::share")]
    pub fuzzy_ratio: f64,
    /// How long the thresholds stay (`max_update_interval`).
    #[serde(with = "written::time")]
    pub update_interval: Duration,
    /// They also move after so many answers and refusals (`max_update_size`).
    #[serde(deserialize_with = "written::count")]
    pub update_calls: u32,
    /// How many windows a histogram of priorities covers.
    #[serde(deserialize_with = "written::count")]
    pub histograms: u32,
}

impl TrpcSettings {
    /// What a search may vary.
    pub const KNOBS: &[Knob] = &[
        Knob::time("target", 2.0, 100.0),
        Knob::whole("window_answers", 5.0, 400.0),
        Knob::whole("least_limit", 1.0, 200.0),
        Knob::log("lower_step", 0.002, 0.3),
        Knob::log("upper_step", 0.002, 0.3),
        Knob::log("fuzzy_ratio", 0.01, 1.0),
        Knob::time("update_interval", 20.0, 1000.0),
        Knob::whole("update_calls", 50.0, 2000.0),
    ];
}

impl Default for TrpcSettings {
    /// `HighPercentileConf`.
    fn default() -> Self {
        Self {
            target: Duration::from_millis(15),
            window_answers: 200,
            least_limit: 10,
            lower_step: 0.02,
            upper_step: 0.01,
            fuzzy_ratio: 0.1,
            update_interval: Duration::from_millis(100),
            update_calls: 512,
            histograms: 3,
        }
    }
}

impl Arrangement for TrpcSettings {
    fn guard(&self, _workers: usize, seed: u64) -> Box<dyn Guard> {
        let (bands, concurrency) = (Bands::new(self), Concurrency::new(self));
        Box::new(Trpc { chance: Chance::new(seed, 0), bands, concurrency })
    }
}

#[derive(Debug)]
struct Trpc {
    chance: Chance,
    bands: Bands,
    concurrency: Concurrency,
}

impl Guard for Trpc {
    fn arrive(&mut self, now: Timestamp, call: &Call, server: &Server) -> Result<(), Refused> {
        let priority = PRIORITIES - 1 - call.value.level().index() * PRIORITIES / LEVELS;
        let inside = server.waiting + server.in_flight;
        // The framework blurs the priority by chance, call by call, so that a threshold can split one.
        let blurred = priority as f64 + self.chance.unit();
        let concurrency = &self.concurrency;
        let admitted = self.bands.decide(blurred, |places| concurrency.has_place(inside, places));
        self.bands.observe(now, priority, admitted);
        if admitted { Ok(()) } else { Err(Refused { retry_after: None }) }
    }

    fn completed(&mut self, now: Timestamp, _call: &Call, queuing: Duration, service: Duration, _in_time: bool) {
        self.concurrency.answered(now, queuing, queuing + service);
        self.bands.answered(now);
    }
}

/// A period that ends after a time or a number of events, whichever comes first.
#[derive(Clone, Copy, Debug)]
struct Period {
    interval: Duration,
    most: u32,
    begun: Timestamp,
    events: u32,
}

impl Period {
    fn begin(now: Timestamp, interval: Duration, most: u32) -> Self {
        Self { interval, most, begun: now, events: 0 }
    }

    /// Counts an event; whether the period is over with it.
    fn touch(&mut self, now: Timestamp) -> bool {
        self.events += 1;
        self.events >= self.most || now.since(self.begun) >= self.interval
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::Bench;
    use super::*;

    #[test]
    fn below_two_thousand_answers_per_second_it_never_limits() {
        let seen = Bench::new(&TrpcSettings::default()).run(3.0, 20);
        assert_eq!(seen.refused, 0, "{seen:?}");
    }

    #[test]
    fn a_fast_server_sheds_the_less_important_half_at_twice_its_saturation() {
        let mut bench = Bench::new(&TrpcSettings::default());
        // Ten times as fast as the bench reckons with: 8,000 calls per second, offered twice.
        bench.service = Duration::from_millis(1);
        bench.run(20.0, 20);
        let settled = bench.run(20.0, 10);
        let all = settled.good as f64 / settled.offered as f64;
        let important = settled.good_important as f64 / settled.offered_important as f64;
        assert!(important > 0.9 && (0.4..=0.51).contains(&all), "{settled:?}");
    }
}
