//! The one place that reads a clock. Everything else takes a [`Timestamp`] as an argument, so that the same code runs
//! on sockets, in a simulator and in tests that move time by hand.
#![expect(clippy::disallowed_methods, reason = "this is the file that reads clocks")]

use std::{
    fmt,
    ops::{Add, Sub},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

/// A point in monotonic time: nanoseconds since the origin of its [`Clock`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The clock's origin.
    pub const ZERO: Self = Self(0);
    /// Later than everything else.
    pub const MAX: Self = Self(u64::MAX);

    /// A timestamp that many nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at [`Timestamp::MAX`].
    fn add(self, rhs: Duration) -> Self {
        let nanos = u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at the origin.
    fn sub(self, rhs: Duration) -> Self {
        let nanos = u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}s", Duration::from_nanos(self.0).as_secs_f64())
    }
}

/// A source of monotonic time: the system's, or one that a test moves by hand. Clones share the origin.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System(Instant),
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The system's monotonic clock. Its origin lies an hour back, so that subtracting a window never meets zero.
    pub fn system() -> Self {
        let now = Instant::now();
        Self(Source::System(now.checked_sub(Duration::from_secs(3600)).unwrap_or(now)))
    }

    /// A clock that stands still at `start` until [`Clock::advance`] moves it.
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(AtomicU64::new(start.0))))
    }

    /// The present.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System(origin) => Timestamp::ZERO + origin.elapsed(),
            Source::Manual(nanos) => Timestamp(nanos.load(Ordering::Acquire)),
        }
    }

    /// Moves a manual clock forward.
    ///
    /// # Panics
    ///
    /// On a system clock, which nobody moves.
    pub fn advance(&self, by: Duration) {
        match &self.0 {
            Source::System(_) => panic!("the system clock cannot be moved"),
            Source::Manual(nanos) => {
                let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
                nanos.fetch_add(by, Ordering::AcqRel);
            }
        }
    }

    /// The instant of the system's clock at which this clock shows `at`; for timers of the runtime.
    pub fn instant_of(&self, at: Timestamp) -> Instant {
        match &self.0 {
            Source::System(origin) => {
                origin.checked_add(Duration::from_nanos(at.0)).unwrap_or_else(|| Instant::now() + FAR)
            }
            Source::Manual(_) => Instant::now() + at.since(self.now()),
        }
    }
}

/// A timer that is never reached in the life of a process.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Milliseconds since the Unix epoch, for connection epochs and for people; never for measuring.
pub fn unix_millis() -> u64 {
    whole_millis(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// Whole milliseconds, rounded down; saturates.
pub fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The same in 32 bits, 49 days at most; most times on the wire are so.
pub fn whole_millis_u32(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// The same, and never 0: an expiry in Redis, which takes no shorter one.
pub fn expiry_millis(duration: Duration) -> u64 {
    whole_millis(duration).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_stands_still_until_it_is_moved() {
        let clock = Clock::manual(Timestamp::from_nanos(5));
        let twin = clock.clone();
        assert_eq!(clock.now(), Timestamp::from_nanos(5));
        clock.advance(Duration::from_nanos(7));
        assert_eq!(twin.now(), Timestamp::from_nanos(12));
    }

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Timestamp::MAX + Duration::from_secs(1), Timestamp::MAX);
        assert_eq!(Timestamp::ZERO - Duration::from_secs(1), Timestamp::ZERO);
        assert_eq!(Timestamp::ZERO.since(Timestamp::MAX), Duration::ZERO);
    }
}
