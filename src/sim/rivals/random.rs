//! Random shedding: the naive baseline of the DAGOR paper (§5.3), which drops a share of the calls whatever they are.
//!
//! **Signal**: the mean queuing time of a window, with the same target and windows as DAGOR, so that the two differ in
//! nothing but what they shed. **Decision**: a coin for each call. An overloaded window lowers the share that is admitted
//! by α of itself, any other window raises it by β of what arrived: DAGOR's own steps. **What it cannot do**: a task of k
//! calls survives with the k-th power of the share; importance and resends do not count.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{chance::Chance, knob::Knob, written};
use crate::{
    admission::{GateSettings, detector::Detector, window::Window},
    clock::Timestamp,
    sim::guard::{Arrangement, Call, Guard, Refused, Server},
};

/// Settings of random shedding.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomSettings {
    /// Mean queuing time above which a window is overloaded.
    #[serde(with = "written::time")]
    pub target: Duration,
    /// The longest window.
    #[serde(with = "written::time")]
    pub window: Duration,
    /// A window also ends after this many calls.
    #[serde(deserialize_with = "written::count")]
    pub window_requests: u32,
    /// What an overloaded window takes of the admitted share.
    #[serde(deserialize_with = "written::share")]
    pub alpha: f64,
    /// What any other window adds to it.
    #[serde(deserialize_with = "written::share")]
    pub beta: f64,
}

impl RandomSettings {
    /// What a search may vary.
    pub const KNOBS: &[Knob] = &[
        Knob::time("target", 2.0, 200.0),
        Knob::time("window", 50.0, 2000.0),
        Knob::log("alpha", 0.005, 0.5),
        Knob::log("beta", 0.001, 0.2),
    ];
}

impl Default for RandomSettings {
    /// The DAGOR paper's figures (§4.1 and §4.2.3).
    fn default() -> Self {
        let window = Duration::from_secs(1);
        Self { target: Duration::from_millis(20), window, window_requests: 2000, alpha: 0.05, beta: 0.01 }
    }
}

impl Arrangement for RandomSettings {
    fn guard(&self, _workers: usize, seed: u64) -> Box<dyn Guard> {
        Box::new(Coin {
            limits: GateSettings {
                window: self.window,
                window_requests: self.window_requests,
                ..GateSettings::default()
            },
            settings: self.clone(),
            chance: Chance::new(seed, 0),
            admitted: 1.0,
            window: Window::default(),
            left: 0,
            total: Duration::ZERO,
        })
    }
}

#[derive(Debug)]
struct Coin {
    settings: RandomSettings,
    /// The same as a gate's, for the window.
    limits: GateSettings,
    chance: Chance,
    /// The share that is admitted.
    admitted: f64,
    window: Window,
    /// Calls that left the queue in this window, and their time in it.
    left: u32,
    total: Duration,
}

impl Coin {
    fn sample(&mut self, queuing: Duration) {
        self.left += 1;
        self.total += queuing;
    }
}

impl Guard for Coin {
    fn arrive(&mut self, _now: Timestamp, _call: &Call, _server: &Server) -> Result<(), Refused> {
        if self.chance.happens(self.admitted) { Ok(()) } else { Err(Refused { retry_after: None }) }
    }

    fn started(&mut self, _now: Timestamp, _call: &Call, queuing: Duration) {
        self.sample(queuing);
    }

    fn expired(&mut self, _now: Timestamp, _call: &Call, queuing: Duration) {
        self.sample(queuing);
    }

    fn dropped(&mut self, _now: Timestamp, _call: &Call, queuing: Duration) {
        self.sample(queuing);
    }

    fn tick(&mut self, now: Timestamp, server: &Server) {
        if self.window.due(now, self.left, &self.limits).is_none() {
            return;
        }
        self.window.reopen(now);
        let verdict = Detector::new(self.settings.target).judge(self.left, self.total, server.oldest);
        self.admitted = if verdict.overloaded {
            self.admitted * (1.0 - self.settings.alpha)
        } else {
            (self.admitted + self.settings.beta).min(1.0)
        };
        (self.left, self.total) = (0, Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::Bench;
    use super::*;

    #[test]
    fn it_sheds_the_important_as_often_as_the_rest() {
        let mut bench = Bench::new(&RandomSettings::default());
        bench.run(2.0, 40);
        let settled = bench.run(2.0, 20);
        let important = settled.good_important as f64 / settled.offered_important as f64;
        let all = settled.good as f64 / settled.offered as f64;
        assert!((important - all).abs() < 0.03, "{settled:?}");
        assert!((0.3..0.6).contains(&all), "half of twice the saturation fits: {settled:?}");
    }
}
