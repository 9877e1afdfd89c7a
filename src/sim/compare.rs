//! Runs everything that has to be run, on as many threads as there are processors. Each run is alone in its world, so
//! that threads change nothing but how long it takes.

use std::{
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use super::{
    engine,
    measure::Run,
    report::{Outcome, Point, Report, ScenarioReport},
    scenario::Scenario,
};

/// A scenario and the file that it came from.
#[derive(Clone, Debug)]
pub struct Job {
    /// The file, as reports show it.
    pub file: String,
    /// What is to be run.
    pub scenario: Scenario,
    /// With which seeds.
    pub seeds: Vec<u64>,
}

impl Job {
    /// How many runs it takes.
    pub fn runs(&self) -> usize {
        self.scenario.sweep.len() * self.scenario.contenders.len() * self.seeds.len()
    }
}

/// One run among many.
#[derive(Clone, Copy, Debug)]
struct Task {
    job: usize,
    point: usize,
    contender: usize,
    seed: usize,
}

/// Runs all jobs; `done` is called after each run.
pub fn compare(jobs: &[Job], done: &(dyn Fn() + Sync)) -> Report {
    let tasks = tasks(jobs);
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Run>>> = tasks.iter().map(|_| Mutex::new(None)).collect();
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(tasks.len());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    let Some(task) = tasks.get(number) else { return };
                    let run = run(jobs, *task);
                    *results[number].lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
                    done();
                }
            });
        }
    });
    let runs = results.into_iter().filter_map(|run| run.into_inner().unwrap_or_else(PoisonError::into_inner));
    gather(jobs, runs)
}

/// In the order in which they are gathered.
fn tasks(jobs: &[Job]) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (job, Job { scenario, seeds, .. }) in jobs.iter().enumerate() {
        for point in 0..scenario.sweep.len() {
            for contender in 0..scenario.contenders.len() {
                tasks.extend((0..seeds.len()).map(|seed| Task { job, point, contender, seed }));
            }
        }
    }
    tasks
}

fn run(jobs: &[Job], task: Task) -> Run {
    let Job { scenario, seeds, .. } = &jobs[task.job];
    engine::run(scenario, &scenario.contenders[task.contender], scenario.sweep[task.point], seeds[task.seed])
}

fn gather(jobs: &[Job], mut runs: impl Iterator<Item = Run>) -> Report {
    let mut scenarios = Vec::new();
    for Job { file, scenario, seeds } in jobs {
        let points = scenario.sweep.iter().map(|load| {
            let outcome = |label: &str| Outcome::new(label, runs.by_ref().take(seeds.len()).collect());
            let mut outcome = outcome;
            let outcomes = scenario.contenders.iter().map(|contender| outcome(&contender.label)).collect();
            Point { load: *load, outcomes }
        });
        let points = points.collect();
        scenarios.push(ScenarioReport::new(scenario, file.clone(), seeds.clone(), points));
    }
    Report { scenarios }
}
