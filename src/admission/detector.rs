//! Overloaded means: the mean queuing time of *everything* that left the queue in the window, and of the oldest request
//! still in it, is above the target. The mean over what was dispatched alone says "fine" in a queue ordered by
//! importance while the rest starve.

use std::time::Duration;

/// Tells overload from the time that requests spend in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detector {
    target: Duration,
}

/// What a window's queuing times say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Mean queuing time.
    pub queuing: Duration,
    /// Whether it is above the target.
    pub overloaded: bool,
}

impl Detector {
    /// A detector that takes a mean queuing time above `target` for overload.
    pub const fn new(target: Duration) -> Self {
        Self { target }
    }

    /// Judges a window in which `left` requests left the queue after `total` time in it altogether, and at whose end
    /// the oldest waiting request had waited for `oldest` (zero if none waits). Without samples there is no overload.
    pub fn judge(&self, left: u32, total: Duration, oldest: Duration) -> Verdict {
        let count = u64::from(left) + u64::from(!oldest.is_zero());
        let nanos = total.saturating_add(oldest).as_nanos().checked_div(u128::from(count)).unwrap_or(0);
        let queuing = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        Verdict { queuing, overloaded: queuing > self.target }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(20);

    #[test]
    fn a_mean_above_the_target_is_overload() {
        let detector = Detector::new(TARGET);
        assert!(!detector.judge(10, TARGET * 10, Duration::ZERO).overloaded);
        assert!(detector.judge(10, TARGET * 11, Duration::ZERO).overloaded);
    }

    #[test]
    fn the_oldest_waiting_request_counts_even_if_nothing_left_the_queue() {
        let verdict = Detector::new(TARGET).judge(0, Duration::ZERO, TARGET * 3);
        assert_eq!(verdict, Verdict { queuing: TARGET * 3, overloaded: true });
    }

    #[test]
    fn an_empty_window_is_no_overload() {
        assert_eq!(Detector::new(Duration::ZERO).judge(0, Duration::ZERO, Duration::ZERO), Verdict::default());
    }

    #[test]
    fn the_largest_inputs_do_not_overflow() {
        assert!(Detector::new(TARGET).judge(u32::MAX, Duration::MAX, Duration::MAX).overloaded);
    }
}
