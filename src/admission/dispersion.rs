//! How much more than by chance a count varies: its variance over its mean, 1 for independent arrivals, more where they
//! come in bundles, less where they come evenly.

/// The weight of a window in the estimate: it is known after some fifty of them.
const WEIGHT: f64 = 0.02;
/// A window counts for no more than so many times the estimate, so that a change of the rate is not taken for chance.
const OUTLIER: f64 = 10.0;
/// Windows in which less is expected say nothing by themselves.
const LEAST_EXPECTED: f64 = 0.1;

/// The index of dispersion of the counts of windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dispersion(f64);

impl Dispersion {
    /// An estimate to begin with.
    pub const fn new(value: f64) -> Self {
        Self(value)
    }

    /// A window in which `expected` should have been counted and `actual` was. Where the mean is not known exactly the
    /// expectation may have come out of the same counts.
    pub fn observe(&mut self, actual: f64, expected: f64) {
        if expected >= LEAST_EXPECTED {
            let index = (actual - expected).powi(2) / expected;
            self.0 += WEIGHT * (index.min(OUTLIER * self.0) - self.0);
        }
    }

    /// The estimate, held within bounds.
    pub fn within(&self, least: f64, most: f64) -> f64 {
        self.0.clamp(least, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_counts_have_none_and_bundles_have_their_size() {
        let mut even = Dispersion::new(1.0);
        let mut bundles = Dispersion::new(1.0);
        for window in 0..500 {
            even.observe(10.0, 10.0);
            // Ten at once in every tenth window.
            bundles.observe(if window % 10 == 0 { 10.0 } else { 0.0 }, 1.0);
        }
        assert!(even.within(0.0, 99.0) < 0.01);
        assert!(bundles.within(0.0, 99.0) > 4.0, "{bundles:?}");
    }

    #[test]
    fn a_step_is_no_chance() {
        let mut dispersion = Dispersion::new(1.0);
        dispersion.observe(10_000.0, 100.0);
        assert!(dispersion.within(0.0, 99.0) < 1.5);
    }
}
