//! What flows through a gate, for whoever looks once a second: what is offered at which level, what is let through, what is
//! completed, and whether places are short. Smooth, so that one second's chance moves it little, and quick where something
//! has changed.

use std::time::Duration;

use super::{
    Gate, Level, Tally,
    cells::{PRIORITIES, Seen},
    dispersion::Dispersion,
    level::{LEVELS, USER_LEVELS},
    rates::LevelRates,
};

/// In how many seconds what was let through fades to a third.
const FADING_SECONDS: f64 = 4.0;
/// The same for the time with all places taken: an overload is to be seen in the report after the one in which it begins.
const LIMITED_FADING_SECONDS: f64 = 1.0;
/// Rates at a level below this are noise, per second.
const LEAST_RATE: f64 = 0.01;
/// Completions in the memory, so that chance moves their rate by about 2 %, and bounds of it in seconds.
const REMEMBERED: f64 = 2000.0;
const SHORTEST_MEMORY: f64 = 2.0;
const LONGEST_MEMORY: f64 = 8.0;
/// A change is a difference of so many standard deviations.
const CHANGE: f64 = 4.0;
/// Bounds of what is believed of the dispersion of completions.
const LEAST_DISPERSION: f64 = 1.0;
const MOST_DISPERSION: f64 = 30.0;
/// With all places taken for this share of the time, less is not completed because less was let in.
const SURELY_LIMITED: f64 = 0.9;
/// Nothing completed with all places taken for this share of the time is a standstill. It is learnt when it has lasted as
/// long as anything is remembered.
const STANDSTILL: f64 = 0.5;

/// What flows through a gate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flow {
    /// Cost per second offered at each level that had any, in order.
    pub offered: Vec<(Level, f64)>,
    /// Cost per second let through.
    pub admitted: f64,
    /// Cost per second completed.
    pub completed: f64,
    /// Mean cost of a completed request; 0 while none was.
    pub mean_cost: f64,
    /// Share of the time in which all places were taken.
    pub limited: f64,
}

/// Reads the flow of one gate.
#[derive(Debug)]
pub struct FlowMeter {
    tally: Tally,
    seen: Seen,
    rates: LevelRates,
    sums: Sums,
    completions: Completions,
}

/// Faded sums.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    seconds: f64,
    admitted: f64,
    limited_seconds: f64,
    /// Faded as the one before.
    looked_seconds: f64,
}

impl FlowMeter {
    /// Counts what the gate decides from now on.
    pub fn new(gate: &Gate) -> Self {
        let mut seen = Seen::new(gate.shards().len());
        seen.remember(gate.shards());
        let mut tally = Tally::new();
        tally.start_from(gate.shards().iter());
        Self { tally, seen, rates: LevelRates::new(), sums: Sums::default(), completions: Completions::default() }
    }

    /// The flow of late; `elapsed` is the time since the last reading. Always of the same gate.
    pub fn read(&mut self, gate: &Gate, elapsed: Duration) -> Flow {
        let seconds = elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        self.tally.read(gate);
        let period = self.seen.period(gate.shards(), elapsed);
        self.seen.remember(gate.shards());
        self.rates.observe(self.tally.offered(), self.tally.costs(), seconds, gate.effective_cut());
        let fade = |sum: &mut f64, more: f64, within: f64| *sum = *sum * (-seconds / within).exp() + more;
        fade(&mut self.sums.seconds, seconds, FADING_SECONDS);
        fade(&mut self.sums.admitted, admitted_cost(&self.tally), FADING_SECONDS);
        fade(&mut self.sums.looked_seconds, seconds, LIMITED_FADING_SECONDS);
        fade(&mut self.sums.limited_seconds, period.limited_seconds.min(seconds), LIMITED_FADING_SECONDS);
        if period.completed > 0 || period.limited_seconds < STANDSTILL * seconds {
            let is_limited = period.limited_seconds >= SURELY_LIMITED * seconds;
            self.completions.observe(period.cost, f64::from(period.completed), seconds, is_limited);
        } else {
            self.completions.stood(seconds);
        }
        let Sums { seconds, admitted, limited_seconds, looked_seconds } = self.sums;
        Flow {
            offered: self.rates.per_level().filter(|&(_, rate)| rate >= LEAST_RATE).collect(),
            admitted: admitted / seconds,
            completed: self.completions.per_second(),
            mean_cost: self.completions.mean_cost(),
            limited: limited_seconds / looked_seconds,
        }
    }
}

/// What is completed per second. What contradicts the memory replaces it: more at once, less only twice in a row, because a
/// pause is no change, and only while places are taken, because it may as well be that less was let in.
#[derive(Clone, Copy, Debug)]
struct Completions {
    cost: f64,
    requests: f64,
    seconds: f64,
    dispersion: Dispersion,
    /// Less was completed at the last reading than the memory can explain.
    doubted: bool,
    /// For how many seconds it has stood still.
    standing: f64,
}

impl Default for Completions {
    fn default() -> Self {
        let dispersion = Dispersion::new(LEAST_DISPERSION);
        Self { cost: 0.0, requests: 0.0, seconds: 0.0, dispersion, doubted: false, standing: 0.0 }
    }
}

impl Completions {
    fn observe(&mut self, cost: f64, requests: f64, seconds: f64, is_limited: bool) {
        let was_forgotten = std::mem::take(&mut self.standing) >= LONGEST_MEMORY;
        let rate = if self.seconds > 0.0 { self.requests / self.seconds } else { 0.0 };
        let expected = rate * seconds;
        let dispersion = self.dispersion.within(LEAST_DISPERSION, MOST_DISPERSION);
        let difference = requests - expected;
        let is_change = difference.abs() > CHANGE * (dispersion * expected.max(1.0)).sqrt();
        let keep = if is_change && (difference > 0.0 || is_limited) {
            // It went on within this reading, and nobody knows when.
            let is_first = was_forgotten && difference > 0.0;
            if is_first || difference < 0.0 && !std::mem::replace(&mut self.doubted, true) {
                return;
            }
            0.0
        } else {
            self.dispersion.observe(requests, expected);
            let span = (REMEMBERED / rate.max(f64::MIN_POSITIVE)).clamp(SHORTEST_MEMORY, LONGEST_MEMORY);
            (-seconds / span).exp()
        };
        self.doubted = false;
        self.cost = self.cost * keep + cost;
        self.requests = self.requests * keep + requests;
        self.seconds = self.seconds * keep + seconds;
    }

    /// Nothing was completed although all places were taken. After that a service usually is as fast as before; and the
    /// readings in which it began and ended say nothing together. But a capacity that nobody has seen for too long is none.
    fn stood(&mut self, seconds: f64) {
        self.doubted = false;
        self.standing += seconds;
        if self.standing >= LONGEST_MEMORY {
            (self.cost, self.requests, self.seconds) = (0.0, 0.0, 0.0);
        }
    }

    fn per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.cost / self.seconds } else { 0.0 }
    }

    fn mean_cost(&self) -> f64 {
        if self.requests > 0.0 { self.cost / self.requests } else { 0.0 }
    }
}

/// The cost of what was admitted, at the mean cost of its business priority.
fn admitted_cost(tally: &Tally) -> f64 {
    let width = usize::from(USER_LEVELS);
    let count = |counts: &[u32]| counts.iter().map(|&count| u64::from(count)).sum::<u64>() as f64;
    debug_assert_eq!(tally.offered().len(), LEVELS);
    (0..PRIORITIES)
        .map(|priority| {
            let levels = priority * width..(priority + 1) * width;
            let offered = count(&tally.offered()[levels.clone()]);
            if offered > 0.0 { tally.costs()[priority] * count(&tally.admitted()[levels]) / offered } else { 0.0 }
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        admission::{Cost, Cut, GateSettings, Value},
        clock::Timestamp,
    };

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn offers_and_admissions_are_told_apart_by_level_and_cost() {
        let gate = Gate::new(GateSettings::default(), 1);
        gate.set_fleet_cut(Cut::below_index(1));
        let mut meter = FlowMeter::new(&gate);
        for _ in 0..100 {
            for index in 0..2 {
                let value = Value::new(Level::from_index(index), 0);
                let _ = gate.decide(0, Timestamp::ZERO, value, Cost::from_units(2.0));
            }
        }
        let flow = meter.read(&gate, SECOND);
        let rates: Vec<_> = flow.offered.iter().map(|(level, rate)| (level.index(), rate.round())).collect();
        assert_eq!((rates, flow.admitted.round()), (vec![(0, 200.0), (1, 200.0)], 200.0));
    }

    /// Reads a second in which so many are completed, with all places taken for a part of it.
    fn second(meter: &mut FlowMeter, gate: &Gate, completed: u32, limited: f64) -> Flow {
        (0..completed).for_each(|_| gate.completed(0, Cost::from_units(2.0), true));
        gate.limited(0, SECOND.mul_f64(limited));
        meter.read(gate, SECOND)
    }

    #[test]
    fn what_is_completed_is_told_with_its_cost_whether_places_are_short_or_not() {
        let gate = Gate::new(GateSettings::default(), 1);
        let mut meter = FlowMeter::new(&gate);
        let flow = (0..10).map(|at| second(&mut meter, &gate, 95 + at % 2 * 10, 0.5)).last().unwrap();
        assert!((flow.completed - 200.0).abs() < 5.0 && (flow.limited - 0.5).abs() < 0.01, "{flow:?}");
        assert_eq!(flow.mean_cost, 2.0);
    }

    #[test]
    fn more_is_believed_at_once_and_less_the_second_time() {
        let gate = Gate::new(GateSettings::default(), 1);
        let mut meter = FlowMeter::new(&gate);
        let mut completed = |count| second(&mut meter, &gate, count, 1.0).completed.round();
        (0..10).for_each(|_| assert_eq!(completed(100), 200.0));
        assert_eq!(completed(200), 400.0);
        assert_eq!((completed(100), completed(100)), (400.0, 200.0));
    }

    #[test]
    fn a_short_standstill_is_not_learnt_but_idleness_is() {
        let gate = Gate::new(GateSettings::default(), 1);
        let mut meter = FlowMeter::new(&gate);
        (0..10).for_each(|_| drop(second(&mut meter, &gate, 100, 1.0)));
        second(&mut meter, &gate, 40, 1.0);
        (0..7).for_each(|_| assert_eq!(second(&mut meter, &gate, 0, 1.0).completed.round(), 200.0));
        assert_eq!(second(&mut meter, &gate, 30, 1.0).completed.round(), 200.0, "it goes on within this second");
        second(&mut meter, &gate, 100, 1.0);
        let idle = (0..40).map(|_| second(&mut meter, &gate, 0, 0.0)).last().unwrap();
        assert!(idle.completed < 10.0 && idle.limited < 0.01, "{idle:?}");
    }

    #[test]
    fn a_standstill_that_lasts_is_learnt_and_its_end_in_the_first_whole_reading() {
        let gate = Gate::new(GateSettings::default(), 1);
        let mut meter = FlowMeter::new(&gate);
        (0..10).for_each(|_| drop(second(&mut meter, &gate, 100, 1.0)));
        (0..7).for_each(|_| assert_eq!(second(&mut meter, &gate, 0, 1.0).completed.round(), 200.0));
        (0..1000).for_each(|_| assert_eq!(second(&mut meter, &gate, 0, 1.0).completed, 0.0));
        assert_eq!(second(&mut meter, &gate, 40, 1.0).completed, 0.0, "it goes on within this second");
        let flow = second(&mut meter, &gate, 100, 1.0);
        assert_eq!((flow.completed, flow.mean_cost), (200.0, 2.0));
    }

    #[test]
    fn pauses_are_not_added_up_to_a_standstill() {
        let gate = Gate::new(GateSettings::default(), 1);
        let mut meter = FlowMeter::new(&gate);
        (0..10).for_each(|_| drop(second(&mut meter, &gate, 100, 1.0)));
        for _ in 0..10 {
            (0..5).for_each(|_| assert_eq!(second(&mut meter, &gate, 0, 1.0).completed.round(), 200.0));
            second(&mut meter, &gate, 100, 1.0);
        }
    }
}
