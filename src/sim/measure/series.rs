//! The course of a run, for plots: one row per step of at least 100 ms.

use std::time::Duration;

use serde::Serialize;

use crate::{admission::Cut, admission::Level, clock::Timestamp};

/// No more steps than this; a longer run has longer ones.
const MOST_STEPS: usize = 1200;
const SHORTEST_STEP: Duration = Duration::from_millis(100);

/// The course of a run, warm-up included. All lists have one entry per step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Series {
    /// Seconds between two entries; the first one is of the time from 0 on.
    pub step_s: f64,
    /// Tasks that arrived, per second.
    pub offered_per_s: Vec<f64>,
    /// Calls that gates let pass, per second.
    pub admitted_per_s: Vec<f64>,
    /// Tasks that succeeded, per second, by when they did.
    pub succeeded_per_s: Vec<f64>,
    /// Mean queuing time of the calls that left a queue, in milliseconds; absent where none did.
    pub queuing_ms: Vec<Option<f64>>,
    /// The strictest cut at the end of the step, as the number of levels that it admits (8192 is open); absent where the
    /// controller has none.
    pub cut_level: Vec<Option<f64>>,
    /// Success rate of the tasks that arrived, for each business; absent where none did.
    pub success: Vec<Vec<Option<f64>>>,
    #[serde(skip)]
    queuing: Vec<(f64, u32)>,
    #[serde(skip)]
    arrived: Vec<Vec<(u32, u32)>>,
    #[serde(skip)]
    step: Duration,
}

impl Series {
    pub(super) fn new(duration: Duration, businesses: usize) -> Self {
        let factor = (duration.as_nanos() / SHORTEST_STEP.as_nanos()).div_ceil(MOST_STEPS as u128).max(1) as u32;
        let step = SHORTEST_STEP * factor;
        let steps = duration.as_nanos().div_ceil(step.as_nanos()) as usize;
        Self {
            step_s: step.as_secs_f64(),
            offered_per_s: vec![0.0; steps],
            admitted_per_s: vec![0.0; steps],
            succeeded_per_s: vec![0.0; steps],
            queuing_ms: vec![None; steps],
            cut_level: vec![None; steps],
            success: vec![vec![None; steps]; businesses],
            queuing: vec![(0.0, 0); steps],
            arrived: vec![vec![(0, 0); steps]; businesses],
            step,
        }
    }

    fn place(&self, at: Timestamp) -> usize {
        (u128::from(at.as_nanos()) / self.step.as_nanos()) as usize
    }

    pub(super) fn arrived(&mut self, now: Timestamp, business: usize) {
        let place = self.place(now);
        self.arrived[business].get_mut(place).into_iter().for_each(|(offered, _)| *offered += 1);
    }

    pub(super) fn admitted(&mut self, now: Timestamp) {
        let place = self.place(now);
        self.admitted_per_s.get_mut(place).into_iter().for_each(|count| *count += 1.0);
    }

    pub(super) fn succeeded(&mut self, now: Timestamp, created: Timestamp, business: usize) {
        let (place, arrived) = (self.place(now), self.place(created));
        self.succeeded_per_s.get_mut(place).into_iter().for_each(|count| *count += 1.0);
        self.arrived[business].get_mut(arrived).into_iter().for_each(|(_, succeeded)| *succeeded += 1);
    }

    pub(super) fn left_queue(&mut self, now: Timestamp, queuing: Duration) {
        let place = self.place(now);
        if let Some((sum, count)) = self.queuing.get_mut(place) {
            *sum += queuing.as_secs_f64() * 1000.0;
            *count += 1;
        }
    }

    pub(super) fn cut(&mut self, now: Timestamp, cut: Option<Cut>) {
        // A tick at the very end of a step still belongs to it.
        let place = self.place(now - Duration::from_nanos(1));
        let level = cut.map(|cut| f64::from(cut.bits()) / f64::from(Cut::through(Level::MOST_IMPORTANT).bits()));
        self.cut_level.get_mut(place).into_iter().for_each(|entry| *entry = level);
    }

    /// Works out the rates.
    pub(super) fn finish(mut self) -> Self {
        for place in 0..self.offered_per_s.len() {
            let offered: u32 = self.arrived.iter().map(|steps| steps[place].0).sum();
            self.offered_per_s[place] = f64::from(offered) / self.step_s;
            self.admitted_per_s[place] /= self.step_s;
            self.succeeded_per_s[place] /= self.step_s;
            let (sum, count) = self.queuing[place];
            self.queuing_ms[place] = (count > 0).then(|| sum / f64::from(count));
            for (success, arrived) in self.success.iter_mut().zip(&self.arrived) {
                let (offered, succeeded) = arrived[place];
                success[place] = (offered > 0).then(|| f64::from(succeeded) / f64::from(offered));
            }
        }
        (self.queuing, self.arrived) = (Vec::new(), Vec::new());
        self
    }
}
