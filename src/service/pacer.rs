//! Serves exactly `workers ÷ work` calls per second, whatever the timers do: a call's end is reckoned from when its
//! worker was due, not from when a timer woke somebody.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use crate::clock::Timestamp;

/// A number of workers that each need the same time per call, on an ideal clock.
///
/// A timer of the runtime fires up to a millisecond late. Sleeping `work` per call would lose that millisecond each
/// time; here a call that already waited starts the very instant its worker was due, so lateness delays one answer and
/// costs no capacity.
#[derive(Debug)]
pub struct Pacer {
    due: BinaryHeap<Reverse<Timestamp>>,
    work: Duration,
}

impl Pacer {
    /// `workers` idle workers (at least one) that need `work` for each call.
    pub fn new(workers: usize, work: Duration) -> Self {
        Self { due: vec![Reverse(Timestamp::ZERO); workers.max(1)].into(), work }
    }

    /// Gives the worker that is free first to a call that arrived at `arrived`; returns when the call is done.
    pub fn assign(&mut self, arrived: Timestamp) -> Timestamp {
        let mut first = self.due.peek_mut().expect("there is at least one worker");
        let done = first.0.max(arrived) + self.work;
        first.0 = done;
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: Duration = Duration::from_millis(10);

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_nanos(micros * 1000)
    }

    #[test]
    fn a_call_that_finds_a_free_worker_takes_just_its_work() {
        let mut pacer = Pacer::new(2, WORK);
        assert_eq!(pacer.assign(at(5)), at(10_005));
        assert_eq!(pacer.assign(at(6)), at(10_006));
        assert_eq!(pacer.assign(at(7)), at(20_005), "behind the first");
    }

    /// Closed loop with 12 calls outstanding against 8 workers, where every answer is noticed up to 1.9 ms late, as by
    /// a coarse timer on a busy machine.
    #[test]
    fn late_timers_cost_no_capacity() {
        let mut pacer = Pacer::new(8, WORK);
        let mut running: BinaryHeap<Reverse<Timestamp>> = BinaryHeap::new();
        let mut waiting: std::collections::VecDeque<Timestamp> = (0..12).map(|_| at(0)).collect();
        let (mut served, end) = (0, at(10_000_000));
        let mut lateness = 0;
        loop {
            while running.len() < 8
                && let Some(arrived) = waiting.pop_front()
            {
                lateness = (lateness + 701) % 1900;
                running.push(Reverse(pacer.assign(arrived) + Duration::from_micros(lateness)));
            }
            let Reverse(noticed) = running.pop().expect("the loop is closed");
            if noticed > end {
                break;
            }
            served += 1;
            waiting.push_back(noticed);
        }
        assert!((7920..=8000).contains(&served), "{served} in 10 s; 8 × 10 ms is 800/s");
    }

    #[test]
    fn idle_time_is_not_saved_up() {
        let mut pacer = Pacer::new(1, WORK);
        pacer.assign(at(0));
        assert_eq!(pacer.assign(at(1_000_000)), at(1_010_000));
        assert_eq!(pacer.assign(at(1_000_000)), at(1_020_000));
    }
}
