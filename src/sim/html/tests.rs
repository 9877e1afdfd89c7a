//! The whole page: well formed, escaped, the same each time, and whole whatever is missing.

use std::collections::BTreeMap;

use super::*;
use crate::sim::{
    compare::{Job, compare},
    report::{BusinessInfo, Estimate, Outcome, Point},
    scenario::Scenario,
};

const STEP: &str = r#"
description = "A step into overload & back."
duration = "3s"
controllers = ["dagor-v3", { kind = "none", label = "no <b>control</b>" }]
[traffic]
rate = "0.5x"
[[traffic.change]]
at = "1s"
rate = "3x"
for = "1s"
[[service]]
name = "main"
workers = 2
time = "10ms"
[[business]]
name = "login"
priority = 0
[[business]]
name = "moments"
priority = 9
[[business.call]]
service = "main"
times = 2
[[expect]]
controller = "dagor-v3"
metric = "success_rate"
at_least = 2
"#;

const HOSTILE: &str = "</title><script>alert(\"x\")</script> & 'y'";

fn simulated(text: &str, seeds: &[u64]) -> Report {
    let scenario = Scenario::parse(HOSTILE, text).unwrap();
    compare(&[Job { file: "a<b>.toml".to_owned(), scenario, seeds: seeds.to_vec() }], &|| ())
}

fn page(report: &Report, text: &str) -> String {
    render(report, &Origin { command: "dagor simulate 'a<b>.toml'", texts: &[text.to_owned()] })
}

/// A report of one scenario with these points.
fn made(points: Vec<Point>) -> Report {
    let scenario = ScenarioReport {
        name: "made".to_owned(),
        description: String::new(),
        file: "made.toml".to_owned(),
        duration_s: 1.0,
        warmup_s: 0.0,
        seeds: vec![1],
        saturation_per_s: 100.0,
        businesses: vec![BusinessInfo { name: "only".to_owned(), priority: 0, calls: 1 }],
        swept: true,
        points,
        verdicts: Vec::new(),
    };
    Report { scenarios: vec![scenario] }
}

/// Every tag is closed, in order; attributes are quoted and text holds no stray markup. Gives the names of all elements.
fn assert_well_formed(page: &str) -> BTreeMap<String, usize> {
    let (mut open, mut seen) = (Vec::new(), BTreeMap::new());
    let mut rest = page.strip_prefix("<!DOCTYPE html>\n").expect("a page says that it is one");
    while let Some(begin) = rest.find('<') {
        assert_text(&rest[..begin], &open);
        let end = begin + rest[begin..].find('>').expect("a tag ends");
        let tag = &rest[begin + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed in order");
            continue;
        }
        let (tag, empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let name = tag.split(' ').next().unwrap().to_owned();
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes in <{tag}>");
        *seen.entry(name.clone()).or_default() += 1;
        open.extend((!empty).then_some(name));
    }
    assert_eq!(open, [""; 0], "all closed");
    seen
}

fn assert_text(text: &str, open: &[String]) {
    let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
    for (at, _) in text.match_indices('&') {
        assert!(known.iter().any(|known| text[at..].starts_with(known)), "unescaped: {text}");
    }
    let sheet = open.last().is_some_and(|name| name == "style");
    assert!(sheet || !text.contains('>'), "a stray bracket: {text}");
}

#[test]
fn a_report_is_one_well_formed_page_with_every_plot_that_it_has_data_for() {
    let page = page(&simulated(STEP, &[1, 2]), STEP);
    let elements = assert_well_formed(&page);
    for title in [
        "Success per business",
        "Success per number of calls",
        "Tasks that succeed over time",
        "The cut over time",
        "Queuing time over time",
        "Change at 1 s: into overload",
        "Change at 2 s: out of overload",
        "Fairness between users",
    ] {
        assert!(page.contains(&format!("<h4>{title}")), "{title}");
    }
    assert!(!page.contains("against load"), "one load is no sweep");
    assert_eq!(elements["figure"], elements["svg"]);
    assert_eq!(page.matches("role=\"img\" aria-label=\"").count(), elements["svg"]);
    assert!(page.contains("Expectations: 0 of 1 met") && page.contains("A step into overload &amp; back."));
}

#[test]
fn a_page_asks_for_nothing_from_elsewhere_and_runs_nothing() {
    let page = page(&simulated(STEP, &[1]), STEP);
    let elements = assert_well_formed(&page);
    for element in ["script", "link", "img", "iframe", "object"] {
        assert!(!elements.contains_key(element), "{element}");
    }
    let outside = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!outside.contains("http") && !outside.contains("url(") && !outside.contains("@import"));
}

#[test]
fn names_cannot_become_markup() {
    let mut report = simulated(STEP, &[1]);
    report.scenarios[0].businesses[1].name = "</text><script>moments".to_owned();
    let page = page(&report, "<script>#</script>");
    assert_well_formed(&page);
    assert!(!page.contains("<script") && !page.contains("<b>"));
    assert!(page.contains("&lt;/title&gt;&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; &#39;y&#39;"));
    assert!(page.contains("no &lt;b&gt;control&lt;/b&gt;") && page.contains("a&lt;b&gt;.toml"));
}

#[test]
fn the_same_scenario_and_seeds_give_the_same_bytes() {
    assert_eq!(page(&simulated(STEP, &[1, 2]), STEP), page(&simulated(STEP, &[1, 2]), STEP));
    assert_ne!(page(&simulated(STEP, &[1]), STEP), page(&simulated(STEP, &[2]), STEP));
}

#[test]
fn a_sweep_is_drawn_against_load_even_with_one_load() {
    let text = STEP.replace("duration = \"3s\"", "duration = \"2s\"\nsweep = [2]");
    let page = page(&simulated(&text, &[1]), &text);
    assert_well_formed(&page);
    assert!(page.contains("<h4>Goodput against load") && page.contains("ideal: min(f, f_sat)"));
    assert!(page.contains("loads 2×") && !page.contains("Least goodput"));
}

#[test]
fn what_was_offered_does_not_flatten_what_succeeded() {
    let line = |kind, y| chart::Line {
        name: String::new(),
        kind,
        points: vec![Some(chart::Point::new(0.0, y))],
        marks: Vec::new(),
    };
    let own = chart::Kind::Plain(Palette::default().look("any"));
    let highest = |offered| courses::rates_beside(&[line(own, 100.0), line(chart::Kind::Reference, offered)]).high();
    assert_eq!((highest(180.0), highest(800.0)), (200.0, 100.0));
}

#[test]
fn what_is_missing_is_left_out() {
    let page_of = |report: &Report| render(report, &Origin { command: "dagor simulate", texts: &[] });
    for report in
        [Report { scenarios: Vec::new() }, made(Vec::new()), made(vec![Point { load: 1.0, outcomes: Vec::new() }])]
    {
        let elements = assert_well_formed(&page_of(&report));
        assert!(!elements.contains_key("figure"), "{elements:?}");
    }
}

#[test]
fn figures_without_a_course_are_a_table_without_plots_over_time() {
    let mut report = simulated(
        &STEP.replace("3s", "1s").replace("[[traffic.change]]\nat = \"1s\"\nrate = \"3x\"\nfor = \"1s\"", ""),
        &[1],
    );
    let outcomes: &mut Vec<Outcome> = &mut report.scenarios[0].points[0].outcomes;
    for outcome in outcomes {
        outcome.series.cut_level.clear();
        outcome.series.queuing_ms.fill(None);
        outcome.settled.clear();
        outcome.figures.retain(|metric, _| *metric == Metric::Goodput);
        outcome.figures.insert(Metric::Goodput, Estimate { mean: f64::NAN, half_width: None, values: vec![None] });
    }
    let page = page(&report, STEP);
    assert_well_formed(&page);
    for absent in ["The cut over time", "Queuing time over time", "Change at", "Fairness"] {
        assert!(!page.contains(absent), "{absent}");
    }
}
