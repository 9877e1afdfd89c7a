//! A quantity over time, made of straight pieces; and the two questions that a simulation asks of it: how much until
//! then, and when will it be that much.

use std::time::Duration;

/// A piece that runs straight from one value to another.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Piece {
    /// Seconds from the beginning.
    start: f64,
    first: f64,
    /// By how much it grows per second.
    slope: f64,
    /// Integral from the beginning to `start`.
    before: f64,
}

/// A quantity per second over time, never negative. After the last piece it stays what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    pieces: Vec<Piece>,
}

impl Profile {
    /// The same all the time.
    pub fn constant(value: f64) -> Self {
        Self { pieces: vec![Piece { start: 0.0, first: value, slope: 0.0, before: 0.0 }] }
    }

    /// Runs from the present last value to `value` within `over`, from `at` on. Later than all changes before.
    pub fn change(&mut self, at: Duration, value: f64, over: Duration) {
        let (at, over) = (at.as_secs_f64(), over.as_secs_f64());
        if over > 0.0 {
            let first = self.value(at);
            self.cut(at, first, (value - first) / over);
        }
        self.cut(at + over, value, 0.0);
    }

    /// Ends everything from `start` on and goes on from `first`.
    fn cut(&mut self, start: f64, first: f64, slope: f64) {
        let before = self.total(start);
        self.pieces.retain(|piece| piece.start < start);
        self.pieces.push(Piece { start, first, slope, before });
    }

    /// The same quantity times `factor`.
    #[must_use]
    pub fn times(&self, factor: f64) -> Self {
        let scale = |piece: &Piece| Piece {
            first: piece.first * factor,
            slope: piece.slope * factor,
            before: piece.before * factor,
            ..*piece
        };
        Self { pieces: self.pieces.iter().map(scale).collect() }
    }

    /// The value at this second.
    pub fn value(&self, at: f64) -> f64 {
        let piece = self.piece_at(at);
        piece.first + piece.slope * (at - piece.start)
    }

    /// The integral from the beginning to this second.
    pub fn total(&self, at: f64) -> f64 {
        let piece = self.piece_at(at);
        let elapsed = at - piece.start;
        piece.before + piece.first * elapsed + piece.slope * elapsed * elapsed / 2.0
    }

    /// The second at which the integral is `total`, if it ever is.
    pub fn when(&self, total: f64) -> Option<f64> {
        let index = self.pieces.partition_point(|piece| piece.before <= total).saturating_sub(1);
        let piece = self.pieces[index];
        let (missing, slope) = ((total - piece.before).max(0.0), piece.slope);
        if missing == 0.0 {
            return Some(piece.start);
        }
        if slope == 0.0 {
            return (piece.first > 0.0).then(|| piece.start + missing / piece.first);
        }
        // The smaller root of slope/2·t² + first·t = missing, in the form that does not cancel.
        let root = (piece.first * piece.first + 2.0 * slope * missing).max(0.0).sqrt();
        Some(piece.start + 2.0 * missing / (piece.first + root))
    }

    /// The seconds at which it changes or begins to.
    pub fn changes(&self) -> impl Iterator<Item = f64> {
        self.pieces.iter().skip(1).map(|piece| piece.start)
    }

    /// Whether it runs up or down at this second.
    pub fn slopes(&self, at: f64) -> bool {
        self.piece_at(at).slope != 0.0
    }

    fn piece_at(&self, at: f64) -> Piece {
        self.pieces[self.pieces.partition_point(|piece| piece.start <= at).saturating_sub(1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn steps_and_a_ramp() -> Profile {
        let mut profile = Profile::constant(10.0);
        profile.change(seconds(10), 100.0, Duration::ZERO);
        profile.change(seconds(20), 0.0, seconds(10));
        profile
    }

    #[test]
    fn values_follow_steps_and_ramps() {
        let profile = steps_and_a_ramp();
        let values: Vec<_> = [0.0, 9.9, 10.0, 20.0, 25.0, 30.0, 99.0].map(|at| profile.value(at)).into();
        assert_eq!(values, [10.0, 10.0, 100.0, 100.0, 50.0, 0.0, 0.0]);
        assert!(profile.slopes(25.0) && !profile.slopes(15.0) && !profile.slopes(35.0));
    }

    #[test]
    fn the_integral_and_its_inverse_agree() {
        let profile = steps_and_a_ramp();
        assert_eq!(profile.total(30.0), 100.0 + 1000.0 + 500.0);
        for at in [0.0, 5.0, 10.0, 12.5, 20.0, 23.0, 29.0] {
            assert!((profile.when(profile.total(at)).unwrap() - at).abs() < 1e-9, "{at}");
        }
        assert_eq!(profile.when(1601.0), None, "nothing comes after the ramp has reached zero");
        let never = Profile::constant(0.0);
        assert_eq!(never.when(1.0), None);
    }

    #[test]
    fn a_change_in_a_ramp_starts_from_where_it_stands() {
        let mut profile = steps_and_a_ramp();
        profile.change(seconds(25), 50.0, Duration::ZERO);
        assert_eq!((profile.value(22.5), profile.value(26.0)), (75.0, 50.0));
        assert_eq!(profile.total(25.0), 100.0 + 1000.0 + 375.0);
    }

    #[test]
    fn a_factor_scales_everything() {
        let profile = steps_and_a_ramp().times(3.0);
        assert_eq!((profile.value(25.0), profile.total(30.0)), (150.0, 4800.0));
    }
}
