//! Whether what is seen of the fleet is enough to decide on. A manager that suddenly sees half of the gateways, or less, has
//! more likely lost its sight than the fleet half of its gateways; so it changes nothing, for a bounded time, in which a
//! real loss shows to be one.

use std::time::Duration;

use crate::clock::Timestamp;

/// What a manager remembers of the fleet's size.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quorum {
    /// The size that counts as the whole.
    known: usize,
    /// Since when no more than half of it is seen.
    lost: Option<Timestamp>,
}

impl Quorum {
    /// So many gateways are seen now. Returns since when decisions stand still, if they do.
    pub fn look(&mut self, seen: usize, now: Timestamp, hold: Duration) -> Option<Timestamp> {
        // Of one gateway there is no half.
        if self.known < 2 || seen * 2 > self.known {
            *self = Self { known: seen, lost: None };
            return None;
        }
        let since = *self.lost.get_or_insert(now);
        if now.since(since) >= hold {
            *self = Self { known: seen, lost: None };
            return None;
        }
        Some(since)
    }

    /// The size that counts as the whole.
    pub const fn known(&self) -> usize {
        self.known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn decisions_stand_still_while_half_is_out_of_sight_and_no_longer_than_allowed() {
        let mut quorum = Quorum::default();
        assert_eq!(quorum.look(4, at(0), HOLD), None);
        assert_eq!(quorum.look(2, at(1), HOLD), Some(at(1)));
        assert_eq!(quorum.look(1, at(60), HOLD), Some(at(1)));
        assert_eq!(quorum.look(1, at(61), HOLD), None, "they are gone indeed");
        assert_eq!(quorum.known(), 1);
    }

    #[test]
    fn what_comes_back_into_sight_ends_it() {
        let mut quorum = Quorum::default();
        quorum.look(4, at(0), HOLD);
        assert!(quorum.look(2, at(1), HOLD).is_some());
        assert_eq!((quorum.look(3, at(2), HOLD), quorum.known()), (None, 3));
    }

    #[test]
    fn a_fleet_may_grow_from_nothing_and_shrink_one_by_one() {
        let mut quorum = Quorum::default();
        for (second, seen) in [0, 1, 5, 4, 3, 2].into_iter().enumerate() {
            assert_eq!(quorum.look(seen, at(second as u64), HOLD), None, "{seen}");
        }
    }
}
