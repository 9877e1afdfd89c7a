//! Who lives, as read a moment ago: a route is followed only if the lease of its home is there, and the same few homes are
//! met again and again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{clock::Timestamp, id::Incarnation, registry::Home};

/// How long what was read counts. A home that ends is met for so much longer than its lease.
const FRESH: Duration = Duration::from_millis(500);

/// Homes that are remembered; above it all are read again.
const MOST: usize = 4096;

/// What was read of each home, `None` for one that does not live, and when.
type Read = HashMap<Incarnation, (Option<Arc<Home>>, Timestamp)>;

#[derive(Debug, Default)]
pub(super) struct Homes(Mutex<Read>);

impl Homes {
    /// What is known. The outer `None` says that it must be read.
    pub(super) fn get(&self, incarnation: Incarnation, now: Timestamp) -> Option<Option<Arc<Home>>> {
        let (home, read) = self.lock().get(&incarnation)?.clone();
        (now.since(read) < FRESH).then_some(home)
    }

    /// Remembers what was read; `None` for one that does not live.
    pub(super) fn put(&self, incarnation: Incarnation, home: Option<Arc<Home>>, now: Timestamp) {
        let mut homes = self.lock();
        if homes.len() >= MOST {
            homes.clear();
        }
        homes.insert(incarnation, (home, now));
    }

    /// Must be read again.
    pub(super) fn forget(&self, incarnation: Incarnation) {
        self.lock().remove(&incarnation);
    }

    fn lock(&self) -> MutexGuard<'_, Read> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_counts_for_a_moment() {
        let (homes, now) = (Homes::default(), Timestamp::from_nanos(9));
        assert_eq!(homes.get(Incarnation(1), now), None);
        homes.put(Incarnation(1), None, now);
        assert_eq!(homes.get(Incarnation(1), now), Some(None));
        assert_eq!(homes.get(Incarnation(1), now + FRESH), None);
        homes.forget(Incarnation(1));
        assert_eq!(homes.get(Incarnation(1), now), None);
    }

    #[test]
    fn the_number_of_homes_is_bounded() {
        let homes = Homes::default();
        for number in 0..2 * MOST as u64 + 1 {
            homes.put(Incarnation(number), None, Timestamp::ZERO);
        }
        assert_eq!(homes.lock().len(), 1);
    }
}
