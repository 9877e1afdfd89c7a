//! What is unanswered, by id and by deadline: both always hold the same tries.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{clock::Timestamp, id::MessageId};

/// The unanswered tries of a connection.
#[derive(Debug, Default)]
pub(super) struct Tries {
    by_id: BTreeMap<MessageId, Try>,
    by_deadline: BTreeSet<(Timestamp, MessageId)>,
}

#[derive(Debug)]
struct Try {
    deadline: Timestamp,
    timeout: Duration,
}

impl Tries {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Starts a try. Its deadline is `grace` after its timeout, because the gateway's own word on a timeout is on its way.
    pub(super) fn start(&mut self, id: MessageId, timeout: Duration, grace: Duration, now: Timestamp) {
        self.end(id);
        let deadline = now + timeout + grace;
        self.by_id.insert(id, Try { deadline, timeout });
        self.by_deadline.insert((deadline, id));
    }

    /// Ends a try; `false` if it had ended before.
    pub(super) fn end(&mut self, id: MessageId) -> bool {
        let Some(ended) = self.by_id.remove(&id) else { return false };
        self.by_deadline.remove(&(ended.deadline, id))
    }

    /// The earliest deadline.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.by_deadline.first().map(|&(deadline, _)| deadline)
    }

    /// Ends one try whose deadline has come, and returns it with its timeout.
    pub(super) fn expire(&mut self, now: Timestamp) -> Option<(MessageId, Duration)> {
        let &(_, id) = self.by_deadline.first().filter(|&&(deadline, _)| deadline <= now)?;
        self.by_deadline.pop_first();
        let expired = self.by_id.remove(&id)?;
        Some((id, expired.timeout))
    }

    /// Every unanswered id, the oldest first.
    pub(super) fn into_ids(self) -> impl Iterator<Item = MessageId> {
        self.by_id.into_keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn tries_expire_in_the_order_of_their_deadlines() {
        let mut tries = Tries::default();
        tries.start(MessageId(1), 3 * SECOND, SECOND, Timestamp::ZERO);
        tries.start(MessageId(2), SECOND, SECOND, Timestamp::ZERO);
        assert_eq!(tries.next_deadline(), Some(Timestamp::ZERO + 2 * SECOND));
        let later = Timestamp::ZERO + 5 * SECOND;
        assert_eq!(tries.expire(later), Some((MessageId(2), SECOND)));
        assert_eq!(tries.expire(later), Some((MessageId(1), 3 * SECOND)));
        assert_eq!(tries.expire(later), None);
    }

    #[test]
    fn an_ended_try_leaves_nothing_behind() {
        let mut tries = Tries::default();
        tries.start(MessageId(1), SECOND, SECOND, Timestamp::ZERO);
        assert!(tries.end(MessageId(1)));
        assert!(!tries.end(MessageId(1)));
        assert_eq!((tries.len(), tries.next_deadline()), (0, None));
    }
}
