//! How requests ended, per business: cells that only grow, one set per worker with that worker as the single writer, so
//! that counting costs a load and a store. Readers add the sets up.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{id::BusinessCode, wire::Reason};

/// Businesses that are counted apart; those with a higher slot share the last one.
const SLOTS: usize = 256;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered by its logic service.
    Replied,
    /// Refused or unknown, with the reason that the client was given.
    Failed(Reason),
}

impl Outcome {
    /// Every outcome, in the order of the cells.
    pub fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::Replied).chain(Reason::ALL.iter().map(|&reason| Self::Failed(reason)))
    }

    /// The label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replied => "replied",
            Self::Failed(reason) => reason.name(),
        }
    }

    fn cell(self) -> usize {
        match self {
            Self::Replied => 0,
            Self::Failed(reason) => 1 + reason.index(),
        }
    }
}

/// One worker's cells.
#[derive(Debug)]
pub struct Counters {
    cells: Box<[AtomicU64]>,
}

const OUTCOMES: usize = 1 + Reason::ALL.len();

impl Default for Counters {
    fn default() -> Self {
        Self { cells: (0..SLOTS * OUTCOMES).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Counters {
    /// Counts the end of one request. Only the worker that owns the set may call it: two writers lose counts.
    pub fn count(&self, business: BusinessCode, outcome: Outcome) {
        let cell = &self.cells[slot(business) * OUTCOMES + outcome.cell()];
        cell.store(cell.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// How many requests of `business` ended this way.
    pub fn get(&self, business: BusinessCode, outcome: Outcome) -> u64 {
        self.cells[slot(business) * OUTCOMES + outcome.cell()].load(Ordering::Relaxed)
    }
}

/// Codes are permanent and mostly small, so the code itself is the slot.
fn slot(business: BusinessCode) -> usize {
    usize::from(business.0).min(SLOTS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_a_cell_of_its_own() {
        let counters = Counters::default();
        for (times, outcome) in Outcome::all().enumerate() {
            (0..times).for_each(|_| counters.count(BusinessCode(20), outcome));
        }
        for (times, outcome) in Outcome::all().enumerate() {
            assert_eq!(counters.get(BusinessCode(20), outcome), times as u64, "{}", outcome.name());
            assert_eq!(counters.get(BusinessCode(21), outcome), 0);
        }
    }
}
