//! The instance's own gate: a guard that only acts when gateways send more than they were granted. It is used under the
//! desk's lock, so that one shard of counters is enough.

use std::time::Duration;

use crate::{
    admission::{Backlog, Cause, Cost, Cut, Gate, GateSettings, Value, places::LimitClock},
    clock::Timestamp,
};

/// The desk's lock makes all threads one writer.
const SHARD: usize = 0;

/// The instance's own gate.
#[derive(Debug)]
pub(super) struct Guard {
    gate: Gate,
    limit: LimitClock,
}

impl Guard {
    /// A guard with these settings.
    pub(super) fn new(settings: GateSettings) -> Self {
        Self { gate: Gate::with_cause(settings, 1, Cause::InstanceCut), limit: LimitClock::default() }
    }

    /// Whether a call of this value may come in.
    ///
    /// # Errors
    ///
    /// When to try again.
    pub(super) fn admit(&mut self, now: Timestamp, value: Value) -> Result<(), Duration> {
        let decision = self.gate.decide(SHARD, now, value, Cost::ONE);
        decision.map(|_| ()).map_err(|refusal| refusal.retry_after)
    }

    /// A call left the queue at this age.
    pub(super) fn left_queue(&mut self, age: Duration) {
        self.gate.sample(SHARD, age);
    }

    /// A handler is done.
    pub(super) fn completed(&mut self) {
        self.gate.completed(SHARD, Cost::ONE, self.limit.is_reached());
    }

    /// All workers are busy from now on, or not any more.
    pub(super) fn note_limit(&mut self, now: Timestamp, all_busy: bool) {
        self.limit.note(now, all_busy, &self.gate, SHARD);
    }

    /// A regular look at what waits beyond the granted places. Tells whether that moved the cut.
    pub(super) fn tick(&mut self, now: Timestamp, backlog: Backlog) -> bool {
        let before = self.cut();
        self.gate.tick(now, Some(backlog));
        self.cut() != before
    }

    /// The cut in force.
    pub(super) fn cut(&self) -> Cut {
        self.gate.effective_cut()
    }
}
