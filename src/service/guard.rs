//! The instance's own gate: a guard that only acts when gateways send more than they were granted. It is used under the
//! desk's lock, so that one shard of counters is enough.

use std::time::Duration;

use crate::{
    admission::{Cause, Cut, Gate, GateSettings, Value},
    clock::Timestamp,
};

/// The desk's lock makes all threads one writer.
const SHARD: usize = 0;

/// The instance's own gate.
#[derive(Debug)]
pub(super) struct Guard(Gate);

impl Guard {
    /// A guard with these settings.
    pub(super) fn new(settings: GateSettings) -> Self {
        Self(Gate::with_cause(settings, 1, Cause::InstanceCut))
    }

    /// Whether a call of this value may come in.
    ///
    /// # Errors
    ///
    /// When to try again.
    pub(super) fn admit(&mut self, now: Timestamp, value: Value) -> Result<(), Duration> {
        self.0.decide(SHARD, now, value).map_err(|refusal| refusal.retry_after)
    }

    /// A call left the queue at this age.
    pub(super) fn left_queue(&mut self, age: Duration) {
        self.0.sample(SHARD, age);
    }

    /// A handler is done.
    pub(super) fn completed(&mut self) {
        self.0.completed(SHARD);
    }

    /// A regular look: whether all workers are busy and how old the oldest waiting call is. Tells whether that moved
    /// the cut.
    pub(super) fn tick(&mut self, now: Timestamp, all_busy: bool, oldest_waiting: Duration) -> bool {
        let before = self.cut();
        self.0.observe_limit(SHARD, all_busy);
        self.0.tick(now, oldest_waiting);
        self.cut() != before
    }

    /// The cut in force.
    pub(super) fn cut(&self) -> Cut {
        self.0.effective_cut()
    }
}
