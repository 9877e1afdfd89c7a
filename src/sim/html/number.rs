//! Figures as people read them: as many digits as they can use.

use crate::sim::report::Estimate;

/// How a figure is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// A number of things.
    Count,
    /// Things per second.
    Rate,
    /// A share, written in percent.
    Percent,
    /// A share or a multiple, written as it is.
    Ratio,
    /// Milliseconds.
    Millis,
    /// Seconds.
    Seconds,
    /// Any of these: the name says what.
    Plain,
}

impl Unit {
    /// `1.25`, with so many digits that the third or fourth can be seen.
    pub(super) fn number(self, value: f64) -> String {
        let (value, decimals) = self.scaled(value);
        format!("{value:.decimals$}")
    }

    /// The number and its unit: `12.5 ms`.
    pub(super) fn with_unit(self, value: f64) -> String {
        format!("{}{}", self.number(value), self.suffix())
    }

    /// `0.981 ± 0.004`; the interval is left out where its digits would all be 0.
    pub(super) fn estimate(self, estimate: &Estimate) -> String {
        let (mean, decimals) = self.scaled(estimate.mean);
        let half = estimate.half_width.map(|half| half * self.factor());
        match half.filter(|half| *half * 10_f64.powi(decimals as i32) >= 0.5) {
            Some(half) => format!("{mean:.decimals$} ± {half:.decimals$}"),
            None => format!("{mean:.decimals$}"),
        }
    }

    /// What follows the number.
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Count | Self::Ratio | Self::Plain => "",
            Self::Rate => "/s",
            Self::Percent => " %",
            Self::Millis => " ms",
            Self::Seconds => " s",
        }
    }

    const fn factor(self) -> f64 {
        match self {
            Self::Percent => 100.0,
            Self::Count | Self::Rate | Self::Ratio | Self::Millis | Self::Seconds | Self::Plain => 1.0,
        }
    }

    fn scaled(self, value: f64) -> (f64, usize) {
        let size = value.abs();
        let decimals = match self {
            Self::Count => 0,
            Self::Rate | Self::Millis => usize::from(size < 100.0),
            Self::Percent => 2 - usize::from((size * 100.0) < 99.0),
            Self::Ratio => 3,
            Self::Seconds => 1 + usize::from(size < 1.0),
            Self::Plain if size >= 1000.0 || value == value.trunc() => 0,
            Self::Plain if size >= 1.0 => 2,
            Self::Plain => 4,
        };
        (value * self.factor(), decimals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_that_say_nothing_are_left_out() {
        assert_eq!(Unit::Percent.number(0.99951), "99.95");
        assert_eq!(Unit::Percent.number(0.4), "40.0");
        assert_eq!(Unit::Millis.with_unit(1234.5), "1234 ms");
        assert_eq!(Unit::Seconds.with_unit(0.4), "0.40 s");
        assert_eq!((Unit::Plain.number(3.0), Unit::Plain.number(0.125)), ("3".to_owned(), "0.1250".to_owned()));
    }

    #[test]
    fn an_interval_of_zeros_is_left_out() {
        let estimate = |half_width| Estimate { mean: 0.5, half_width, values: Vec::new() };
        assert_eq!(Unit::Ratio.estimate(&estimate(Some(0.02))), "0.500 ± 0.020");
        assert_eq!(Unit::Ratio.estimate(&estimate(Some(0.0001))), "0.500");
        assert_eq!(Unit::Ratio.estimate(&estimate(None)), "0.500");
    }
}
