//! Capacity is what is *completed* per second, by cost, while all places are taken. Dequeues would jump whenever the limit
//! rises, and completions without pressure only tell the demand.
//!
//! Evidence counts, not wall time: only the time at the limit is looked at, and a measure is made of so many completions
//! that chance is small. What contradicts the memory beyond chance replaces it. A standstill is not learnt: it is shown
//! at once ([`Throughput::is_stalled`]), and whoever works on afterwards usually is as fast as before.

use super::dispersion::Dispersion;

/// Completions in the memory: chance then moves the estimate by about 3 %.
const REMEMBERED: f64 = 3000.0;
/// The memory holds at least this much time at the limit, in seconds, so that the phases of a batch do not show.
const REMEMBERED_SECONDS: f64 = 2.0;
/// Completions in the fresh measure that is held against the memory.
const FRESH: f64 = 60.0;
/// The fresh measure holds at least this many seconds.
const FRESH_SECONDS: f64 = 0.2;
/// A contradiction is a difference of so many standard deviations.
const CONTRADICTION: f64 = 4.0;
/// Bounds of what is believed of the dispersion of completions: even ones are never quite even, and tails that are heavier
/// would make everything look like chance.
const LEAST_DISPERSION: f64 = 0.3;
const MOST_DISPERSION: f64 = 30.0;
/// Nothing completed in a time in which so many should have: that is no chance.
const STANDSTILL: f64 = 12.0;
/// Completions from which there is an estimate at all.
const ENOUGH: f64 = 8.0;

/// An estimate of how much can be completed per second; unknown until places ran short for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throughput {
    memory: Measure,
    fresh: Measure,
    dispersion: Dispersion,
    /// The last window contradicted the memory.
    doubted: bool,
    /// Time at the limit since the last completion, in seconds.
    standing: f64,
    stalled: bool,
}

/// Decayed sums.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Measure {
    cost: f64,
    completed: f64,
    seconds: f64,
}

impl Measure {
    fn add(&mut self, more: Self, completions: f64, seconds: f64) {
        // Keeps what it takes to hold the completions and the seconds, whichever is more.
        let rate = if self.seconds > 0.0 { self.completed / self.seconds } else { 0.0 };
        let span = if rate > 0.0 { (completions / rate).max(seconds) } else { seconds };
        let keep = (-more.seconds / span).exp();
        self.cost = self.cost * keep + more.cost;
        self.completed = self.completed * keep + more.completed;
        self.seconds = self.seconds * keep + more.seconds;
    }

    fn per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.cost / self.seconds } else { 0.0 }
    }
}

impl Default for Throughput {
    fn default() -> Self {
        Self {
            memory: Measure::default(),
            fresh: Measure::default(),
            // That of exponential service times, until more is known.
            dispersion: Dispersion::new(1.0),
            doubted: false,
            standing: 0.0,
            stalled: false,
        }
    }
}

impl Throughput {
    /// Learns from a period: in `limited_seconds` of it all places were taken, and `cost` was completed in that time by
    /// `completed` requests.
    pub fn observe(&mut self, limited_seconds: f64, cost: f64, completed: f64) {
        if limited_seconds <= 0.0 {
            self.stalled = false;
            self.standing = 0.0;
            return;
        }
        if completed <= 0.0 {
            self.stand(limited_seconds);
            return;
        }
        let seconds = if self.stalled { limited_seconds } else { limited_seconds + self.standing };
        (self.stalled, self.standing) = (false, 0.0);
        let more = Measure { cost, completed, seconds };
        self.fresh.add(more, FRESH, FRESH_SECONDS);
        match (self.contradicts(), self.doubted) {
            (false, _) => {
                self.doubted = false;
                self.dispersion.observe(more.completed, self.completions_per_second() * more.seconds);
                self.memory.add(more, REMEMBERED, REMEMBERED_SECONDS);
            }
            // The window in which a standstill begins contradicts as well, and teaches nothing.
            (true, false) => self.doubted = true,
            (true, true) => {
                // The newest says most; the fresh measure still has some of the time before the change.
                self.fresh = if more.completed >= ENOUGH { more } else { self.fresh };
                (self.memory, self.doubted) = (self.fresh, false);
            }
        }
    }

    /// Cost per second, once known.
    pub fn per_second(&self) -> Option<f64> {
        (self.memory.completed >= ENOUGH).then(|| self.memory.per_second())
    }

    /// What a completed request cost in the mean, once known.
    pub fn mean_cost(&self) -> Option<f64> {
        (self.memory.completed >= ENOUGH).then(|| self.memory.cost / self.memory.completed)
    }

    /// The variance of the completions over their mean.
    pub fn dispersion(&self) -> f64 {
        self.dispersion.within(LEAST_DISPERSION, MOST_DISPERSION)
    }

    /// The completions that the estimate is known from.
    pub const fn evidence(&self) -> f64 {
        self.memory.completed
    }

    /// Whether all places are taken and nothing has been completed for much longer than usual.
    pub const fn is_stalled(&self) -> bool {
        self.stalled
    }

    fn stand(&mut self, seconds: f64) {
        self.standing += seconds;
        if self.standing * self.completions_per_second() >= STANDSTILL * self.dispersion().max(1.0) {
            (self.stalled, self.doubted, self.fresh) = (true, false, Measure::default());
        }
    }

    fn contradicts(&self) -> bool {
        if self.fresh.completed < FRESH / 2.0 || self.memory.seconds <= 0.0 {
            return false;
        }
        let expected = self.completions_per_second() * self.fresh.seconds;
        // Evenness is no reason to doubt sooner: a service that works in beats is even until it is looked at off beat.
        let deviation = (expected.max(1.0) * self.dispersion().max(1.0)).sqrt();
        (self.fresh.completed - expected).abs() > CONTRADICTION * deviation
    }

    fn completions_per_second(&self) -> f64 {
        if self.memory.seconds > 0.0 { self.memory.completed / self.memory.seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows of 100 ms at the limit, with so many completions each.
    fn feed(throughput: &mut Throughput, windows: u32, per_window: f64) {
        (0..windows).for_each(|_| throughput.observe(0.1, per_window, per_window));
    }

    #[test]
    fn without_pressure_nothing_is_learnt() {
        let mut throughput = Throughput::default();
        throughput.observe(0.0, 500.0, 500.0);
        assert_eq!(throughput.per_second(), None);
    }

    #[test]
    fn the_first_window_at_the_limit_tells_the_capacity() {
        let mut throughput = Throughput::default();
        throughput.observe(0.05, 80.0, 40.0);
        assert_eq!(throughput.per_second(), Some(1600.0));
        assert_eq!(throughput.mean_cost(), Some(2.0));
    }

    #[test]
    fn a_capacity_that_halves_is_known_within_half_a_second() {
        let mut throughput = Throughput::default();
        feed(&mut throughput, 100, 75.0);
        feed(&mut throughput, 5, 37.0);
        assert!((350.0..420.0).contains(&throughput.per_second().unwrap()), "{throughput:?}");
        feed(&mut throughput, 4, 75.0);
        assert!(throughput.per_second().unwrap() > 650.0, "{throughput:?}");
    }

    #[test]
    fn chance_moves_it_little() {
        let mut throughput = Throughput::default();
        feed(&mut throughput, 100, 75.0);
        throughput.observe(0.1, 95.0, 95.0);
        assert!((throughput.per_second().unwrap() - 750.0).abs() < 20.0, "{throughput:?}");
    }

    #[test]
    fn a_standstill_shows_and_is_forgotten() {
        let mut throughput = Throughput::default();
        feed(&mut throughput, 50, 75.0);
        throughput.observe(0.1, 0.0, 0.0);
        assert!(throughput.is_stalled());
        feed(&mut throughput, 1, 75.0);
        assert!(!throughput.is_stalled());
        assert!((throughput.per_second().unwrap() - 750.0).abs() < 1.0, "{throughput:?}");
    }

    #[test]
    fn a_standstill_that_begins_within_a_window_is_forgotten_as_well() {
        let mut throughput = Throughput::default();
        feed(&mut throughput, 50, 75.0);
        throughput.observe(0.1, 12.0, 12.0);
        feed(&mut throughput, 20, 0.0);
        throughput.observe(0.01, 8.0, 8.0);
        assert!((throughput.per_second().unwrap() - 750.0).abs() < 5.0, "{throughput:?}");
    }

    #[test]
    fn at_a_low_rate_an_empty_window_is_no_standstill() {
        let mut throughput = Throughput::default();
        // Ten completions a second: every window one.
        feed(&mut throughput, 30, 1.0);
        (0..5).for_each(|_| throughput.observe(0.1, 0.0, 0.0));
        assert!(!throughput.is_stalled());
        throughput.observe(0.1, 5.0, 5.0);
        assert!((throughput.per_second().unwrap() - 10.0).abs() < 1.0, "{throughput:?}");
    }
}
