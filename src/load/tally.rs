//! What became of requests: plain counters and a histogram per business. Nothing is sampled, everything offered ends in
//! exactly one counter.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The logic service answered.
    Replied,
    /// Certainly not run, for the reason with this code.
    Refused(u32),
    /// Dispatched, and the gateway says that no answer came.
    Unknown,
    /// No word at all.
    Lost,
    /// The generator had no connection to send it over.
    Unsent,
}

/// The fate of one business's requests.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub(super) offered: u64,
    pub(super) ok: u64,
    pub(super) late: u64,
    pub(super) unknown: u64,
    pub(super) lost: u64,
    pub(super) unsent: u64,
    /// By reason code.
    pub(super) refused: BTreeMap<u32, u64>,
    /// Of those that were ok, in microseconds.
    pub(super) latency: Latency,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            offered: 0,
            ok: 0,
            late: 0,
            unknown: 0,
            lost: 0,
            unsent: 0,
            refused: BTreeMap::new(),
            latency: Latency::new(),
        }
    }

    /// Counts an ending; `latency` is from the intended time of sending.
    pub(super) fn count(&mut self, ending: Ending, latency: Duration, timeout: Duration) {
        match ending {
            Ending::Replied if latency <= timeout => {
                self.ok += 1;
                self.latency.record(latency);
            }
            Ending::Replied => self.late += 1,
            Ending::Refused(reason) => *self.refused.entry(reason).or_default() += 1,
            Ending::Unknown => self.unknown += 1,
            Ending::Lost => self.lost += 1,
            Ending::Unsent => self.unsent += 1,
        }
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Adds another thread's or another business's.
    pub(super) fn merge(&mut self, other: &Self) {
        self.offered += other.offered;
        self.ok += other.ok;
        self.late += other.late;
        self.unknown += other.unknown;
        self.lost += other.lost;
        self.unsent += other.unsent;
        for (&reason, &count) in &other.refused {
            *self.refused.entry(reason).or_default() += count;
        }
        self.latency.merge(&other.latency);
    }

    /// Replies in time, of those that were admitted.
    pub(super) fn in_time_percent(&self) -> Option<f64> {
        percent(self.ok, self.ok + self.late + self.unknown)
    }

    /// Replies in time, of those that were offered.
    pub(super) fn success_percent(&self) -> Option<f64> {
        percent(self.ok, self.offered)
    }
}

fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64 * 100.0)
}

/// A histogram of times from 1 µs to two minutes, to three digits.
#[derive(Clone, Debug)]
pub(super) struct Latency(Histogram<u64>);

impl Latency {
    const LONGEST_MICROS: u64 = 120_000_000;

    pub(super) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, Self::LONGEST_MICROS, 3).expect("constant bounds that are in order"))
    }

    pub(super) fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// The time that this share (0–1) of all stayed within; `None` if there were none.
    pub(super) fn quantile(&self, share: f64) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_micros(self.0.value_at_quantile(share)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(500);

    #[test]
    fn a_reply_after_the_timeout_is_late_and_not_ok() {
        let mut tally = Tally::new();
        tally.count(Ending::Replied, TIMEOUT, TIMEOUT);
        tally.count(Ending::Replied, TIMEOUT + Duration::from_nanos(1), TIMEOUT);
        assert_eq!((tally.ok, tally.late), (1, 1));
        assert_eq!(tally.in_time_percent(), Some(50.0));
    }

    #[test]
    fn refusals_count_by_reason_and_not_against_what_was_admitted() {
        let mut tally = Tally::new();
        tally.offered = 4;
        for ending in [Ending::Refused(110), Ending::Refused(110), Ending::Refused(113), Ending::Replied] {
            tally.count(ending, Duration::ZERO, TIMEOUT);
        }
        assert_eq!(tally.refused, BTreeMap::from([(110, 2), (113, 1)]));
        assert_eq!((tally.in_time_percent(), tally.success_percent()), (Some(100.0), Some(25.0)));
    }

    #[test]
    fn merging_adds_counters_and_latencies() {
        let mut sum = Tally::new();
        for millis in [1, 100] {
            let mut tally = Tally::new();
            tally.count(Ending::Replied, Duration::from_millis(millis), TIMEOUT);
            tally.count(Ending::Refused(110), Duration::ZERO, TIMEOUT);
            sum.merge(&tally);
        }
        assert_eq!((sum.ok, sum.refused()), (2, 2));
        let slowest = sum.latency.quantile(1.0).unwrap();
        assert!(slowest.abs_diff(Duration::from_millis(100)) < Duration::from_millis(1), "{slowest:?}");
    }

    #[test]
    fn nothing_offered_has_no_percentages_and_no_latency() {
        let tally = Tally::new();
        assert_eq!((tally.in_time_percent(), tally.success_percent()), (None, None));
        assert_eq!(tally.latency.quantile(0.99), None);
    }
}
