//! Keeps the books of a run, and works out its figures at the end.

use std::time::Duration;

use serde::Serialize;

use super::{
    Counts, Figures, Metric, Series, Settled, Towards, books::Books, fairness::Fairness, latency::Times,
    optimum::Optimum, settle::settle,
};
use crate::{admission::Cut, clock::Timestamp, sim::scenario::Scenario};

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Answered in time.
    Succeeded,
    /// Refused the last time that it was tried.
    Refused,
    /// Not answered in time the last time that it was tried.
    Missed,
}

/// How a call left the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// To a worker.
    Started,
    /// Its time had passed.
    Expired,
    /// Pushed out or refused by the guard.
    Dropped,
}

/// What came out of one run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The figures of the whole.
    pub figures: Figures,
    /// Those of each business, in the order of the scenario.
    pub businesses: Vec<Figures>,
    /// By the number of calls that a task makes at its entry, ascending.
    pub by_calls: Vec<ByCalls>,
    /// How it settled after each change.
    pub settled: Vec<Settled>,
    /// Its course.
    pub series: Series,
}

/// Tasks that make the same number of calls at their entry.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ByCalls {
    /// How many.
    pub calls: u32,
    /// Tasks that arrived.
    pub offered: f64,
    /// The share of them that succeeded.
    pub success_rate: f64,
}

#[derive(Clone, Debug)]
struct Business {
    offered: u64,
    succeeded: u64,
    refused: u64,
    missed: u64,
    latency: Times,
    queuing: Times,
}

/// Keeps the books of a run.
#[derive(Debug)]
pub struct Recorder {
    warmup: Timestamp,
    end: Timestamp,
    optimum: Optimum,
    books: Books,
    series: Series,
    businesses: Vec<Business>,
    /// Calls at the entry and priority of each business.
    kinds: Vec<(u32, u8)>,
    fairness: [Fairness; 3],
    tries: u64,
    started: u64,
    expired: u64,
    dropped: u64,
    locally_refused: u64,
    refusals: u64,
    work: Duration,
    useful: Duration,
    counts: Counts,
}

const HORIZONS: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(60)];

impl Recorder {
    /// Empty books for a run of this scenario at this load.
    pub fn new(scenario: &Scenario, load: f64) -> Self {
        let warmup = Timestamp::ZERO + scenario.warmup;
        let businesses = scenario.businesses.len();
        let empty =
            Business { offered: 0, succeeded: 0, refused: 0, missed: 0, latency: Times::new(), queuing: Times::new() };
        let [ten, sixty] = HORIZONS;
        let fairness = [ten, sixty, scenario.duration - scenario.warmup]
            .map(|horizon| Fairness::new(scenario.users.count, warmup, horizon));
        let kinds = scenario
            .businesses
            .iter()
            .map(|business| (business.calls.iter().map(|calls| calls.times).sum(), business.priority));
        Self {
            warmup,
            end: Timestamp::ZERO + scenario.duration,
            optimum: Optimum::new(scenario, load),
            books: Books::new(businesses),
            series: Series::new(scenario.duration, businesses),
            businesses: vec![empty; businesses],
            kinds: kinds.collect(),
            fairness,
            tries: 0,
            started: 0,
            expired: 0,
            dropped: 0,
            locally_refused: 0,
            refusals: 0,
            work: Duration::ZERO,
            useful: Duration::ZERO,
            counts: Counts::default(),
        }
    }

    fn counts(&self, created: Timestamp) -> bool {
        created >= self.warmup
    }

    /// A task arrived.
    pub fn arrived(&mut self, now: Timestamp, business: usize, user: u32) {
        self.books.arrived(now, business);
        self.series.arrived(now, business);
        if self.counts(now) {
            self.businesses[business].offered += 1;
            self.fairness.iter_mut().for_each(|fairness| fairness.offered(now, user));
        }
    }

    /// A task that arrived at `created` is tried.
    pub fn tried(&mut self, created: Timestamp) {
        self.tries += u64::from(self.counts(created));
    }

    /// A call of such a task was refused by its caller.
    pub fn refused_by_caller(&mut self, created: Timestamp) {
        self.locally_refused += u64::from(self.counts(created));
    }

    /// A call of such a task was refused when it arrived at its server.
    pub fn refused_on_arrival(&mut self, created: Timestamp) {
        self.refusals += u64::from(self.counts(created));
    }

    /// A gate let a call pass.
    pub fn admitted(&mut self, now: Timestamp) {
        self.series.admitted(now);
    }

    /// A call of a task that arrived at `created` left the queue after this time in it.
    pub fn left_queue(&mut self, now: Timestamp, created: Timestamp, business: usize, queuing: Duration, how: Left) {
        self.series.left_queue(now, queuing);
        if !self.counts(created) {
            return;
        }
        self.businesses[business].queuing.record(queuing);
        match how {
            Left::Started => self.started += 1,
            Left::Expired => self.expired += 1,
            Left::Dropped => self.dropped += 1,
        }
    }

    /// A worker begins with a call of such a task, and will work on it for this long at speed 1.
    pub fn worked(&mut self, created: Timestamp, service: Duration) {
        if self.counts(created) {
            self.work = self.work.saturating_add(service);
        }
    }

    /// A task ended; `work` was spent on its last try.
    pub fn ended(&mut self, now: Timestamp, task: EndedTask, fate: Fate) {
        let EndedTask { created, business, user, work } = task;
        if fate == Fate::Succeeded {
            self.books.succeeded_that_arrived(created, business, work);
            self.series.succeeded(now, created, business);
        }
        if !self.counts(created) {
            return;
        }
        let kept = &mut self.businesses[business];
        match fate {
            Fate::Refused => kept.refused += 1,
            Fate::Missed => kept.missed += 1,
            Fate::Succeeded => {
                kept.succeeded += 1;
                kept.latency.record(now.since(created));
                self.useful = self.useful.saturating_add(work);
                self.fairness.iter_mut().for_each(|fairness| fairness.succeeded(created, user));
            }
        }
    }

    /// The regular look, with the strictest cut.
    pub fn tick(&mut self, now: Timestamp, cut: Option<Cut>) {
        self.series.cut(now, cut);
    }

    /// What was counted in the windows of a gate.
    pub fn window(&mut self, now: Timestamp, counts: Counts) {
        if self.counts(now) {
            self.counts.gate += counts.gate;
            self.counts.queue += counts.queue;
            self.counts.exceptions += counts.exceptions;
        }
    }

    /// Closes the books; so many tasks have not ended.
    pub fn finish(mut self, unfinished: usize) -> Run {
        self.books.close(Books::bin_at(self.end) + 1);
        let seconds = |at: Timestamp| at.since(Timestamp::ZERO).as_secs_f64();
        let (warmup, end) = (seconds(self.warmup), seconds(self.end));
        let ideal = self.ideal(warmup, end);
        let settled = settle(&self.optimum, &self.books, warmup, end);
        let businesses: Vec<_> = (0..self.businesses.len())
            .map(|index| self.of_business(index, ideal.by_priority[index], end - warmup))
            .collect();
        let by_calls = self.by_calls();
        let mut figures = self.of_all(&ideal, end - warmup);
        figures.extend(self.of_calls(warmup, end));
        figures.extend(of_changes(&settled));
        figures.insert(Metric::Unfinished, unfinished as f64);
        let rates = by_calls.iter().map(|group| group.success_rate);
        if by_calls.len() > 1 {
            let (least, most) = (rates.clone().fold(1.0, f64::min), rates.fold(0.0, f64::max));
            figures.insert(Metric::CallsSpread, most - least);
        }
        let [ten, sixty, run] = self.fairness.map(|fairness| fairness.index(self.end));
        let jain = [(Metric::Jain10, ten), (Metric::Jain60, sixty), (Metric::JainRun, run)];
        figures.extend(jain.into_iter().filter_map(|(metric, index)| Some((metric, index?))));
        Run { figures, businesses, by_calls, settled, series: self.series.finish() }
    }

    /// What could have succeeded after the warm-up.
    fn ideal(&self, warmup: f64, end: f64) -> Ideal {
        let mut ideal = Ideal { tasks: 0.0, work: 0.0, by_priority: vec![0.0; self.businesses.len()] };
        let inner = self.optimum.bounds.iter().copied().filter(|at| *at > warmup && *at < end);
        let bounds: Vec<_> = [warmup].into_iter().chain(inner).chain([end]).collect();
        for span in bounds.windows(2) {
            let offered = self.books.offered(Books::bin(span[0]), Books::bin(span[1]));
            let served = self.optimum.served(&offered, span[0], span[1]);
            for (business, count) in offered.iter().enumerate() {
                ideal.tasks += count * served.share;
                ideal.work += count * served.share * self.optimum.work(business);
                ideal.by_priority[business] += count * served.by_priority[business];
            }
        }
        ideal
    }

    fn of_business(&self, index: usize, ideal: f64, seconds: f64) -> Figures {
        let kept = &self.businesses[index];
        let mut figures = shares(kept, seconds, ideal);
        times(&mut figures, &kept.latency, &kept.queuing);
        figures
    }

    fn of_all(&self, ideal: &Ideal, seconds: f64) -> Figures {
        let Some((first, rest)) = self.businesses.split_first() else { return Figures::new() };
        let mut all = first.clone();
        for kept in rest {
            all.offered += kept.offered;
            all.succeeded += kept.succeeded;
            all.refused += kept.refused;
            all.missed += kept.missed;
            all.latency.add(&kept.latency);
            all.queuing.add(&kept.queuing);
        }
        let mut figures = shares(&all, seconds, ideal.tasks);
        times(&mut figures, &all.latency, &all.queuing);
        let works = self.businesses.iter().enumerate();
        let work: f64 = works.map(|(index, kept)| kept.succeeded as f64 * self.optimum.work(index)).sum();
        insert(&mut figures, Metric::Goodput, ratio(work, ideal.work));
        figures.insert(Metric::Tries, self.tries as f64);
        insert(&mut figures, Metric::TriesPerSuccess, ratio(self.tries as f64, all.succeeded as f64));
        figures
    }

    fn of_calls(&self, warmup: f64, end: f64) -> Figures {
        let mut figures = Figures::new();
        let work = self.work.as_secs_f64();
        let queued = (self.started + self.expired + self.dropped) as f64;
        let top = self.kinds.iter().zip(&self.businesses).filter(|(_, kept)| kept.offered > 0);
        let top = top.min_by_key(|((_, priority), _)| *priority);
        insert(&mut figures, Metric::TopQueuingP99, top.and_then(|(_, kept)| kept.queuing.millis(0.99)));
        insert(&mut figures, Metric::Wasted, ratio(work - self.useful.as_secs_f64(), work));
        insert(&mut figures, Metric::Utilization, ratio(work, self.optimum.available(warmup, end)));
        insert(&mut figures, Metric::Expired, ratio(self.expired as f64, queued));
        insert(&mut figures, Metric::Dropped, ratio(self.dropped as f64, queued));
        let local = self.locally_refused as f64;
        insert(&mut figures, Metric::LocallyRefused, ratio(local, local + queued + self.refusals as f64));
        figures.insert(Metric::Refusals, self.refusals as f64);
        figures.insert(Metric::Inversions, self.counts.gate as f64);
        figures.insert(Metric::QueueInversions, self.counts.queue as f64);
        figures.insert(Metric::Exceptions, self.counts.exceptions as f64);
        figures
    }

    fn by_calls(&self) -> Vec<ByCalls> {
        let mut groups: Vec<(u32, u64, u64)> = Vec::new();
        for ((calls, _), kept) in self.kinds.iter().zip(&self.businesses) {
            match groups.iter_mut().find(|group| group.0 == *calls) {
                Some(group) => (group.1, group.2) = (group.1 + kept.offered, group.2 + kept.succeeded),
                None => groups.push((*calls, kept.offered, kept.succeeded)),
            }
        }
        groups.sort_unstable();
        let group = |(calls, offered, succeeded): (u32, u64, u64)| {
            let success_rate = ratio(succeeded as f64, offered as f64).unwrap_or(1.0);
            ByCalls { calls, offered: offered as f64, success_rate }
        };
        groups.into_iter().filter(|group| group.1 > 0).map(group).collect()
    }
}

/// What is known of a task at its end.
#[derive(Clone, Copy, Debug)]
pub struct EndedTask {
    /// When it arrived.
    pub created: Timestamp,
    /// Of this business.
    pub business: usize,
    /// Of this user.
    pub user: u32,
    /// Service time spent on its last try.
    pub work: Duration,
}

struct Ideal {
    tasks: f64,
    work: f64,
    by_priority: Vec<f64>,
}

fn shares(kept: &Business, seconds: f64, ideal: f64) -> Figures {
    let offered = kept.offered as f64;
    let mut figures = Figures::from([
        (Metric::Offered, offered),
        (Metric::OfferedRate, offered / seconds),
        (Metric::Succeeded, kept.succeeded as f64),
    ]);
    let of_offered = |count: u64| ratio(count as f64, offered);
    insert(&mut figures, Metric::SuccessRate, of_offered(kept.succeeded));
    insert(&mut figures, Metric::Refused, of_offered(kept.refused));
    insert(&mut figures, Metric::Missed, of_offered(kept.missed));
    insert(&mut figures, Metric::Failed, of_offered(kept.offered - kept.succeeded));
    insert(&mut figures, Metric::Optimum, ratio(ideal, offered));
    insert(&mut figures, Metric::OfOptimum, ratio(kept.succeeded as f64, ideal));
    figures
}

fn times(figures: &mut Figures, latency: &Times, queuing: &Times) {
    insert(figures, Metric::LatencyP50, latency.millis(0.5));
    insert(figures, Metric::LatencyP99, latency.millis(0.99));
    insert(figures, Metric::LatencyP999, latency.millis(0.999));
    insert(figures, Metric::QueuingMean, queuing.mean_millis());
    insert(figures, Metric::QueuingP50, queuing.millis(0.5));
    insert(figures, Metric::QueuingP99, queuing.millis(0.99));
    insert(figures, Metric::QueuingP999, queuing.millis(0.999));
}

fn of_changes(settled: &[Settled]) -> Figures {
    let mut figures = Figures::new();
    let worst = |towards| settled.iter().filter(|one| one.towards == towards).map(|one| one.settled_s).reduce(f64::max);
    insert(&mut figures, Metric::Convergence, worst(Towards::Overload));
    insert(&mut figures, Metric::Recovery, worst(Towards::Recovery));
    let reopened = settled.iter().filter_map(|one| one.reopened_s).reduce(f64::max);
    insert(&mut figures, Metric::Reopening, reopened);
    figures
}

fn insert(figures: &mut Figures, metric: Metric, figure: Option<f64>) {
    if let Some(figure) = figure {
        figures.insert(metric, figure);
    }
}

fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}
