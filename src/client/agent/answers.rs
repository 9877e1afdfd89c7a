//! What becomes of a message when something is heard of it, and what is sent next.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    Agent, ClientEvent, Stage,
    backoff::{before_retry, hinted},
};
use crate::{
    client::{Fate, Push, Record, Reply, RequestError, Session, Verdict},
    clock::Timestamp,
    id::MessageId,
    wire::{Reason, reason::Advice},
};

impl Agent {
    /// Sends what may be sent.
    pub(super) fn pump(&mut self, now: Timestamp) {
        let Some(session) = self.session().cloned() else { return };
        if matches!(self.stage, Stage::Stopped(_)) {
            return;
        }
        loop {
            // Each time, because a message that is sent for the first time may pay for one that is sent again.
            self.outbox.wake(now);
            let Some(id) = self.outbox.next(session.max_in_flight) else { return };
            if !self.send(id, &session, now) {
                return;
            }
        }
    }

    /// `false` if nothing more can be sent for now.
    fn send(&mut self, id: MessageId, session: &Arc<Session>, now: Timestamp) -> bool {
        let Some(business) = self.outbox.business(id).and_then(|name| session.business_named(name)) else {
            self.reject(id, Reason::UnknownBusiness, "the gateway's table has no business with this name".into());
            return true;
        };
        let Some(message) = self.outbox.prepare(id, business.code) else { return false };
        let after = message.after;
        let Some(line) = &mut self.current else { return false };
        match line.send_try(message, now) {
            Ok(()) => {
                self.outbox.sent(id, after);
                self.events.push_back(ClientEvent::Sent { id, attempt: self.outbox.tries(id) });
            }
            Err(reason @ RequestError::HeldBack { retry_after: delay, .. }) => {
                self.outbox.hold(id, now + delay);
                self.events.push_back(ClientEvent::HeldBack { id, reason, delay });
            }
            Err(error @ RequestError::TooLarge { .. }) => self.reject(id, Reason::TooLarge, error.to_string()),
            // The last three cannot come from a connection that is open; it is left as it is.
            Err(
                RequestError::Busy
                | RequestError::Closed(_)
                | RequestError::UnknownBusiness(_)
                | RequestError::Refused(_)
                | RequestError::Unknown(_)
                | RequestError::Failed(_)
                | RequestError::TimedOut(_)
                | RequestError::Lost(_),
            ) => return false,
        }
        true
    }

    /// Rejects a message on this side.
    fn reject(&mut self, id: MessageId, reason: Reason, detail: String) {
        let may_have_run = self.outbox.may_have_run(id);
        self.end(id, Fate::Rejected { verdict: Verdict::new(reason.code(), detail, 0), may_have_run });
    }

    /// A try has ended.
    pub(super) fn handle_ended(&mut self, id: MessageId, result: Result<Reply, RequestError>, now: Timestamp) {
        if !self.outbox.contains(id) {
            return;
        }
        match result {
            Ok(reply) => self.answered(id, Fate::Replied(reply)),
            Err(RequestError::Failed(verdict)) => self.answered(id, Fate::Failed(verdict)),
            Err(RequestError::Refused(verdict)) => self.refused(id, verdict, now),
            Err(RequestError::Unknown(verdict)) if verdict.advice() == Advice::Stop => {
                self.end(id, Fate::Rejected { verdict, may_have_run: true });
            }
            Err(reason @ (RequestError::Unknown(_) | RequestError::TimedOut(_))) => self.unknown(id, reason, now),
            // The end of the connection follows, and says what becomes of all that was in flight.
            Err(
                RequestError::Lost(_)
                | RequestError::Closed(_)
                | RequestError::TooLarge { .. }
                | RequestError::UnknownBusiness(_)
                | RequestError::HeldBack { .. }
                | RequestError::Busy,
            ) => {}
        }
    }

    /// The service's own answer.
    fn answered(&mut self, id: MessageId, fate: Fate) {
        self.outbox.replied(id);
        let fate = match fate {
            Fate::Replied(_) if !self.outbox.wants_reply(id) => Fate::Settled,
            fate => fate,
        };
        self.end(id, fate);
    }

    /// Certainly not run.
    fn refused(&mut self, id: MessageId, verdict: Verdict, now: Timestamp) {
        if verdict.advice() == Advice::Stop {
            let may_have_run = self.outbox.may_have_run_before(id);
            return self.end(id, Fate::Rejected { verdict, may_have_run });
        }
        if verdict.reason() == Some(Reason::Behind) && self.outbox.wait_for_predecessor(id) {
            return self.events.push_back(ClientEvent::Refused { id, verdict, delay: None });
        }
        let delay = self.retry_delay(id, verdict.retry_after);
        self.outbox.retry(id, now + delay);
        self.events.push_back(ClientEvent::Refused { id, verdict, delay: Some(delay) });
    }

    /// It may have run.
    fn unknown(&mut self, id: MessageId, reason: RequestError, now: Timestamp) {
        self.outbox.unknown(id);
        let delay = self.retry_delay(id, reason.retry_after());
        self.outbox.retry(id, now + delay);
        self.events.push_back(ClientEvent::Unknown { id, reason, delay });
    }

    fn retry_delay(&mut self, id: MessageId, hint: Option<Duration>) -> Duration {
        match hint {
            Some(hint) => hinted(hint, &mut self.random),
            None => before_retry(self.outbox.tries(id), &mut self.random),
        }
    }

    /// The answer to a try that had been given up.
    pub(super) fn handle_late(&mut self, id: MessageId, result: Result<Reply, Verdict>) {
        if self.outbox.contains(id) {
            self.answered(id, result.map_or_else(Fate::Failed, Fate::Replied));
        }
    }

    /// Settles what wants no reply. What wants one is settled by that alone.
    pub(super) fn handle_settled_through(&mut self, through: MessageId) {
        for id in self.outbox.covered(through) {
            self.outbox.replied(id);
            self.end(id, Fate::Settled);
        }
    }

    /// An empty ticket says nothing.
    pub(super) fn keep_ticket(&mut self, ticket: Bytes) {
        if ticket.is_empty() || ticket == self.ticket {
            return;
        }
        // A copy of its own: the frame's memory is not kept for it.
        self.ticket = Bytes::copy_from_slice(&ticket);
        if let Some(records) = &mut self.records {
            records.push(Record::Ticket(self.ticket.clone()));
        }
    }

    pub(super) fn handle_push(&mut self, push: Push) {
        if self.seen.is_new(&push) {
            self.events.push_back(ClientEvent::Pushed(push));
        }
    }
}
