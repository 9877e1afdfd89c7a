//! Chance that follows from a seed alone, for the rivals that decide by it.

use rand_distr::{Distribution as _, StandardUniform};
use rand_pcg::Pcg64;

/// A stream of random numbers. Two of the same seed and stream are alike.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Chance(Pcg64);

impl Chance {
    pub(in crate::sim) fn new(seed: u64, stream: u64) -> Self {
        Self(Pcg64::new(u128::from(seed), u128::from(stream)))
    }

    /// A number from 0 up to, but not including, 1.
    pub(in crate::sim) fn unit(&mut self) -> f64 {
        StandardUniform.sample(&mut self.0)
    }

    /// Whether something of this probability happens.
    pub(in crate::sim) fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }
    /// The numbers below `count` in a random order.
    pub(in crate::sim) fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<_> = (0..count).collect();
        for place in (1..count).rev() {
            order.swap(place, (self.unit() * (place + 1) as f64) as usize);
        }
        order
    }
}
