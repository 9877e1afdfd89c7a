//! A fixed limit: so many calls in the server, and not one more. What operators set by hand, and what `ConcurrencyLimit` or
//! a bounded accept queue does.
//!
//! **Signal**: how many calls are in the server. **Decision**: refuse on arrival when the limit is reached. **What it cannot
//! do**: know the right number. A good one bounds the delay at one service time and one capacity; when either changes it
//! wastes workers or builds a queue, and importance never counts.

use serde::{Deserialize, Serialize};

use super::{knob::Knob, written};
use crate::{
    clock::Timestamp,
    sim::guard::{Arrangement, Call, Guard, Refused, Server},
};

/// Settings of the fixed limit.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FixedSettings {
    /// How many calls may wait for each worker, beside the one it works on.
    #[serde(deserialize_with = "written::positive")]
    pub waiting_per_worker: f64,
}

impl FixedSettings {
    /// What a search may vary.
    pub const KNOBS: &[Knob] = &[Knob::log("waiting_per_worker", 0.1, 100.0)];

    /// How many calls may wait for this many workers; at least one, which is what a worker takes up next.
    pub(super) fn waiting(&self, workers: usize) -> usize {
        ((self.waiting_per_worker * workers as f64).round() as usize).max(1)
    }
}

impl Default for FixedSettings {
    /// Nobody's in particular: ten waiting for each that is worked on is the ratio of many servers' defaults (a thousand
    /// in a backlog for a hundred threads).
    fn default() -> Self {
        Self { waiting_per_worker: 10.0 }
    }
}

impl Arrangement for FixedSettings {
    fn guard(&self, workers: usize, _seed: u64) -> Box<dyn Guard> {
        Box::new(Full { waiting: self.waiting(workers) })
    }
}

/// Refuses while this many calls wait.
#[derive(Debug)]
pub(super) struct Full {
    pub(super) waiting: usize,
}

impl Guard for Full {
    fn arrive(&mut self, _now: Timestamp, _call: &Call, server: &Server) -> Result<(), Refused> {
        if server.waiting < self.waiting { Ok(()) } else { Err(Refused { retry_after: None }) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::bench::{Bench, SERVICE};
    use super::*;

    #[test]
    fn the_delay_is_bounded_by_the_limit_at_any_load() {
        for load in [1.5, 10.0] {
            let settled = Bench::new(&FixedSettings::default()).run(load, 10);
            let bound = SERVICE * 11 + Duration::from_millis(1);
            assert!(settled.longest_queuing <= bound, "{load}: {settled:?}");
            assert!(settled.good as f64 >= 0.97 * settled.capacity, "{load}: {settled:?}");
        }
    }
}
