//! A scenario's report from the reader's side: which load is looked at closely, and who matters most.

use crate::sim::report::{BusinessInfo, Outcome, Point, ScenarioReport, Verdict};

/// A scenario's report and the load that is looked at closely: the heaviest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'r> {
    pub(super) report: &'r ScenarioReport,
    point: Option<&'r Point>,
}

impl<'r> Scene<'r> {
    pub(super) fn new(report: &'r ScenarioReport) -> Self {
        let point = report.points.iter().max_by(|one, other| one.load.total_cmp(&other.load));
        Self { report, point }
    }

    /// The heaviest load.
    pub(super) fn load(&self) -> f64 {
        self.point.map_or(1.0, |point| point.load)
    }

    /// What the controllers achieved at the heaviest load.
    pub(super) fn outcomes(&self) -> &'r [Outcome] {
        self.point.map_or(&[], |point| &point.outcomes)
    }

    /// ` at load 5`, where there are several.
    pub(super) fn at(&self) -> String {
        if self.report.points.len() > 1 { format!(" at load {}", load_text(self.load())) } else { String::new() }
    }

    /// Businesses with their place in the report, the most important first.
    pub(super) fn businesses(&self) -> Vec<(usize, &'r BusinessInfo)> {
        let mut businesses: Vec<_> = self.report.businesses.iter().enumerate().collect();
        businesses.sort_by_key(|(_, business)| business.priority);
        businesses
    }

    /// The most important business, if not all are alike.
    pub(super) fn top_business(&self) -> Option<usize> {
        let businesses = self.businesses();
        let (first, last) = (businesses.first()?, businesses.last()?);
        (first.1.priority < last.1.priority).then_some(first.0)
    }

    /// What was expected, each with its verdict at each load.
    pub(super) fn judged(&self) -> impl Iterator<Item = &'r [Verdict]> {
        self.report.verdicts.chunk_by(|one, other| one.expectation == other.expectation)
    }

    /// `3 of 4 met`, or `none`.
    pub(super) fn expectations(&self) -> String {
        let met = self.judged().filter(|judged| judged.iter().all(|verdict| verdict.met)).count();
        let all = self.judged().count();
        if all == 0 { "none".to_owned() } else { format!("{met} of {all} met") }
    }
}

/// `2.5×`
pub(super) fn load_text(load: f64) -> String {
    format!("{load}×")
}
