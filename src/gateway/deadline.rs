//! Coarse deadlines, cheaper than a timer each: a slot holds a point in time and a waker, and a sweep with every tick of
//! the worker wakes what is due.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use slab::Slab;

use crate::clock::Timestamp;

/// What one sweep wakes at most: a few milliseconds of work.
const MAX_WOKEN: usize = 64;

/// An empty table above this size is given back.
const KEEP_SLOTS: usize = 1024;

/// The deadlines of one worker. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Deadlines(Arc<Mutex<Slab<Slot>>>);

#[derive(Debug)]
struct Slot {
    at: Timestamp,
    /// None as soon as the slot is due, or before it is polled.
    waker: Option<Waker>,
    due: bool,
}

/// Resolves with the first sweep at or after its time. Dropping it frees its slot.
#[derive(Debug)]
pub struct Deadline {
    deadlines: Deadlines,
    key: usize,
}

impl Deadlines {
    /// A deadline at `at`.
    pub fn at(&self, at: Timestamp) -> Deadline {
        let key = self.slots().insert(Slot { at, waker: None, due: false });
        Deadline { deadlines: self.clone(), key }
    }

    /// Wakes what is due, at most 64 of it: what is woken writes a last frame, and nobody who is served must
    /// wait for thousands of these. Called by the worker's tick; the rest is due with the next one.
    pub fn sweep(&self, now: Timestamp) {
        let mut due = Vec::new();
        let mut slots = self.slots();
        // A storm of connections must not leave its table behind.
        if slots.is_empty() && slots.capacity() > KEEP_SLOTS {
            slots.shrink_to_fit();
        }
        for (_, slot) in slots.iter_mut().filter(|(_, slot)| !slot.due && slot.at <= now).take(MAX_WOKEN) {
            slot.due = true;
            due.extend(slot.waker.take());
        }
        drop(slots);
        due.into_iter().for_each(Waker::wake);
    }

    fn slots(&self) -> MutexGuard<'_, Slab<Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Future for Deadline {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut slots = self.deadlines.slots();
        let Some(slot) = slots.get_mut(self.key) else { return Poll::Ready(()) };
        if slot.due {
            return Poll::Ready(());
        }
        match &slot.waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => slot.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.deadlines.slots().try_remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, time::Duration};

    use super::*;

    #[test]
    fn a_deadline_resolves_with_the_first_sweep_after_its_time() {
        let deadlines = Deadlines::default();
        let at = Timestamp::ZERO + Duration::from_secs(5);
        let mut deadline = pin!(deadlines.at(at));
        let mut cx = Context::from_waker(Waker::noop());
        deadlines.sweep(at - Duration::from_nanos(1));
        assert!(deadline.as_mut().poll(&mut cx).is_pending());
        deadlines.sweep(at);
        assert!(deadline.as_mut().poll(&mut cx).is_ready());
    }

    #[test]
    fn dropping_a_deadline_frees_its_slot() {
        let deadlines = Deadlines::default();
        drop(deadlines.at(Timestamp::ZERO));
        assert!(deadlines.slots().is_empty());
    }
}
