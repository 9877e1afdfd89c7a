//! DAGOR v3 with response time in place of queuing time: what the paper tried first and advises against (§4.1, figure 5).
//!
//! **Signal**: the mean time from a call's arrival to its answer. **Decision**: the real gate and controller, cuts sent to
//! the callers. By default callers do not act on them: a gate does not see what callers hold back, so that its first calm
//! window opens it whole, as the paper's listing counts what arrives; with `callers = "obey"` it is so. **What it cannot
//! do**: tell its own queue from slow work, its own or further down. The paper's service saturates at 750/s and starts to
//! shed at about 630/s with this signal.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{knob::Knob, written};
use crate::{
    admission::{Backlog, ControllerKind, Cost, Cut, Gate, GateSettings},
    clock::Timestamp,
    sim::guard::{Arrangement, Call, Caller, Discipline, Ended, Feedback, Guard, Refused, Server},
};

/// The gate's only shard: a simulated server has one thread.
const SHARD: usize = 0;

/// What callers do with a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Callers {
    /// They refuse on their own what the server would refuse (§4.2.4).
    Obey,
    /// They send everything.
    Ask,
}

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
    /// What callers do with a cut.
    pub callers: Callers,
}

impl DagorResponseSettings {
    /// What a search may vary. α and β are constants of the real controller.
    pub const KNOBS: &[Knob] = &[
        Knob::time("target", 10.0, 500.0),
        Knob::time("window", 50.0, 2000.0),
        Knob::whole("window_requests", 50.0, 5000.0),
        Knob::word("callers", &["obey", "ask"]),
    ];
}

impl Default for DagorResponseSettings {
    /// 250 ms served best in the paper's figure 5; the windows are those of §4.1. That callers ask is in the rival's favour.
    fn default() -> Self {
        let (target, window) = (Duration::from_millis(250), Duration::from_secs(1));
        Self { target, window, window_requests: 2000, callers: Callers::Ask }
    }
}

impl Arrangement for DagorResponseSettings {
    fn guard(&self, _workers: usize, _seed: u64) -> Box<dyn Guard> {
        let settings = GateSettings {
            controller: ControllerKind::DagorV3,
            target: self.target,
            window: self.window,
            window_requests: self.window_requests,
            ..GateSettings::default()
        };
        Box::new(Response { gate: Gate::new(settings, 1) })
    }

    fn caller(&self, _seed: u64) -> Option<Box<dyn Caller>> {
        match self.callers {
            Callers::Obey => Some(Box::new(Obedient { cut: Cut::OPEN })),
            Callers::Ask => None,
        }
    }
}

#[derive(Debug)]
struct Response {
    gate: Gate,
}

impl Guard for Response {
    fn discipline(&self) -> Discipline {
        Discipline::Fifo
    }

    fn arrive(&mut self, now: Timestamp, call: &Call, _server: &Server) -> Result<(), Refused> {
        let decided = self.gate.decide(SHARD, now, call.value, Cost::ONE);
        decided.map(|_| ()).map_err(|refusal| Refused { retry_after: Some(refusal.retry_after) })
    }

    /// What expired has no response time; so much is known of it.
    fn expired(&mut self, _now: Timestamp, _call: &Call, queuing: Duration) {
        self.gate.sample(SHARD, queuing);
    }

    fn completed(&mut self, _now: Timestamp, _call: &Call, queuing: Duration, service: Duration, _in_time: bool) {
        self.gate.sample(SHARD, queuing + service);
        self.gate.completed(SHARD, Cost::ONE, false);
    }

    fn tick(&mut self, now: Timestamp, server: &Server) {
        self.gate.tick(now, Some(Backlog { oldest: server.oldest, ..Backlog::default() }));
    }

    fn feedback(&mut self, _now: Timestamp, _caller: usize, _callers: usize) -> Feedback {
        Feedback { cut: Some(self.gate.effective_cut()), ..Feedback::default() }
    }

    fn cut(&self) -> Option<Cut> {
        Some(self.gate.effective_cut())
    }
}

/// Refuses what the server would refuse by the last cut that it sent (§4.2.4). No expiry and no probe, as in the paper.
#[derive(Debug)]
struct Obedient {
    cut: Cut,
}

impl Caller for Obedient {
    fn may_send(&mut self, _now: Timestamp, call: &Call) -> Result<(), Refused> {
        if self.cut.admits(call.value) { Ok(()) } else { Err(Refused { retry_after: None }) }
    }

    fn ended(&mut self, _now: Timestamp, _call: &Call, _ended: Ended, feedback: Option<Feedback>) {
        if let Some(cut) = feedback.and_then(|feedback| feedback.cut) {
            self.cut = cut;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::Bench;
    use super::*;

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
        let settings = DagorResponseSettings { callers: Callers::Obey, ..DagorResponseSettings::default() };
        let mut bench = Bench::new(&settings);
        let opened = (0..120).filter(|_| {
            let closed = bench.guard.cut() != Some(Cut::OPEN);
            bench.run(2.0, 1);
            closed && bench.guard.cut() == Some(Cut::OPEN)
        });
        assert!(opened.count() >= 2);
    }
}
