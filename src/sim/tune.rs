//! The best settings of controllers on given scenarios: [`search`] proposes, the scenarios score. The score is goodput, as a
//! share of what could be done, averaged over scenarios, loads and seeds; every controller meets the same runs.
//!
//! A search also finds what happens to suit its seeds. So the authors' settings and the best ones are compared once more,
//! on seeds that the search did not see, and these are the figures to quote.

use serde::Serialize;

use super::{
    compare::{Job, compare},
    controllers::{self, Contender},
    measure::Metric,
    report::Report,
    search::{self, Found, Plan},
};
use crate::policy::Faults;

/// What was found for a controller.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tuned {
    /// Its name.
    pub controller: String,
    /// The goodput of its authors' settings, on fresh seeds.
    pub authors: f64,
    /// The goodput of the best settings, on fresh seeds.
    pub best: f64,
    /// The same two on the seeds of the search.
    pub searched: Searched,
    /// The best settings; empty if nothing was better than what the authors have.
    pub settings: toml::Table,
    /// How many settings were tried.
    pub tries: usize,
}

/// What the search itself saw.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Searched {
    /// The goodput of its authors' settings.
    pub authors: f64,
    /// The goodput of the best settings.
    pub best: f64,
}

/// How many runs a search of the controller of this name takes, for a bar.
pub fn runs(name: &str, jobs: &[Job], plan: Plan) -> usize {
    let tries = if controllers::knobs(name).is_empty() { 1 } else { plan.tries };
    let each: usize = jobs.iter().map(|job| job.scenario.sweep.len() * job.seeds.len()).sum();
    (tries + 2) * each
}

/// Searches the best settings of the controller of this name; `done` is called after each run.
///
/// # Errors
///
/// If a setting that a search may vary is none of the controller's.
pub fn tune(name: &str, jobs: &[Job], plan: Plan, done: &(dyn Fn() + Sync)) -> Result<Tuned, Faults> {
    let score = |jobs: &[Job], settings: &toml::Table| {
        let contenders = controllers::with(name, settings)?.into_iter().collect();
        Ok(goodput(&compare(&alone(jobs, contenders), done)))
    };
    let defaults = controllers::authors_settings(name);
    let found = search::best(controllers::knobs(name), &defaults, plan, |settings| score(jobs, settings))?;
    let fresh: Vec<_> = jobs.iter().map(fresh).collect();
    let Found { settings, score: best, authors, tries } = found;
    Ok(Tuned {
        controller: name.to_owned(),
        authors: score(&fresh, &toml::Table::new())?,
        best: score(&fresh, &settings)?,
        searched: Searched { authors, best },
        settings,
        tries,
    })
}

/// The same jobs with these contenders.
fn alone(jobs: &[Job], contenders: Vec<Contender>) -> Vec<Job> {
    let mut jobs = jobs.to_vec();
    jobs.iter_mut().for_each(|job| job.scenario.contenders.clone_from(&contenders));
    jobs
}

/// The same job with as many seeds that follow its own.
fn fresh(job: &Job) -> Job {
    let next = job.seeds.iter().max().map_or(0, |last| last.wrapping_add(1));
    let seeds = (0..job.seeds.len() as u64).map(|index| next.wrapping_add(index)).collect();
    Job { seeds, ..job.clone() }
}

/// The mean over everything; no number if there is nothing.
fn goodput(report: &Report) -> f64 {
    let points = report.scenarios.iter().flat_map(|scenario| &scenario.points);
    let figures = points.flat_map(|point| &point.outcomes).map(|outcome| outcome.estimate(Metric::Goodput, None));
    let (mut sum, mut count) = (0.0, 0.0);
    for estimate in figures.flatten() {
        sum += estimate.mean;
        count += 1.0;
    }
    sum / count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::scenario::Scenario;

    const SCENARIO: &str = "
        duration = '6s'
        warmup = '3s'
        sweep = [0.8, 2]
        controllers = ['none']
        [traffic]
        rate = '1x'
        [[service]]
        name = 'main'
        workers = 4
        time = '10ms'
        [[business]]
        name = 'message'
        priority = 20
    ";

    fn jobs() -> Vec<Job> {
        let scenario = Scenario::parse("small", SCENARIO).unwrap_or_else(|faults| panic!("{faults}"));
        vec![Job { file: "small".into(), scenario, seeds: vec![7] }]
    }

    #[test]
    fn a_controller_gains_and_the_same_search_finds_the_same() {
        let plan = Plan { tries: 12, seed: 1 };
        let tuned = tune("codel", &jobs(), plan, &|| ()).unwrap();
        assert!(tuned.searched.best > tuned.searched.authors + 0.05, "{tuned:?}");
        assert!(tuned.best > tuned.authors, "{tuned:?}");
        assert_eq!(tune("codel", &jobs(), plan, &|| ()).unwrap(), tuned);
    }

    #[test]
    fn every_run_is_announced() {
        use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
        let plan = Plan { tries: 3, seed: 1 };
        for name in ["none", "fixed"] {
            let done = AtomicUsize::new(0);
            let count = || {
                done.fetch_add(1, Relaxed);
            };
            tune(name, &jobs(), plan, &count).unwrap();
            assert_eq!(done.into_inner(), runs(name, &jobs(), plan), "{name}");
        }
    }

    #[test]
    fn fresh_seeds_are_none_of_the_searched_ones() {
        let job = Job { seeds: vec![3, 4, 5], ..jobs().remove(0) };
        assert_eq!(fresh(&job).seeds, [6, 7, 8]);
    }
}
