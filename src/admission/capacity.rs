//! Capacity is what was *completed* per second while all places were taken. Dequeues would jump whenever the limit
//! rises, and completions without pressure only tell the demand.

use std::time::Duration;

/// A window tells the capacity if all places were taken for at least this share of it.
const FAIR_SHARE: f64 = 0.2;
/// The weight of a window in the estimate. One would forget everything at each window, zero would learn nothing.
const WEIGHT: f64 = 0.3;

/// An estimate of how many requests can be completed per second; unknown until places ran short once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Capacity {
    per_second: Option<f64>,
}

impl Capacity {
    /// Learns from a window: all places were taken for the share `at_limit` of `elapsed`, and `completed` requests were
    /// answered in that time. Windows that say too little change nothing.
    pub fn on_window(&mut self, elapsed: Duration, at_limit: f64, completed: u32) {
        let seconds = elapsed.as_secs_f64() * at_limit;
        if at_limit < FAIR_SHARE || seconds <= 0.0 {
            return;
        }
        let measured = f64::from(completed) / seconds;
        self.per_second = Some(match self.per_second {
            Some(known) => known + WEIGHT * (measured - known),
            None => measured,
        });
    }

    /// Completions per second, once known.
    pub fn per_second(&self) -> Option<f64> {
        self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_window_without_pressure_tells_nothing() {
        let mut capacity = Capacity::default();
        capacity.on_window(SECOND, 0.1, 500);
        capacity.on_window(Duration::ZERO, 1.0, 500);
        assert_eq!(capacity.per_second(), None);
    }

    #[test]
    fn the_first_measure_counts_whole_and_the_next_move_it() {
        let mut capacity = Capacity::default();
        capacity.on_window(SECOND, 0.5, 500);
        assert_eq!(capacity.per_second(), Some(1000.0));
        for _ in 0..30 {
            capacity.on_window(SECOND, 1.0, 400);
        }
        assert!((capacity.per_second().unwrap() - 400.0).abs() < 1.0);
    }
}
