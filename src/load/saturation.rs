//! The search for the saturation: twice as many requests outstanding in each step, until that twice completes hardly more.
//! Once is not enough: with a handful outstanding it matters more where they happen to wait than how many they are.
//! Decides from numbers alone.

/// Outstanding requests in the first step.
const FIRST: usize = 4;
/// No step goes beyond this; a service that still grows here is fast enough.
const LAST: usize = 4096;
/// A step that completes less than this above the best so far has not grown.
const GROWTH: f64 = 1.05;
/// So many steps in a row without growth are the end.
const PATIENCE: u32 = 2;

/// A search in progress.
#[derive(Debug)]
pub(super) struct Search {
    outstanding: usize,
    best: f64,
    without_growth: u32,
}

impl Search {
    pub(super) fn new() -> Self {
        Self { outstanding: FIRST, best: 0.0, without_growth: 0 }
    }

    /// How many requests the next step keeps outstanding.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// The most completions per second of any step.
    pub(super) fn best(&self) -> f64 {
        self.best
    }

    /// Takes a step's completions per second; false if it was the last.
    pub(super) fn record(&mut self, completed_per_s: f64) -> bool {
        // Steps without any completion say nothing about growth.
        let grew = self.best == 0.0 || completed_per_s >= self.best * GROWTH;
        self.best = self.best.max(completed_per_s);
        self.outstanding *= 2;
        self.without_growth = if grew { 0 } else { self.without_growth + 1 };
        self.without_growth < PATIENCE && self.outstanding <= LAST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(completed_per_s: impl Fn(usize) -> f64) -> (f64, usize) {
        let mut search = Search::new();
        while search.record(completed_per_s(search.outstanding())) {}
        (search.best(), search.outstanding() / 2)
    }

    #[test]
    fn eight_workers_of_ten_milliseconds_saturate_at_eight_hundred() {
        assert_eq!(search(|outstanding| outstanding.min(8) as f64 * 100.0), (800.0, 32));
    }

    #[test]
    fn the_best_step_counts_when_the_service_collapses() {
        assert_eq!(search(|outstanding| if outstanding > 8 { 10.0 } else { 400.0 }), (400.0, 16));
    }

    #[test]
    fn one_unlucky_step_is_not_the_end() {
        assert_eq!(
            search(|outstanding| if outstanding == 8 { 280.0 } else { outstanding.min(8) as f64 * 100.0 }).0,
            800.0
        );
    }

    #[test]
    fn a_service_that_answers_nothing_ends_the_search() {
        assert_eq!(search(|_| 0.0), (0.0, LAST));
    }
}
