//! In a dry run nothing is refused, so the real queue shows what happens *without* the gate. The cut is judged against a
//! virtual queue instead: it receives what the cut would have admitted and drains at the measured capacity.

use std::time::Duration;

use crate::clock::Timestamp;

/// What would have waited longer than this would have expired (the paper's task timeout is 500 ms): the virtual queue
/// holds no more.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// A queue of numbers: how much would be waiting, and how long what went through it would have waited.
#[derive(Clone, Copy, Debug, Default)]
pub struct VirtualQueue {
    backlog: f64,
    delay: Duration,
    stepped: Option<Timestamp>,
    left: u32,
    total: Duration,
}

impl VirtualQueue {
    /// Adds `arrivals` since the last step and drains at `capacity` per second. As long as the capacity is unknown
    /// there never was any pressure, so nothing waits.
    pub fn step(&mut self, now: Timestamp, arrivals: u32, capacity: Option<f64>) {
        let elapsed = now.since(*self.stepped.get_or_insert(now)).as_secs_f64();
        self.stepped = Some(now);
        let Some(capacity) = capacity.filter(|&per_second| per_second > 0.0) else {
            self.backlog = 0.0;
            self.delay = Duration::ZERO;
            return;
        };
        let drained = (self.backlog + f64::from(arrivals) - capacity * elapsed).max(0.0);
        self.backlog = drained.min(capacity * LONGEST_WAIT.as_secs_f64());
        self.delay = Duration::from_secs_f64(self.backlog / capacity);
        self.left = self.left.wrapping_add(arrivals);
        self.total = self.total.saturating_add(self.delay.saturating_mul(arrivals));
    }

    /// What a detector wants to know of the window that ends now: how many left, their time in the queue together, and
    /// the delay at present.
    pub fn close_window(&mut self) -> (u32, Duration, Duration) {
        (std::mem::take(&mut self.left), std::mem::take(&mut self.total), self.delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(queue: &mut VirtualQueue, per_tick: u32, capacity: Option<f64>) -> (u32, Duration, Duration) {
        for tick in 1..=100 {
            queue.step(Timestamp::ZERO + Duration::from_millis(10) * tick, per_tick, capacity);
        }
        queue.close_window()
    }

    #[test]
    fn what_stays_below_the_capacity_does_not_wait() {
        let (left, total, now) = feed(&mut VirtualQueue::default(), 10, Some(1000.0));
        assert_eq!(left, 1000);
        assert!(total / left < Duration::from_millis(11) && now < Duration::from_millis(11), "{total:?}");
    }

    #[test]
    fn what_exceeds_the_capacity_waits_until_it_would_expire() {
        let (left, total, now) = feed(&mut VirtualQueue::default(), 20, Some(1000.0));
        assert!(total / left > Duration::from_millis(200));
        assert_eq!(now, LONGEST_WAIT);
    }

    #[test]
    fn without_a_known_capacity_nothing_waits() {
        assert_eq!(feed(&mut VirtualQueue::default(), 1_000_000, None).2, Duration::ZERO);
        assert_eq!(feed(&mut VirtualQueue::default(), 1_000_000, Some(0.0)).2, Duration::ZERO);
    }
}
