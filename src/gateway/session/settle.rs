//! What a session tells a client of its outbox: which of its messages are done, once in a turn and behind everything that
//! the number covers.

use bytes::Bytes;

use super::Session;
use crate::{
    clock::{Timestamp, unix_millis},
    gateway::{
        answers::{self, Last},
        scratch::Scratch,
        settlement::{Settlement, Unfit},
    },
    id::MessageId,
};

/// A client gets a new ticket after this part of the old one's validity, so that it always has one that still counts for a
/// good while.
pub(super) const RENEWALS_IN_VALIDITY: u32 = 2;

impl Session {
    /// The client says that everything below this id is settled.
    pub(super) fn raise(&mut self, oldest_unsettled: MessageId) {
        // A client that keeps no outbox costs nothing.
        if oldest_unsettled.0 > 0 {
            self.standing.get_or_insert_default().settlement.raise(oldest_unsettled);
        }
    }

    /// Whether a request may go on, by its place in the outbox.
    pub(super) fn admit(&self, id: MessageId, after: Option<MessageId>) -> Result<(), Unfit> {
        match &self.standing {
            Some(standing) => standing.settlement.admit(id, after),
            None => Settlement::default().admit(id, after),
        }
    }

    /// What of the client's outbox is answered, if it keeps one.
    pub(super) fn settlement(&mut self) -> Option<&mut Settlement> {
        self.standing.as_mut().map(|standing| &mut standing.settlement)
    }

    /// Up to where everything is answered; 0 if that says nothing.
    pub(super) fn settled_through(&mut self) -> MessageId {
        self.settlement().map_or(MessageId(0), |settlement| {
            settlement.tell();
            settlement.through()
        })
    }

    /// Writes a reply.
    pub(super) fn put(&mut self, last: Last, scratch: &mut Scratch) {
        answers::put(last, self.settlement(), scratch);
    }

    /// Ends what a turn says of requests.
    pub(super) fn settle(&mut self, last: Option<Last>, scratch: &mut Scratch) {
        let ticket = match &last {
            // What the client is to show elsewhere has changed, or is soon to end.
            Some(last) if self.connection.mark.take_news() || last.now >= self.ticket_due => {
                self.renew_ticket(last.now)
            }
            Some(_) | None => Bytes::new(),
        };
        answers::settle(last, ticket, self.settlement(), scratch);
    }

    fn renew_ticket(&mut self, now: Timestamp) -> Bytes {
        let table = self.worker.table();
        self.ticket_due = now + table.policy.tickets.validity / RENEWALS_IN_VALIDITY;
        self.worker.gateway.tickets.issue(&self.connection, &table.policy, unix_millis())
    }
}
