//! The instance's own gate: a guard that only acts when gateways send more than they were granted.

use std::time::Duration;

use crate::{
    admission::{Cut, Value},
    clock::Timestamp,
};

/// The instance's own gate, if it has one.
#[derive(Debug, Default)]
pub(super) struct Guard {}

impl Guard {
    pub(super) fn new(_settings: Option<&crate::admission::GateSettings>, _now: Timestamp) -> Self {
        Self {}
    }
}

impl Guard {
    /// Whether a call of this value may come in.
    ///
    /// # Errors
    ///
    /// When to try again.
    pub(super) fn admit(&mut self, _value: Value) -> Result<(), Duration> {
        Ok(())
    }

    /// A call left the queue at this age.
    pub(super) fn left_queue(&mut self, _age: Duration) {}

    /// Closes the window if it is over; whether that moved the cut.
    pub(super) fn tick(&mut self, _now: Timestamp, _oldest: Duration) -> bool {
        false
    }

    /// The cut in force.
    pub(super) fn cut(&self) -> Cut {
        Cut::OPEN
    }
}
