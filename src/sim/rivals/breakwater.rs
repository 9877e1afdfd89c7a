//! Breakwater (Cho et al., OSDI 2020): a caller sends only what the server has given it credits for.
//!
//! **Signal**: how long the oldest waiting call has waited, once in a round trip. **Decision**: the pool of credits grows by
//! a step while that is below the target and shrinks in proportion to the excess above it (§4.2.1). Callers get their
//! shares with the answers, more than there are in the pool by a margin, because not all who hold credits use them
//! (§4.2.3); what comes nevertheless while the wait is above twice the target is refused on arrival (§4.3). **What it
//! cannot do**: importance does not count, tasks of several calls are not known, and a credit that a caller holds without
//! using it is missing elsewhere.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{knob::Knob, written};
use crate::{
    clock::Timestamp,
    sim::guard::{Arrangement, Call, Caller, Ended, Feedback, Guard, Refused, Server},
};

/// A round takes at most this part of the pool away (§4.2.1).
const SMALLEST_FACTOR: f64 = 0.5;
/// A caller keeps one credit: nothing but its next call could tell it that there are credits again. The authors' server
/// sends credits on its own; the effect is the same.
const LAST_CREDIT: f64 = 1.0;

/// Settings of Breakwater.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakwaterSettings {
    /// The wait above which the pool shrinks (d_t).
    #[serde(with = "written::time")]
    pub target: Duration,
    /// Calls are refused on arrival above so many targets.
    #[serde(deserialize_with = "written::factor")]
    pub refuse_targets: f64,
    /// How often the pool is adjusted.
    #[serde(with = "written::time")]
    pub round_trip: Duration,
    /// The pool grows by so many credits for each caller (α), and by one at least.
    #[serde(deserialize_with = "written::positive")]
    pub increase: f64,
    /// The pool shrinks by this times the relative excess (β).
    #[serde(deserialize_with = "written::positive")]
    pub decrease: f64,
    /// The most credits for each caller.
    #[serde(deserialize_with = "written::count")]
    pub most_per_caller: u32,
}

impl BreakwaterSettings {
    /// What a search may vary.
    pub const KNOBS: &[Knob] = &[
        Knob::time("target", 1.0, 200.0),
        Knob::log("refuse_targets", 1.0, 10.0),
        Knob::time("round_trip", 1.0, 200.0),
        Knob::log("increase", 0.001, 5.0),
        Knob::log("decrease", 0.002, 1.0),
        Knob::whole("most_per_caller", 4.0, 2000.0),
    ];
}

impl Default for BreakwaterSettings {
    /// α, β, the factor of two and 64 credits are the authors' (§4.2.1, §4.3, `bw_config.h`). Their times are for calls of
    /// 10 µs: a target of eight and a round trip of one service time. Here those of WeChat's 20 ms and of 10 ms.
    fn default() -> Self {
        Self {
            target: Duration::from_millis(20),
            refuse_targets: 2.0,
            round_trip: Duration::from_millis(10),
            increase: 0.001,
            decrease: 0.02,
            most_per_caller: 64,
        }
    }
}

impl Arrangement for BreakwaterSettings {
    fn guard(&self, workers: usize, _seed: u64) -> Box<dyn Guard> {
        Box::new(Pool {
            settings: self.clone(),
            credits: workers as f64,
            least: workers as f64,
            adjusted: Timestamp::ZERO,
            accounts: Vec::new(),
        })
    }

    fn caller(&self, _seed: u64) -> Option<Box<dyn Caller>> {
        Some(Box::new(Holder { credits: LAST_CREDIT, used: 0, held_back: 0 }))
    }
}

#[derive(Debug)]
struct Pool {
    settings: BreakwaterSettings,
    /// What may be given out (C_total).
    credits: f64,
    /// As many as there are workers.
    least: f64,
    adjusted: Timestamp,
    accounts: Vec<Account>,
}

/// What the server knows of a caller.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    credits: f64,
    /// What it has on the way and would like to send, if it ever told.
    wanted: Option<u32>,
}

impl Pool {
    fn adjust(&mut self, now: Timestamp, oldest: Duration) {
        if now.since(self.adjusted) < self.settings.round_trip {
            return;
        }
        self.adjusted = now;
        let target = self.settings.target.as_secs_f64();
        let excess = (oldest.as_secs_f64() - target) / target;
        if excess >= 0.0 {
            self.credits *= (1.0 - self.settings.decrease * excess).max(SMALLEST_FACTOR);
        } else {
            self.credits += (self.settings.increase * self.accounts.len() as f64).max(1.0);
        }
        let most = f64::from(self.settings.most_per_caller) * self.accounts.len().max(1) as f64;
        self.credits = self.credits.min(most).max(self.least);
    }

    fn account(&mut self, caller: usize, callers: usize) -> &mut Account {
        if self.accounts.len() < callers.max(caller + 1) {
            self.accounts.resize(callers.max(caller + 1), Account::default());
        }
        &mut self.accounts[caller]
    }

    /// The caller's new share (§4.2.2 and §4.2.3).
    fn share(&mut self, caller: usize, callers: usize) -> f64 {
        let account = *self.account(caller, callers);
        let given: f64 = self.accounts.iter().map(|account| account.credits).sum();
        let open = self.credits - given;
        let margin = (open / callers.max(1) as f64).max(1.0);
        let wanted = account.wanted.map_or(self.credits / callers.max(1) as f64, f64::from) + margin;
        let share = if open > 0.0 { account.credits + open } else { account.credits - 1.0 };
        share.min(wanted).min(f64::from(self.settings.most_per_caller)).max(LAST_CREDIT)
    }
}

impl Guard for Pool {
    fn heard(&mut self, _now: Timestamp, caller: usize, callers: usize, wanted: u32) {
        self.account(caller, callers).wanted = Some(wanted);
    }

    fn arrive(&mut self, now: Timestamp, _call: &Call, server: &Server) -> Result<(), Refused> {
        self.adjust(now, server.oldest);
        let late = server.oldest > self.settings.target.mul_f64(self.settings.refuse_targets);
        if late { Err(Refused { retry_after: None }) } else { Ok(()) }
    }

    fn tick(&mut self, now: Timestamp, server: &Server) {
        self.adjust(now, server.oldest);
    }

    fn feedback(&mut self, _now: Timestamp, caller: usize, callers: usize) -> Feedback {
        let share = self.share(caller, callers);
        self.account(caller, callers).credits = share;
        Feedback { credits: Some(share), ..Feedback::default() }
    }
}

#[derive(Debug)]
struct Holder {
    credits: f64,
    used: u32,
    /// How many calls were refused here since the last one was sent; these would like to be sent.
    held_back: u32,
}

impl Caller for Holder {
    fn may_send(&mut self, _now: Timestamp, _call: &Call) -> Result<(), Refused> {
        if f64::from(self.used) + 1.0 > self.credits {
            self.held_back = self.held_back.saturating_add(1);
            return Err(Refused { retry_after: None });
        }
        self.used += 1;
        Ok(())
    }

    fn wanted(&self) -> u32 {
        self.used.saturating_add(self.held_back)
    }

    fn ended(&mut self, _now: Timestamp, _call: &Call, _ended: Ended, feedback: Option<Feedback>) {
        self.used = self.used.saturating_sub(1);
        self.held_back = 0;
        if let Some(credits) = feedback.and_then(|feedback| feedback.credits) {
            self.credits = credits;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Bench, WORKERS};
    use super::*;

    #[test]
    fn the_excess_stays_with_the_callers_and_the_queue_short() {
        let mut bench = Bench::new(&BreakwaterSettings::default());
        bench.run(2.0, 3);
        let settled = bench.run(2.0, 10);
        assert!(settled.held_back > 20 * settled.refused, "{settled:?}");
        assert!(settled.good as f64 > 0.97 * settled.capacity, "{settled:?}");
        assert!(settled.longest_queuing <= Duration::from_millis(80), "{settled:?}");
    }

    #[test]
    fn a_wait_far_above_the_target_halves_the_pool_at_most() {
        let mut pool = Pool {
            settings: BreakwaterSettings::default(),
            credits: 400.0,
            least: WORKERS as f64,
            adjusted: Timestamp::ZERO,
            accounts: vec![Account::default(); 10],
        };
        let round_trip = Duration::from_millis(10);
        pool.adjust(Timestamp::ZERO + round_trip, Duration::from_millis(40));
        assert!((pool.credits - 392.0).abs() < 1e-9, "2 % for an excess of one target: {}", pool.credits);
        pool.adjust(Timestamp::ZERO + round_trip * 2, Duration::from_secs(60));
        assert!((pool.credits - 196.0).abs() < 1e-9, "{}", pool.credits);
        pool.adjust(Timestamp::ZERO + round_trip * 3, Duration::ZERO);
        assert!((pool.credits - 197.0).abs() < 1e-9, "one more: {}", pool.credits);
    }
}
