//! How long to wait before the next try to connect: longer after each failure, never longer than a few seconds, and
//! never the same for two links, so that the gateways do not come back to a restarted instance as one.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// The delays between tries.
#[derive(Debug)]
pub(in crate::gateway) struct Backoff {
    next: Duration,
    random: fastrand::Rng,
}

impl Backoff {
    /// Starts at the shortest delay.
    pub(in crate::gateway) fn new(seed: u64) -> Self {
        Self { next: FIRST, random: fastrand::Rng::with_seed(seed) }
    }

    /// The next delay: between half and all of 100 ms, 200 ms, 400 ms, … 5 s.
    pub(in crate::gateway) fn delay(&mut self) -> Duration {
        let delay = self.next.mul_f64(0.5 + 0.5 * self.random.f64());
        self.next = (self.next * 2).min(LONGEST);
        delay
    }

    /// A connection held: the next failure is a new one.
    pub(in crate::gateway) fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_with_jitter() {
        let mut backoff = Backoff::new(7);
        let mut full = FIRST;
        for _ in 0..20 {
            let delay = backoff.delay();
            assert!(delay >= full / 2 && delay <= full, "{delay:?} of {full:?}");
            full = (full * 2).min(LONGEST);
        }
        backoff.reset();
        assert!(backoff.delay() <= FIRST);
    }

    #[test]
    fn two_links_do_not_try_in_step() {
        assert_ne!(Backoff::new(1).delay(), Backoff::new(2).delay());
    }
}
