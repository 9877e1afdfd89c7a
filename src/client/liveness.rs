//! Only received frames count as life; what was sent proves nothing about the other side.

use std::time::Duration;

use crate::clock::Timestamp;

/// So many intervals pass without a ping at the most, however much else is said: only its answer tells a busy client over which
/// time to spread its return now, and where to go.
const INTERVALS_BETWEEN_PINGS: u32 = 2;

/// When to ping, and when to give the connection up.
#[derive(Debug)]
pub(super) struct Liveness {
    interval: Duration,
    tolerance: Duration,
    sent: Timestamp,
    received: Timestamp,
    pinged: Timestamp,
}

impl Liveness {
    pub(super) fn new(interval: Duration, tolerance: Duration, now: Timestamp) -> Self {
        Self { interval, tolerance, sent: now, received: now, pinged: now }
    }

    pub(super) fn sent(&mut self, now: Timestamp) {
        self.sent = now;
    }

    pub(super) fn received(&mut self, now: Timestamp) {
        self.received = now;
    }

    pub(super) fn pinged(&mut self, now: Timestamp) {
        self.pinged = now;
        self.sent = now;
    }

    /// When nothing was sent, or nothing received, for an interval, and in any case two intervals after the last one; pings
    /// are at least an interval apart.
    pub(super) fn ping_at(&self) -> Timestamp {
        let quiet = self.sent.min(self.received).max(self.pinged) + self.interval;
        quiet.min(self.pinged + self.interval * INTERVALS_BETWEEN_PINGS)
    }

    /// When nothing was received for the tolerance.
    pub(super) fn lost_at(&self) -> Timestamp {
        self.received + self.tolerance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    fn liveness() -> Liveness {
        Liveness::new(Duration::from_secs(10), Duration::from_secs(25), at(0))
    }

    #[test]
    fn a_busy_sender_pings_all_the_same_when_nothing_comes_back() {
        let mut liveness = liveness();
        liveness.sent(at(9));
        assert_eq!(liveness.ping_at(), at(10));
        liveness.pinged(at(10));
        liveness.sent(at(11));
        assert_eq!(liveness.ping_at(), at(20), "not again before an interval has passed");
    }

    #[test]
    fn sending_does_not_keep_a_connection_alive() {
        let mut liveness = liveness();
        liveness.sent(at(24));
        assert_eq!(liveness.lost_at(), at(25));
        liveness.received(at(24));
        assert_eq!(liveness.lost_at(), at(49));
    }

    #[test]
    fn traffic_both_ways_needs_a_ping_in_every_second_interval() {
        let mut liveness = liveness();
        liveness.sent(at(8));
        liveness.received(at(9));
        assert_eq!(liveness.ping_at(), at(18));
        for second in 9..20 {
            liveness.sent(at(second));
            liveness.received(at(second));
        }
        assert_eq!(liveness.ping_at(), at(20), "two intervals after the login");
        liveness.pinged(at(20));
        liveness.sent(at(29));
        liveness.received(at(29));
        assert_eq!(liveness.ping_at(), at(39));
        liveness.sent(at(38));
        liveness.received(at(38));
        assert_eq!(liveness.ping_at(), at(40), "two intervals after the last ping");
    }
}
