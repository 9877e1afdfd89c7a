//! How long to wait before the next try, where no server says it: the first one after a loss comes within the spread that
//! the gateway named, the ones after it within 1 s, 2 s, 4 s ... 60 s. A random part of each, so that clients that lost
//! their gateway together do not come back together.

use std::time::Duration;

use fastrand::Rng;

/// The upper end of the first wait after one that failed.
const FIRST: Duration = Duration::from_secs(1);
/// No wait is longer.
const LONGEST: Duration = Duration::from_secs(60);
/// A connection that lasted this long has made up for the failures before it.
const STABLE: Duration = Duration::from_secs(10);

/// So many times a login follows gateways that send it elsewhere without a pause.
pub const MAX_REDIRECTS: u32 = 3;

/// The failures since the last stable connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    spread_taken: bool,
    failures: u32,
    /// Moves away from connections that had not become stable.
    hasty_moves: u32,
}

impl Backoff {
    /// Of a client that has lost its gateway, and whose logins have failed so often since.
    pub const fn lost(failures: u32) -> Self {
        Self { spread_taken: true, failures, hasty_moves: 0 }
    }

    /// How many logins have failed since the last stable connection.
    pub const fn failures(self) -> u32 {
        self.failures
    }

    /// The wait after the loss of a connection that had lasted so long.
    pub fn after_loss(&mut self, lasted: Duration, spread: Duration, random: &mut Rng) -> Duration {
        if lasted >= STABLE {
            *self = Self::default();
        }
        if self.spread_taken {
            return self.after_failure(random);
        }
        self.spread_taken = true;
        part_of(spread, random)
    }

    /// What comes on top of the time that the gateway says for a move, after a connection that had lasted so long: nothing,
    /// unless gateways send a client on and on.
    pub fn before_move(&mut self, lasted: Duration, random: &mut Rng) -> Duration {
        if lasted >= STABLE {
            *self = Self::default();
            return Duration::ZERO;
        }
        self.hasty_moves = self.hasty_moves.saturating_add(1);
        match self.hasty_moves.saturating_sub(MAX_REDIRECTS) {
            0 => Duration::ZERO,
            too_many => part_of(doubled(too_many), random),
        }
    }

    /// The wait after a login that failed.
    pub fn after_failure(&mut self, random: &mut Rng) -> Duration {
        self.failures = self.failures.saturating_add(1);
        part_of(doubled(self.failures), random)
    }
}

/// The wait before the next try of a message that was tried so often.
pub(super) fn before_retry(tries: u32, random: &mut Rng) -> Duration {
    part_of(doubled(tries), random)
}

/// A server's hint, and up to a quarter of it more: it chose one hint for this client, but not one for each message.
pub fn hinted(hint: Duration, random: &mut Rng) -> Duration {
    hint + part_of(hint / 4, random)
}

/// The upper end of a wait: 1 s, 2 s, 4 s ...
fn doubled(failures: u32) -> Duration {
    FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST)
}

fn part_of(limit: Duration, random: &mut Rng) -> Duration {
    limit.mul_f64(random.f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The longest of many waits after so many failures.
    fn longest(failures: u32, seed: u64) -> Duration {
        let mut random = Rng::with_seed(seed);
        (0..500)
            .map(|_| Backoff { failures, spread_taken: true, hasty_moves: 0 }.after_failure(&mut random))
            .max()
            .unwrap()
    }

    #[test]
    fn waits_double_up_to_a_minute() {
        for (failures, limit) in [(0, 1), (1, 2), (2, 4), (5, 32), (6, 60), (40, 60), (u32::MAX, 60)] {
            let (longest, limit) = (longest(failures, 5), limit * SECOND);
            assert!(longest <= limit && longest > limit.mul_f64(0.95), "{longest:?} of {limit:?}");
        }
    }

    #[test]
    fn the_first_wait_is_a_part_of_the_spread_and_a_gateway_that_always_falls_is_not_hammered() {
        let (mut backoff, mut random) = (Backoff::default(), Rng::with_seed(1));
        assert_eq!(backoff.after_loss(SECOND, Duration::ZERO, &mut random), Duration::ZERO);
        let waits: Duration = (0..20).map(|_| backoff.after_loss(SECOND, Duration::ZERO, &mut random)).sum();
        assert!(waits > 100 * SECOND, "{waits:?}");
        assert_eq!(backoff.after_loss(STABLE, Duration::ZERO, &mut random), Duration::ZERO);
    }

    #[test]
    fn three_moves_in_a_row_cost_nothing_and_then_they_wait() {
        let (mut backoff, mut random) = (Backoff::default(), Rng::with_seed(1));
        let mut waits =
            |backoff: &mut Backoff| (0..20).map(|_| backoff.before_move(SECOND, &mut random)).collect::<Vec<_>>();
        let first = waits(&mut backoff);
        assert_eq!(first[..3], [Duration::ZERO; 3]);
        assert!(first.iter().sum::<Duration>() > 100 * SECOND, "{first:?}");
        assert_eq!(backoff.before_move(STABLE, &mut Rng::with_seed(1)), Duration::ZERO);
        assert_eq!(waits(&mut backoff)[..3], [Duration::ZERO; 3]);
    }

    #[test]
    fn a_hint_is_never_cut_short() {
        let mut random = Rng::with_seed(1);
        for _ in 0..100 {
            assert!((SECOND..=SECOND.mul_f64(1.25)).contains(&hinted(SECOND, &mut random)));
        }
    }
}
