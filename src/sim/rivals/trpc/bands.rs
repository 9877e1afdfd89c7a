//! Two thresholds on the scale of priorities: above the upper one a call may use twice the places, below the lower one it
//! gets none, between them it takes what is left (`trpc/overload_control/common/priority_adapter`).
//!
//! Each step moves a threshold over a share of the calls, as a histogram of the last windows counts them. The upper one
//! keeps the admitted calls between the thresholds at a tenth of the calls above; the lower one keeps admitted half of
//! what asks between the thresholds.

use super::{PRIORITIES, Period, TrpcSettings};
use crate::clock::Timestamp;

/// The wanted share of admitted calls between the thresholds (`kMaxOkMayRatio`).
const ADMITTED_BETWEEN: f64 = 0.5;
/// A histogram with fewer calls than this for each priority is not used (`kMaxPriorityFactor`).
const CALLS_FOR_EACH: u32 = 3;
/// A window that saw too few calls is followed by one that is so many times as long (`kWindowIntervalFactor`).
const LONGER: u32 = 2;

#[derive(Debug)]
pub(super) struct Bands {
    settings: TrpcSettings,
    lower: f64,
    upper: f64,
    asked: Asked,
    histograms: Vec<Histogram>,
    /// The histogram that has seen the most windows.
    oldest: usize,
    period: Period,
}

/// Calls of a period.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    /// Above the upper threshold; twice if refused.
    above: u32,
    between: u32,
    admitted_between: u32,
}

impl Bands {
    pub(super) fn new(settings: &TrpcSettings) -> Self {
        Self {
            lower: 0.0,
            upper: PRIORITIES as f64,
            asked: Asked::default(),
            histograms: (0..settings.histograms).map(|_| Histogram::new()).collect(),
            oldest: 0,
            period: Period::begin(Timestamp::ZERO, settings.update_interval, settings.update_calls),
            settings: settings.clone(),
        }
    }

    /// Whether a call goes on; `has_place` tells whether there is one within so many times the limit.
    pub(super) fn decide(&mut self, priority: f64, has_place: impl Fn(usize) -> bool) -> bool {
        if priority < self.lower {
            return false;
        }
        if priority > self.upper {
            let admitted = has_place(2);
            self.asked.above += if admitted { 1 } else { 2 };
            return admitted;
        }
        let admitted = has_place(1);
        self.asked.between += 1;
        self.asked.admitted_between += u32::from(admitted);
        admitted
    }

    /// Counts a call of this priority. A refusal counts towards the end of the period, like an answer.
    pub(super) fn observe(&mut self, now: Timestamp, priority: usize, admitted: bool) {
        self.histograms.iter_mut().for_each(|histogram| histogram.count(priority));
        if !admitted {
            self.answered(now);
        }
    }

    /// Something was answered.
    pub(super) fn answered(&mut self, now: Timestamp) {
        if self.period.touch(now) {
            self.step(now);
        }
    }

    fn step(&mut self, now: Timestamp) {
        let settings = &self.settings;
        let Some(histogram) = self.histograms.get_mut(self.oldest) else { return };
        if histogram.total < CALLS_FOR_EACH * (PRIORITIES as u32 - 1) {
            self.period = Period::begin(now, self.period.interval * LONGER, settings.update_calls * LONGER);
            return;
        }
        let Asked { above, between, admitted_between } = self.asked;
        let exceeds = |of: u32, share: f64| of == 0 || f64::from(admitted_between) > share * f64::from(of);
        let towards = |down: bool, step: f64| if down { -step } else { step };
        self.upper = histogram.moved(self.upper, towards(exceeds(above, settings.fuzzy_ratio), settings.upper_step));
        let lower = histogram.moved(self.lower, towards(exceeds(between, ADMITTED_BETWEEN), settings.lower_step));
        self.lower = lower.min(self.upper);
        *histogram = Histogram::new();
        self.oldest = (self.oldest + 1) % self.histograms.len();
        self.asked = Asked::default();
        self.period = Period::begin(now, settings.update_interval, settings.update_calls);
    }
}

/// How many calls had which priority.
#[derive(Debug)]
struct Histogram {
    counts: [u32; PRIORITIES],
    total: u32,
}

impl Histogram {
    /// One of each, so that every priority has a width.
    fn new() -> Self {
        Self { counts: [1; PRIORITIES], total: PRIORITIES as u32 }
    }

    fn count(&mut self, priority: usize) {
        self.counts[priority] += 1;
        self.total += 1;
    }

    /// The point that has this share of the calls more below it than `point` has; at least one call's width away.
    fn moved(&self, point: f64, share: f64) -> f64 {
        let step = (f64::from(self.total) * share.abs()).round().max(1.0) * share.signum();
        self.point((self.below(point) + step).clamp(0.0, f64::from(self.total)))
    }

    fn below(&self, point: f64) -> f64 {
        let whole = (point as usize).min(PRIORITIES);
        let part = self.counts.get(whole).map_or(0.0, |&count| (point.fract() * f64::from(count)).round());
        self.counts[..whole].iter().map(|&count| f64::from(count)).sum::<f64>() + part
    }

    fn point(&self, mut below: f64) -> f64 {
        for (priority, &count) in self.counts.iter().enumerate() {
            let count = f64::from(count);
            if below <= count {
                return priority as f64 + below / count;
            }
            below -= count;
        }
        PRIORITIES as f64
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_threshold_moves_over_a_share_of_the_calls_and_may_stop_inside_a_priority() {
        let mut histogram = Histogram::new();
        (0..744).for_each(|_| histogram.count(100));
        // 1000 in all: 100 below priority 100, 745 in it, 155 above.
        assert_eq!(histogram.moved(0.0, 0.1), 100.0);
        assert_eq!(histogram.moved(100.0, 0.149), 100.0 + 149.0 / 745.0);
        assert_eq!(histogram.moved(PRIORITIES as f64, -0.1), 156.0);
        assert_eq!(histogram.moved(0.0, -0.1), 0.0);
        assert_eq!(histogram.moved(PRIORITIES as f64, 0.1), PRIORITIES as f64);
    }

    #[test]
    fn scarce_places_raise_the_lower_threshold_and_plenty_lowers_both() {
        let mut bands = Bands::new(&TrpcSettings::default());
        let mut now = Timestamp::ZERO;
        let mut run = |bands: &mut Bands, places: bool| {
            for number in 0..20_000_usize {
                now = now + Duration::from_micros(500);
                let priority = number * 97 % PRIORITIES;
                let admitted = bands.decide(priority as f64 + 0.5, |twice| twice > 1 || places);
                bands.observe(now, priority, admitted);
            }
        };
        run(&mut bands, false);
        assert!(bands.lower > 128.0, "{bands:?}");
        run(&mut bands, true);
        assert_eq!(bands.lower, 0.0);
    }
}
