//! What a store must give back at the next start: the records of an outbox, one after the other, add up to it.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{KeptMessage, Record};
use crate::id::{MessageId, OutboxId};

/// An outbox as its store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Random, drawn when the outbox was created.
    pub outbox: OutboxId,
    /// Ids up to this one may have been used.
    pub reserved_through: MessageId,
    /// What to show at the next login.
    pub ticket: Bytes,
    /// What is not settled.
    pub messages: BTreeMap<MessageId, KeptMessage>,
}

impl Kept {
    /// A new outbox.
    pub fn new(outbox: OutboxId) -> Self {
        Self { outbox, reserved_through: MessageId(0), ticket: Bytes::new(), messages: BTreeMap::new() }
    }

    /// Takes one record in.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Accepted(id, message) => {
                self.messages.insert(id, message);
            }
            Record::Settled(id) | Record::GivenUp(id) => {
                self.messages.remove(&id);
            }
            Record::Ticket(ticket) => self.ticket = ticket,
            Record::Reserved(through) => self.reserved_through = through,
        }
    }
}
