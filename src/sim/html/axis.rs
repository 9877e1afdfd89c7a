//! An axis: where a value lies between its ends, and at which round numbers the ticks stand.

use super::number::Unit;

/// About so many ticks can be read on a phone.
const MOST_TICKS: f64 = 6.0;
/// A logarithmic axis serves if the largest value is so many times the smallest one.
const WIDE: f64 = 8.0;
/// It begins and ends so far from the outermost values, that marks lie within the plot.
const MARGIN: f64 = 1.15;

/// One axis of a plot.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// What it shows, with the unit.
    pub(super) title: String,
    /// How values are written where a mark names them.
    pub(super) unit: Unit,
    /// Where ticks stand, with their labels, ascending.
    pub(super) ticks: Vec<(f64, String)>,
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Axis {
    /// From 0 to the first tick that no value exceeds.
    pub(super) fn from_zero(title: &str, unit: Unit, values: impl Iterator<Item = f64>) -> Self {
        let most = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        let most = if most > 0.0 { most } else { 1.0 };
        let step = step(most);
        Self::linear(title, unit, 0.0, (most / step - 1e-9).ceil() * step)
    }

    /// From one value to another, exactly.
    pub(super) fn linear(title: &str, unit: Unit, low: f64, high: f64) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        let step = step(high - low);
        let first = (low / step - 1e-9).ceil() as i64;
        let last = (high / step + 1e-9).floor() as i64;
        let ticks = (first..=last).map(|count| count as f64 * step).map(|at| (at, label(unit, at, step))).collect();
        Self { title: title.to_owned(), unit, ticks, low, high, logarithmic: false }
    }

    /// Shares from nothing to everything.
    pub(super) fn share(title: &str) -> Self {
        Self::linear(title, Unit::Percent, 0.0, 1.0)
    }

    /// Logarithmic if the values lie far apart and none is 0, otherwise from 0.
    pub(super) fn fitting(title: &str, unit: Unit, values: impl Iterator<Item = f64> + Clone) -> Self {
        let least = values.clone().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
        let most = values.clone().filter(|value| value.is_finite()).fold(0.0, f64::max);
        if values.clone().any(|value| value <= 0.0) || most / least < WIDE || !least.is_finite() {
            return Self::from_zero(title, unit, values);
        }
        let (low, high) = (least / MARGIN, most * MARGIN);
        let ticks = log_ticks(low, high).map(|at| (at, label(unit, at, at))).collect();
        Self { title: format!("{title}, logarithmic"), unit, ticks, low, high, logarithmic: true }
    }

    /// Where the axis begins.
    pub(super) fn low(&self) -> f64 {
        self.low
    }

    /// Where it ends.
    pub(super) fn high(&self) -> f64 {
        self.high
    }

    /// Where a value lies: 0 at the beginning, 1 at the end, never beyond.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        if place.is_nan() { 0.0 } else { place.clamp(0.0, 1.0) }
    }
}

/// The least of 1, 2 and 5 times a power of ten that makes few enough ticks.
fn step(length: f64) -> f64 {
    let rough = length / MOST_TICKS;
    let power = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough * 0.999).unwrap_or(rough)
}

/// 1, 2 and 5 times each power of ten, or the powers alone if that is too many.
fn log_ticks(low: f64, high: f64) -> impl Iterator<Item = f64> {
    let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let factors: &[f64] = if high / low > 10_f64.powf(MOST_TICKS / 3.0) { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let ticks = powers.flat_map(move |power| factors.iter().map(move |factor| factor * 10_f64.powi(power)));
    ticks.filter(move |at| (low * 0.999..=high * 1.001).contains(at))
}

/// A tick's number, as short as the distance to the next one allows.
fn label(unit: Unit, at: f64, step: f64) -> String {
    let factor = if unit == Unit::Percent { 100.0 } else { 1.0 };
    let (at, step) = (at * factor, step * factor);
    let (at, step, thousands) = if at.abs() >= 10_000.0 { (at / 1000.0, step / 1000.0, "k") } else { (at, step, "") };
    let decimals = (-(step * 1.001).log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{at:.decimals$}{thousands}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_and_few() {
        let axis = Axis::from_zero("", Unit::Rate, [830.0].into_iter());
        assert_eq!(labels(&axis), ["0", "200", "400", "600", "800", "1000"]);
        assert_eq!(axis.high, 1000.0);
        let axis = Axis::from_zero("", Unit::Ratio, [0.3].into_iter());
        assert_eq!(labels(&axis), ["0.00", "0.05", "0.10", "0.15", "0.20", "0.25", "0.30"]);
        assert_eq!(labels(&Axis::share("")), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(labels(&Axis::linear("", Unit::Seconds, -1.0, 4.5)), ["-1", "0", "1", "2", "3", "4"]);
    }

    #[test]
    fn what_lies_far_apart_is_drawn_logarithmically() {
        let axis = Axis::fitting("", Unit::Millis, [3.0, 700.0].into_iter());
        assert_eq!(labels(&axis), ["10", "100"]);
        assert_eq!((axis.place(1.0), axis.place(1000.0)), (0.0, 1.0));
        assert!(axis.place(3.0) > 0.0 && axis.place(700.0) < 1.0);
        let axis = Axis::fitting("", Unit::Rate, [960.0, 8000.0].into_iter());
        assert_eq!(labels(&axis), ["1000", "2000", "5000"]);
        assert_eq!(labels(&Axis::fitting("", Unit::Rate, [0.0, 50.0].into_iter()))[0], "0");
    }

    #[test]
    fn nothing_and_single_values_have_an_axis_too() {
        for values in [vec![], vec![0.0], vec![f64::NAN], vec![f64::INFINITY]] {
            let axis = Axis::fitting("", Unit::Rate, values.into_iter());
            assert_eq!((axis.low, axis.high), (0.0, 1.0));
        }
        assert_eq!(Axis::fitting("", Unit::Rate, [7.0].into_iter()).place(7.0), 7.0 / 8.0);
        assert_eq!(Axis::linear("", Unit::Rate, 2.0, 2.0).place(2.0), 0.0);
    }
}
