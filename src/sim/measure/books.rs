//! Counts and work per tenth of a second, by when tasks arrived.

use std::time::Duration;

use crate::clock::Timestamp;

const BIN_NANOS: u64 = 100_000_000;

/// What arrived in each bin, and how much of it succeeded; per business, as sums from the beginning on.
#[derive(Debug)]
pub(super) struct Books {
    businesses: usize,
    /// Row by row: a row is a bin.
    offered: Vec<u32>,
    succeeded: Vec<u32>,
    /// Service time that was spent on those that succeeded, by bin: seconds.
    work: Vec<f64>,
    /// The sums up to each bin, once the books are closed.
    sums: Option<[Vec<u64>; 2]>,
}

impl Books {
    pub(super) const BIN_SECONDS: f64 = 0.1;

    pub(super) fn new(businesses: usize) -> Self {
        Self { businesses, offered: Vec::new(), succeeded: Vec::new(), work: Vec::new(), sums: None }
    }

    /// The bin that begins at this second (or contains it).
    pub(super) fn bin(seconds: f64) -> usize {
        // A change at 0.3 s is at 2.9999… bins for a computer.
        (seconds / Self::BIN_SECONDS + 1e-6) as usize
    }

    pub(super) fn bin_at(at: Timestamp) -> usize {
        (at.as_nanos() / BIN_NANOS) as usize
    }

    pub(super) fn arrived(&mut self, now: Timestamp, business: usize) {
        let index = Self::bin_at(now) * self.businesses + business;
        if index >= self.offered.len() {
            let rows = (Self::bin_at(now) + 1) * self.businesses;
            self.offered.resize(rows, 0);
            self.succeeded.resize(rows, 0);
            self.work.resize(Self::bin_at(now) + 1, 0.0);
        }
        self.offered[index] += 1;
    }

    /// A task that arrived at `created` succeeded, with this much service time.
    pub(super) fn succeeded_that_arrived(&mut self, created: Timestamp, business: usize, work: Duration) {
        self.succeeded[Self::bin_at(created) * self.businesses + business] += 1;
        self.work[Self::bin_at(created)] += work.as_secs_f64();
    }

    /// Ends the counting: sums can be asked for from now on. There are at least `bins` bins.
    pub(super) fn close(&mut self, bins: usize) {
        let rows = bins * self.businesses;
        for counts in [&mut self.offered, &mut self.succeeded] {
            let longer = counts.len().max(rows);
            counts.resize(longer, 0);
        }
        self.work.resize(self.work.len().max(bins), 0.0);
        self.sums = Some([&self.offered, &self.succeeded].map(|counts| self.summed(counts)));
    }

    fn summed(&self, counts: &[u32]) -> Vec<u64> {
        let mut sums = vec![0; counts.len() + self.businesses];
        for (index, count) in counts.iter().enumerate() {
            sums[index + self.businesses] = sums[index] + u64::from(*count);
        }
        sums
    }

    /// Tasks of each business that arrived in bins from..to.
    pub(super) fn offered(&self, from: usize, to: usize) -> Vec<f64> {
        self.between(0, from, to)
    }

    /// How many of these succeeded.
    pub(super) fn succeeded(&self, from: usize, to: usize) -> Vec<f64> {
        self.between(1, from, to)
    }

    /// Seconds of service time that were spent on these.
    pub(super) fn work(&self, from: usize, to: usize) -> f64 {
        self.work[from.min(self.work.len())..to.min(self.work.len())].iter().sum()
    }

    fn between(&self, which: usize, from: usize, to: usize) -> Vec<f64> {
        let Some(sums) = &self.sums else { return vec![0.0; self.businesses] };
        let sums = &sums[which];
        let row = |bin: usize| bin.min(sums.len() / self.businesses - 1) * self.businesses;
        (0..self.businesses).map(|business| (sums[row(to) + business] - sums[row(from) + business]) as f64).collect()
    }
}
