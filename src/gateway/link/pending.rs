//! The calls that have no answer yet: each is resolved exactly once, a late answer never reaches a later call, and the
//! guard of a call's place stays here until the instance is done with it, whether or not anybody still waits.

use std::{
    sync::Arc,
    task::{Poll, Waker},
};

use bytes::Bytes;
use slab::Slab;

use crate::{admission::Value, clock::Timestamp, layer::Place, request::Failure};

use super::LINGER;

/// What an instance replied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The reply's bytes.
    pub payload: Bytes,
    /// How long the handler itself worked, in microseconds.
    pub handler_us: u32,
    /// When it came from the instance.
    pub received: Timestamp,
}

/// Names a call: its place in the table and which of the calls that used it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CallKey {
    index: usize,
    generation: u64,
}

/// Bits of a call's id for its place in the table; the generation is above, so that ids stay short on the wire.
const INDEX_BITS: u32 = 20;
/// The most calls that the table holds.
pub(super) const MAX_PENDING: usize = 1 << 16;

impl CallKey {
    /// The call's id on the wire.
    pub(super) const fn id(self) -> u64 {
        self.generation << INDEX_BITS | self.index as u64
    }

    /// The call of an id from the wire.
    pub(super) const fn from_id(id: u64) -> Self {
        Self { index: (id & ((1 << INDEX_BITS) - 1)) as usize, generation: id >> INDEX_BITS }
    }
}

/// What a call holds until the instance is done with it; dropping it frees its place.
pub trait Guard: Send + 'static {
    /// The instance has worked on the call. Not for a call that it refused, and not for one that was lost.
    fn served(self)
    where
        Self: Sized,
    {
    }
}

impl Guard for () {}

impl<T: Send + Sync + 'static> Guard for Arc<T> {}

impl Guard for Place {
    fn served(self) {
        self.complete();
    }
}

/// What a change of the table lets go: to be settled when no lock is held, because guards and wakers run foreign code.
#[derive(Debug)]
#[must_use]
pub(super) struct Released<G> {
    served: Vec<G>,
    guards: Vec<G>,
    wakers: Vec<Waker>,
}

impl<G> Default for Released<G> {
    fn default() -> Self {
        Self { served: Vec::new(), guards: Vec::new(), wakers: Vec::new() }
    }
}

impl<G: Guard> Released<G> {
    /// Frees the places, then wakes the callers.
    pub(super) fn settle(self) {
        self.served.into_iter().for_each(Guard::served);
        drop(self.guards);
        self.wakers.into_iter().for_each(Waker::wake);
    }
}

#[derive(Debug)]
struct Slot<G> {
    generation: u64,
    value: Value,
    deadline: Timestamp,
    /// `None` once the instance is done with the call.
    guard: Option<G>,
    caller: Caller,
}

#[derive(Debug)]
enum Caller {
    Waits(Option<Waker>),
    Resolved(Result<Answer, Failure>),
    /// Has its result, or went away.
    Gone,
}

/// The table. `G` is held for each call until the instance is done with it.
#[derive(Debug)]
pub(super) struct Pending<G> {
    slots: Slab<Slot<G>>,
    generation: u64,
    held: usize,
    /// Nothing is due before.
    sweep_at: Timestamp,
}

impl<G> Pending<G> {
    /// An empty table.
    pub(super) fn new() -> Self {
        Self { slots: Slab::new(), generation: 0, held: 0, sweep_at: Timestamp::MAX }
    }

    /// Whether no further call fits.
    pub(super) fn is_full(&self) -> bool {
        self.slots.len() >= MAX_PENDING
    }

    /// How many calls the instance is not done with.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Adds a call.
    pub(super) fn insert(&mut self, value: Value, deadline: Timestamp, guard: G) -> CallKey {
        self.generation += 1;
        self.held += 1;
        self.sweep_at = self.sweep_at.min(deadline);
        let (generation, caller) = (self.generation, Caller::Waits(None));
        let index = self.slots.insert(Slot { generation, value, deadline, guard: Some(guard), caller });
        CallKey { index, generation }
    }

    /// The value of a call that has no answer yet.
    pub(super) fn value(&self, key: CallKey) -> Option<Value> {
        let slot = self.slots.get(key.index)?;
        (slot.generation == key.generation && slot.guard.is_some()).then_some(slot.value)
    }

    /// The instance is done with a call. An answer to a call that is not here (any more) changes nothing.
    pub(super) fn resolve(&mut self, key: CallKey, result: Result<Answer, Failure>, released: &mut Released<G>) {
        let Some(slot) = self.slots.get_mut(key.index).filter(|slot| slot.generation == key.generation) else { return };
        if let Some(guard) = slot.guard.take() {
            self.held -= 1;
            let kept = if was_served(&result) { &mut released.served } else { &mut released.guards };
            kept.push(guard);
        }
        tell(slot, result, released);
        self.free(key.index);
    }

    /// The instance is gone: every call is resolved with `failure`.
    pub(super) fn resolve_all(&mut self, failure: &Failure, released: &mut Released<G>) {
        let keys: Vec<CallKey> =
            self.slots.iter().map(|(index, slot)| CallKey { index, generation: slot.generation }).collect();
        for key in keys {
            self.resolve(key, Err(failure.clone()), released);
        }
        self.sweep_at = Timestamp::MAX;
    }

    /// Tells the callers whose deadline has passed, and gives up on the instance for those long past it.
    pub(super) fn sweep(&mut self, now: Timestamp, released: &mut Released<G>) {
        if now < self.sweep_at {
            return;
        }
        self.sweep_at = Timestamp::MAX;
        let due: Vec<usize> = self.slots.iter().filter(|(_, slot)| now >= slot.deadline).map(|(at, _)| at).collect();
        for index in due {
            let slot = &mut self.slots[index];
            tell(slot, Err(Failure::TimedOut), released);
            if now >= slot.deadline + LINGER
                && let Some(guard) = slot.guard.take()
            {
                self.held -= 1;
                released.guards.push(guard);
            }
            self.free(index);
        }
        self.sweep_at = self.slots.iter().filter_map(|(_, slot)| slot.due()).min().unwrap_or(Timestamp::MAX);
    }

    /// A caller asks for its result.
    pub(super) fn poll(&mut self, key: CallKey, waker: &Waker) -> Poll<Result<Answer, Failure>> {
        let slot = &mut self.slots[key.index];
        match std::mem::replace(&mut slot.caller, Caller::Gone) {
            Caller::Resolved(result) => {
                self.free(key.index);
                Poll::Ready(result)
            }
            Caller::Waits(before) => {
                let waker = before.filter(|before| before.will_wake(waker)).unwrap_or_else(|| waker.clone());
                slot.caller = Caller::Waits(Some(waker));
                Poll::Pending
            }
            Caller::Gone => Poll::Pending,
        }
    }

    /// A caller goes away. Its place stays taken until the instance is done.
    pub(super) fn abandon(&mut self, key: CallKey) {
        self.slots[key.index].caller = Caller::Gone;
        self.free(key.index);
    }

    /// Frees the slot if neither side needs it.
    fn free(&mut self, index: usize) {
        let slot = &self.slots[index];
        if slot.guard.is_none() && matches!(slot.caller, Caller::Gone) {
            self.slots.remove(index);
        }
    }
}

impl<G> Slot<G> {
    /// When a sweep has something to do here.
    fn due(&self) -> Option<Timestamp> {
        match self.caller {
            Caller::Waits(_) => Some(self.deadline),
            Caller::Resolved(_) | Caller::Gone => self.guard.as_ref().map(|_| self.deadline + LINGER),
        }
    }
}

/// Whether a handler ran, well or not.
const fn was_served(result: &Result<Answer, Failure>) -> bool {
    match result {
        Ok(_) | Err(Failure::Failed { .. } | Failure::Misplaced { .. }) => true,
        Err(
            Failure::Refused(_)
            | Failure::RefusedByService { .. }
            | Failure::Conflict
            | Failure::Stale
            | Failure::TimedOut
            | Failure::Lost,
        ) => false,
    }
}

/// Resolves a caller that still waits.
fn tell<G>(slot: &mut Slot<G>, result: Result<Answer, Failure>, released: &mut Released<G>) {
    if let Caller::Waits(waker) = &mut slot.caller {
        released.wakers.extend(waker.take());
        slot.caller = Caller::Resolved(result);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
        time::Duration,
    };

    use super::*;

    const DEADLINE: Timestamp = Timestamp::from_nanos(1_000_000_000);

    struct Table {
        pending: Pending<Taken>,
        places: Arc<()>,
        served: Arc<AtomicUsize>,
    }

    struct Taken {
        _place: Arc<()>,
        served: Arc<AtomicUsize>,
    }

    impl Guard for Taken {
        fn served(self) {
            self.served.fetch_add(1, Relaxed);
        }
    }

    impl Table {
        fn new() -> Self {
            Self { pending: Pending::new(), places: Arc::default(), served: Arc::default() }
        }

        fn call(&mut self) -> CallKey {
            self.call_until(DEADLINE)
        }

        fn call_until(&mut self, deadline: Timestamp) -> CallKey {
            let taken = Taken { _place: Arc::clone(&self.places), served: Arc::clone(&self.served) };
            self.pending.insert(Value::default(), deadline, taken)
        }

        fn answer(&mut self, key: CallKey, payload: &'static str) {
            let mut released = Released::default();
            self.pending.resolve(key, answer(payload), &mut released);
            released.settle();
        }

        fn sweep(&mut self, now: Timestamp) {
            let mut released = Released::default();
            self.pending.sweep(now, &mut released);
            released.settle();
        }

        fn poll(&mut self, key: CallKey) -> Poll<Result<Answer, Failure>> {
            self.pending.poll(key, Waker::noop())
        }

        fn taken(&self) -> usize {
            Arc::strong_count(&self.places) - 1
        }
    }

    fn answer(payload: &'static str) -> Result<Answer, Failure> {
        Ok(Answer { payload: Bytes::from_static(payload.as_bytes()), handler_us: 3, received: Timestamp::ZERO })
    }

    #[test]
    fn an_answer_frees_the_place_and_reaches_its_caller() {
        let mut table = Table::new();
        let (one, two) = (table.call(), table.call());
        assert!(table.poll(one).is_pending());
        table.answer(two, "two");
        assert_eq!((table.taken(), table.pending.held()), (1, 1));
        assert_eq!(table.poll(two), Poll::Ready(answer("two")));
        table.answer(one, "one");
        assert_eq!(table.poll(one), Poll::Ready(answer("one")));
        assert!(table.pending.slots.is_empty());
        assert_eq!(table.served.load(Relaxed), 2);
    }

    #[test]
    fn a_caller_that_went_away_leaves_its_place_taken_until_the_answer() {
        let mut table = Table::new();
        let key = table.call();
        table.pending.abandon(key);
        assert_eq!(table.taken(), 1);
        table.answer(key, "nobody reads this");
        assert_eq!((table.taken(), table.pending.slots.len()), (0, 0));
    }

    #[test]
    fn a_late_answer_does_not_reach_the_next_call_in_the_same_slot() {
        let mut table = Table::new();
        let first = table.call();
        table.answer(first, "first");
        assert!(table.poll(first).is_ready());
        let second = table.call();
        assert_eq!(second.index, first.index);
        table.answer(CallKey::from_id(first.id()), "first again");
        assert!(table.poll(second).is_pending());
        table.answer(CallKey::from_id(second.id()), "second");
        assert_eq!(table.poll(second), Poll::Ready(answer("second")));
    }

    #[test]
    fn an_id_that_was_never_given_out_changes_nothing() {
        let mut table = Table::new();
        let key = table.call();
        for id in [u64::MAX, 0, 17] {
            table.answer(CallKey::from_id(id), "forged");
        }
        assert!(table.poll(key).is_pending());
    }

    #[test]
    fn past_its_deadline_a_call_times_out_but_keeps_its_place_until_the_answer() {
        let mut table = Table::new();
        let key = table.call();
        table.sweep(DEADLINE - Duration::from_nanos(1));
        assert!(table.poll(key).is_pending());
        table.sweep(DEADLINE);
        assert_eq!(table.poll(key), Poll::Ready(Err(Failure::TimedOut)));
        assert_eq!(table.taken(), 1);
        table.answer(key, "late");
        assert_eq!((table.taken(), table.pending.slots.len()), (0, 0));
    }

    #[test]
    fn an_answer_that_never_comes_frees_the_place_in_the_end() {
        let mut table = Table::new();
        let key = table.call();
        table.pending.abandon(key);
        table.sweep(DEADLINE);
        assert_eq!(table.taken(), 1);
        table.sweep(DEADLINE + LINGER);
        assert_eq!((table.taken(), table.pending.held(), table.pending.slots.len()), (0, 0, 0));
    }

    #[test]
    fn a_lost_instance_resolves_every_call_once() {
        let mut table = Table::new();
        let (waiting, timed_out) = (table.call(), table.call());
        table.sweep(DEADLINE);
        assert_eq!(table.poll(timed_out), Poll::Ready(Err(Failure::TimedOut)));
        let fresh = table.call_until(Timestamp::MAX);
        let mut released = Released::default();
        table.pending.resolve_all(&Failure::Lost, &mut released);
        released.settle();
        assert_eq!((table.taken(), table.served.load(Relaxed)), (0, 0), "lost is not served");
        assert_eq!(table.poll(waiting), Poll::Ready(Err(Failure::TimedOut)), "was resolved before");
        assert_eq!(table.poll(fresh), Poll::Ready(Err(Failure::Lost)));
        assert!(table.pending.slots.is_empty());
    }
}
