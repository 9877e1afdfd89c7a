//! How many wait at a level or a better one, in thirteen steps whatever the queue's length.

use super::level::{LEVELS, Level};

/// Counts per level whose running sums are found in logarithmic time (a Fenwick tree).
#[derive(Clone, Debug)]
pub struct LevelCounts {
    /// Node `i` holds the sum of the levels `i - lowest_bit(i) .. i`; node 0 is not used.
    nodes: Box<[u32]>,
}

impl LevelCounts {
    /// Nothing counted.
    pub fn new() -> Self {
        Self { nodes: vec![0; LEVELS + 1].into_boxed_slice() }
    }

    /// Counts one more at `level`.
    pub fn add(&mut self, level: Level) {
        self.update(level, |node| node.wrapping_add(1));
    }

    /// Counts one less at `level`, which must have been added before.
    pub fn remove(&mut self, level: Level) {
        self.update(level, |node| node.wrapping_sub(1));
    }

    /// How many are counted at `level` and all better ones.
    pub fn through(&self, level: Level) -> u32 {
        let mut node = level.index() + 1;
        let mut sum = 0_u32;
        while node > 0 {
            sum = sum.wrapping_add(self.nodes[node]);
            node &= node - 1;
        }
        sum
    }

    fn update(&mut self, level: Level, change: impl Fn(u32) -> u32) {
        let mut node = level.index() + 1;
        while node <= LEVELS {
            self.nodes[node] = change(self.nodes[node]);
            node += node & node.wrapping_neg();
        }
    }
}

impl Default for LevelCounts {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_sums_are_those_of_plain_counting(added in prop::collection::vec(0..LEVELS, 1..200), asked in 0..LEVELS) {
            let mut counts = LevelCounts::new();
            added.iter().for_each(|&index| counts.add(Level::from_index(index)));
            added.iter().skip(1).step_by(2).for_each(|&index| counts.remove(Level::from_index(index)));
            let plain = added.iter().step_by(2).filter(|&&index| index <= asked).count();
            prop_assert_eq!(counts.through(Level::from_index(asked)) as usize, plain);
        }
    }

    #[test]
    fn both_ends_of_the_scale_count() {
        let mut counts = LevelCounts::new();
        counts.add(Level::MOST_IMPORTANT);
        counts.add(Level::LEAST_IMPORTANT);
        assert_eq!(counts.through(Level::MOST_IMPORTANT), 1);
        assert_eq!(counts.through(Level::LEAST_IMPORTANT), 2);
    }
}
