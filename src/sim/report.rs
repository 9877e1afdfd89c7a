//! What a comparison found: plain data for tables, JSON and plots. All lists stand in the order of the scenario file.
//!
//! ```text
//! Report ─▶ ScenarioReport ─▶ Point (one per load) ─▶ Outcome (one per controller) ─▶ figures, each an Estimate
//!                          └▶ Verdict (one per expectation and load)                └▶ businesses, by_calls, settled, series
//! ```

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    measure::{ByCalls, Figures, Metric, Run, Series, Settled},
    scenario::{Expectation, Scenario, saturation},
};

/// Everything that one call of `dagor simulate` found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// In the order in which they were given.
    pub scenarios: Vec<ScenarioReport>,
}

/// What was found for a scenario.
#[derive(Clone, Debug, Serialize)]
pub struct ScenarioReport {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The file it came from.
    pub file: String,
    /// For how long tasks arrived.
    pub duration_s: f64,
    /// Tasks that arrived before this counted for nothing.
    pub warmup_s: f64,
    /// The seeds of the runs.
    pub seeds: Vec<u64>,
    /// Tasks per second of the shared traffic that could just be served at the beginning.
    pub saturation_per_s: f64,
    /// What users asked for.
    pub businesses: Vec<BusinessInfo>,
    /// Whether the loads are a sweep; otherwise there is one point.
    pub swept: bool,
    /// One for each load.
    pub points: Vec<Point>,
    /// What the file expected, and whether it came true.
    pub verdicts: Vec<Verdict>,
}

/// A business of a scenario.
#[derive(Clone, Debug, Serialize)]
pub struct BusinessInfo {
    /// Its name.
    pub name: String,
    /// Smaller is more important.
    pub priority: u8,
    /// How many calls its tasks make at their entry.
    pub calls: u32,
}

/// What was found at a load.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// What the rates of the shared traffic were multiplied with.
    pub load: f64,
    /// One for each controller.
    pub outcomes: Vec<Outcome>,
}

/// What was found for a controller at a load.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The controller's label.
    pub controller: String,
    /// The figures of the whole.
    pub figures: BTreeMap<Metric, Estimate>,
    /// The figures of each business.
    pub businesses: Vec<BTreeMap<Metric, Estimate>>,
    /// By the number of calls that a task makes at its entry, ascending; means over the seeds.
    pub by_calls: Vec<ByCalls>,
    /// How the run of the first seed settled after each change.
    pub settled: Vec<Settled>,
    /// The course of the run of the first seed.
    pub series: Series,
}

/// A figure over all seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Half of the 95 % interval of the mean (Student's t); absent for a single seed.
    pub half_width: Option<f64>,
    /// The figure of each seed, in the order of the seeds; absent where it makes no sense.
    pub values: Vec<Option<f64>>,
}

/// Whether an expectation came true.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// What was expected, in words.
    pub expectation: String,
    /// At this load.
    pub load: f64,
    /// What was found.
    pub found: Option<Estimate>,
    /// Whether the mean lies within the bounds.
    pub met: bool,
}

impl Outcome {
    /// Puts the runs of all seeds together.
    pub(super) fn new(controller: &str, mut runs: Vec<Run>) -> Self {
        let figures = estimates(runs.iter().map(|run| &run.figures));
        let businesses = runs.first().map_or(0, |run| run.businesses.len());
        let businesses = (0..businesses).map(|index| estimates(runs.iter().map(|run| &run.businesses[index])));
        let businesses = businesses.collect();
        let by_calls = by_calls(&runs);
        let first = runs.swap_remove(0);
        Self {
            controller: controller.to_owned(),
            figures,
            businesses,
            by_calls,
            settled: first.settled,
            series: first.series,
        }
    }

    /// The mean of a figure of the whole, or of a business.
    pub fn estimate(&self, metric: Metric, business: Option<usize>) -> Option<&Estimate> {
        match business {
            Some(index) => self.businesses.get(index)?.get(&metric),
            None => self.figures.get(&metric),
        }
    }
}

fn estimates<'r>(runs: impl Iterator<Item = &'r Figures> + Clone) -> BTreeMap<Metric, Estimate> {
    let estimate = |metric: Metric| {
        let values = runs.clone().map(|figures| figures.get(&metric).copied()).collect();
        Some((metric, Estimate::new(values)?))
    };
    Metric::ALL.iter().copied().filter_map(estimate).collect()
}

fn by_calls(runs: &[Run]) -> Vec<ByCalls> {
    let Some(first) = runs.first() else { return Vec::new() };
    let mean = |group: &ByCalls| {
        let same = runs.iter().flat_map(|run| &run.by_calls).filter(|other| other.calls == group.calls);
        let (mut count, mut offered, mut success_rate) = (0.0, 0.0, 0.0);
        for other in same {
            (count, offered, success_rate) = (count + 1.0, offered + other.offered, success_rate + other.success_rate);
        }
        ByCalls { calls: group.calls, offered: offered / count, success_rate: success_rate / count }
    };
    first.by_calls.iter().map(mean).collect()
}

/// 97.5 % quantiles of Student's t for 1 degree of freedom and more; beyond the table the normal one is close enough.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];
const NORMAL: f64 = 1.960;

impl Estimate {
    /// Of these values; `None` if there are none.
    pub fn new(values: Vec<Option<f64>>) -> Option<Self> {
        let present: Vec<_> = values.iter().flatten().copied().collect();
        let count = present.len() as f64;
        if present.is_empty() {
            return None;
        }
        let mean = present.iter().sum::<f64>() / count;
        let half_width = (present.len() > 1).then(|| {
            let variance = present.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
            STUDENT.get(present.len() - 2).unwrap_or(&NORMAL) * (variance / count).sqrt()
        });
        Some(Self { mean, half_width, values })
    }

    /// The differences to another estimate, seed by seed.
    pub fn minus(&self, other: &Self) -> Option<Self> {
        let pairs = self.values.iter().zip(&other.values);
        Self::new(pairs.map(|(mine, theirs)| Some((*mine)? - (*theirs)?)).collect())
    }
}

impl ScenarioReport {
    /// Puts the points together and judges the expectations.
    pub(super) fn new(scenario: &Scenario, file: String, seeds: Vec<u64>, points: Vec<Point>) -> Self {
        let info = |business: &super::scenario::Business| BusinessInfo {
            name: business.name.clone(),
            priority: business.priority,
            calls: business.calls.iter().map(|calls| calls.times).sum(),
        };
        let verdicts = scenario.expectations.iter().flat_map(|expectation| judge(expectation, scenario, &points));
        Self {
            verdicts: verdicts.collect(),
            name: scenario.name.clone(),
            description: scenario.description.clone(),
            file,
            duration_s: scenario.duration.as_secs_f64(),
            warmup_s: scenario.warmup.as_secs_f64(),
            seeds,
            saturation_per_s: saturation::of_mix(&scenario.services, &scenario.businesses),
            businesses: scenario.businesses.iter().map(info).collect(),
            swept: scenario.swept,
            points,
        }
    }
}

/// One verdict for each point that the expectation is about and that its controllers were run at.
fn judge(expectation: &Expectation, scenario: &Scenario, points: &[Point]) -> Vec<Verdict> {
    let about = |point: &&Point| expectation.load.is_none_or(|load| (load - point.load).abs() < 1e-9);
    let verdict = |point: &Point| {
        let of = |label: &str| point.outcomes.iter().find(|outcome| outcome.controller == label);
        let own = of(&expectation.controller)?;
        let mut found = own.estimate(expectation.metric, expectation.business).cloned();
        if let Some(than) = &expectation.than {
            let other = of(than)?.estimate(expectation.metric, expectation.business);
            found = found.and_then(|found| found.minus(other?));
        }
        let mean = found.as_ref().map(|found| found.mean);
        let within = |mean: f64| {
            expectation.at_least.is_none_or(|least| mean >= least)
                && expectation.at_most.is_none_or(|most| mean <= most)
        };
        Some(Verdict {
            expectation: words(expectation, scenario),
            load: point.load,
            met: mean.is_some_and(within),
            found,
        })
    };
    points.iter().filter(about).filter_map(verdict).collect()
}

/// `capacity: success_rate of login ≥ 0.999`
fn words(expectation: &Expectation, scenario: &Scenario) -> String {
    let Expectation { controller, metric, business, than, at_least, at_most, .. } = expectation;
    let business = business.and_then(|index| scenario.businesses.get(index));
    let of = business.map_or_else(String::new, |business| format!(" of {}", business.name));
    let than = than.as_ref().map_or_else(String::new, |than| format!(" minus {than}'s"));
    let bound = |sign: &str, bound: &Option<f64>| bound.map_or_else(String::new, |bound| format!(" {sign} {bound}"));
    format!("{controller}: {}{of}{than}{}{}", metric.name(), bound("≥", at_least), bound("≤", at_most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_students() {
        let estimate = Estimate::new(vec![Some(1.0), Some(2.0), None, Some(3.0)]).unwrap();
        assert_eq!(estimate.mean, 2.0);
        // t of 2 degrees of freedom times 1/√3.
        assert!((estimate.half_width.unwrap() - 4.303 / 3_f64.sqrt()).abs() < 1e-9);
        assert_eq!(Estimate::new(vec![Some(5.0)]).unwrap().half_width, None);
        assert_eq!(Estimate::new(vec![None]), None);
    }

    #[test]
    fn differences_are_taken_seed_by_seed() {
        let one = Estimate::new(vec![Some(5.0), Some(7.0), Some(9.0)]).unwrap();
        let other = Estimate::new(vec![Some(4.0), None, Some(8.0)]).unwrap();
        let difference = one.minus(&other).unwrap();
        assert_eq!((difference.mean, difference.half_width), (1.0, Some(0.0)));
    }
}
