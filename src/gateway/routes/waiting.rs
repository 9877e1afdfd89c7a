//! A bounded queue between many threads and one task: what finds no room is not taken.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

#[derive(Debug)]
pub(super) struct Waiting<T> {
    items: Mutex<VecDeque<T>>,
    most: usize,
    more: Notify,
}

impl<T> Waiting<T> {
    pub(super) fn new(most: usize) -> Self {
        Self { items: Mutex::default(), most, more: Notify::new() }
    }

    /// Whether there was room.
    pub(super) fn push(&self, item: T) -> bool {
        let mut items = self.lock();
        let has_room = items.len() < self.most;
        if has_room {
            items.push_back(item);
            drop(items);
            self.more.notify_one();
        }
        has_room
    }

    /// The longest waiting one. For one task.
    pub(super) async fn next(&self) -> T {
        loop {
            if let Some(item) = self.lock().pop_front() {
                return item;
            }
            self.more.notified().await;
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_finds_no_room_is_not_taken() {
        let waiting = Waiting::new(2);
        assert_eq!([1, 2, 3].map(|item| waiting.push(item)), [true, true, false]);
        assert_eq!((waiting.next().await, waiting.next().await), (1, 2));
        assert!(waiting.push(4));
        assert_eq!(waiting.next().await, 4);
    }
}
