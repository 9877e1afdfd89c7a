//! How many requests a service should have at a time, found out from what it completes: enough that it never idles,
//! and no more, because what is beyond waits inside the service, where nobody orders it by importance.
//!
//! **Signal.** Completions per second, and how long a request stays in flight: the mean number in flight divided by the
//! completions per second (Little's law), so that nothing has to be timed per request.
//!
//! **Decision.** As in BBR (Cardwell et al., 2016), limit = the best rate × the shortest stay × a gain. While the service is
//! faster than the limit lets it be, the rate follows the limit and the limit grows by the gain with each measure;
//! beyond the knee only the stay grows, and the limit stands.
//!
//! **Ageing.** Services change, so both extremes are forgotten after some seconds. The shortest stay cannot be seen while
//! the limit is above the knee; so when it has not been confirmed for long, the limit dips below the knee for one measure.
//!
//! **Cold start.** From a small limit, doubled with each measure until the rate stops growing.
//!
//! **No samples.** While the limit does not bind nothing is learnt from the rate, and the limit stays.

use std::time::Duration;

use crate::clock::Timestamp;

/// The first limit.
const FIRST: f64 = 16.0;
/// Bounds of the limit: below the lower one a single slow request would stop everything.
const LEAST: f64 = 2.0;
const MOST: f64 = 65_536.0;
/// What is allowed beyond rate × stay, so that a place is taken again before its answer has come back.
const GAIN: f64 = 1.25;
/// The same while it is not known where the knee is.
const FIRST_GAIN: f64 = 2.0;
/// Places beyond the gain: at a few requests at a time a quarter more is none.
const SPARE: f64 = 1.0;
/// A rate has grown if it is so much above the best one before.
const GROWN: f64 = 1.1;
/// The limit during a dip, relative to the knee.
const DIP: f64 = 0.75;
/// After this time without a confirmation the shortest stay is measured again.
const CONFIRM_AFTER: Duration = Duration::from_secs(10);
/// A best rate counts for so many measures.
const RATES: usize = 10;
/// A measure takes at least this long and so many completions, and at most so long.
const MEASURE: Duration = Duration::from_millis(100);
const COMPLETIONS: u64 = 16;
const LONGEST_MEASURE: Duration = Duration::from_secs(5);
/// The limit binds if all places were taken at this share of the looks.
const BINDS: f64 = 0.5;

/// Finds the number of places. Pure: driven by regular looks, every 10 ms.
#[derive(Clone, Debug)]
pub struct InFlightLimit {
    limit: f64,
    measure: Measure,
    /// The latest rates, per second, oldest first.
    rates: Vec<f64>,
    /// The shortest stay, in seconds, and when it was last confirmed.
    stay: Option<(f64, Timestamp)>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Where the knee is is not known.
    Starting,
    Steady,
    /// Below the knee, to see the shortest stay.
    Dipping,
}

/// What is being looked at.
#[derive(Clone, Copy, Debug, Default)]
struct Measure {
    since: Option<Timestamp>,
    completed: u64,
    looks: u32,
    limited: u32,
    in_flight: u64,
}

impl InFlightLimit {
    /// A limit that has seen nothing yet.
    pub fn new() -> Self {
        let (measure, rates) = (Measure::default(), Vec::with_capacity(RATES));
        Self { limit: FIRST, measure, rates, stay: None, phase: Phase::Starting }
    }

    /// How many requests may be in flight.
    pub fn places(&self) -> usize {
        self.limit.round() as usize
    }

    /// A regular look: how many are in flight now, and how many were completed since the last look.
    pub fn look(&mut self, now: Timestamp, in_flight: usize, completed: u64) {
        let begun = *self.measure.since.get_or_insert(now);
        let measure = &mut self.measure;
        measure.completed = measure.completed.saturating_add(completed);
        measure.looks += 1;
        measure.in_flight = measure.in_flight.saturating_add(in_flight as u64);
        measure.limited += u32::from(in_flight as f64 >= self.limit.round());
        let elapsed = now.since(begun);
        let enough = elapsed >= MEASURE && measure.completed >= COMPLETIONS;
        if enough || elapsed >= LONGEST_MEASURE {
            let measure = std::mem::take(&mut self.measure);
            self.measure.since = Some(now);
            self.judge(now, measure, elapsed.as_secs_f64());
        }
    }

    fn judge(&mut self, now: Timestamp, measure: Measure, seconds: f64) {
        if measure.completed == 0 {
            return;
        }
        let rate = measure.completed as f64 / seconds;
        let stay = measure.in_flight as f64 / f64::from(measure.looks) / rate;
        let shortest = match self.stay {
            Some((shortest, at)) if shortest < stay && self.phase != Phase::Dipping => (shortest, at),
            _ => (stay, now),
        };
        self.stay = Some(shortest);
        let limited = f64::from(measure.limited) >= BINDS * f64::from(measure.looks);
        match self.phase {
            // A dip is meant to be below the knee: its rate says nothing.
            Phase::Dipping => self.phase = Phase::Steady,
            Phase::Starting | Phase::Steady if !limited => return,
            Phase::Starting | Phase::Steady => self.remember(rate),
        }
        self.move_on(now, shortest);
    }

    /// Notes a rate that was reached at the limit.
    fn remember(&mut self, rate: f64) {
        if self.phase == Phase::Starting && rate < self.best() * GROWN {
            self.phase = Phase::Steady;
        }
        if self.rates.len() == RATES {
            self.rates.remove(0);
        }
        self.rates.push(rate);
    }

    fn move_on(&mut self, now: Timestamp, (stay, confirmed): (f64, Timestamp)) {
        let knee = self.best() * stay;
        self.limit = match self.phase {
            Phase::Starting => self.limit * FIRST_GAIN,
            Phase::Steady if now.since(confirmed) >= CONFIRM_AFTER => {
                self.phase = Phase::Dipping;
                knee * DIP
            }
            Phase::Steady | Phase::Dipping => knee * GAIN + SPARE,
        }
        .clamp(LEAST, MOST);
    }

    fn best(&self) -> f64 {
        self.rates.iter().copied().fold(0.0, f64::max)
    }
}

impl Default for InFlightLimit {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOOK: Duration = Duration::from_millis(10);

    /// A service that works on so many at a time, each for so many seconds, always with more to do.
    struct Service {
        limit: InFlightLimit,
        now: Timestamp,
        workers: f64,
        seconds: f64,
        owed: f64,
    }

    impl Service {
        fn new(workers: f64, seconds: f64) -> Self {
            Self { limit: InFlightLimit::new(), now: Timestamp::ZERO, workers, seconds, owed: 0.0 }
        }

        /// Runs, with so many requests to be had at a time; returns the share of its capacity that was used.
        fn run(&mut self, span: Duration, demand: usize) -> f64 {
            let looks = (span.as_millis() / LOOK.as_millis()) as u32;
            let mut done = 0;
            for _ in 0..looks {
                let in_flight = self.limit.places().min(demand);
                self.owed += (in_flight as f64).min(self.workers) / self.seconds * LOOK.as_secs_f64();
                let completed = self.owed.floor();
                self.owed -= completed;
                done += completed as u64;
                self.now = self.now + LOOK;
                self.limit.look(self.now, in_flight, completed as u64);
            }
            done as f64 / (self.workers / self.seconds * span.as_secs_f64())
        }
    }

    #[test]
    fn it_finds_what_a_service_works_on_at_a_time() {
        for (workers, seconds) in [(1.0, 0.002), (8.0, 0.01), (64.0, 0.05), (1000.0, 0.02), (4.0, 0.3)] {
            let mut service = Service::new(workers, seconds);
            service.run(Duration::from_secs(30), usize::MAX);
            let used = service.run(Duration::from_secs(60), usize::MAX);
            let places = service.limit.places() as f64;
            assert!(used > 0.97, "{workers} × {seconds} s: {used}");
            assert!(places <= workers * 1.6 + 3.0, "{workers} × {seconds} s: {places}");
        }
    }

    #[test]
    fn it_follows_a_service_that_grows_and_one_that_shrinks() {
        let mut service = Service::new(8.0, 0.01);
        service.run(Duration::from_secs(20), usize::MAX);
        service.workers = 80.0;
        service.run(Duration::from_secs(15), usize::MAX);
        assert!(service.run(Duration::from_secs(10), usize::MAX) > 0.97);
        service.workers = 4.0;
        service.run(Duration::from_secs(30), usize::MAX);
        assert!(service.limit.places() <= 9, "{}", service.limit.places());
    }

    #[test]
    fn without_demand_the_limit_stays() {
        let mut service = Service::new(8.0, 0.01);
        service.run(Duration::from_secs(20), usize::MAX);
        let before = service.limit.places();
        service.run(Duration::from_secs(60), 1);
        assert_eq!(service.limit.places(), before);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_it_sees_there_are_places_and_not_without_bound(
            looks in prop::collection::vec((any::<u64>(), any::<usize>(), any::<u64>()), 0..200),
        ) {
            let mut limit = InFlightLimit::new();
            let mut now = Timestamp::ZERO;
            for (elapsed, in_flight, completed) in looks {
                now = now + Duration::from_nanos(elapsed >> 24);
                limit.look(now, in_flight, completed);
                prop_assert!((2..=65_536).contains(&limit.places()), "{limit:?}");
            }
        }
    }
}
