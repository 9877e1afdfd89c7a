//! Client throttling (*Site Reliability Engineering*, Beyer et al. 2016, chapter 21, *Handling Overload*): a caller refuses
//! on its own what would probably be refused.
//!
//! **Signal**: how many calls a caller wanted to make and how many were accepted, over two minutes. **Decision**: a coin with
//! the probability (requests − K × accepts) ÷ (requests + 1): the server is still asked K times as often as it accepts.
//! The server itself has a fixed limit. **What it cannot do**: it saves the server the refusals, no more; two minutes of
//! history are slow to fill and slow to forget; importance does not count, and a coin for each call breaks tasks of
//! several calls.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    chance::Chance,
    fixed::{FixedSettings, Full},
    knob::Knob,
    written,
};
use crate::{
    clock::Timestamp,
    sim::guard::{Arrangement, Call, Caller, Ended, Feedback, Guard, Refused},
};

/// The history is forgotten in this many pieces.
const SLOTS: u32 = 120;

/// Settings of client throttling.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThrottleSettings {
    /// How many times what it accepts the server is asked (K).
    #[serde(deserialize_with = "written::factor")]
    pub k: f64,
    /// How far back requests and accepts are counted.
    #[serde(with = "written::time")]
    pub history: Duration,
    /// The server's own limit: calls that may wait for each worker.
    #[serde(deserialize_with = "written::positive")]
    pub waiting_per_worker: f64,
}

impl ThrottleSettings {
    /// What a search may vary.
    pub const KNOBS: &[Knob] = &[
        Knob::log("k", 1.0, 4.0),
        Knob::time("history", 1000.0, 300_000.0),
        Knob::log("waiting_per_worker", 0.1, 100.0),
    ];
}

impl Default for ThrottleSettings {
    /// The book's K and its two minutes; the limit is that of `fixed`.
    fn default() -> Self {
        let waiting_per_worker = FixedSettings::default().waiting_per_worker;
        Self { k: 2.0, history: Duration::from_secs(120), waiting_per_worker }
    }
}

impl Arrangement for ThrottleSettings {
    fn guard(&self, workers: usize, _seed: u64) -> Box<dyn Guard> {
        let limit = FixedSettings { waiting_per_worker: self.waiting_per_worker };
        Box::new(Full { waiting: limit.waiting(workers) })
    }

    fn caller(&self, seed: u64) -> Option<Box<dyn Caller>> {
        Some(Box::new(Throttle {
            settings: self.clone(),
            chance: Chance::new(seed, 0),
            slots: VecDeque::new(),
            requests: 0,
            accepts: 0,
        }))
    }
}

#[derive(Debug)]
struct Throttle {
    settings: ThrottleSettings,
    chance: Chance,
    /// The pieces of the history, oldest first.
    slots: VecDeque<Slot>,
    requests: u64,
    accepts: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    begun: Timestamp,
    requests: u64,
    accepts: u64,
}

impl Throttle {
    fn count(&mut self, now: Timestamp, requests: u64, accepts: u64) {
        while let Some(oldest) = self.slots.front().filter(|slot| now.since(slot.begun) >= self.settings.history) {
            self.requests -= oldest.requests;
            self.accepts -= oldest.accepts;
            self.slots.pop_front();
        }
        self.requests += requests;
        self.accepts += accepts;
        let length = self.settings.history / SLOTS;
        match self.slots.back_mut().filter(|slot| now.since(slot.begun) < length) {
            Some(slot) => {
                slot.requests += requests;
                slot.accepts += accepts;
            }
            None => self.slots.push_back(Slot { begun: now, requests, accepts }),
        }
    }

    fn probability(&self) -> f64 {
        let (requests, accepts) = (self.requests as f64, self.accepts as f64);
        ((requests - self.settings.k * accepts) / (requests + 1.0)).max(0.0)
    }
}

impl Caller for Throttle {
    fn may_send(&mut self, now: Timestamp, _call: &Call) -> Result<(), Refused> {
        let refused = self.chance.happens(self.probability());
        self.count(now, 1, 0);
        if refused { Err(Refused { retry_after: None }) } else { Ok(()) }
    }

    fn ended(&mut self, now: Timestamp, _call: &Call, ended: Ended, _feedback: Option<Feedback>) {
        match ended {
            Ended::Replied => self.count(now, 0, 1),
            Ended::Refused | Ended::TimedOut => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::Bench;
    use super::*;

    #[test]
    fn the_server_is_asked_twice_as_often_as_it_accepts() {
        let settings = ThrottleSettings { history: Duration::from_secs(5), ..ThrottleSettings::default() };
        let mut bench = Bench::new(&settings);
        bench.run(10.0, 15);
        let settled = bench.run(10.0, 20);
        let asked = f64::from(settled.offered - settled.held_back) / f64::from(settled.good);
        assert!((1.9..2.1).contains(&asked), "{asked}: {settled:?}");
        assert!(settled.good as f64 > 0.97 * settled.capacity, "{settled:?}");
    }

    #[test]
    fn nothing_is_held_back_while_half_is_accepted_once_there_is_a_history() {
        let mut bench = Bench::new(&ThrottleSettings::default());
        assert!(bench.run(0.9, 1).held_back > 0, "before the first answers nothing seems to be accepted");
        assert_eq!(bench.run(0.9, 10).held_back, 0);
    }
}
