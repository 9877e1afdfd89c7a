//! The instance's own gate: a guard that only acts when gateways send more than they were granted. It learns all the time; but
//! what was granted cannot pile up, so while no more than that waits its cut is open, however little gets done: a process
//! that had no processor for a while would otherwise refuse the calls that it has asked for. It is used under the desk's
//! lock, so that one shard of counters is enough.

use std::time::Duration;

use crate::{
    admission::{Backlog, Cause, Cost, Cut, Gate, GateSettings, Value, places::LimitClock},
    clock::Timestamp,
};

/// The desk's lock makes all threads one writer.
const SHARD: usize = 0;

/// For so long after more waited than was granted the cut binds: some windows, so that it does not come and go with each.
const BINDS_FOR: Duration = Duration::from_millis(500);

/// The instance's own gate.
#[derive(Debug)]
pub(super) struct Guard {
    gate: Gate,
    limit: LimitClock,
    /// Until when the cut binds.
    binds_until: Timestamp,
    /// The cut at the last tick.
    shown: Cut,
}

impl Guard {
    /// A guard with these settings.
    pub(super) fn new(settings: GateSettings) -> Self {
        Self {
            gate: Gate::with_cause(settings, 1, Cause::InstanceCut),
            limit: LimitClock::default(),
            binds_until: Timestamp::ZERO,
            shown: Cut::OPEN,
        }
    }

    /// Whether a call of this value may come in.
    ///
    /// # Errors
    ///
    /// When to try again.
    pub(super) fn admit(&mut self, now: Timestamp, value: Value) -> Result<(), Duration> {
        if self.binds(now) {
            let decision = self.gate.decide(SHARD, now, value, Cost::ONE);
            return decision.map(|_| ()).map_err(|refusal| refusal.retry_after);
        }
        self.gate.let_in(SHARD, value, Cost::ONE);
        Ok(())
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
        if backlog.cost > 0.0 {
            self.binds_until = now + BINDS_FOR;
        }
        self.gate.tick(now, Some(backlog));
        let cut = self.cut(now);
        std::mem::replace(&mut self.shown, cut) != cut
    }

    /// The cut in force.
    pub(super) fn cut(&self, now: Timestamp) -> Cut {
        if self.binds(now) { self.gate.effective_cut() } else { Cut::OPEN }
    }

    fn binds(&self, now: Timestamp) -> bool {
        now < self.binds_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Level;

    #[test]
    fn what_goes_on_because_the_cut_does_not_bind_is_counted_as_let_in() {
        let mut guard = Guard::new(GateSettings::default());
        guard.gate.set_manager_cap(Cut::below_index(0));
        let (value, mut now) = (Value::new(Level::from_index(9), 0), Timestamp::ZERO + Duration::from_secs(1));
        let mut counted = |beyond: f64| {
            guard.tick(now, Backlog { oldest: Duration::ZERO, cost: beyond, wanted: beyond });
            let is_admitted = guard.admit(now, value).is_ok();
            now = now + BINDS_FOR;
            let gate = guard.gate.snapshot();
            (is_admitted, gate.admitted_total, gate.refused_total)
        };
        assert_eq!(counted(0.0), (true, 1, 0));
        assert_eq!(counted(1.0), (false, 1, 1));
        assert_eq!(counted(0.0), (true, 2, 1));
    }
}
