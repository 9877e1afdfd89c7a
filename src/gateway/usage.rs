//! What the users of one worker have been served, in cells that this worker alone writes: no lock, and nobody contends
//! for it. The arithmetic is [`Population`]'s.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{
    admission::{Cost, Population, Weight},
    clock::Timestamp,
};

/// One worker's population. Only that worker may change it: two writers lose what one of them adds.
#[derive(Debug, Default)]
pub struct Usage {
    sums: [AtomicU64; 3],
    last_nanos: AtomicU64,
}

impl Usage {
    /// A request of this cost of the user with this weight was served.
    pub fn served(&self, weight: &mut Weight, cost: Cost, now: Timestamp) {
        let mut population = self.population();
        population.served(weight, cost, now);
        let (sums, last) = population.parts();
        for (cell, sum) in self.sums.iter().zip(sums) {
            cell.store(sum.to_bits(), Relaxed);
        }
        self.last_nanos.store(last.as_nanos(), Relaxed);
    }

    /// The part of a tier's levels that a user of this weight moves in.
    pub fn levels(&self, weight: &Weight, tier: (u8, u8), now: Timestamp) -> (u8, u8) {
        self.population().levels(weight, tier, now)
    }

    fn population(&self) -> Population {
        let sums = std::array::from_fn(|at| f64::from_bits(self.sums[at].load(Relaxed)));
        Population::from_parts(sums, Timestamp::from_nanos(self.last_nanos.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cells_hold_what_a_population_holds() {
        let (usage, mut population) = (Usage::default(), Population::default());
        let (mut weight, mut twin) = (Weight::default(), Weight::default());
        for millis in [0, 3, 500, 70_000] {
            let now = Timestamp::from_nanos(millis * 1_000_000);
            usage.served(&mut weight, Cost::ONE, now);
            population.served(&mut twin, Cost::ONE, now);
        }
        assert_eq!((usage.population(), weight), (population, twin));
    }
}
