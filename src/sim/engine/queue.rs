//! Calls that wait for a worker, by the discipline that the guard asks for. The one by level is the gateway's own.

use std::collections::VecDeque;

use crate::{
    admission::{
        Value,
        queue::{Line, Ticket},
    },
    clock::Timestamp,
    sim::guard::{Call, Discipline},
};

/// A waiting call, by its key in the world's table.
type Key = u32;

#[derive(Debug)]
pub(super) enum Queue {
    Fifo { capacity: usize, waiting: VecDeque<(Key, Ticket)> },
    ByLevel(Line<Key>),
}

/// The queue does not take a call.
#[derive(Debug)]
pub(super) struct Full;

impl Queue {
    pub(super) fn new(discipline: Discipline, capacity: usize) -> Self {
        match discipline {
            Discipline::Fifo => Self::Fifo { capacity, waiting: VecDeque::new() },
            Discipline::ByLevel => Self::ByLevel(Line::new(capacity)),
        }
    }

    /// Puts a call into the queue; returns the one that had to leave for it.
    pub(super) fn join(&mut self, now: Timestamp, key: Key, call: &Call) -> Result<Option<Key>, Full> {
        let ticket = ticket(call);
        match self {
            Self::Fifo { capacity, waiting } if waiting.len() < *capacity => {
                waiting.push_back((key, ticket));
                Ok(None)
            }
            Self::Fifo { .. } => Err(Full),
            Self::ByLevel(line) => match line.join(now, ticket, key) {
                Ok((_, pushed_out)) => Ok(pushed_out.map(|left| left.item)),
                Err(_) => Err(Full),
            },
        }
    }

    /// The call whose turn it is.
    pub(super) fn take(&mut self) -> Option<Key> {
        match self {
            Self::Fifo { waiting, .. } => waiting.pop_front().map(|(key, _)| key),
            Self::ByLevel(line) => line.take_best().map(|left| left.item),
        }
    }

    /// A call that was taken goes to a worker.
    pub(super) fn dispatched(&mut self) {
        if let Self::ByLevel(line) = self {
            line.dispatched();
        }
    }

    /// To be called when calls were taken.
    pub(super) fn observe(&mut self, now: Timestamp) {
        if let Self::ByLevel(line) = self {
            line.observe(now);
        }
    }

    /// Takes out what has expired; of a first-in-first-out queue, as far as it is in front.
    pub(super) fn take_expired(&mut self, now: Timestamp, expired: &mut Vec<Key>) {
        match self {
            Self::Fifo { waiting, .. } => {
                while let Some((key, _)) = waiting.pop_front_if(|(_, ticket)| ticket.deadline <= now) {
                    expired.push(key);
                }
            }
            Self::ByLevel(line) => {
                expired.extend(line.take_expired(now).into_iter().map(|left| left.item));
                line.observe(now);
            }
        }
    }

    /// When the oldest waiting call arrived, as far as the queue knows.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        match self {
            Self::Fifo { waiting, .. } => waiting.front().map(|(_, ticket)| ticket.arrived),
            Self::ByLevel(line) => line.oldest(),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Fifo { waiting, .. } => waiting.len(),
            Self::ByLevel(line) => line.len(),
        }
    }
}

fn ticket(call: &Call) -> Ticket {
    Ticket { level: Value::level(call.value), arrived: call.arrived, deadline: call.deadline }
}
