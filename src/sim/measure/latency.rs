//! Times as histograms: microseconds up to an hour, three digits.

use std::time::Duration;

use hdrhistogram::Histogram;

const LONGEST_MICROS: u64 = 3600 * 1_000_000;
const DIGITS: u8 = 3;

/// A distribution of times.
#[derive(Clone, Debug)]
pub(super) struct Times(Histogram<u64>);

impl Times {
    pub(super) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS).expect("constant bounds"))
    }

    pub(super) fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("equal bounds");
    }

    /// Milliseconds in the mean, if there was anything.
    pub(super) fn mean_millis(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.mean() / 1000.0)
    }

    /// Milliseconds at a quantile, if there was anything.
    pub(super) fn millis(&self, quantile: f64) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(quantile) as f64 / 1000.0)
    }
}
