//! The best settings of controllers on given scenarios: [`search`] proposes, the scenarios score. The score is goodput, as a
//! share of what could be done, averaged over scenarios, loads and seeds; every controller meets the same runs.
//!
//! A search also finds what happens to suit its seeds. So its best few and the authors' settings meet in a final on other
//! seeds, and the winner is measured on seeds that neither has seen. These are the figures to quote.

use serde::Serialize;

use super::{
    compare::{Job, compare},
    controllers::{self, Contender},
    measure::Metric,
    report::Report,
    search::{self, Found, Plan, REMEMBERED},
};
use crate::policy::Faults;

/// What was found for a controller.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tuned {
    /// Its name.
    pub controller: String,
    /// The goodput of its authors' settings, on seeds that were used for nothing else.
    pub authors: f64,
    /// The goodput of the best settings, on the same seeds.
    pub best: f64,
    /// The best settings; empty if nothing was better than what the authors have.
    pub settings: toml::Table,
    /// How many settings were tried.
    pub tries: usize,
}

/// How many runs a search of the controller of this name takes at most, for a bar.
pub fn runs(name: &str, jobs: &[Job], plan: Plan) -> usize {
    let each: usize = jobs.iter().map(|job| job.scenario.sweep.len() * job.seeds.len()).sum();
    let (tries, finalists) = if controllers::knobs(name).is_empty() { (1, 0) } else { (plan.tries, REMEMBERED + 1) };
    (tries + finalists + 2) * each
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
    let (finals, fresh) = (later(jobs, 1), later(jobs, 2));
    let settings = final_of(&found, |settings| score(&finals, settings))?;
    Ok(Tuned {
        controller: name.to_owned(),
        authors: score(&fresh, &toml::Table::new())?,
        best: score(&fresh, &settings)?,
        settings,
        tries: found.tries,
    })
}

/// The settings that are best on the seeds of search and final together; none are the authors'.
fn final_of<E>(found: &Found, mut score: impl FnMut(&toml::Table) -> Result<f64, E>) -> Result<toml::Table, E> {
    let mut winner = toml::Table::new();
    if found.better.is_empty() {
        return Ok(winner);
    }
    let mut most = found.authors + score(&winner)?;
    for finalist in &found.better {
        let sum = finalist.score + score(&finalist.settings)?;
        if sum > most {
            (winner, most) = (finalist.settings.clone(), sum);
        }
    }
    Ok(winner)
}

/// The same jobs with these contenders.
fn alone(jobs: &[Job], contenders: Vec<Contender>) -> Vec<Job> {
    let mut jobs = jobs.to_vec();
    jobs.iter_mut().for_each(|job| job.scenario.contenders.clone_from(&contenders));
    jobs
}

/// The same jobs with as many seeds each, `times` further on.
fn later(jobs: &[Job], times: u64) -> Vec<Job> {
    let mut jobs = jobs.to_vec();
    for job in &mut jobs {
        let step = times.wrapping_mul(job.seeds.len() as u64);
        job.seeds.iter_mut().for_each(|seed| *seed = seed.wrapping_add(step));
    }
    jobs
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
    use crate::sim::{scenario::Scenario, search::Scored};

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
        assert!(tuned.best > tuned.authors + 0.05, "{tuned:?}");
        assert_eq!(tune("codel", &jobs(), plan, &|| ()).unwrap(), tuned);
    }

    #[test]
    fn no_more_runs_are_made_than_announced() {
        use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
        let plan = Plan { tries: 3, seed: 1 };
        for name in ["none", "codel"] {
            let done = AtomicUsize::new(0);
            let count = || {
                done.fetch_add(1, Relaxed);
            };
            tune(name, &jobs(), plan, &count).unwrap();
            assert!(done.into_inner() <= runs(name, &jobs(), plan), "{name}");
        }
    }

    #[test]
    fn a_lucky_find_loses_the_final() {
        let table = |text: &str| text.parse::<toml::Table>().unwrap();
        let scored = |text: &str, score: f64| Scored { settings: table(text), score };
        let found =
            Found { better: vec![scored("lucky = 1", 0.99), scored("solid = 1", 0.97)], authors: 0.9, tries: 9 };
        let score = |settings: &toml::Table| {
            Ok::<_, std::convert::Infallible>(if settings.contains_key("lucky") { 0.5 } else { 0.96 })
        };
        let Ok(winner) = final_of(&found, score);
        assert_eq!(winner, table("solid = 1"));
        let Ok(winner) = final_of(&Found { better: vec![scored("lucky = 1", 0.99)], ..found }, score);
        assert_eq!(winner, toml::Table::new(), "the authors' settings win");
    }

    #[test]
    fn finals_and_figures_have_seeds_of_their_own() {
        let jobs = [Job { seeds: vec![3, 4, 5], ..jobs().remove(0) }];
        assert_eq!(later(&jobs, 1)[0].seeds, [6, 7, 8]);
        assert_eq!(later(&jobs, 2)[0].seeds, [9, 10, 11]);
    }
}
