//! The calls that wait for a worker: bounded, the most important level first, within a level the first that came.

use std::collections::BTreeMap;

use crate::admission::Value;

/// A bounded queue ordered by level, then arrival.
#[derive(Debug)]
pub(crate) struct WaitQueue<T> {
    waiting: BTreeMap<(usize, u64), T>,
    arrivals: u64,
    capacity: usize,
}

impl<T> WaitQueue<T> {
    /// An empty queue for `capacity` calls; with 0 nothing ever waits.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { waiting: BTreeMap::new(), arrivals: 0, capacity }
    }

    /// Adds a call. If the queue is full, the less important of it and the worst waiting one comes back; of two of the
    /// same level the later.
    pub(crate) fn push(&mut self, value: Value, item: T) -> Option<T> {
        self.arrivals += 1;
        self.waiting.insert((value.level().index(), self.arrivals), item);
        if self.waiting.len() <= self.capacity { None } else { self.waiting.pop_last().map(|(_, worst)| worst) }
    }

    /// Takes out the most important call.
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.waiting.pop_first().map(|(_, best)| best)
    }

    /// Takes out all of which this is so, in order.
    pub(crate) fn take_if(&mut self, is_so: impl Fn(&T) -> bool) -> Vec<T> {
        let all = std::mem::take(&mut self.waiting);
        let (taken, left): (BTreeMap<_, _>, _) = all.into_iter().partition(|(_, item)| is_so(item));
        self.waiting = left;
        taken.into_values().collect()
    }

    /// The calls that wait, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.waiting.values()
    }

    /// How many calls wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Level;

    fn value(level: usize, grain: u32) -> Value {
        Value::new(Level::from_index(level), grain)
    }

    #[test]
    fn a_more_important_level_overtakes_and_within_a_level_the_first_comes_first() {
        let mut queue = WaitQueue::new(8);
        for (level, grain, name) in [(5, 0, "late"), (3, 9, "first"), (3, 1, "second"), (0, 7, "urgent")] {
            assert_eq!(queue.push(value(level, grain), name), None);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, ["urgent", "first", "second", "late"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_full_queue_gives_back_the_least_important() {
        let mut queue = WaitQueue::new(2);
        assert_eq!(queue.push(value(4, 0), 'a'), None);
        assert_eq!(queue.push(value(6, 0), 'b'), None);
        assert_eq!(queue.push(value(5, 0), 'c'), Some('b'), "pushed out by something better");
        assert_eq!(queue.push(value(5, 0), 'd'), Some('d'), "no better than what waits");
        assert_eq!(queue.iter().copied().collect::<String>(), "ac");
        assert_eq!(queue.take_if(|&name| name == 'c'), ['c']);
        assert_eq!(queue.push(value(9, 0), 'e'), None);
        assert_eq!(queue.iter().copied().collect::<String>(), "ae");
    }
}
