//! What the requests of each business cost, learnt by one worker from the handlers' own time that comes with each answer.
//!
//! Behind a lock that nobody contends for: only the worker's own thread takes it, but for a change of the policy.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    admission::{Cost, CostBook},
    id::BusinessCode,
};

/// One worker's book of costs.
#[derive(Debug, Default)]
pub struct Costs(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    /// In order; the place of a code is its class in the book.
    codes: Vec<BusinessCode>,
    costs: CostBook,
}

impl Costs {
    /// These are the businesses from now on, in the order of their codes. What was learnt stays if they are the same.
    pub fn know(&self, codes: impl Iterator<Item = BusinessCode>) {
        let codes: Vec<_> = codes.collect();
        let mut book = self.book();
        if book.codes != codes {
            book.costs = CostBook::new(codes.len());
            book.codes = codes;
        }
    }

    /// What a request of this business costs.
    pub fn cost(&self, business: BusinessCode) -> Cost {
        let book = self.book();
        book.costs.cost(book.class(business))
    }

    /// A handler worked on a request of this business for so long.
    pub fn observe(&self, business: BusinessCode, work: Duration) {
        let mut book = self.book();
        let class = book.class(business);
        book.costs.observe(class, work);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Means stay usable whatever a panicking owner left behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// The class of a business; one that the book has no entry for if no policy knows it.
    fn class(&self, business: BusinessCode) -> usize {
        self.codes.binary_search(&business).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_learnt_per_business_and_kept_while_the_businesses_stay() {
        let costs = Costs::default();
        let codes = || [BusinessCode(1), BusinessCode(20), BusinessCode(30)].into_iter();
        costs.know(codes());
        for _ in 0..100 {
            costs.observe(BusinessCode(20), Duration::from_millis(5));
            costs.observe(BusinessCode(30), Duration::from_millis(50));
        }
        costs.know(codes());
        let ratio = costs.cost(BusinessCode(30)).units() / costs.cost(BusinessCode(20)).units();
        assert!((9.0..11.0).contains(&ratio), "{ratio}");
        costs.know(codes().take(2));
        assert_eq!(costs.cost(BusinessCode(30)), Cost::ONE);
    }
}
