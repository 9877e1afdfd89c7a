//! Inversions at one instance: a call was refused although a less important one was let pass in the same window.
//!
//! A window ends every 100 ms and whenever the cut moves, so that no controller is blamed for decisions that it made
//! under different cuts. What the gate refused is compared with what it let pass by value, grain included; what
//! found the queue full, with what it took by level, because a queue orders by level alone. What is turned away because its
//! answer would come too late is compared with nothing: that is no matter of importance, and another moment has another
//! answer. A call that passed although it is not below the cut is an exception (a minimum share or a probe), counted apart
//! and compared with nothing.

use std::time::Duration;

use crate::{
    admission::{Cut, Level, Value},
    clock::Timestamp,
};

/// The length of a window whose cut stands still.
const LENGTH: Duration = Duration::from_millis(100);

/// What the gate and the queue of an instance decided in the present window.
#[derive(Debug, Default)]
pub struct Window {
    opened: Timestamp,
    cut: Option<Cut>,
    refused: Vec<Value>,
    without_room: Vec<Level>,
    worst_admitted: Option<Value>,
    worst_joined: Option<Level>,
    counts: Counts,
}

/// What was counted in windows that have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that the gate refused while a less important one passed.
    pub gate: u64,
    /// Calls that found the queue full while one of a worse level was taken.
    pub queue: u64,
    /// Calls that passed although they were not below the cut.
    pub exceptions: u64,
}

impl Window {
    /// It is now, with this cut in force.
    pub fn at(&mut self, now: Timestamp, cut: Option<Cut>) {
        if cut != self.cut || now.since(self.opened) >= LENGTH {
            self.end();
            (self.opened, self.cut) = (now, cut);
        }
    }

    /// The gate let a call pass.
    pub fn admitted_at_the_gate(&mut self, value: Value) {
        if self.cut.is_some_and(|cut| !cut.admits(value)) {
            self.counts.exceptions += 1;
        } else {
            self.worst_admitted = self.worst_admitted.max(Some(value));
        }
    }

    /// The gate refused a call.
    pub fn refused_at_the_gate(&mut self, value: Value) {
        self.refused.push(value);
    }

    /// A call that passed the gate went to a worker or into the queue.
    pub fn joined(&mut self, value: Value) {
        if self.cut.is_none_or(|cut| cut.admits(value)) {
            self.worst_joined = self.worst_joined.max(Some(value.level()));
        }
    }

    /// A call that passed the gate found the queue full of what is at least as important.
    pub fn found_no_room(&mut self, value: Value) {
        self.without_room.push(value.level());
    }

    /// Ends the window if it is over, and tells what was counted since the last time.
    pub fn close(&mut self, now: Timestamp, cut: Option<Cut>) -> Option<Counts> {
        self.at(now, cut);
        let counts = std::mem::take(&mut self.counts);
        (counts != Counts::default()).then_some(counts)
    }

    fn end(&mut self) {
        if let Some(worst) = self.worst_admitted.take() {
            self.counts.gate += self.refused.iter().filter(|refused| **refused < worst).count() as u64;
        }
        if let Some(worst) = self.worst_joined.take() {
            self.counts.queue += self.without_room.iter().filter(|refused| **refused < worst).count() as u64;
        }
        self.refused.clear();
        self.without_room.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(level: usize) -> Value {
        Value::new(Level::from_index(level), 0)
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn a_refusal_counts_if_something_worse_passes_before_or_after_it() {
        let mut window = Window::default();
        window.at(at(0), None);
        window.refused_at_the_gate(value(5));
        window.refused_at_the_gate(value(9));
        window.admitted_at_the_gate(value(7));
        assert_eq!(window.close(at(99), None), None, "the window is not over");
        assert_eq!(window.close(at(100), None), Some(Counts { gate: 1, ..Counts::default() }));
    }

    #[test]
    fn another_cut_begins_another_window() {
        let mut window = Window::default();
        window.at(at(0), Some(Cut::below_index(8)));
        window.admitted_at_the_gate(value(7));
        window.at(at(1), Some(Cut::below_index(3)));
        window.refused_at_the_gate(value(5));
        assert_eq!(window.close(at(200), None), None);
    }

    #[test]
    fn what_passes_above_the_cut_is_an_exception() {
        let mut window = Window::default();
        window.at(at(0), Some(Cut::below_index(3)));
        window.admitted_at_the_gate(value(9));
        window.refused_at_the_gate(value(5));
        assert_eq!(window.close(at(100), None), Some(Counts { exceptions: 1, ..Counts::default() }));
    }

    #[test]
    fn queues_are_compared_by_level() {
        let mut window = Window::default();
        window.at(at(0), None);
        window.joined(Value::new(Level::from_index(5), 9));
        window.found_no_room(value(5));
        window.found_no_room(value(4));
        assert_eq!(window.close(at(100), None), Some(Counts { queue: 1, ..Counts::default() }));
    }
}
