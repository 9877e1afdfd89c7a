//! What comes next: events in the order of time, and those of one moment in the order in which they were put down.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, VecDeque},
};

use crate::clock::Timestamp;

/// Things that happen in the world. Numbers are keys of its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The next task of a source arrives.
    Arrive { source: usize },
    /// A client sends a task, again or for the first time.
    Send { task: u32 },
    /// The time of a try is up.
    Deadline { task: u32, attempt: u32 },
    /// A call reaches its server.
    Land { call: u32 },
    /// A worker is done with a call.
    Done { call: u32 },
    /// An answer reaches its caller.
    Back { call: u32 },
    /// Feedback reaches a caller later than its answer.
    Heard { note: u32 },
    /// An instance of a service changes.
    Change { service: usize, change: usize },
    /// The regular look at all servers.
    Tick,
}

#[derive(Debug)]
struct Entry {
    at: Timestamp,
    number: u64,
    event: Event,
}

/// The events that are still to come.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    now: Timestamp,
    /// Events of this very moment, which need no sorting.
    due: VecDeque<Event>,
    later: BinaryHeap<Entry>,
    number: u64,
}

impl Agenda {
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// Puts an event down; one of the past happens at once.
    pub(super) fn put(&mut self, at: Timestamp, event: Event) {
        if at <= self.now {
            self.due.push_back(event);
            return;
        }
        self.number += 1;
        self.later.push(Entry { at, number: self.number, event });
    }

    /// Goes on to the next event.
    pub(super) fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.due.pop_front() {
            return Some(event);
        }
        let Entry { at, event, .. } = self.later.pop()?;
        self.now = at;
        Some(event)
    }
}

impl Ord for Entry {
    /// The earliest is the greatest, because a heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_the_order_they_were_put_down() {
        let mut agenda = Agenda::default();
        let at = Timestamp::from_nanos;
        for (time, task) in [(20, 0), (10, 1), (20, 2), (0, 3)] {
            agenda.put(at(time), Event::Send { task });
        }
        let order: Vec<_> = std::iter::from_fn(|| agenda.next().map(|event| (agenda.now(), event))).collect();
        let send = |time, task| (at(time), Event::Send { task });
        assert_eq!(order, [send(0, 3), send(10, 1), send(20, 0), send(20, 2)]);
    }
}
