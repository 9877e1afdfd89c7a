//! DAGOR v3 with response time in place of queuing time: what the paper tried first and advises against (§4.1, figure 5).
//!
//! **Signal**: the mean time from a call's arrival to its answer. **Decision**: the real gate and controller, cuts sent to
//! the callers. By default callers do not act on them: a gate does not see what callers hold back, so that its first calm
//! window opens it whole, as the paper's listing counts what arrives; with `callers = true` it is so. **What it cannot
//! do**: tell its own queue from slow work, its own or further down. The paper's service saturates at 750/s and starts to
//! shed at about 630/s with this signal.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{knob::Knob, written};
use crate::{
    admission::{ControllerKind, GateSettings},
    sim::{
        dagor::{Dagor, Signal},
        guard::{Arrangement, Caller, Discipline, Guard, UserLevels},
    },
};

/// As many calls may wait as with the other gates.
const QUEUE_CAPACITY: usize = 10_000;

/// Settings of DAGOR with response time.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DagorResponseSettings {
    /// Mean response time above which a window is overloaded.
    #[serde(with = "written::time")]
    pub target: Duration,
    /// The longest window.
    #[serde(with = "written::time")]
    pub window: Duration,
    /// A window also ends after this many calls.
    #[serde(deserialize_with = "written::count")]
    pub window_requests: u32,
    /// Whether callers refuse on their own what they know would be refused (§4.2.4).
    pub callers: bool,
}

impl DagorResponseSettings {
    /// What a search may vary. α and β are constants of the real controller.
    pub const KNOBS: &[Knob] = &[
        Knob::time("target", 10.0, 500.0),
        Knob::time("window", 50.0, 2000.0),
        Knob::whole("window_requests", 50.0, 5000.0),
        Knob::flag("callers"),
    ];
}

impl Default for DagorResponseSettings {
    /// 250 ms served best in the paper's figure 5; the windows are those of §4.1. That callers know no cuts is in the rival's favour.
    fn default() -> Self {
        let (target, window) = (Duration::from_millis(250), Duration::from_secs(1));
        Self { target, window, window_requests: 2000, callers: false }
    }
}

impl DagorResponseSettings {
    fn dagor(&self) -> Dagor {
        Dagor {
            settings: GateSettings {
                target: self.target,
                window: self.window,
                window_requests: self.window_requests,
                ..GateSettings::of(ControllerKind::DagorV3)
            },
            discipline: Discipline::Fifo,
            queue_capacity: QUEUE_CAPACITY,
            levels: UserLevels::Hourly,
            signal: Signal::Response,
            callers: self.callers,
        }
    }
}

impl Arrangement for DagorResponseSettings {
    fn guard(&self, workers: usize, seed: u64) -> Box<dyn Guard> {
        self.dagor().guard(workers, seed)
    }

    fn user_levels(&self) -> UserLevels {
        self.dagor().user_levels()
    }

    fn caller(&self, seed: u64) -> Option<Box<dyn Caller>> {
        self.dagor().caller(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::Bench;
    use super::*;
    use crate::admission::Cut;

    #[test]
    fn slow_work_without_any_queue_looks_like_overload() {
        let mut bench = Bench::new(&DagorResponseSettings::default());
        bench.service = Duration::from_millis(300);
        // Eight workers of 300 ms do 26 calls per second; these are 20.
        let seen = bench.run(0.025, 30);
        assert!(seen.longest_queuing.is_zero(), "{seen:?}");
        assert!(seen.refused + seen.held_back > 0, "{seen:?}");
    }

    #[test]
    fn the_important_half_is_served_when_the_gate_sees_all_that_is_offered() {
        let mut bench = Bench::new(&DagorResponseSettings::default());
        bench.run(2.0, 60);
        let settled = bench.run(2.0, 20);
        let important = settled.good_important as f64 / settled.offered_important as f64;
        assert!(important > 0.8, "{settled:?}");
        assert!(settled.good - settled.good_important < settled.good / 10, "{settled:?}");
    }

    #[test]
    fn obedient_callers_hide_the_overload_and_the_gate_opens_whole() {
        let settings = DagorResponseSettings { callers: true, ..DagorResponseSettings::default() };
        let mut bench = Bench::new(&settings);
        let opened = (0..120).filter(|_| {
            let closed = bench.guard.cut() != Some(Cut::OPEN);
            bench.run(2.0, 1);
            closed && bench.guard.cut() == Some(Cut::OPEN)
        });
        assert!(opened.count() >= 2);
    }
}
