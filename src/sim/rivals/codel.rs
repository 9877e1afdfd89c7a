//! CoDel as the RFC has it (Nichols & Jacobson, RFC 8289), at the dequeue of requests instead of packets; the DAGOR paper
//! compares itself with it (§5.3).
//!
//! **Signal**: how long a call has waited when a worker takes it, and whether that stayed above the target for a whole
//! interval. A burst that drains in time is no overload. **Decision**: then refuse one call, and the next one after an
//! interval divided by the square root of how many were refused so far, until one waited for less than the target.
//! **What it cannot do**: it was made for senders that slow down when one packet is lost. Open-loop callers do not, and
//! the rate of refusals grows only linearly with time: a second of twice the saturation needs many seconds. Importance
//! does not count, and the refusal comes after the wait.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{knob::Knob, written};
use crate::{
    clock::Timestamp,
    sim::guard::{Arrangement, Call, Guard, Refused, Server},
};

/// An earlier spell of refusing counts if it ended less than so many intervals ago (RFC 8289 §5.6: 16).
const RECENT_INTERVALS: u32 = 16;

/// Settings of CoDel.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct CodelSettings {
    /// How long a call may wait without harm.
    #[serde(with = "written::time")]
    pub target: Duration,
    /// For how long the wait must stay above the target.
    #[serde(with = "written::time")]
    pub interval: Duration,
}

impl CodelSettings {
    /// What a search may vary.
    pub const KNOBS: &[Knob] = &[Knob::time("target", 1.0, 200.0), Knob::time("interval", 2.0, 1000.0)];
}

impl Default for CodelSettings {
    /// RFC 8289 §4.2 and §4.3.
    fn default() -> Self {
        Self { target: Duration::from_millis(5), interval: Duration::from_millis(100) }
    }
}

impl Arrangement for CodelSettings {
    fn guard(&self, _workers: usize, _seed: u64) -> Box<dyn Guard> {
        Box::new(Codel {
            settings: self.clone(),
            waiting: 0,
            overdue: None,
            refusing: false,
            next: Timestamp::ZERO,
            count: 0,
            count_before: 0,
        })
    }
}

#[derive(Debug)]
struct Codel {
    settings: CodelSettings,
    waiting: usize,
    /// When an interval above the target will be full, if the last call waited for longer than that.
    overdue: Option<Timestamp>,
    refusing: bool,
    /// When to refuse the next one.
    next: Timestamp,
    /// How many were refused in this spell.
    count: u32,
    /// The same at the beginning of the last spell.
    count_before: u32,
}

impl Codel {
    /// Whether the wait has been above the target for an interval.
    fn bad(&mut self, now: Timestamp, queuing: Duration) -> bool {
        // The last one waiting never is too much: refusing it would leave the worker idle.
        if queuing < self.settings.target || self.waiting <= 1 {
            self.overdue = None;
            return false;
        }
        now >= *self.overdue.get_or_insert(now + self.settings.interval)
    }

    /// The interval over the square root of the count (RFC 8289 §5.2).
    fn pause(&self) -> Duration {
        self.settings.interval.div_f64(f64::from(self.count.max(1)).sqrt())
    }

    fn begin(&mut self, now: Timestamp) {
        let added = self.count.saturating_sub(self.count_before);
        let recent = now.since(self.next) < self.settings.interval * RECENT_INTERVALS;
        self.count = if added > 1 && recent { added } else { 1 };
        self.count_before = self.count;
        self.refusing = true;
        self.next = now + self.pause();
    }

    fn gone(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }
}

impl Guard for Codel {
    fn arrive(&mut self, _now: Timestamp, _call: &Call, _server: &Server) -> Result<(), Refused> {
        self.waiting += 1;
        Ok(())
    }

    fn dequeue(&mut self, now: Timestamp, _call: &Call, queuing: Duration) -> Result<(), Refused> {
        if !self.bad(now, queuing) {
            self.refusing = false;
            return Ok(());
        }
        if !self.refusing {
            self.begin(now);
        } else if now >= self.next {
            self.count += 1;
            self.next = self.next + self.pause();
        } else {
            return Ok(());
        }
        Err(Refused { retry_after: None })
    }

    fn started(&mut self, _now: Timestamp, _call: &Call, _queuing: Duration) {
        self.gone();
    }

    fn expired(&mut self, _now: Timestamp, _call: &Call, _queuing: Duration) {
        self.gone();
    }

    fn dropped(&mut self, _now: Timestamp, _call: &Call, _queuing: Duration) {
        self.gone();
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{self, Bench};
    use super::*;

    #[test]
    fn refusals_come_faster_with_the_square_root_of_their_number() {
        let server = Server { waiting: 5, ..Server::default() };
        let mut guard = CodelSettings::default().guard(1, 0);
        let call = bench::call(1, Timestamp::ZERO);
        for _ in 0..10 {
            guard.arrive(Timestamp::ZERO, &call, &server).unwrap();
        }
        // A call is looked at each millisecond, and each has waited for 50 ms.
        let refused: Vec<u64> = (0..400)
            .filter(|&ms| {
                let now = Timestamp::ZERO + Duration::from_millis(ms);
                guard.dequeue(now, &call, Duration::from_millis(50)).is_err()
            })
            .collect();
        assert_eq!(refused, [100, 200, 271, 329, 379], "100 ms, then 100/√1, 100/√2, 100/√3, 100/√4 apart");
    }

    #[test]
    fn it_is_slow_against_callers_who_do_not_slow_down() {
        let mut bench = Bench::new(&CodelSettings::default());
        let first = bench.run(2.0, 5);
        assert!(first.expired > first.refused, "the deadline sheds more than CoDel: {first:?}");
    }
}
