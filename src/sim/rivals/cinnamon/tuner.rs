//! How many calls may be in flight: TCP Vegas on service times (third article). The limit grows while the 90th percentile of
//! the service times is near the lowest that was seen, and shrinks when it says that calls queue further down.
//!
//! A window is a number of calls; the median of three windows and an exponential mean take the noise out, and the lowest
//! is forgotten after fifty windows, because a service can become slower for good.

use std::time::Duration;

/// How many windows the median is of.
const MEDIAN: usize = 3;
/// The weight of the newest median.
const WEIGHT: f64 = 0.3;
/// The percentile.
const PERCENTILE: f64 = 0.9;
/// Windows until the lowest is taken anew.
const WINDOWS: u32 = 50;
/// Vegas' thresholds: so many times the logarithm of the limit may queue ...
const ALPHA: f64 = 3.0;
/// ... and so many are too many.
const BETA: f64 = 6.0;
/// The largest limit is so many times the workers: what is above them does not matter to a server of workers.
const LARGEST: f64 = 10.0;

#[derive(Debug)]
pub(super) struct Tuner {
    limit: f64,
    largest: f64,
    calls: usize,
    /// Service times of this window.
    times: Vec<Duration>,
    /// Percentiles of the last windows, in seconds.
    percentiles: Vec<f64>,
    smoothed: Option<f64>,
    lowest: f64,
    windows: u32,
}

impl Tuner {
    pub(super) fn new(workers: usize, calls: u32) -> Self {
        Self {
            limit: workers as f64,
            largest: workers as f64 * LARGEST,
            calls: calls as usize,
            times: Vec::with_capacity(calls as usize),
            percentiles: Vec::new(),
            smoothed: None,
            lowest: f64::INFINITY,
            windows: 0,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit as usize
    }

    pub(super) fn sample(&mut self, service: Duration) {
        self.times.push(service);
        if self.times.len() < self.calls {
            return;
        }
        self.times.sort_unstable();
        let place = ((self.times.len() as f64 * PERCENTILE) as usize).min(self.times.len() - 1);
        let percentile = self.times[place].as_secs_f64();
        self.times.clear();
        if self.percentiles.len() == MEDIAN {
            self.percentiles.remove(0);
        }
        self.percentiles.push(percentile);
        self.step();
    }

    fn step(&mut self) {
        let mut sorted = self.percentiles.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let median = sorted[sorted.len() / 2];
        let smoothed = self.smoothed.map_or(median, |before| before + WEIGHT * (median - before));
        self.smoothed = Some(smoothed);
        self.windows += 1;
        self.lowest = if self.windows.is_multiple_of(WINDOWS) { smoothed } else { self.lowest.min(smoothed) };
        let queued = self.limit * (1.0 - self.lowest / smoothed);
        let logarithm = self.limit.log10().max(1.0);
        if queued < ALPHA * logarithm {
            self.limit += logarithm;
        } else if queued > BETA * logarithm {
            self.limit -= logarithm;
        }
        self.limit = self.limit.min(self.largest).max(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slower_work_shrinks_the_limit_until_it_is_taken_for_normal() {
        let mut tuner = Tuner::new(20, 10);
        let run = |tuner: &mut Tuner, millis: u64, windows: usize| {
            (0..windows * 10).for_each(|_| tuner.sample(Duration::from_millis(millis)));
            tuner.limit()
        };
        let calm = run(&mut tuner, 10, 20);
        assert!(calm > 40, "{calm}");
        let slow = run(&mut tuner, 40, 25);
        assert!(slow < calm - 10, "{slow}");
        let normal = run(&mut tuner, 40, 40);
        assert!(normal > slow, "{normal}");
    }
}
