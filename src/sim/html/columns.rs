//! The columns of the answer: which figures, which of them is the better, and which is the best.

use super::{markup::Markup, number::Unit, scene::Scene};
use crate::sim::{
    measure::Metric,
    report::{Estimate, Outcome},
};

/// Fewer seeds than these have intervals so wide that hardly anything could be told apart.
pub(super) const FEWEST_SEEDS: usize = 5;

/// Which of two figures is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    More,
    Less,
    /// Neither: it depends.
    Neither,
}

/// A column of figures, one for each controller.
pub(super) struct Column {
    pub(super) header: String,
    /// Which figure it is, in a sentence.
    pub(super) what: &'static str,
    pub(super) unit: Unit,
    better: Better,
    cells: Vec<Option<Estimate>>,
}

type Kind = (&'static str, Metric, Unit, Better);

const GOODPUT: Kind = ("Goodput", Metric::Goodput, Unit::Ratio, Better::More);
const SUCCESS: Kind = ("Success", Metric::SuccessRate, Unit::Percent, Better::More);
const P99: Kind = ("p99", Metric::LatencyP99, Unit::Millis, Better::Less);
const OTHERS: [Kind; 6] = [
    ("Wasted", Metric::Wasted, Unit::Percent, Better::Less),
    ("Refused", Metric::Refused, Unit::Percent, Better::Neither),
    ("Tries per success", Metric::TriesPerSuccess, Unit::Ratio, Better::Less),
    ("Convergence", Metric::Convergence, Unit::Seconds, Better::Less),
    ("Recovery", Metric::Recovery, Unit::Seconds, Better::Less),
    ("Jain, 60 s", Metric::Jain60, Unit::Ratio, Better::More),
];

/// Those that any controller has a figure for.
pub(super) fn columns(scene: &Scene<'_>) -> Vec<Column> {
    let mut columns = vec![Column::whole(scene, GOODPUT)];
    if scene.report.points.len() > 1 {
        columns.push(least_goodput(scene));
    }
    columns.push(Column::whole(scene, SUCCESS));
    match scene.top_business() {
        Some(top) => columns.extend([SUCCESS, P99].map(|kind| Column::of_business(scene, kind, top))),
        None => columns.push(Column::whole(scene, P99)),
    }
    columns.extend(OTHERS.map(|kind| Column::whole(scene, kind)));
    columns.retain(|column| column.cells.iter().any(Option::is_some));
    columns
}

/// The goodput at the load that suits a controller least.
fn least_goodput(scene: &Scene<'_>) -> Column {
    let least = |outcome: &Outcome| {
        let same = |other: &&Outcome| other.controller == outcome.controller;
        let all = scene.report.points.iter().flat_map(|point| point.outcomes.iter().filter(same));
        let estimates = all.filter_map(|outcome| outcome.figures.get(&Metric::Goodput));
        estimates.min_by(|one, other| one.mean.total_cmp(&other.mean)).cloned()
    };
    Column {
        header: "Least goodput".to_owned(),
        what: "Goodput at the load of the sweep at which it is least.",
        unit: Unit::Ratio,
        better: Better::More,
        cells: scene.outcomes().iter().map(least).collect(),
    }
}

impl Column {
    fn whole(scene: &Scene<'_>, (header, metric, unit, better): Kind) -> Self {
        let cells = scene.outcomes().iter().map(|outcome| outcome.estimate(metric, None).cloned()).collect();
        Self { header: header.to_owned(), what: metric.what(), unit, better, cells }
    }

    fn of_business(scene: &Scene<'_>, (header, metric, unit, better): Kind, business: usize) -> Self {
        let cells = scene.outcomes().iter().map(|outcome| outcome.estimate(metric, Some(business)).cloned()).collect();
        let header = format!("{header} of {}", scene.report.businesses[business].name);
        Self { header, what: metric.what(), unit, better, cells }
    }

    /// The figure of the controller with this index.
    pub(super) fn cell(&self, row: &mut Markup, index: usize) {
        let Some(estimate) = &self.cells[index] else { return row.line("td", &[], "–") };
        let best = is_best(estimate, self.cells.iter().flatten(), self.better);
        figure_cell(row, "figure", &self.unit.estimate(estimate), best);
    }
}

/// Whether it is the best of several, or cannot be told from the best by the differences of equal seeds.
pub(super) fn is_best<'e>(
    estimate: &Estimate,
    all: impl Iterator<Item = &'e Estimate> + Clone,
    better: Better,
) -> bool {
    let ascending = |one: &&Estimate, other: &&Estimate| one.mean.total_cmp(&other.mean);
    let best = match better {
        Better::More => all.clone().max_by(ascending),
        Better::Less => all.clone().min_by(ascending),
        Better::Neither => None,
    };
    let Some(best) = best.filter(|_| all.count() > 1) else { return false };
    let unclear = |difference: Estimate| {
        let enough = difference.values.iter().flatten().count() >= FEWEST_SEEDS;
        enough && difference.half_width.is_some_and(|half| half >= difference.mean.abs())
    };
    estimate.mean == best.mean || estimate.minus(best).is_some_and(unclear)
}

/// A figure in its cell, marked if it is the best.
pub(super) fn figure_cell(row: &mut Markup, class: &str, text: &str, best: bool) {
    if best {
        row.element("td", &[("class", &format_args!("best {class}"))], |cell| cell.line("strong", &[], text));
    } else {
        row.line("td", &[("class", &class)], text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(better: Better, cells: Vec<Vec<f64>>) -> Column {
        let estimate = |values: Vec<f64>| Estimate::new(values.into_iter().map(Some).collect());
        let cells = cells.into_iter().map(estimate).collect();
        Column { header: String::new(), what: "", unit: Unit::Ratio, better, cells }
    }

    fn best(column: &Column) -> Vec<bool> {
        let all = column.cells.iter().flatten();
        all.clone().map(|estimate| is_best(estimate, all.clone(), column.better)).collect()
    }

    #[test]
    fn what_equal_seeds_cannot_tell_apart_is_best_together() {
        // The second is worse by about as much for every seed, the third now better, now worse.
        let cells = vec![
            vec![0.90, 0.80, 0.85, 0.84, 0.86],
            vec![0.88, 0.78, 0.831, 0.82, 0.842],
            vec![0.80, 0.86, 0.88, 0.83, 0.84],
        ];
        assert_eq!(best(&column(Better::More, cells.clone())), [true, false, true]);
        let few = cells.into_iter().map(|values| values[..3].to_vec()).collect();
        assert_eq!(best(&column(Better::More, few)), [true, false, false], "three seeds tell too little to say so");
    }

    #[test]
    fn less_can_be_better_and_one_alone_is_no_best() {
        assert_eq!(best(&column(Better::Less, vec![vec![3.0], vec![2.0], vec![2.0]])), [false, true, true]);
        assert_eq!(best(&column(Better::Neither, vec![vec![3.0], vec![2.0]])), [false, false]);
        assert_eq!(best(&column(Better::More, vec![vec![3.0]])), [false]);
    }
}
