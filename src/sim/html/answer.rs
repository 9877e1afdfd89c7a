//! The answer first: what each controller achieved, the best of each column marked, and what was expected.

use super::{
    details::folded,
    markup::Markup,
    number::Unit,
    palette::Palette,
    scene::{Scene, load_text},
};
use crate::sim::{
    measure::Metric,
    report::{Estimate, Outcome, Verdict},
};

/// Which of two figures is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Better {
    More,
    Less,
    /// Neither: it depends.
    Neither,
}

/// A column of figures, one for each controller.
struct Column {
    header: String,
    what: &'static str,
    unit: Unit,
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

/// The answer in a sentence names so many controllers.
const NAMED: usize = 3;
/// Fewer seeds than these have intervals so wide that hardly anything could be told apart.
const FEWEST_SEEDS: usize = 5;
/// More expectations than these are folded away where they were met.
const MOST_MET: usize = 4;

/// Sentence, table and expectations.
pub(super) fn draw(page: &mut Markup, scene: &Scene<'_>, palette: &Palette) {
    sentence(page, scene);
    table(page, scene, palette);
    if !scene.report.verdicts.is_empty() {
        expectations(page, scene);
    }
}

/// `Goodput at load 5×, where 1 is all that could be done: capacity 0.985 ± 0.003, dagor-v3 0.930, none 0.021.`
fn sentence(page: &mut Markup, scene: &Scene<'_>) {
    let goodput =
        |outcome: &Outcome| Some((outcome.controller.clone(), outcome.figures.get(&Metric::Goodput)?.clone()));
    let mut ranking: Vec<_> = scene.outcomes().iter().filter_map(goodput).collect();
    if ranking.is_empty() {
        return;
    }
    ranking.sort_by(|(_, one), (_, other)| other.mean.total_cmp(&one.mean));
    let best = ranking.iter().take(NAMED).map(|(name, estimate)| format!("{name} {}", Unit::Ratio.estimate(estimate)));
    let best = best.collect::<Vec<_>>().join(", ");
    let at = scene.at();
    page.line("p", &[("class", &"answer")], format_args!("Goodput{at}, where 1 is all that could be done: {best}."));
}

fn table(page: &mut Markup, scene: &Scene<'_>, palette: &Palette) {
    let columns = columns(scene);
    page.element("div", &[("class", &"scroll")], |page| {
        page.element("table", &[("class", &"figures")], |table| {
            table.element("tr", &[], |row| {
                row.line("th", &[("scope", &"col")], "Controller");
                for Column { header, what, unit, .. } in &columns {
                    row.element("th", &[("scope", &"col"), ("title", what)], |cell| {
                        cell.text(header);
                        if !unit.suffix().is_empty() {
                            cell.line("small", &[], unit.suffix());
                        }
                    });
                }
            });
            for (index, outcome) in scene.outcomes().iter().enumerate() {
                table.element("tr", &[("class", &palette.look(&outcome.controller).class())], |row| {
                    controller_cell(row, &outcome.controller);
                    for column in &columns {
                        column.cell(row, index);
                    }
                });
            }
        });
    });
    page.line("p", &[("class", &"note")], note(scene));
}

fn note(scene: &Scene<'_>) -> String {
    let seeds = scene.report.seeds.len();
    let interval = if seeds > 1 { " ± half of the 95 % interval of the mean (Student's t)" } else { "" };
    let plural = if seeds == 1 { "" } else { "s" };
    let tied = if seeds < FEWEST_SEEDS { "" } else { ", and whatever the same seeds cannot tell from it" };
    format!("Means of {seeds} seed{plural}{interval}{}. Marked: the best of a column{tied}.", scene.at())
}

/// The name of a controller with its colour, at the head of a row.
pub(super) fn controller_cell(row: &mut Markup, name: &str) {
    row.element("th", &[("scope", &"row")], |cell| {
        cell.element("span", &[("class", &"swatch")], |_| ());
        cell.text(name);
    });
}

fn columns(scene: &Scene<'_>) -> Vec<Column> {
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

    fn cell(&self, row: &mut Markup, index: usize) {
        let Some(estimate) = &self.cells[index] else { return row.line("td", &[], "–") };
        let text = self.unit.estimate(estimate);
        if self.is_best(estimate) {
            row.element("td", &[("class", &"best")], |cell| cell.line("strong", &[], text));
        } else {
            row.line("td", &[], text);
        }
    }

    /// Whether it is the best of several, or cannot be told from the best by the differences of equal seeds.
    fn is_best(&self, estimate: &Estimate) -> bool {
        let present = || self.cells.iter().flatten();
        let ascending = |one: &&Estimate, other: &&Estimate| one.mean.total_cmp(&other.mean);
        let best = match self.better {
            Better::More => present().max_by(ascending),
            Better::Less => present().min_by(ascending),
            Better::Neither => None,
        };
        let Some(best) = best.filter(|_| present().count() > 1) else { return false };
        let unclear = |difference: Estimate| {
            let enough = difference.values.iter().flatten().count() >= FEWEST_SEEDS;
            enough && difference.half_width.is_some_and(|half| half >= difference.mean.abs())
        };
        estimate.mean == best.mean || estimate.minus(best).is_some_and(unclear)
    }
}

/// Missed ones first.
fn expectations(page: &mut Markup, scene: &Scene<'_>) {
    let (met, missed): (Vec<_>, Vec<_>) = scene.report.verdicts.iter().partition(|verdict| verdict.met);
    page.line("h3", &[], format_args!("Expectations: {}", scene.expectations()));
    let swept = scene.report.swept;
    if met.len() <= MOST_MET {
        verdicts(page, missed.into_iter().chain(met), swept);
        return;
    }
    verdicts(page, missed.into_iter(), swept);
    folded(page, &format!("{} met", met.len()), |page| verdicts(page, met.into_iter(), swept));
}

fn verdicts<'v>(page: &mut Markup, verdicts: impl Iterator<Item = &'v Verdict>, swept: bool) {
    page.element("ul", &[("class", &"verdicts")], |list| {
        for verdict in verdicts {
            list.element("li", &[("class", &if verdict.met { "met" } else { "missed" })], |item| {
                item.line("strong", &[], if verdict.met { "met" } else { "missed" });
                item.text(verdict_text(verdict, swept));
            });
        }
    });
}

fn verdict_text(verdict: &Verdict, swept: bool) -> String {
    let at = if swept { format!(" at load {}", load_text(verdict.load)) } else { String::new() };
    let found = verdict.found.as_ref().map_or_else(|| "nothing".to_owned(), |found| Unit::Plain.estimate(found));
    format!(" {}{at}: found {found}", verdict.expectation)
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
        column.cells.iter().flatten().map(|estimate| column.is_best(estimate)).collect()
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
