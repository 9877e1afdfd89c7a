//! The answer first: what each controller achieved, the best of each column marked, and what was expected.

use super::{
    columns::{Column, FEWEST_SEEDS, columns},
    details::folded,
    markup::Markup,
    number::Unit,
    palette::Palette,
    scene::{Scene, load_text},
};
use crate::sim::{
    measure::Metric,
    report::{Outcome, Verdict},
};

/// The answer in a sentence names so many controllers.
const NAMED: usize = 3;
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

/// An expectation with what was found at each load.
type Judged<'v> = &'v [Verdict];

/// Missed ones first.
fn expectations(page: &mut Markup, scene: &Scene<'_>) {
    let (met, missed): (Vec<_>, Vec<_>) = scene.judged().partition(|judged| judged.iter().all(|verdict| verdict.met));
    page.line("h3", &[], format_args!("Expectations: {}", scene.expectations()));
    let swept = scene.report.swept;
    if met.len() <= MOST_MET {
        list(page, missed.into_iter().chain(met), swept);
        return;
    }
    list(page, missed.into_iter(), swept);
    folded(page, &format!("{} met", met.len()), |page| list(page, met.into_iter(), swept));
}

fn list<'v>(page: &mut Markup, all: impl Iterator<Item = Judged<'v>>, swept: bool) {
    page.element("ul", &[("class", &"verdicts")], |list| {
        for judged in all {
            let class = if judged.iter().all(|verdict| verdict.met) { "met" } else { "missed" };
            list.element("li", &[("class", &class)], |item| {
                item.line("strong", &[], class);
                item.text(judged_text(judged, swept));
            });
        }
    });
}

/// ` capacity: inversions ≤ 0: found 0 at 1×, 2 at 10× (missed)`
fn judged_text(judged: Judged<'_>, swept: bool) -> String {
    let found = |verdict: &Verdict| {
        let found = verdict.found.as_ref().map_or_else(|| "nothing".to_owned(), |found| Unit::Plain.estimate(found));
        let at = if swept { format!(" at {}", load_text(verdict.load)) } else { String::new() };
        let missed = if verdict.met || judged.len() == 1 { "" } else { " (missed)" };
        format!("{found}{at}{missed}")
    };
    let expectation = judged.first().map_or("", |verdict| &verdict.expectation);
    format!(" {expectation}: found {}", judged.iter().map(found).collect::<Vec<_>>().join(", "))
}
