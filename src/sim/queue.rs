//! Calls that wait for a worker behind a [`Guard`](super::guard::Guard), by the discipline that it asks for. The one by
//! level is the gateway's own.

use std::{collections::VecDeque, time::Duration};

use super::guard::{Call, Discipline};
use crate::{
    admission::{
        Cause, Cut,
        queue::{Line, Ticket},
    },
    clock::Timestamp,
};

/// A call that waits, with its key in the world's table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) key: u32,
    pub(super) call: Call,
}

#[derive(Debug)]
pub(super) struct Queue {
    order: Order,
    /// Expected costs of all that wait.
    cost: f64,
}

#[derive(Debug)]
enum Order {
    Fifo { capacity: usize, waiting: VecDeque<Waiting> },
    ByLevel(Line<Waiting>),
}

impl Queue {
    pub(super) fn new(discipline: Discipline, capacity: usize) -> Self {
        let order = match discipline {
            Discipline::Fifo => Order::Fifo { capacity, waiting: VecDeque::new() },
            Discipline::ByLevel => Order::ByLevel(Line::new(capacity)),
        };
        Self { order, cost: 0.0 }
    }

    /// Puts a call into the queue; returns the one that had to leave for it, or why it cannot be taken.
    pub(super) fn join(&mut self, now: Timestamp, call: Waiting) -> Result<Option<Waiting>, Cause> {
        let pushed_out = match &mut self.order {
            Order::Fifo { capacity, waiting } if waiting.len() < *capacity => {
                waiting.push_back(call);
                None
            }
            Order::Fifo { .. } => return Err(Cause::QueueFull),
            Order::ByLevel(line) => {
                let ticket = Ticket::new(call.call.value, call.call.arrived, call.call.deadline);
                let (_, pushed_out) = line.join(now, ticket, call)?;
                pushed_out.map(|left| left.item)
            }
        };
        self.cost += call.call.cost;
        Ok(pushed_out.inspect(|left| self.left(left)))
    }

    /// The call whose turn it is.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<Waiting> {
        let taken = match &mut self.order {
            Order::Fifo { waiting, .. } => waiting.pop_front(),
            Order::ByLevel(line) => line.take_next(now).map(|left| left.item),
        };
        taken.inspect(|call| self.left(call))
    }

    /// A call that was taken goes to a worker.
    pub(super) fn dispatched(&mut self) {
        if let Order::ByLevel(line) = &mut self.order {
            line.dispatched();
        }
    }

    /// A call goes to a worker that did not have to wait.
    pub(super) fn passed_by(&mut self) {
        if let Order::ByLevel(line) = &mut self.order {
            line.passed_by();
        }
    }

    /// To be called when calls were taken, and regularly.
    pub(super) fn observe(&mut self, now: Timestamp) {
        if let Order::ByLevel(line) = &mut self.order {
            line.observe(now);
        }
    }

    /// Takes out what has expired; of a first-in-first-out queue, as far as it is in front.
    pub(super) fn take_expired(&mut self, now: Timestamp) -> Vec<Waiting> {
        let mut expired = Vec::new();
        match &mut self.order {
            Order::Fifo { waiting, .. } => {
                while let Some(call) = waiting.pop_front_if(|waiting| waiting.call.deadline <= now) {
                    expired.push(call);
                }
            }
            // Under an open cut everything that is in time is wanted.
            Order::ByLevel(line) => {
                expired.extend(line.review(now, Cut::OPEN, Duration::MAX).into_iter().map(|(left, _)| left.item));
            }
        }
        expired.iter().for_each(|call| self.left(call));
        expired
    }

    /// When the oldest waiting call arrived, as far as the queue knows.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        match &self.order {
            Order::Fifo { waiting, .. } => waiting.front().map(|waiting| waiting.call.arrived),
            Order::ByLevel(line) => line.oldest(),
        }
    }

    pub(super) fn len(&self) -> usize {
        match &self.order {
            Order::Fifo { waiting, .. } => waiting.len(),
            Order::ByLevel(line) => line.len(),
        }
    }

    /// The sum of the expected costs of those that wait.
    pub(super) fn cost(&self) -> f64 {
        self.cost
    }

    fn left(&mut self, call: &Waiting) {
        // What rounding leaves goes with the last one.
        self.cost = if self.len() == 0 { 0.0 } else { self.cost - call.call.cost };
    }
}
