//! How requests ended, per business: cells that only grow, one set per worker with that worker as the single writer, so
//! that counting costs a load and a store. Readers add the sets up.
//!
//! The code of a business finds its cells in two steps, so that each business of a policy has cells of its own whatever
//! its code. What no policy ever knew is counted together: a client that makes codes up costs no memory.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use crate::{id::BusinessCode, wire::Reason};

/// Codes whose cells lie on one page; codes are mostly small, so that mostly one page is there.
const CODES_PER_PAGE: usize = 64;
const PAGES: usize = (u16::MAX as usize + 1) / CODES_PER_PAGE;

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

/// The cells of one business.
type Row = [AtomicU64; OUTCOMES];

const OUTCOMES: usize = 1 + Reason::ALL.len();

/// One worker's cells.
#[derive(Debug)]
pub struct Counters {
    pages: Box<[OnceLock<Box<[Row]>>]>,
    unknown: Row,
}

impl Default for Counters {
    fn default() -> Self {
        Self { pages: (0..PAGES).map(|_| OnceLock::new()).collect(), unknown: row() }
    }
}

impl Counters {
    /// From now on these businesses have cells of their own. They keep them.
    pub fn know(&self, businesses: impl IntoIterator<Item = BusinessCode>) {
        for business in businesses {
            self.pages[page(business)].get_or_init(|| (0..CODES_PER_PAGE).map(|_| row()).collect());
        }
    }

    /// Counts the end of one request. Only the worker that owns the set may call it: two writers lose counts.
    pub fn count(&self, business: BusinessCode, outcome: Outcome) {
        let row = match outcome {
            Outcome::Failed(Reason::UnknownBusiness) => &self.unknown,
            Outcome::Replied | Outcome::Failed(_) => self.row(business).unwrap_or(&self.unknown),
        };
        let cell = &row[outcome.cell()];
        cell.store(cell.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// How many requests of `business` ended this way.
    pub fn get(&self, business: BusinessCode, outcome: Outcome) -> u64 {
        self.row(business).map_or(0, |row| row[outcome.cell()].load(Ordering::Relaxed))
    }

    /// How many requests of businesses that no policy knew ended this way.
    pub fn get_unknown(&self, outcome: Outcome) -> u64 {
        self.unknown[outcome.cell()].load(Ordering::Relaxed)
    }

    fn row(&self, business: BusinessCode) -> Option<&Row> {
        let page = self.pages[page(business)].get()?;
        Some(&page[usize::from(business.0) % CODES_PER_PAGE])
    }
}

fn row() -> Row {
    std::array::from_fn(|_| AtomicU64::new(0))
}

fn page(business: BusinessCode) -> usize {
    usize::from(business.0) / CODES_PER_PAGE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_of_each_business_has_a_cell_of_its_own() {
        let businesses = [20, 21, 255, 256, u16::MAX].map(BusinessCode);
        let counters = Counters::default();
        counters.know(businesses);
        let known = || Outcome::all().filter(|&outcome| outcome != Outcome::Failed(Reason::UnknownBusiness));
        let count = |at: usize, times: usize| (at * 100 + times) as u64;
        for (at, business) in businesses.into_iter().enumerate() {
            for (times, outcome) in known().enumerate() {
                (0..count(at, times)).for_each(|_| counters.count(business, outcome));
            }
        }
        for (at, business) in businesses.into_iter().enumerate() {
            for (times, outcome) in known().enumerate() {
                assert_eq!(counters.get(business, outcome), count(at, times), "{business:?} {}", outcome.name());
            }
        }
    }

    #[test]
    fn what_no_policy_knows_is_counted_together() {
        let counters = Counters::default();
        counters.know([BusinessCode(20)]);
        let unknown = Outcome::Failed(Reason::UnknownBusiness);
        counters.count(BusinessCode(21), unknown);
        counters.count(BusinessCode(9999), unknown);
        counters.count(BusinessCode(9999), Outcome::Failed(Reason::Draining));
        assert_eq!(counters.get_unknown(unknown), 2);
        assert_eq!(counters.get_unknown(Outcome::Failed(Reason::Draining)), 1);
        assert_eq!(counters.get(BusinessCode(21), unknown), 0);
    }
}
