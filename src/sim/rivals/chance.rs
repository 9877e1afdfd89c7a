//! Chance that follows from a seed alone, for the rivals that decide by it.

use rand_distr::{Distribution as _, StandardUniform};
use rand_pcg::Pcg64;

/// A stream of random numbers. Two of the same seed and stream are alike.
#[derive(Clone, Debug)]
pub(super) struct Chance(Pcg64);

impl Chance {
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        Self(Pcg64::new(u128::from(seed), u128::from(stream)))
    }

    /// A number from 0 up to, but not including, 1.
    pub(super) fn unit(&mut self) -> f64 {
        StandardUniform.sample(&mut self.0)
    }

    /// Whether something of this probability happens.
    pub(super) fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }
}
