//! The instance's own gate: a guard that only acts when gateways send more than they were granted. It is used under the
//! desk's lock, so that one shard of counters is enough.

use std::time::Duration;

use crate::{
    admission::{Cut, Gate, GateSettings, Value},
    clock::Timestamp,
};

/// The desk's lock makes all threads one writer.
const SHARD: usize = 0;

/// The instance's own gate, if it has one.
#[derive(Debug)]
pub(super) struct Guard(Option<Gate>);

impl Guard {
    /// A guard with these settings, or one that lets everything in.
    pub(super) fn new(settings: Option<GateSettings>) -> Self {
        Self(settings.map(|settings| Gate::new(settings, 1)))
    }

    /// Whether a call of this value may come in.
    ///
    /// # Errors
    ///
    /// When to try again.
    pub(super) fn admit(&mut self, now: Timestamp, value: Value) -> Result<(), Duration> {
        let decided = self.0.as_ref().map_or(Ok(()), |gate| gate.decide(SHARD, now, value));
        decided.map_err(|refusal| refusal.retry_after)
    }

    /// A call left the queue at this age.
    pub(super) fn left_queue(&mut self, age: Duration) {
        if let Some(gate) = &self.0 {
            gate.sample(SHARD, age);
        }
    }

    /// A handler is done.
    pub(super) fn completed(&mut self) {
        if let Some(gate) = &self.0 {
            gate.completed(SHARD);
        }
    }

    /// A regular look: whether all workers are busy and how old the oldest waiting call is. Tells whether that moved
    /// the cut.
    pub(super) fn tick(&mut self, now: Timestamp, all_busy: bool, oldest_waiting: Duration) -> bool {
        let Some(gate) = &self.0 else { return false };
        let before = gate.effective_cut();
        gate.observe_limit(SHARD, all_busy);
        gate.tick(now, oldest_waiting);
        gate.effective_cut() != before
    }

    /// The cut in force.
    pub(super) fn cut(&self) -> Cut {
        self.0.as_ref().map_or(Cut::OPEN, Gate::effective_cut)
    }
}
