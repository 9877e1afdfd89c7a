//! The report as one HTML file that needs nothing else: no network, no script. The same report gives the same bytes.
//!
//! ```text
//! head ─▶ switches (a controller each) ─▶ contents ─▶ per scenario: answer ─▶ plots ─▶ details
//!                                                                             ├ sweep    against load
//!                                                                             ├ groups   bars at the heaviest load
//!                                                                             ├ courses  over time at the heaviest load
//!                                                                             └ changes  close up
//! ```
//!
//! Every plot is there only if its data are. Colours, the dark setting, and what the switches do lie in style sheets.

mod answer;
mod axis;
mod bars;
mod changes;
mod chart;
mod columns;
mod courses;
mod details;
mod fleet;
mod frame;
mod groups;
mod markup;
mod number;
mod palette;
mod scene;
mod sweep;
#[cfg(test)]
mod tests;

pub use self::fleet::render as fleet;
use self::{
    columns::{Better, figure_cell, is_best},
    markup::Markup,
    number::Unit,
    palette::Palette,
    scene::{Scene, load_text},
};
use super::{
    measure::Metric,
    report::{Report, ScenarioReport},
};

/// Where a report comes from.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// A command that makes it again.
    pub command: &'a str,
    /// The text of each scenario's file, in the order of the report.
    pub texts: &'a [String],
}

const HEADING: &str = "Overload control compared";
const SHEET: &str = include_str!("style.css");

/// The whole file.
pub fn render(report: &Report, origin: &Origin<'_>) -> String {
    let palette = Palette::of(report);
    let mut page = Markup::default();
    page.element("html", &[("lang", &"en")], |html| {
        html.element("head", &[], |head| self::head(head, report));
        html.element("body", &[], |body| {
            header(body, origin);
            switches(body, &palette);
            if report.scenarios.len() > 1 {
                contents(body, report, &palette);
            }
            for (index, scenario) in report.scenarios.iter().enumerate() {
                self::scenario(body, index, scenario, &palette, origin.texts.get(index).map(String::as_str));
            }
        });
    });
    page.into_page()
}

fn head(head: &mut Markup, report: &Report) {
    head.void("meta", &[("charset", &"utf-8")]);
    head.void("meta", &[("name", &"viewport"), ("content", &"width=device-width, initial-scale=1")]);
    head.void("meta", &[("name", &"color-scheme"), ("content", &"light dark")]);
    head.line("title", &[], title(report));
    head.style(SHEET);
    head.style(&palette::sheet());
}

fn title(report: &Report) -> String {
    match &report.scenarios[..] {
        [only] => format!("{HEADING}: {}", only.name),
        all => format!("{HEADING}: {} scenarios", all.len()),
    }
}

fn header(body: &mut Markup, origin: &Origin<'_>) {
    body.element("header", &[], |header| {
        header.line("h1", &[], HEADING);
        header.element("p", &[("class", &"note")], |note| {
            note.text(format_args!(
                "dagor {}, simulated on a virtual clock. The same again: ",
                env!("CARGO_PKG_VERSION")
            ));
            note.line("code", &[], origin.command);
        });
    });
}

/// A box for each controller: what is switched off disappears from all plots and tables.
fn switches(body: &mut Markup, palette: &Palette) {
    body.element("nav", &[("class", &"switches"), ("aria-label", &"Controllers shown")], |nav| {
        for controller in palette.controllers() {
            let class = palette.look(controller).class();
            nav.element("label", &[("class", &format_args!("switch {class}"))], |label| {
                label.void("input", &[("type", &"checkbox"), ("id", &class), ("checked", &"checked")]);
                label.element("span", &[("class", &"swatch")], |_| ());
                label.text(controller);
            });
        }
    });
}

/// Each scenario with the goodput of each controller at its heaviest load.
fn contents(body: &mut Markup, report: &Report, palette: &Palette) {
    body.element("nav", &[("aria-label", &"Contents")], |nav| {
        nav.line("h2", &[], "Goodput at the heaviest load of each scenario");
        nav.element("div", &[("class", &"scroll")], |scroll| {
            scroll.element("table", &[("class", &"figures")], |table| {
                table.element("tr", &[], |row| {
                    row.line("th", &[("scope", &"col")], "Scenario");
                    row.line("th", &[("scope", &"col")], "Expectations");
                    for controller in palette.controllers() {
                        let class = palette.look(controller).class();
                        row.line("th", &[("scope", &"col"), ("class", &class)], controller);
                    }
                });
                for (index, scenario) in report.scenarios.iter().enumerate() {
                    table.element("tr", &[], |row| contents_row(row, index, &Scene::new(scenario), palette));
                }
            });
        });
    });
}

fn contents_row(row: &mut Markup, index: usize, scene: &Scene<'_>, palette: &Palette) {
    row.element("th", &[("scope", &"row")], |cell| {
        cell.line("a", &[("href", &format_args!("#scenario-{}", index + 1))], &scene.report.name);
    });
    row.line("td", &[], scene.expectations());
    let goodput = |controller: &String| {
        let outcome = scene.outcomes().iter().find(|outcome| outcome.controller == *controller)?;
        outcome.figures.get(&Metric::Goodput)
    };
    let all = palette.controllers().iter().filter_map(goodput);
    for controller in palette.controllers() {
        let class = palette.look(controller).class();
        match goodput(controller) {
            Some(found) => {
                let best = is_best(found, all.clone(), Better::More);
                figure_cell(row, &class, &Unit::Ratio.estimate(found), best);
            }
            None => row.line("td", &[("class", &class)], "–"),
        }
    }
}

fn scenario(body: &mut Markup, index: usize, report: &ScenarioReport, palette: &Palette, text: Option<&str>) {
    let scene = Scene::new(report);
    body.element("section", &[("id", &format_args!("scenario-{}", index + 1))], |section| {
        section.line("h2", &[], &report.name);
        if !report.description.trim().is_empty() {
            section.line("p", &[], report.description.trim());
        }
        section.line("p", &[("class", &"note")], facts(report));
        answer::draw(section, &scene, palette);
        section.element("div", &[("class", &"plots")], |plots| {
            if report.swept {
                sweep::draw(plots, &scene, palette);
            }
            groups::draw(plots, &scene, palette);
            courses::draw(plots, &scene, palette);
            changes::draw(plots, &scene, palette);
        });
        details::draw(section, &scene, palette, text);
    });
}

/// `step.toml · 60 s, 20 s of it warm-up · seeds 1 to 10 · saturation 800/s · loads 1×, 2×`
fn facts(report: &ScenarioReport) -> String {
    let seeds = match &report.seeds[..] {
        [] => "no seed".to_owned(),
        [only] => format!("seed {only}"),
        [first, .., last] => format!("seeds {first} to {last}"),
    };
    let mut facts =
        vec![report.file.clone(), format!("{} s, {} s of it warm-up", report.duration_s, report.warmup_s), seeds];
    // Where every business has a rate of its own, no common one saturates anything.
    if report.saturation_per_s < f64::MAX {
        facts.push(format!("saturation {}", Unit::Rate.with_unit(report.saturation_per_s)));
    }
    if report.swept {
        let loads: Vec<_> = report.points.iter().map(|point| load_text(point.load)).collect();
        facts.push(format!("loads {}", loads.join(", ")));
    }
    facts.join(" · ")
}

/// `M^2: 2 calls`, as the paper writes it.
fn calls_text(calls: u32) -> String {
    let plural = if calls == 1 { "" } else { "s" };
    format!("{calls} call{plural} (M^{calls})")
}
