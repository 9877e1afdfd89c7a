//! What flows through a gate, for whoever looks once a second: what is offered at which level, what is let through, and how
//! much is completed while all places are taken. Sums that fade within seconds, so that one second's chance moves them little.

use std::time::Duration;

use super::{
    Gate, Level, Tally,
    cells::{PRIORITIES, Seen},
    level::{LEVELS, USER_LEVELS},
    rates::LevelRates,
};

/// In how many seconds what was seen fades to a third.
const FADING_SECONDS: f64 = 4.0;
/// Below this share of the time with all places taken, what is completed is only what was asked for.
const LIMITED: f64 = 0.1;
/// Rates at a level below this are noise, per second.
const LEAST_RATE: f64 = 0.01;

/// What flows through a gate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flow {
    /// Cost per second offered at each level that had any, in order.
    pub offered: Vec<(Level, f64)>,
    /// Cost per second let through.
    pub admitted: f64,
    /// Cost per second completed while all places were taken, or completed at all while they were not.
    pub capacity: f64,
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
}

/// Faded sums.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    seconds: f64,
    admitted: f64,
    completed: f64,
    limited_seconds: f64,
    limited_cost: f64,
}

impl FlowMeter {
    /// Counts what the gate decides from now on.
    pub fn new(gate: &Gate) -> Self {
        let mut seen = Seen::new(gate.shards().len());
        seen.remember(gate.shards());
        let mut tally = Tally::new();
        tally.start_from(gate.shards().iter());
        Self { tally, seen, rates: LevelRates::new(), sums: Sums::default() }
    }

    /// The flow of late; `elapsed` is the time since the last reading. Always of the same gate.
    pub fn read(&mut self, gate: &Gate, elapsed: Duration) -> Flow {
        let seconds = elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        self.tally.read(gate);
        let period = self.seen.period(gate.shards(), elapsed);
        self.seen.remember(gate.shards());
        self.rates.observe(self.tally.offered(), self.tally.costs(), seconds, gate.effective_cut());
        let keep = (-seconds / FADING_SECONDS).exp();
        let add = |sum: &mut f64, more: f64| *sum = *sum * keep + more;
        add(&mut self.sums.seconds, seconds);
        add(&mut self.sums.admitted, admitted_cost(&self.tally));
        add(&mut self.sums.completed, period.cost);
        add(&mut self.sums.limited_seconds, period.limited_seconds.min(seconds));
        add(&mut self.sums.limited_cost, period.limited_cost);
        let Sums { seconds, admitted, completed, limited_seconds, limited_cost } = self.sums;
        let limited = limited_seconds / seconds;
        Flow {
            offered: self.rates.per_level().filter(|&(_, rate)| rate >= LEAST_RATE).collect(),
            admitted: admitted / seconds,
            capacity: if limited > LIMITED { limited_cost / limited_seconds } else { completed / seconds },
            limited,
        }
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

    #[test]
    fn a_capacity_is_what_is_completed_while_places_are_taken() {
        let gate = Gate::new(GateSettings::default(), 1);
        let mut meter = FlowMeter::new(&gate);
        for _ in 0..40 {
            (0..50).for_each(|_| gate.completed(0, Cost::ONE, true));
            (0..50).for_each(|_| gate.completed(0, Cost::ONE, false));
            gate.limited(0, SECOND / 2);
            meter.read(&gate, SECOND);
        }
        let busy = meter.read(&gate, Duration::from_nanos(1));
        assert!((busy.capacity - 100.0).abs() < 1.0 && (busy.limited - 0.5).abs() < 0.01, "{busy:?}");
        for _ in 0..40 {
            (0..30).for_each(|_| gate.completed(0, Cost::ONE, false));
            meter.read(&gate, SECOND);
        }
        let idle = meter.read(&gate, Duration::from_nanos(1));
        assert!((idle.capacity - 30.0).abs() < 1.0 && idle.limited < 0.01, "{idle:?}");
    }
}
