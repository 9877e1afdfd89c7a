//! The report as people read it: a row for each load and controller, the businesses beside each other, and what the file
//! expected of them.

use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};

use super::{
    measure::Metric,
    report::{Estimate, Outcome, Report, ScenarioReport, Verdict},
    tune::Tuned,
};

/// How a figure is written.
#[derive(Clone, Copy)]
enum Unit {
    Count,
    Percent,
    Ratio,
    Millis,
    Seconds,
}

/// A column: its header, its figure, and how that is written. Those after the first few appear only if they say anything.
type Column = (&'static str, Metric, Unit);

const ALWAYS: [Column; 6] = [
    ("offered/s", Metric::OfferedRate, Unit::Count),
    ("success %", Metric::SuccessRate, Unit::Percent),
    ("optimum %", Metric::Optimum, Unit::Percent),
    ("goodput", Metric::Goodput, Unit::Ratio),
    ("p99 ms", Metric::LatencyP99, Unit::Millis),
    ("queue p99 ms", Metric::QueuingP99, Unit::Millis),
];

const IF_IT_VARIES: [Column; 10] = [
    ("top p99 ms", Metric::TopQueuingP99, Unit::Millis),
    ("wasted %", Metric::Wasted, Unit::Percent),
    ("missed %", Metric::Missed, Unit::Percent),
    ("inversions", Metric::Inversions, Unit::Count),
    ("tries/ok", Metric::TriesPerSuccess, Unit::Ratio),
    ("converged s", Metric::Convergence, Unit::Seconds),
    ("recovered s", Metric::Recovery, Unit::Seconds),
    ("reopened s", Metric::Reopening, Unit::Seconds),
    ("jain 60 s", Metric::Jain60, Unit::Ratio),
    ("unfinished", Metric::Unfinished, Unit::Count),
];

/// The whole report.
pub fn render(report: &Report) -> String {
    report.scenarios.iter().map(render_scenario).collect::<Vec<_>>().join("\n\n")
}

/// What searches found, the best controller first; its settings can be pasted into a scenario file.
pub fn render_tuned(tuned: &[Tuned]) -> String {
    let mut tuned: Vec<_> = tuned.iter().collect();
    tuned.sort_by(|one, other| other.best.total_cmp(&one.best));
    let mut table = plain(["controller", "tries", "authors", "best"].map(str::to_owned).into_iter());
    for Tuned { controller, authors, best, tries, .. } in &tuned {
        let cells = [controller.clone(), tries.to_string(), format!("{authors:.3}"), format!("{best:.3}")];
        table.add_row(aligned(cells.into_iter()));
    }
    let settings = tuned.iter().filter(|tuned| !tuned.settings.is_empty()).map(|tuned| {
        let pairs = tuned.settings.iter().map(|(key, value)| format!(", {key} = {value}"));
        format!("{{ kind = \"{}\"{} }}", tuned.controller, pairs.collect::<String>())
    });
    let settings = settings.collect::<Vec<_>>().join("\n");
    format!(
        "goodput with the authors' settings and with the best found, on seeds that were used for nothing else\n{table}\n\n{settings}"
    )
}

fn render_scenario(report: &ScenarioReport) -> String {
    let mut text = headline(report);
    let _infallible = write!(text, "\n\n{}", figures(report));
    if report.businesses.len() > 1 {
        let _infallible = write!(text, "\n\nsuccess by business, %\n{}", businesses(report));
    }
    if !report.verdicts.is_empty() {
        let _infallible = write!(text, "\n\n{}", verdicts(report));
    }
    text
}

fn headline(report: &ScenarioReport) -> String {
    let ScenarioReport { name, description, duration_s, warmup_s, seeds, saturation_per_s, .. } = report;
    let description = description.trim();
    let colon = if description.is_empty() { "" } else { ": " };
    let plural = if seeds.len() == 1 { "" } else { "s" };
    // Where every business has a rate of its own, no common one saturates anything.
    let saturation =
        if *saturation_per_s < f64::MAX { format!(", saturation {saturation_per_s:.1}/s") } else { String::new() };
    let seeds = seeds.len();
    format!("{name}{colon}{description}\n{duration_s} s ({warmup_s} s of warm-up), {seeds} seed{plural}{saturation}")
}

fn figures(report: &ScenarioReport) -> Table {
    let varies = |(_, metric, unit): &&Column| {
        let texts: Vec<_> = rows(report).map(|(_, outcome)| show(outcome.figures.get(metric), *unit)).collect();
        texts.iter().any(|text| !["-", "0", "0.00"].contains(&text.as_str()))
    };
    let columns: Vec<_> = ALWAYS.iter().chain(IF_IT_VARIES.iter().filter(varies)).collect();
    let mut table = table(report, columns.iter().map(|(header, ..)| (*header).to_owned()));
    for (load, outcome) in rows(report) {
        let cells = columns.iter().map(|(_, metric, unit)| show(outcome.figures.get(metric), *unit));
        table.add_row(row(report, load, outcome, cells));
    }
    table
}

fn businesses(report: &ScenarioReport) -> Table {
    let mut table = table(report, report.businesses.iter().map(|business| business.name.clone()));
    for (load, outcome) in rows(report) {
        let success =
            |figures: &std::collections::BTreeMap<_, _>| show(figures.get(&Metric::SuccessRate), Unit::Percent);
        table.add_row(row(report, load, outcome, outcome.businesses.iter().map(success)));
    }
    table
}

/// A line for each expectation, and one for each load at which it was missed.
fn verdicts(report: &ScenarioReport) -> String {
    let same = |one: &Verdict, other: &Verdict| one.expectation == other.expectation;
    let groups = report.verdicts.chunk_by(same);
    groups.map(|group| verdict(group, report.swept)).collect::<Vec<_>>().join("\n")
}

fn verdict(group: &[Verdict], swept: bool) -> String {
    let found = |verdict: &Verdict| verdict.found.as_ref().map_or_else(|| "nothing".to_owned(), exact);
    let lines = |met: bool| {
        let mark = if met { "met   " } else { "MISSED" };
        let line = |verdict: &Verdict| match swept {
            true => format!("{} at {}", found(verdict), verdict.load),
            false => found(verdict),
        };
        let found: Vec<_> = group.iter().filter(|verdict| verdict.met == met).map(line).collect();
        let expectation = group.first().map_or("", |verdict| verdict.expectation.as_str());
        (!found.is_empty()).then(|| format!("{mark}  {expectation}: {}", found.join(", ")))
    };
    [lines(true), lines(false)].into_iter().flatten().collect::<Vec<_>>().join("\n")
}

/// `0.9812 ± 0.0004`
fn exact(estimate: &Estimate) -> String {
    let half = estimate.half_width.map_or_else(String::new, |half| format!(" ± {half:.4}"));
    format!("{:.4}{half}", estimate.mean)
}

fn rows(report: &ScenarioReport) -> impl Iterator<Item = (f64, &Outcome)> {
    report.points.iter().flat_map(|point| point.outcomes.iter().map(|outcome| (point.load, outcome)))
}

fn table(report: &ScenarioReport, headers: impl Iterator<Item = String>) -> Table {
    let load = report.swept.then(|| "load".to_owned());
    plain(["controller".to_owned()].into_iter().chain(load).chain(headers))
}

fn plain(headers: impl Iterator<Item = String>) -> Table {
    let line = LineStyle::none().fill('─').junction('─');
    let mut table = Table::new();
    table.load_style(TableStyle::new().top_border(line).header_separator(line).bottom_border(line));
    table.set_header(aligned(headers));
    for column in table.column_iter_mut().skip(1) {
        column.set_padding((0, 1));
    }
    table
}

fn row(report: &ScenarioReport, load: f64, outcome: &Outcome, cells: impl Iterator<Item = String>) -> Vec<Cell> {
    let load = report.swept.then(|| load.to_string());
    aligned([outcome.controller.clone()].into_iter().chain(load).chain(cells))
}

/// Names to the left, numbers to the right.
fn aligned(texts: impl Iterator<Item = String>) -> Vec<Cell> {
    let alignment = |column| if column == 0 { CellAlignment::Left } else { CellAlignment::Right };
    texts.enumerate().map(|(column, text)| Cell::new(text).set_alignment(alignment(column))).collect()
}

fn show(estimate: Option<&Estimate>, unit: Unit) -> String {
    let Some(Estimate { mean, half_width, .. }) = estimate else { return "-".to_owned() };
    let (factor, decimals) = match unit {
        Unit::Count => (1.0, 0),
        Unit::Percent => (100.0, 2),
        Unit::Ratio => (1.0, 3),
        Unit::Millis => (1.0, if *mean < 100.0 { 1 } else { 0 }),
        Unit::Seconds => (1.0, 1),
    };
    let mean = mean * factor;
    match half_width.map(|half| half * factor).filter(|half| *half * 10_f64.powi(decimals) >= 0.5) {
        Some(half) => format!("{mean:.*}±{half:.*}", decimals as usize, decimals as usize),
        None => format!("{mean:.*}", decimals as usize),
    }
}
