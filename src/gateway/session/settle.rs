//! What a session tells a client of its outbox: which of its messages are done, once in a turn and behind everything that
//! the number covers.

use super::{Session, write::put_reply};
use crate::{
    clock::{Timestamp, unix_millis},
    gateway::{
        scratch::Scratch,
        settlement::{Settlement, Unfit},
    },
    id::{BusinessCode, MessageId},
    pb::client as pb,
    wire::Kind,
};

/// A client gets a new ticket after this part of the old one's validity, so that it always has one that still counts for a
/// good while.
pub(super) const RENEWALS_IN_VALIDITY: u32 = 2;

/// A reply that is to be written.
pub(super) struct Last {
    pub(super) id: MessageId,
    pub(super) business: BusinessCode,
    pub(super) reply: pb::Reply,
    /// When it was there.
    pub(super) now: Timestamp,
}

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

    /// The answer to this id is in the outgoing bytes, or nobody wants it.
    pub(super) fn answered(&mut self, id: MessageId) {
        if let Some(standing) = &mut self.standing {
            standing.settlement.answered(id);
        }
    }

    /// Up to where everything is answered; 0 if that says nothing.
    pub(super) fn settled_through(&mut self) -> MessageId {
        self.standing.as_mut().map_or(MessageId(0), |standing| {
            standing.settlement.tell();
            standing.settlement.through()
        })
    }

    /// Writes a reply.
    pub(super) fn put(&mut self, last: Last, scratch: &mut Scratch) {
        put_reply(last.id, last.business, &last.reply, scratch);
        if last.reply.outcome() == pb::Outcome::Replied {
            self.answered(last.id);
        }
    }

    /// Ends what a turn says of requests: the refusals, and the last reply with what is settled by now. Where no reply
    /// can tell it, a frame of its own does.
    pub(super) fn settle(&mut self, last: Option<Last>, scratch: &mut Scratch) {
        scratch.put_refusals();
        let Some(mut last) = last else {
            if let Some(settled) = self.news() {
                scratch.control(Kind::Settled, &pb::Settled { settled_through: settled.0 });
            }
            return;
        };
        // The reply is among what it covers: both arrive, or neither does.
        if last.reply.outcome() == pb::Outcome::Replied {
            self.answered(last.id);
        }
        last.reply.settled_through = self.news().unwrap_or_default().0;
        if last.now >= self.ticket_due {
            last.reply.ticket = self.renew_ticket(last.now);
        }
        put_reply(last.id, last.business, &last.reply, scratch);
    }

    fn news(&mut self) -> Option<MessageId> {
        self.standing.as_mut()?.settlement.tell()
    }

    fn renew_ticket(&mut self, now: Timestamp) -> bytes::Bytes {
        let table = self.worker.table();
        self.ticket_due = now + table.policy.tickets.validity / RENEWALS_IN_VALIDITY;
        self.worker.gateway.tickets.issue(&self.connection, &table.policy, unix_millis())
    }
}
