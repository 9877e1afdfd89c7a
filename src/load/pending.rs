//! Requests of one connection that wait for an answer. Message ids are consecutive, so that an id is a position.

use std::{collections::VecDeque, time::Duration};

use tokio::sync::oneshot;

use super::{books::Offer, tally::Ending};
use crate::{clock::Timestamp, id::MessageId};

/// Who wants to know how a request ended.
pub(super) enum Origin {
    /// The books.
    Schedule(Offer),
    /// A caller that sends its next request after this one.
    Caller(oneshot::Sender<Ending>),
}

struct Waiting {
    sent: Timestamp,
    origin: Origin,
}

/// Ids from the oldest that waits up to the newest that was sent.
#[derive(Default)]
pub(super) struct Pending {
    // The front always waits; behind it, `None` has its answer.
    slots: VecDeque<Option<Waiting>>,
    last: u64,
}

impl Pending {
    /// Gives a request the next id.
    pub(super) fn push(&mut self, origin: Origin, sent: Timestamp) -> MessageId {
        self.last += 1;
        self.slots.push_back(Some(Waiting { sent, origin }));
        MessageId(self.last)
    }

    /// The lowest id that waits; the next one to be given if none does.
    pub(super) fn oldest(&self) -> MessageId {
        MessageId(self.last + 1 - self.slots.len() as u64)
    }

    /// Takes out the request with this id, if it waits.
    pub(super) fn take(&mut self, id: MessageId) -> Option<Origin> {
        let position = id.0.checked_sub(self.oldest().0)?;
        let waiting = self.slots.get_mut(usize::try_from(position).ok()?)?.take();
        self.trim();
        waiting.map(|waiting| waiting.origin)
    }

    /// Takes out a request that was sent more than `patience` ago, if there is one.
    pub(super) fn take_overdue(&mut self, now: Timestamp, patience: Duration) -> Option<Origin> {
        let front = self.slots.front_mut()?;
        if front.as_ref().is_some_and(|waiting| now.since(waiting.sent) <= patience) {
            return None;
        }
        let waiting = front.take();
        self.trim();
        waiting.map(|waiting| waiting.origin)
    }

    /// Takes out everything, for a connection that has ended; ids start again at 1.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Origin> + use<> {
        let pending = std::mem::take(self);
        pending.slots.into_iter().flatten().map(|waiting| waiting.origin)
    }

    fn trim(&mut self) {
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(business: usize) -> Origin {
        Origin::Schedule(Offer { business, user: 0, intended: Timestamp::ZERO })
    }

    fn business(origin: Option<Origin>) -> Option<usize> {
        match origin {
            Some(Origin::Schedule(offer)) => Some(offer.business),
            _ => None,
        }
    }

    #[test]
    fn answers_may_come_in_any_order_and_only_once() {
        let mut pending = Pending::default();
        let ids: Vec<_> = (0..3).map(|business| pending.push(offer(business), Timestamp::ZERO)).collect();
        assert_eq!(ids, [MessageId(1), MessageId(2), MessageId(3)]);
        assert_eq!(business(pending.take(ids[1])), Some(1));
        assert_eq!(business(pending.take(ids[1])), None);
        assert_eq!(pending.oldest(), ids[0]);
        assert_eq!(business(pending.take(ids[0])), Some(0));
        assert_eq!(pending.oldest(), ids[2]);
        assert_eq!(business(pending.take(MessageId(99))), None);
        assert_eq!(business(pending.take(ids[2])), Some(2));
        assert_eq!(pending.oldest(), MessageId(4));
    }

    #[test]
    fn the_overdue_are_taken_oldest_first() {
        let mut pending = Pending::default();
        let second = Duration::from_secs(1);
        for number in 0..3_u32 {
            pending.push(offer(number as usize), Timestamp::ZERO + second * number);
        }
        pending.take(MessageId(2));
        let now = Timestamp::ZERO + second * 2;
        assert_eq!(business(pending.take_overdue(now, second)), Some(0));
        assert_eq!(business(pending.take_overdue(now, second)), None);
        assert_eq!(business(pending.take_overdue(now + second * 2, second)), Some(2));
    }

    #[test]
    fn a_lost_connection_gives_back_all_that_waited() {
        let mut pending = Pending::default();
        for number in 0..3 {
            pending.push(offer(number), Timestamp::ZERO);
        }
        pending.take(MessageId(2));
        assert_eq!(pending.drain().count(), 2);
        assert_eq!(pending.push(offer(0), Timestamp::ZERO), MessageId(1));
    }
}
