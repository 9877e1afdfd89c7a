//! Cinnamon, Uber's load shedder (three articles on uber.com/blog, November and December 2023): a PID controller finds which
//! share to reject, a sample of priorities turns the share into a threshold, a tuner finds how many calls may be in flight.
//!
//! **Signal**: what entered the queue against what left it for a worker and what still had room, each half second.
//! **Decision**: six tiers of 128 cohorts; of the last thousand calls the rejected share is taken from the bottom, and a
//! call below that point is refused on arrival. The queue is ordered by priority, and who has spent a third of its
//! timeout in it is refused as well. **What it cannot do**: it balances flows, not the queue: a backlog that stands still
//! looks balanced. A threshold can split a cohort only as a whole, and it is as old as half a second.

mod tuner;

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use self::tuner::Tuner;
use super::{knob::Knob, written};
use crate::{
    admission::{
        Level,
        level::{BUSINESS_PRIORITIES, USER_LEVELS},
    },
    clock::Timestamp,
    sim::guard::{Arrangement, Call, Discipline, Guard, Refused, Server},
};

/// Tiers of services and of who calls them (first article); each business priority falls into one.
const TIERS: usize = 6;

/// Settings of Cinnamon.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct CinnamonSettings {
    /// How often the share is adjusted.
    #[serde(with = "written::time")]
    pub period: Duration,
    /// What the error counts.
    #[serde(deserialize_with = "written::positive")]
    pub proportional: f64,
    /// What the sum of the errors counts, per second.
    #[serde(deserialize_with = "written::positive")]
    pub integral: f64,
    /// What the change of the error counts; 0 leaves it out.
    #[serde(deserialize_with = "written::share")]
    pub derivative: f64,
    /// How far the share moves in a period at most.
    #[serde(deserialize_with = "written::share")]
    pub largest_step: f64,
    /// How many calls the sample of priorities has.
    #[serde(deserialize_with = "written::count")]
    pub sample: u32,
    /// Which part of its timeout a call may spend in the queue.
    #[serde(deserialize_with = "written::share")]
    pub queue_share: f64,
    /// How many service times the tuner looks at before it moves the limit.
    #[serde(deserialize_with = "written::count")]
    pub tuner_calls: u32,
}

impl CinnamonSettings {
    /// What a search may vary.
    pub const KNOBS: &[Knob] = &[
        Knob::time("period", 20.0, 2000.0),
        Knob::log("proportional", 0.01, 2.0),
        Knob::log("integral", 0.01, 5.0),
        Knob::linear("derivative", 0.0, 0.5),
        Knob::log("largest_step", 0.01, 1.0),
        Knob::whole("sample", 100.0, 5000.0),
        Knob::linear("queue_share", 0.02, 1.0),
    ];
}

impl Default for CinnamonSettings {
    /// Tiers, cohorts, sample and the third are the articles'. They show their formula as a picture and give no gains as
    /// text; gains, period and largest step are those of the public reimplementation (jfrz38/rate-limit-pid-controller).
    fn default() -> Self {
        Self {
            period: Duration::from_millis(500),
            proportional: 0.2,
            integral: 0.5,
            derivative: 0.0,
            largest_step: 0.1,
            sample: 1000,
            queue_share: 0.33,
            tuner_calls: 250,
        }
    }
}

impl Arrangement for CinnamonSettings {
    fn guard(&self, workers: usize, _seed: u64) -> Box<dyn Guard> {
        Box::new(Cinnamon {
            rejector: Rejector::new(self),
            tuner: Tuner::new(workers, self.tuner_calls),
            settings: self.clone(),
            workers,
            entered: 0,
            left: 0,
            taken: 0,
            free: 0,
            adjusted: None,
        })
    }
}

#[derive(Debug)]
struct Cinnamon {
    settings: CinnamonSettings,
    rejector: Rejector,
    tuner: Tuner,
    workers: usize,
    /// Calls that entered the queue in this period.
    entered: u32,
    /// Calls that went to a worker.
    left: u32,
    /// Taken and free places, added up over the ticks of this period.
    taken: usize,
    free: usize,
    adjusted: Option<Timestamp>,
}

impl Cinnamon {
    fn places(&self) -> usize {
        self.tuner.limit().min(self.workers)
    }
}

impl Guard for Cinnamon {
    fn discipline(&self) -> Discipline {
        Discipline::ByLevel
    }

    fn max_in_flight(&self) -> Option<usize> {
        Some(self.places())
    }

    fn arrive(&mut self, _now: Timestamp, call: &Call, _server: &Server) -> Result<(), Refused> {
        self.rejector.admit(priority(call.value.level()))?;
        self.entered += 1;
        Ok(())
    }

    fn dequeue(&mut self, _now: Timestamp, call: &Call, queuing: Duration) -> Result<(), Refused> {
        let allowed = call.deadline.since(call.arrived).mul_f64(self.settings.queue_share);
        if queuing > allowed { Err(Refused { retry_after: None }) } else { Ok(()) }
    }

    fn started(&mut self, _now: Timestamp, _call: &Call, _queuing: Duration) {
        self.left += 1;
    }

    fn completed(&mut self, _now: Timestamp, _call: &Call, _queuing: Duration, service: Duration, _in_time: bool) {
        self.tuner.sample(service);
    }

    fn tick(&mut self, now: Timestamp, server: &Server) {
        self.taken += server.in_flight;
        self.free += self.places().saturating_sub(server.in_flight);
        let elapsed = now.since(*self.adjusted.get_or_insert(now));
        if elapsed < self.settings.period {
            return;
        }
        self.adjusted = Some(now);
        // A free place could have served as many calls as a taken one did. Counted as one call, as the picture may mean it,
        // it would be lost beside hundreds that flow in a period.
        let (entered, left) = (f64::from(self.entered), f64::from(self.left).max(1.0));
        let room = left * self.free as f64 / self.taken.max(1) as f64;
        self.rejector.adjust((entered - (left + room)) / left, elapsed);
        (self.entered, self.left, self.taken, self.free) = (0, 0, 0, 0);
    }
}

/// Tier and cohort in one number; lower is more important.
fn priority(level: Level) -> usize {
    let tier = usize::from(level.business()) * TIERS / usize::from(BUSINESS_PRIORITIES);
    tier * usize::from(USER_LEVELS) + usize::from(level.user())
}

/// Which share of the calls is rejected, and which calls these are.
#[derive(Debug)]
struct Rejector {
    settings: CinnamonSettings,
    share: f64,
    integral: f64,
    error: f64,
    /// The priorities of the last calls, whether admitted or not.
    recent: VecDeque<usize>,
    /// Priorities from here on are rejected.
    threshold: usize,
}

impl Rejector {
    fn new(settings: &CinnamonSettings) -> Self {
        let recent = VecDeque::with_capacity(settings.sample as usize);
        Self { settings: settings.clone(), share: 0.0, integral: 0.0, error: 0.0, recent, threshold: usize::MAX }
    }

    fn admit(&mut self, priority: usize) -> Result<(), Refused> {
        if self.recent.len() >= self.settings.sample as usize {
            self.recent.pop_front();
        }
        self.recent.push_back(priority);
        if priority < self.threshold { Ok(()) } else { Err(Refused { retry_after: None }) }
    }

    fn adjust(&mut self, error: f64, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        let settings = &self.settings;
        // Held within the range of a share, so that a long idle time does not have to be worked off.
        self.integral = (self.integral + settings.integral * error * seconds).clamp(0.0, 1.0);
        let change = settings.derivative * (error - self.error) / seconds;
        let wanted = (settings.proportional * error + self.integral + change).clamp(0.0, 1.0);
        self.share += (wanted - self.share).clamp(-settings.largest_step, settings.largest_step);
        self.error = error;
        self.threshold = self.above(1.0 - self.share);
    }

    /// The priority above which the rest of the sample lies.
    fn above(&self, share: f64) -> usize {
        let mut sorted: Vec<_> = self.recent.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get((share * sorted.len() as f64).round() as usize).copied().unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::Bench;
    use super::*;

    #[test]
    fn tiers_come_before_cohorts() {
        assert_eq!(priority(Level::new(0, 0)), 0);
        assert_eq!(priority(Level::new(10, 127)), 127, "eleven business priorities make a tier");
        assert_eq!(priority(Level::new(11, 0)), 128);
        assert_eq!(priority(Level::LEAST_IMPORTANT), 6 * 128 - 1);
    }

    #[test]
    fn the_threshold_settles_between_what_fits_and_what_does_not() {
        let mut bench = Bench::new(&CinnamonSettings::default());
        bench.run(2.0, 20);
        let settled = bench.run(2.0, 20);
        let important = settled.good_important as f64 / settled.offered_important as f64;
        assert!(important > 0.85, "{settled:?}");
        assert!(settled.good as f64 > 0.9 * settled.capacity, "{settled:?}");
    }

    #[test]
    fn nothing_is_rejected_while_there_is_room() {
        let mut bench = Bench::new(&CinnamonSettings::default());
        assert_eq!(bench.run(0.9, 20).refused, 0);
    }
}
