//! What a caller knows of a service that it calls: the freshest cut that it sent, believed for a second, with a probe from
//! time to time ([`Upstream`] says how).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use http::uri::Authority;

use crate::{
    admission::{Cause, Cut, Refusal, Upstream, Value, retry_after},
    clock::Timestamp,
};

/// Services beyond this number are called without being remembered.
const MOST_DOWNSTREAMS: usize = 1024;

/// What is known of one service; shared by all who call it, each of whom holds the lock for a comparison or two: nothing
/// beside the call that follows.
#[derive(Debug, Default)]
pub struct Downstream(Mutex<Upstream>);

impl Downstream {
    /// A service that has said nothing yet.
    pub const fn new() -> Self {
        Self(Mutex::new(Upstream::new()))
    }

    /// It sent this cut.
    pub fn heard(&self, now: Timestamp, cut: Cut) {
        self.known().hear(cut, now);
    }

    /// Its cut as far as is known; open if that is too long ago.
    pub fn cut(&self, now: Timestamp) -> Cut {
        self.known().cut(now)
    }

    /// Whether a call of this value is sent.
    ///
    /// # Errors
    ///
    /// Refuses what the service would refuse, but for the probes.
    pub fn decide(&self, now: Timestamp, value: Value) -> Result<(), Refusal> {
        let refuse = |cut| Refusal { cause: Cause::InstanceCut, value, cut, retry_after: retry_after(value, cut) };
        self.known().decide(now, value).map(drop).map_err(refuse)
    }

    fn known(&self) -> MutexGuard<'_, Upstream> {
        // A panic leaves two numbers, and any two will do.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All services that one client calls, by authority. Bounded: once it is full, services that are not in it are called
/// without shedding.
#[derive(Debug, Default)]
pub(super) struct Downstreams(RwLock<HashMap<Authority, Arc<Downstream>>>);

impl Downstreams {
    pub(super) fn of(&self, authority: &Authority) -> Option<Arc<Downstream>> {
        // A panic leaves the map whole.
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(authority) {
            return Some(known.clone());
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_DOWNSTREAMS && !all.contains_key(authority) {
            return None;
        }
        Some(all.entry(authority.clone()).or_default().clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admission::Level;

    const NOW: Timestamp = Timestamp::from_nanos(5_000_000_000);

    fn value(business: u8) -> Value {
        Value::new(Level::new(business, 0), 0)
    }

    #[test]
    fn what_the_service_would_refuse_is_not_sent() {
        let downstream = Downstream::new();
        assert_eq!(downstream.decide(NOW, value(63)), Ok(()), "nothing is known");
        downstream.heard(NOW, Cut::through(Level::new(9, 127)));
        assert_eq!(downstream.decide(NOW, value(9)), Ok(()));
        let refusal = downstream.decide(NOW, value(10)).unwrap_err();
        assert_eq!((refusal.cause, refusal.cut), (Cause::InstanceCut, Cut::through(Level::new(9, 127))));
    }

    #[test]
    fn some_of_it_is_sent_all_the_same_so_that_a_cut_that_others_renew_is_tried() {
        let downstream = Downstream::new();
        let sent = (0..32_000).filter(|&millis| {
            let now = NOW + Duration::from_millis(millis);
            downstream.heard(now, Cut::through(Level::new(9, 127)));
            downstream.decide(now, value(10)).is_ok()
        });
        assert_eq!(sent.count(), 1, "one grain has one turn in 32 s");
    }

    #[test]
    fn a_cut_lapses_after_a_second_and_a_fresher_one_replaces_it() {
        let downstream = Downstream::new();
        let at = |millis| NOW + Duration::from_millis(millis);
        downstream.heard(NOW, Cut::CLOSED);
        assert_eq!(downstream.cut(at(1000)), Cut::CLOSED);
        assert_eq!(downstream.cut(at(1001)), Cut::OPEN);
        downstream.heard(at(500), Cut::CLOSED);
        downstream.heard(at(600), Cut::OPEN);
        assert_eq!(downstream.decide(at(600), value(63)), Ok(()));
    }

    #[test]
    fn each_authority_is_remembered_apart_and_there_are_only_so_many() {
        let all = Downstreams::default();
        let authority = |number: usize| Authority::try_from(format!("host-{number}:80")).unwrap();
        all.of(&authority(0)).unwrap().heard(NOW, Cut::CLOSED);
        assert_eq!(all.of(&authority(0)).unwrap().cut(NOW), Cut::CLOSED);
        assert_eq!(all.of(&authority(1)).unwrap().cut(NOW), Cut::OPEN);
        assert!((0..MOST_DOWNSTREAMS).all(|number| all.of(&authority(number)).is_some()));
        assert!(all.of(&authority(MOST_DOWNSTREAMS)).is_none());
        assert!(all.of(&authority(0)).is_some());
    }
}
