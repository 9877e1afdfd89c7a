//! A bounded queue from a client's task to the app: one too many drops the oldest, because what came last is what holds
//! now.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// What waits for the app.
#[derive(Debug)]
pub(super) struct Latest<T>(Mutex<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    queue: VecDeque<T>,
    capacity: usize,
    receiver: Option<Waker>,
    /// Whether there is anyone to receive them.
    wanted: bool,
    ended: bool,
    dropped: u64,
}

impl<T> Latest<T> {
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        let inner = Inner { queue: VecDeque::new(), capacity, receiver: None, wanted: true, ended: false, dropped: 0 };
        Self(Mutex::new(inner))
    }

    pub(super) fn put(&self, item: T) {
        let mut inner = self.lock();
        if !inner.wanted {
            return;
        }
        if inner.queue.len() >= inner.capacity {
            inner.queue.pop_front();
            inner.dropped += 1;
        }
        inner.queue.push_back(item);
        inner.wake();
    }

    /// Nothing more comes.
    pub(super) fn end(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        inner.wake();
    }

    /// The next one; `None` when nothing more comes and none is left.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut inner = self.lock();
        let item = inner.queue.pop_front();
        if inner.queue.is_empty() {
            // An idle client keeps no room for its busiest moment.
            inner.queue = VecDeque::new();
        }
        if item.is_some() || inner.ended {
            return Poll::Ready(item);
        }
        inner.receiver = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Nobody receives any more.
    pub(super) fn discard(&self) {
        let mut inner = self.lock();
        inner.wanted = false;
        inner.queue = VecDeque::new();
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        // Nothing under this lock can panic half-way; a poisoned one is as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Inner<T> {
    fn wake(&mut self) {
        if let Some(receiver) = self.receiver.take() {
            receiver.wake();
        }
    }
}
