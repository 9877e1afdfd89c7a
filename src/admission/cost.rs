//! What a request costs, in units that mean something within one gate only: a capacity is cost per second, and a request
//! that costs twice as much uses up twice as much of it.

use std::{fmt, time::Duration};

/// The cost of one request; never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost(u32);

impl Cost {
    /// What every request costs as long as nothing is known.
    pub const ONE: Self = Self(1024);
    /// The cheapest.
    pub const LEAST: Self = Self(1);

    /// `units` of [`Cost::ONE`]; what is not a positive number is the cheapest, what is too large the dearest.
    pub fn from_units(units: f64) -> Self {
        // The conversion saturates, and takes what is no number for zero.
        Self(((units * f64::from(Self::ONE.0)) as u32).max(Self::LEAST.0))
    }

    /// In units of [`Cost::ONE`].
    pub fn units(self) -> f64 {
        f64::from(self.0) / f64::from(Self::ONE.0)
    }

    /// In the smallest units, of which sums are kept.
    pub(super) const fn ticks(self) -> u64 {
        self.0 as u64
    }
}

/// A sum of [`Cost::ticks`] in units of [`Cost::ONE`].
pub(super) fn units(ticks: u64) -> f64 {
    ticks as f64 / f64::from(Cost::ONE.0)
}

impl Default for Cost {
    fn default() -> Self {
        Self::ONE
    }
}

impl fmt::Debug for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cost({})", self.units())
    }
}

/// How long the work on a request took is the evidence of its cost; one entry for each class of requests (a business).
///
/// The unit is an arbitrary but fixed amount of work, so that costs and capacities of different times can be compared.
#[derive(Clone, Debug, Default)]
pub struct CostBook {
    classes: Vec<Mean>,
    all: Mean,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    seconds: f64,
    samples: u32,
}

/// The work that costs [`Cost::ONE`].
const UNIT: Duration = Duration::from_millis(10);
/// The weight of a sample in a mean that has seen enough: slow, because a wrong cost moves the cut.
const WEIGHT: f64 = 1.0 / 256.0;
/// A class is known from so many samples on; until then it costs what all cost in the mean.
const ENOUGH: u32 = 32;
/// A sample counts for no more than so many times the mean that is known: what took longer hung, or was paused together
/// with everything else, and a pause must not make requests dear for minutes.
const OUTLIER: f64 = 8.0;

impl CostBook {
    /// A book for classes numbered from 0 to `classes` − 1.
    pub fn new(classes: usize) -> Self {
        Self { classes: vec![Mean::default(); classes], all: Mean::default() }
    }

    /// Work on a request of this class took so long. A class that the book has no entry for counts for the mean of all.
    pub fn observe(&mut self, class: usize, work: Duration) {
        let seconds = work.as_secs_f64();
        self.all.add(seconds);
        if let Some(mean) = self.classes.get_mut(class) {
            mean.add(seconds);
        }
    }

    /// What a request of this class costs; [`Cost::ONE`] as long as nothing is known at all.
    pub fn cost(&self, class: usize) -> Cost {
        let known = self.classes.get(class).filter(|mean| mean.samples >= ENOUGH).unwrap_or(&self.all);
        if known.samples < ENOUGH { Cost::ONE } else { Cost::from_units(known.seconds / UNIT.as_secs_f64()) }
    }
}

impl Mean {
    fn add(&mut self, seconds: f64) {
        self.samples = self.samples.saturating_add(1);
        let weight = (1.0 / f64::from(self.samples)).max(WEIGHT);
        let seconds = if self.samples > ENOUGH { seconds.min(OUTLIER * self.seconds) } else { seconds };
        self.seconds += weight * (seconds - self.seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn what_is_no_sensible_cost_is_the_nearest_one() {
        assert_eq!(Cost::from_units(1.0), Cost::ONE);
        assert_eq!(Cost::from_units(0.0), Cost::LEAST);
        assert_eq!(Cost::from_units(f64::NAN), Cost::LEAST);
        assert_eq!(Cost::from_units(-1.0), Cost::LEAST);
        assert_eq!(Cost::from_units(f64::INFINITY).ticks(), u64::from(u32::MAX));
    }

    #[test]
    fn a_class_costs_what_its_work_took() {
        let mut book = CostBook::new(2);
        assert_eq!(book.cost(0), Cost::ONE);
        for _ in 0..ENOUGH {
            book.observe(0, MILLI * 5);
            book.observe(1, MILLI * 50);
        }
        let ratio = book.cost(1).units() / book.cost(0).units();
        assert!((9.9..10.1).contains(&ratio), "{ratio}");
    }

    #[test]
    fn an_unknown_class_costs_what_all_cost_in_the_mean() {
        let mut book = CostBook::new(2);
        (0..ENOUGH).for_each(|_| book.observe(0, MILLI * 30));
        assert_eq!(book.cost(1), book.cost(0));
        assert_eq!(book.cost(77), book.cost(0));
    }

    #[test]
    fn requests_that_hang_hardly_move_a_mean() {
        let mut book = CostBook::new(1);
        (0..1000).for_each(|_| book.observe(0, MILLI * 10));
        let before = book.cost(0).units();
        (0..8).for_each(|_| book.observe(0, MILLI * 10_000));
        assert!(book.cost(0).units() < before * 1.25);
    }
}
