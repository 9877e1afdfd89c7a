//! What goes to the store, and what waits for it: nothing is said to an app that a crash could make untrue.
//!
//! A message that ended without its service's answer would be sent again by the next run of the app if the end were not
//! kept; so its end is told only then. A message that was answered may be sent again: services know it.

use std::collections::VecDeque;

use super::ClientEvent;
use crate::client::Record;

/// The records of a durable agent.
#[derive(Debug, Default)]
pub(super) struct Records {
    unpolled: VecDeque<Record>,
    polled: u64,
    /// What is told once so many records are kept.
    untold: VecDeque<(u64, ClientEvent)>,
    failed: bool,
}

impl Records {
    pub(super) fn push(&mut self, record: Record) {
        if !self.failed {
            self.unpolled.push_back(record);
        }
    }

    /// How much waits for the store.
    pub(super) fn waiting(&self) -> usize {
        self.unpolled.len() + self.untold.len()
    }

    /// The next one for the store.
    pub(super) fn poll(&mut self) -> Option<Record> {
        let record = self.unpolled.pop_front()?;
        self.polled += 1;
        Some(record)
    }

    /// Keeps an event back until all records so far are kept; gives it back if nothing is kept any more.
    pub(super) fn tell_later(&mut self, event: ClientEvent) -> Option<ClientEvent> {
        if self.failed {
            return Some(event);
        }
        self.untold.push_back((self.polled + self.unpolled.len() as u64, event));
        None
    }

    /// Everything that was polled is kept; returns what can be told, one after the other.
    pub(super) fn stored(&mut self) -> Option<ClientEvent> {
        self.untold.pop_front_if(|(after, _)| *after <= self.polled).map(|(_, event)| event)
    }

    /// The store keeps nothing any more; returns what was to be told.
    pub(super) fn fail(&mut self) -> impl Iterator<Item = ClientEvent> {
        self.failed = true;
        self.unpolled.clear();
        std::mem::take(&mut self.untold).into_iter().map(|(_, event)| event)
    }
}
