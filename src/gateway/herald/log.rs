//! What is to be told to one service: events in order, each with a number, kept until the service has them. Bounded: one
//! more takes a number and is not kept, so that the gap tells of it.

use std::collections::VecDeque;

use crate::pb::service::PresenceEvent;

#[derive(Debug)]
pub(super) struct Log {
    events: VecDeque<PresenceEvent>,
    most: usize,
    /// The last number that was given.
    last: u64,
}

impl Log {
    pub(super) const fn new(most: usize) -> Self {
        Self { events: VecDeque::new(), most, last: 0 }
    }

    /// Numbers an event. `None` if there was no room for it.
    pub(super) fn push(&mut self, event: PresenceEvent) -> Option<u64> {
        self.last += 1;
        self.has_room().then(|| {
            self.events.push_back(PresenceEvent { sequence: self.last, ..event });
            self.last
        })
    }

    /// The first ones, which stay.
    pub(super) fn first(&self, count: usize) -> Vec<PresenceEvent> {
        self.events.iter().take(count).cloned().collect()
    }

    /// The service has everything up to this number. How many that were.
    pub(super) fn taken(&mut self, through: u64) -> usize {
        let taken = self.events.partition_point(|event| event.sequence <= through);
        self.events.drain(..taken);
        taken
    }

    pub(super) fn has_room(&self) -> bool {
        self.events.len() < self.most
    }

    /// Whether the event of this number does not wait any more.
    pub(super) fn is_taken(&self, sequence: u64) -> bool {
        self.events.front().is_none_or(|first| first.sequence > sequence)
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Nobody is to be told any more.
    pub(super) fn clear(&mut self) {
        self.events = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(epoch: u64) -> PresenceEvent {
        PresenceEvent { epoch, ..PresenceEvent::default() }
    }

    #[test]
    fn what_is_not_taken_comes_again_with_its_number() {
        let mut log = Log::new(9);
        (0..5).for_each(|epoch| assert_eq!(log.push(event(epoch)), Some(epoch + 1)));
        let first = log.first(3);
        assert_eq!(
            first.iter().map(|event| (event.sequence, event.epoch)).collect::<Vec<_>>(),
            [(1, 0), (2, 1), (3, 2)]
        );
        assert_eq!(log.first(3), first);
        assert!(!log.is_taken(1));
        assert_eq!((log.taken(3), log.taken(3), log.len()), (3, 0, 2));
        assert!(log.is_taken(3) && !log.is_taken(4));
        assert_eq!(log.first(3)[0].sequence, 4);
    }

    proptest! {
        #[test]
        fn whatever_happens_the_log_is_bounded_in_order_and_gaps_are_what_found_no_room(
            acts in prop::collection::vec((any::<bool>(), 0_usize..6), 0..200)
        ) {
            let (mut log, mut pushed, mut kept, mut told) = (Log::new(8), 0, Vec::new(), Vec::new());
            for (pushes, count) in acts {
                if pushes {
                    pushed += 1;
                    if log.push(event(pushed)).is_some() {
                        kept.push(pushed);
                    }
                } else {
                    let batch = log.first(count);
                    if let Some(last) = batch.last() {
                        prop_assert_eq!(log.taken(last.sequence), batch.len());
                    }
                    told.extend(batch);
                }
                prop_assert!(log.len() <= 8);
            }
            told.extend(log.first(usize::MAX));
            prop_assert!(told.iter().all(|event| event.sequence == event.epoch));
            prop_assert_eq!(told.iter().map(|event| event.epoch).collect::<Vec<_>>(), kept);
        }
    }
}
