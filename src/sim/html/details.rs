//! Everything else, folded away: all figures as tables, and the text of the scenario.

use std::collections::BTreeMap;

use super::{
    changes,
    markup::Markup,
    number::Unit,
    palette::Palette,
    scene::{Scene, load_text},
};
use crate::sim::{
    measure::Metric,
    report::{Estimate, Outcome, Point},
};

/// All that is folded away.
pub(super) fn draw(page: &mut Markup, scene: &Scene<'_>, palette: &Palette, text: Option<&str>) {
    changes::table(page, scene, palette);
    for point in &scene.report.points {
        let at = if scene.report.swept { format!(" at load {}", load_text(point.load)) } else { String::new() };
        folded(page, &format!("All figures{at}"), |page| figures(page, point, palette));
    }
    if scene.report.businesses.len() > 1 {
        folded(page, &format!("All figures of each business{}", scene.at()), |page| {
            for (index, business) in scene.businesses() {
                page.line("h4", &[], format_args!("{}, priority {}", business.name, business.priority));
                table(page, scene.outcomes(), palette, &|outcome| outcome.businesses.get(index));
            }
        });
    }
    if let Some(text) = text {
        folded(page, "The scenario", |page| page.line("pre", &[], text));
    }
}

/// What is seen when the reader asks for it.
pub(super) fn folded(page: &mut Markup, summary: &str, inside: impl FnOnce(&mut Markup)) {
    page.element("details", &[], |details| {
        details.line("summary", &[], summary);
        inside(details);
    });
}

fn figures(page: &mut Markup, point: &Point, palette: &Palette) {
    table(page, &point.outcomes, palette, &|outcome| Some(&outcome.figures));
}

type FiguresOf<'f> = &'f dyn Fn(&Outcome) -> Option<&BTreeMap<Metric, Estimate>>;

/// A row for each figure that any controller has.
fn table(page: &mut Markup, outcomes: &[Outcome], palette: &Palette, of: FiguresOf<'_>) {
    let estimate = |outcome, metric| of(outcome).and_then(|figures| figures.get(&metric));
    page.element("div", &[("class", &"scroll")], |page| {
        page.element("table", &[], |table| {
            table.element("tr", &[], |row| {
                row.line("th", &[("scope", &"col")], "Figure");
                for outcome in outcomes {
                    let class = palette.look(&outcome.controller).class();
                    row.line("th", &[("scope", &"col"), ("class", &class)], &outcome.controller);
                }
            });
            let any = |metric: &&Metric| outcomes.iter().any(|outcome| estimate(outcome, **metric).is_some());
            for metric in Metric::ALL.iter().filter(any) {
                table.element("tr", &[], |row| {
                    row.line("th", &[("scope", &"row"), ("title", &metric.what())], metric.name());
                    for outcome in outcomes {
                        let found = estimate(outcome, *metric);
                        let text = found.map_or_else(|| "–".to_owned(), |found| Unit::Plain.estimate(found));
                        let class = palette.look(&outcome.controller).class();
                        row.line("td", &[("class", &class)], text);
                    }
                });
            }
        });
    });
}
