//! What a caller knows of a service that it calls: the freshest cut that it sent, believed for one second.
//!
//! Nothing latches: a cut that is not renewed lapses, and one in [`PROBE_SHARE`] of the calls that would be refused goes
//! out all the same and brings back the present cut.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::uri::Authority;

use crate::{
    admission::{Cause, Cut, Refusal, Value, retry_after},
    clock::Timestamp,
};

/// How long a cut is believed.
const EXPIRY_MILLIS: u32 = 1000;
/// A probe costs the called service a refusal, which is a fraction of a request.
const PROBE_SHARE: u32 = 64;
/// Services beyond this number are called without being remembered.
const MOST_DOWNSTREAMS: usize = 1024;

/// What is known of one service; shared by all who call it.
#[derive(Debug)]
pub struct Downstream {
    /// The cut in the upper half, when it came in the lower: milliseconds that wrap around after 49 days, so that a
    /// cut that old would be believed for another second. One number, because both change together.
    heard: AtomicU64,
    refused: AtomicU32,
}

impl Downstream {
    /// A service that has said nothing yet.
    pub const fn new() -> Self {
        Self { heard: AtomicU64::new(u64::MAX), refused: AtomicU32::new(0) }
    }

    /// It sent this cut.
    pub fn heard(&self, now: Timestamp, cut: Cut) {
        self.heard.store(u64::from(cut.bits()) << 32 | u64::from(millis(now)), Relaxed);
    }

    /// Its cut as far as is known; open if that is too long ago.
    pub fn cut(&self, now: Timestamp) -> Cut {
        let heard = self.heard.load(Relaxed);
        let age_millis = millis(now).wrapping_sub(heard as u32);
        if age_millis < EXPIRY_MILLIS { Cut::from_bits((heard >> 32) as u32) } else { Cut::OPEN }
    }

    /// Whether a call of this value is sent.
    ///
    /// # Errors
    ///
    /// Refuses what the service would refuse, but for the probes.
    pub fn decide(&self, now: Timestamp, value: Value) -> Result<(), Refusal> {
        let cut = self.cut(now);
        if cut.admits(value) || self.refused.fetch_add(1, Relaxed) % PROBE_SHARE == PROBE_SHARE - 1 {
            return Ok(());
        }
        Err(Refusal { cause: Cause::InstanceCut, value, cut, retry_after: retry_after(value, cut) })
    }
}

impl Default for Downstream {
    fn default() -> Self {
        Self::new()
    }
}

fn millis(at: Timestamp) -> u32 {
    // The lower half is what is wanted.
    Duration::from_nanos(at.as_nanos()).as_millis() as u32
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
    use super::*;
    use crate::admission::Level;

    const NOW: Timestamp = Timestamp::from_nanos(5_000_000_000);

    fn value(business: u8) -> Value {
        Value::new(Level::new(business, 0), 0)
    }

    fn sent(downstream: &Downstream, now: Timestamp, business: u8, calls: usize) -> usize {
        (0..calls).filter(|_| downstream.decide(now, value(business)).is_ok()).count()
    }

    #[test]
    fn what_the_service_would_refuse_is_not_sent_but_for_probes() {
        let downstream = Downstream::new();
        assert_eq!(sent(&downstream, NOW, 63, 100), 100, "nothing is known");
        downstream.heard(NOW, Cut::through(Level::new(9, 127)));
        assert_eq!(sent(&downstream, NOW, 9, 100), 100);
        assert_eq!(sent(&downstream, NOW, 10, 640), 10);
        let refusal = downstream.decide(NOW, value(10)).unwrap_err();
        assert_eq!((refusal.cause, refusal.cut), (Cause::InstanceCut, Cut::through(Level::new(9, 127))));
    }

    #[test]
    fn a_cut_lapses_after_a_second_and_a_fresher_one_replaces_it() {
        let downstream = Downstream::new();
        let at = |millis| NOW + Duration::from_millis(millis);
        downstream.heard(NOW, Cut::CLOSED);
        assert_eq!(downstream.cut(at(999)), Cut::CLOSED);
        assert_eq!(downstream.cut(at(1000)), Cut::OPEN);
        downstream.heard(at(500), Cut::CLOSED);
        downstream.heard(at(600), Cut::OPEN);
        assert_eq!(sent(&downstream, at(600), 63, 100), 100);
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
