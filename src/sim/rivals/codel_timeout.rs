//! CoDel as Facebook uses it for requests (Maurer, *Fail at Scale*, ACM Queue 13(8), 2015; folly's `Codel`): the time for
//! which a call may wait depends on whether the queue stands.
//!
//! **Signal**: the shortest wait among the calls of an interval. If even that is above the target, the queue has not been
//! empty for the whole interval. **Decision**: while it stands, a call that waited for longer than twice the target is
//! refused when a worker takes it. **What it cannot do**: importance does not count; each call that is served has waited
//! for as long as is allowed; a refusal comes after the wait.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{knob::Knob, written};
use crate::{
    clock::Timestamp,
    sim::guard::{Arrangement, Call, Guard, Refused, Server},
};

/// Settings of CoDel with a timeout.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct CodelTimeoutSettings {
    /// The shortest wait above which the queue stands.
    #[serde(with = "written::time")]
    pub target: Duration,
    /// For how long the shortest wait is looked for.
    #[serde(with = "written::time")]
    pub interval: Duration,
    /// How many times the target a call may wait while the queue stands.
    #[serde(deserialize_with = "written::factor")]
    pub allowed_targets: f64,
}

impl CodelTimeoutSettings {
    /// What a search may vary.
    pub const KNOBS: &[Knob] = &[
        Knob::time("target", 1.0, 200.0),
        Knob::time("interval", 2.0, 1000.0),
        Knob::log("allowed_targets", 1.0, 10.0),
    ];
}

impl Default for CodelTimeoutSettings {
    /// The article's 5 ms and 100 ms; folly refuses at twice the target.
    fn default() -> Self {
        Self { target: Duration::from_millis(5), interval: Duration::from_millis(100), allowed_targets: 2.0 }
    }
}

impl Arrangement for CodelTimeoutSettings {
    fn guard(&self, _workers: usize, _seed: u64) -> Box<dyn Guard> {
        Box::new(Timeout {
            allowed: self.target.mul_f64(self.allowed_targets),
            settings: self.clone(),
            ends: Timestamp::ZERO,
            shortest: Duration::MAX,
            stands: false,
        })
    }
}

#[derive(Debug)]
struct Timeout {
    settings: CodelTimeoutSettings,
    allowed: Duration,
    /// When the present interval ends.
    ends: Timestamp,
    shortest: Duration,
    /// Whether the queue stood in the last interval.
    stands: bool,
}

impl Guard for Timeout {
    fn arrive(&mut self, _now: Timestamp, _call: &Call, _server: &Server) -> Result<(), Refused> {
        Ok(())
    }

    fn dequeue(&mut self, now: Timestamp, _call: &Call, queuing: Duration) -> Result<(), Refused> {
        if now >= self.ends {
            self.stands = self.shortest > self.settings.target && self.shortest != Duration::MAX;
            self.ends = now + self.settings.interval;
            self.shortest = queuing;
            // The call that ends an interval is let through: it may be the last of a burst that is over.
            return Ok(());
        }
        self.shortest = self.shortest.min(queuing);
        if self.stands && queuing > self.allowed { Err(Refused { retry_after: None }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::Bench;
    use super::*;

    #[test]
    fn a_standing_queue_is_cut_to_twice_the_target_within_two_intervals() {
        let mut bench = Bench::new(&CodelTimeoutSettings::default());
        bench.run(2.0, 1);
        let settled = bench.run(2.0, 5);
        assert!(settled.good as f64 > 0.98 * settled.capacity, "{settled:?}");
        assert!(settled.longest_queuing <= Duration::from_millis(30), "{settled:?}");
    }

    #[test]
    fn a_burst_that_drains_within_an_interval_is_let_through() {
        let mut bench = Bench::new(&CodelTimeoutSettings::default());
        for _ in 0..20 {
            assert_eq!(bench.run(0.9, 1).refused, 0);
        }
    }
}
