//! A model of the store that several instances share: what the scripts of the Redis store say, without Redis. What is in it
//! outlives every instance, and an effect is committed with its reply or not at all.
//!
//! `tests/service/store.rs` holds the real scripts against the windows in memory.

use std::collections::BTreeMap;

use bytes::Bytes;
use dagor::{
    clock::Timestamp,
    service::{CallKey, store::Standing, window::Fingerprint},
};

use crate::world::LEASE;

/// Answers that one window holds, in bytes.
const REPLY_BYTES: usize = 350;
const WINDOW_IDS: u64 = 1024;

type Window = (u64, u16);

#[derive(Debug, Default)]
pub(crate) struct Store {
    windows: BTreeMap<Window, Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    floor: u64,
    bytes: usize,
    records: BTreeMap<u64, Record>,
}

#[derive(Debug)]
enum Record {
    Running { payload: Fingerprint, owner: u64, until: Timestamp },
    Done { payload: Fingerprint, answer: Bytes },
}

/// What became of a commit.
#[derive(Debug)]
pub(crate) enum Committed {
    Done,
    Settled(Bytes),
    Lapsed,
}

fn window(key: &CallKey) -> Window {
    (key.window.outbox.0, key.window.business.0)
}

impl Store {
    /// `claim.lua`.
    pub(crate) fn claim(
        &mut self,
        now: Timestamp,
        owner: u64,
        key: &CallKey,
        oldest: u64,
        payload: Fingerprint,
    ) -> Standing {
        let id = key.message.0;
        let kept = self.windows.entry(window(key)).or_default();
        let floor = oldest.max(id.saturating_sub(WINDOW_IDS - 1));
        if floor > kept.floor {
            kept.floor = floor;
            let bytes = &mut kept.bytes;
            kept.records.retain(|&id, record| match record {
                Record::Done { answer, .. } if id < floor => {
                    *bytes -= answer.len();
                    false
                }
                Record::Done { .. } | Record::Running { .. } => true,
            });
        }
        if id < kept.floor {
            return Standing::Stale;
        }
        match kept.records.get(&id) {
            Some(Record::Running { payload: held, .. } | Record::Done { payload: held, .. }) if *held != payload => {
                return Standing::Conflict;
            }
            Some(Record::Done { answer, .. }) => return Standing::Settled(answer.clone()),
            Some(Record::Running { owner: held, until, .. }) if *held != owner && *until > now => {
                return Standing::Held;
            }
            Some(Record::Running { .. }) => {}
            None if kept.bytes >= REPLY_BYTES && id > oldest => return Standing::Full,
            None => {}
        }
        kept.records.insert(id, Record::Running { payload, owner, until: now + LEASE });
        Standing::Free
    }

    /// The record that this owner holds.
    fn held(&mut self, owner: u64, key: &CallKey) -> Result<(&mut Kept, Fingerprint), Committed> {
        let kept = self.windows.entry(window(key)).or_default();
        match kept.records.get(&key.message.0) {
            Some(Record::Done { answer, .. }) => Err(Committed::Settled(answer.clone())),
            Some(Record::Running { owner: held, payload, .. }) if *held == owner => {
                let payload = *payload;
                Ok((kept, payload))
            }
            Some(Record::Running { .. }) | None => Err(Committed::Lapsed),
        }
    }

    /// `commit.lua`, and `end.lua` for an answer without an effect.
    pub(crate) fn commit(&mut self, owner: u64, key: &CallKey, answer: Bytes) -> Committed {
        match self.held(owner, key) {
            Err(committed) => committed,
            Ok((kept, payload)) => {
                kept.bytes += answer.len();
                kept.records.insert(key.message.0, Record::Done { payload, answer });
                Committed::Done
            }
        }
    }

    /// Frees a message.
    pub(crate) fn release(&mut self, owner: u64, key: &CallKey) {
        if let Ok((kept, _)) = self.held(owner, key) {
            kept.records.remove(&key.message.0);
        }
    }

    /// Holds a message for another lease.
    pub(crate) fn renew(&mut self, now: Timestamp, owner: u64, key: &CallKey) {
        if let Ok((kept, payload)) = self.held(owner, key) {
            kept.records.insert(key.message.0, Record::Running { payload, owner, until: now + LEASE });
        }
    }

    /// Ids and bytes of the largest window.
    pub(crate) fn largest(&self) -> (usize, usize) {
        let sizes = self.windows.values().map(|kept| (kept.records.len(), kept.bytes));
        sizes.fold((0, 0), |(ids, bytes), (more, size)| (ids.max(more), bytes.max(size)))
    }
}
