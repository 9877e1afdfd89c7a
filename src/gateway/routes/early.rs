//! Logins that were superseded elsewhere before they were in the roster here: the word of it may come between the answer
//! of the registry and the last step of a login. It is remembered for a moment.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{clock::Timestamp, gateway::connection::Connection, gateway::roster::Member, pb::service::Superseded};

/// How long it is remembered: longer than a login takes from its route to its place in the roster.
const KEPT: Duration = Duration::from_secs(5);

/// How many are remembered; of more the oldest are forgotten.
const MOST: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Early {
    superseded: Mutex<VecDeque<(Timestamp, Superseded)>>,
    /// Mostly there is nothing, and a login looks no further.
    is_any: AtomicBool,
}

impl Early {
    pub(super) fn remember(&self, superseded: Superseded, now: Timestamp) {
        let mut all = self.lock();
        if all.len() >= MOST {
            all.pop_front();
        }
        all.push_back((now, superseded));
        self.is_any.store(true, Ordering::Release);
    }

    /// What superseded this login, if anything did.
    pub(super) fn find(&self, connection: &Connection, now: Timestamp) -> Option<Superseded> {
        if !self.is_any.load(Ordering::Acquire) {
            return None;
        }
        let mut all = self.lock();
        while all.front().is_some_and(|(since, _)| now.since(*since) >= KEPT) {
            all.pop_front();
        }
        self.is_any.store(!all.is_empty(), Ordering::Release);
        let is_it = |superseded: &&Superseded| {
            superseded.through_epoch >= connection.epoch().0
                && superseded.user == connection.user()
                && superseded.device == connection.device()
        };
        all.iter().map(|(_, superseded)| superseded).find(is_it).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Timestamp, Superseded)>> {
        self.superseded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        admission::PriorityKey,
        id::{Epoch, OutboxId},
    };

    const NOW: Timestamp = Timestamp::from_nanos(9);

    fn login(device: &str, epoch: u64) -> Arc<Connection> {
        Connection::new("ann", device, 0, PriorityKey([0; 16]).user(b"ann"), Epoch(epoch), OutboxId(1))
    }

    fn superseded(through_epoch: u64) -> Superseded {
        Superseded { user: "ann".into(), device: "phone".into(), through_epoch, outbox: 7 }
    }

    #[test]
    fn what_came_before_the_login_counts_for_a_moment() {
        let early = Early::default();
        assert_eq!(early.find(&login("phone", 5), NOW), None);
        early.remember(superseded(5), NOW);
        assert_eq!(early.find(&login("phone", 5), NOW), Some(superseded(5)));
        assert_eq!(early.find(&login("phone", 6), NOW), None, "that is the later one");
        assert_eq!(early.find(&login("watch", 5), NOW), None);
        assert_eq!(early.find(&login("phone", 5), NOW + KEPT), None);
        assert!(early.lock().is_empty());
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let early = Early::default();
        (0..2 * MOST as u64).for_each(|epoch| early.remember(superseded(epoch), NOW));
        assert_eq!(early.lock().len(), MOST);
    }
}
