//! Gradient2 of Netflix's concurrency-limits (`Gradient2Limit` inside `WindowedLimit`): how many calls may be in the server
//! follows from how the response time compares with its long-term mean.
//!
//! **Signal**: the mean response time of a window against an exponential mean over hundreds of windows. **Decision**: the
//! limit is multiplied by their quotient (within a tolerance, never below a half), a few places are added for a queue,
//! and the result is smoothed; a call that would exceed the limit is refused on arrival. **What it cannot do**: know what
//! is normal: after a long overload the queue is part of the long-term mean. The floor of twenty calls is a queue of its
//! own where few workers do slow work, and importance does not count.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{knob::Knob, written};
use crate::{
    clock::Timestamp,
    sim::guard::{Arrangement, Call, Guard, Refused, Server},
};

/// The long-term mean begins as the plain mean of so many windows (the code: 10).
const WARM_UP_WINDOWS: u32 = 10;
/// The long-term mean is too high if it is so many times the present one (the code: 2) ...
const DRIFT: f64 = 2.0;
/// ... and is then multiplied by this (the code: 0.95).
const DRIFT_DECAY: f64 = 0.95;
/// The limit is at most halved by one window, before smoothing (the code: 0.5).
const SMALLEST_GRADIENT: f64 = 0.5;

/// Settings of Gradient2.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gradient2Settings {
    /// The first limit.
    #[serde(deserialize_with = "written::count")]
    pub initial: u32,
    /// The smallest limit.
    #[serde(deserialize_with = "written::count")]
    pub min: u32,
    /// The largest limit.
    #[serde(deserialize_with = "written::count")]
    pub max: u32,
    /// How much of a new limit takes effect.
    #[serde(deserialize_with = "written::share")]
    pub smoothing: f64,
    /// Places that are added in each window.
    #[serde(deserialize_with = "written::count")]
    pub queue: u32,
    /// Windows in the long-term mean.
    #[serde(deserialize_with = "written::count")]
    pub long_window: u32,
    /// How many times the long-term mean the present one may be.
    #[serde(deserialize_with = "written::factor")]
    pub tolerance: f64,
    /// How long a window is.
    #[serde(with = "written::time")]
    pub window: Duration,
    /// Windows with fewer samples are not used.
    #[serde(deserialize_with = "written::count")]
    pub window_samples: u32,
}

impl Gradient2Settings {
    /// What a search may vary.
    pub const KNOBS: &[Knob] = &[
        Knob::whole("min", 1.0, 200.0),
        Knob::whole("max", 10.0, 2000.0),
        Knob::linear("smoothing", 0.01, 1.0),
        Knob::whole("queue", 1.0, 50.0),
        Knob::whole("long_window", 10.0, 2000.0),
        Knob::log("tolerance", 1.0, 5.0),
        Knob::time("window", 50.0, 2000.0),
    ];
}

impl Default for Gradient2Settings {
    /// The defaults of both builders.
    fn default() -> Self {
        Self {
            initial: 20,
            min: 20,
            max: 200,
            smoothing: 0.2,
            queue: 4,
            long_window: 600,
            tolerance: 1.5,
            window: Duration::from_secs(1),
            window_samples: 10,
        }
    }
}

impl Arrangement for Gradient2Settings {
    fn guard(&self, _workers: usize, _seed: u64) -> Box<dyn Guard> {
        Box::new(Gradient { limit: f64::from(self.initial), ..Gradient::new(self.clone()) })
    }
}

#[derive(Debug)]
struct Gradient {
    settings: Gradient2Settings,
    limit: f64,
    /// The long-term mean, in seconds, and of how many windows it is.
    long: f64,
    windows: u32,
    /// When the present window ends.
    ends: Timestamp,
    samples: u32,
    total: Duration,
    /// The most calls at once in this window.
    most: usize,
}

impl Gradient {
    fn new(settings: Gradient2Settings) -> Self {
        let ends = Timestamp::ZERO + settings.window;
        Self { settings, limit: 0.0, long: 0.0, windows: 0, ends, samples: 0, total: Duration::ZERO, most: 0 }
    }

    fn sample(&mut self, now: Timestamp, time: Duration) {
        self.samples += 1;
        self.total += time;
        if now <= self.ends {
            return;
        }
        self.ends = now + self.settings.window;
        if self.samples >= self.settings.window_samples {
            self.update(self.total.as_secs_f64() / f64::from(self.samples));
        }
        (self.samples, self.total, self.most) = (0, Duration::ZERO, 0);
    }

    fn update(&mut self, present: f64) {
        self.remember(present);
        // Fewer calls than half the limit say nothing about the limit.
        if (self.most as f64) < self.limit / 2.0 {
            return;
        }
        let gradient = (self.settings.tolerance * self.long / present).clamp(SMALLEST_GRADIENT, 1.0);
        let wanted = self.limit * gradient + f64::from(self.settings.queue);
        let smoothed = self.limit + self.settings.smoothing * (wanted - self.limit);
        self.limit = smoothed.min(f64::from(self.settings.max)).max(f64::from(self.settings.min));
    }

    fn remember(&mut self, present: f64) {
        self.windows = self.windows.saturating_add(1);
        let weight = if self.windows <= WARM_UP_WINDOWS {
            1.0 / f64::from(self.windows)
        } else {
            2.0 / (f64::from(self.settings.long_window) + 1.0)
        };
        self.long += weight * (present - self.long);
        if self.long / present > DRIFT {
            self.long *= DRIFT_DECAY;
        }
    }
}

impl Guard for Gradient {
    fn arrive(&mut self, _now: Timestamp, _call: &Call, server: &Server) -> Result<(), Refused> {
        let inside = server.waiting + server.in_flight;
        if inside >= self.limit as usize {
            return Err(Refused { retry_after: None });
        }
        self.most = self.most.max(inside + 1);
        Ok(())
    }

    fn expired(&mut self, now: Timestamp, _call: &Call, queuing: Duration) {
        self.sample(now, queuing);
    }

    fn completed(&mut self, now: Timestamp, _call: &Call, queuing: Duration, service: Duration, _in_time: bool) {
        self.sample(now, queuing + service);
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Bench, SERVICE};
    use super::*;

    #[test]
    fn a_response_time_far_above_the_long_term_mean_shrinks_the_limit_and_a_calm_one_grows_it() {
        let mut gradient = Gradient { limit: 100.0, most: 100, ..Gradient::new(Gradient2Settings::default()) };
        (0..20).for_each(|_| gradient.update(0.010));
        assert!((gradient.limit - 116.0).abs() < 1e-9, "0.2 × 4 for each window: {}", gradient.limit);
        gradient.update(0.100);
        assert!(gradient.limit < 106.0, "a fifth of the way to the half: {}", gradient.limit);
    }

    #[test]
    fn few_calls_at_once_do_not_grow_the_limit() {
        let mut gradient = Gradient { limit: 100.0, most: 49, ..Gradient::new(Gradient2Settings::default()) };
        gradient.update(0.010);
        assert_eq!(gradient.limit, 100.0);
    }

    #[test]
    fn from_a_calm_start_the_queue_stays_short_under_overload() {
        let mut bench = Bench::new(&Gradient2Settings::default());
        bench.run(0.8, 20);
        let storm = bench.run(3.0, 10);
        assert!(storm.good as f64 > 0.98 * storm.capacity, "{storm:?}");
        assert!(storm.longest_queuing < SERVICE * 10, "{storm:?}");
    }
}
