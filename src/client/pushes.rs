//! Pushes wait in a bounded queue: one too many drops the oldest, because what was pushed last is what holds now.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::{Push, driver::Shared};

/// The pushes of a connection, in the order of their arrival. At most
/// [`ClientConfig::push_capacity`](super::ClientConfig::push_capacity) wait; one more drops the oldest. Dropping this
/// discards them all; it does not keep the connection open.
#[derive(Debug)]
pub struct Pushes(Arc<Shared>);

impl Pushes {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// The next push; `None` when the connection has ended and none is left.
    pub async fn recv(&mut self) -> Option<Push> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// How many were dropped because too many waited.
    pub fn dropped(&self) -> u64 {
        self.0.lock().pushes.dropped
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Push>> {
        let mut inner = self.0.lock();
        if let Some(push) = inner.pushes.take() {
            return Poll::Ready(Some(push));
        }
        if inner.ended.is_some() {
            return Poll::Ready(None);
        }
        inner.pushes.receiver = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Pushes {
    fn drop(&mut self) {
        self.0.lock().pushes.discard();
    }
}

/// What waits for [`Pushes::recv`].
#[derive(Debug)]
pub(super) struct PushQueue {
    queue: VecDeque<Push>,
    capacity: usize,
    receiver: Option<Waker>,
    /// Whether there is anyone to receive them.
    wanted: bool,
    dropped: u64,
}

impl PushQueue {
    pub(super) fn new(capacity: usize) -> Self {
        Self { queue: VecDeque::new(), capacity: capacity.max(1), receiver: None, wanted: true, dropped: 0 }
    }

    pub(super) fn put(&mut self, push: Push) {
        if !self.wanted {
            return;
        }
        if self.queue.len() >= self.capacity {
            self.queue.pop_front();
            self.dropped += 1;
        }
        self.queue.push_back(push);
        self.wake_receiver();
    }

    pub(super) fn wake_receiver(&mut self) {
        if let Some(receiver) = self.receiver.take() {
            receiver.wake();
        }
    }

    fn take(&mut self) -> Option<Push> {
        let push = self.queue.pop_front();
        if self.queue.is_empty() {
            // An idle connection keeps no room for the pushes of its busiest moment.
            self.queue = VecDeque::new();
        }
        push
    }

    fn discard(&mut self) {
        self.wanted = false;
        self.queue = VecDeque::new();
    }
}
