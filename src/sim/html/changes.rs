//! What happens around each change of a rate or of the capacity, close up, and how fast goodput settles.

use super::{
    answer::controller_cell,
    axis::Axis,
    chart::{Chart, Guide, Kind, Line, Point},
    courses::{Steps, rates_beside},
    markup::Markup,
    number::Unit,
    palette::Palette,
    scene::Scene,
};
use crate::sim::{
    measure::{Settled, Towards},
    report::Outcome,
};

/// More changes than these have no plot of their own.
const MOST_PLOTS: usize = 6;
/// Seconds before a change that are shown.
const BEFORE: f64 = 1.0;
/// Seconds after it that are shown at least.
const AFTER: f64 = 4.0;
/// And so many times as long as the slowest took, as long as that stays readable.
const SETTLING: f64 = 1.5;
const LONGEST: f64 = 12.0;
/// More points than these cannot be told from noise.
const MOST_POINTS: usize = 80;

/// A plot of each change, and a table of all.
pub(super) fn draw(page: &mut Markup, scene: &Scene<'_>, palette: &Palette) {
    let changes: Vec<_> = scene.outcomes().first().map_or(&[][..], |outcome| &outcome.settled).to_vec();
    for (index, change) in changes.iter().enumerate().take(MOST_PLOTS) {
        plot(scene, palette, index, change).draw(page);
    }
}

/// How long each controller took after each change.
pub(super) fn table(page: &mut Markup, scene: &Scene<'_>, palette: &Palette) {
    let changes: Vec<_> = scene.outcomes().first().map_or(&[][..], |outcome| &outcome.settled).to_vec();
    if changes.is_empty() {
        return;
    }
    page.line("h3", &[], format_args!("Seconds until goodput settles, first seed{}", scene.at()));
    page.element("div", &[("class", &"scroll")], |page| {
        page.element("table", &[], |table| {
            table.element("tr", &[], |row| {
                row.line("th", &[("scope", &"col")], "Controller");
                for change in &changes {
                    row.line("th", &[("scope", &"col")], heading(change));
                }
            });
            for outcome in scene.outcomes() {
                table.element("tr", &[("class", &palette.look(&outcome.controller).class())], |row| {
                    controller_cell(row, &outcome.controller);
                    for settled in &outcome.settled {
                        row.line("td", &[], duration(settled));
                    }
                });
            }
        });
    });
}

/// `30 s: into overload`
fn heading(change: &Settled) -> String {
    format!("{} s: {}", Unit::Plain.number(change.at_s), towards(change.towards))
}

fn towards(towards: Towards) -> &'static str {
    match towards {
        Towards::Overload => "into overload",
        Towards::Recovery => "out of overload",
        Towards::Calm => "within the capacity",
    }
}

fn duration(settled: &Settled) -> String {
    if settled.settled { Unit::Seconds.number(settled.settled_s) } else { "not settled".to_owned() }
}

fn plot(scene: &Scene<'_>, palette: &Palette, index: usize, change: &Settled) -> Chart {
    let settled = |outcome: &Outcome| outcome.settled.get(index).copied();
    let slowest = scene.outcomes().iter().filter_map(settled).filter(|settled| settled.settled);
    let slowest = slowest.map(|settled| settled.settled_s).fold(0.0, f64::max);
    let after = (slowest * SETTLING).clamp(AFTER, LONGEST).min(change.span_s);
    let zoom = Zoom { at: change.at_s, from: -BEFORE.min(change.at_s), to: after };
    let mut lines = Vec::new();
    if let Some(first) = scene.outcomes().first() {
        let points = zoom.points(first, |outcome| &outcome.series.offered_per_s);
        lines.push(Line { name: "offered".to_owned(), kind: Kind::Reference, points, marks: Vec::new() });
    }
    lines.extend(scene.outcomes().iter().map(|outcome| {
        let points = zoom.points(outcome, |outcome| &outcome.series.succeeded_per_s);
        Line {
            name: outcome.controller.clone(),
            kind: Kind::Plain(palette.look(&outcome.controller)),
            marks: settled(outcome).and_then(|settled| zoom.mark(outcome, &settled, &points)).into_iter().collect(),
            points,
        }
    }));
    Chart {
        title: format!("Change at {}{}", heading(change), scene.at()),
        about: "Tasks that succeed, by when they do; a marker where goodput has settled".to_owned(),
        x: Axis::linear("Seconds after the change", Unit::Seconds, zoom.from, zoom.to),
        y: rates_beside(&lines),
        guides: vec![Guide::Up(0.0, "change".to_owned())],
        lines,
    }
}

/// The time around a change, in seconds after it.
struct Zoom {
    at: f64,
    from: f64,
    to: f64,
}

impl Zoom {
    fn points(&self, outcome: &Outcome, values: impl Fn(&Outcome) -> &Vec<f64>) -> Vec<Option<Point>> {
        let steps = Steps::for_span(&outcome.series, self.to - self.from, MOST_POINTS);
        let all = steps.means(outcome.series.step_s, values(outcome).iter().copied().map(Some));
        let after = all.into_iter().flatten().map(|point| Point { x: point.x - self.at, ..point });
        after.filter(|point| (self.from..=self.to).contains(&point.x)).map(Some).collect()
    }

    /// The first point of the line at which goodput has settled.
    fn mark(&self, outcome: &Outcome, settled: &Settled, points: &[Option<Point>]) -> Option<(Point, String)> {
        if !settled.settled || settled.settled_s > self.to {
            return None;
        }
        let near = points.iter().flatten().find(|point| point.x >= settled.settled_s)?;
        let title = format!("{} settled after {}", outcome.controller, Unit::Seconds.with_unit(settled.settled_s));
        Some((*near, title))
    }
}
