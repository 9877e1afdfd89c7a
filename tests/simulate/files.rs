//! Scenario files: those that come with the project are sound, their manual names every key, and faults come all at once.

use std::{env, fs, path::Path};

use dagor::sim::{
    measure::Metric,
    scenario::{Scenario, known_keys},
};

const MANUAL: &str = "docs/simulator.md";

#[test]
fn every_scenario_of_the_project_is_sound() {
    let mut count = 0;
    let entries = ["tests/scenarios", "tests/scenarios/untuned"].map(|folder| fs::read_dir(folder).unwrap());
    for path in entries.into_iter().flatten().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        let scenario = Scenario::load(&path).unwrap_or_else(|faults| panic!("{faults}"));
        assert!(!scenario.description.is_empty(), "{}", path.display());
        count += 1;
    }
    assert!(count > 40, "{count}");
}

/// Compares with a committed file. After a change there: `DAGOR_REGENERATE=1 cargo test --test simulate`.
fn assert_rendered(faulty: &str) {
    let path = Path::new("tests/data/scenario").join(faulty);
    let faults = Scenario::load(&path).expect_err("the file was taken for a scenario");
    let (rendered, expected) = (faults.render(false), path.with_extension("txt"));
    if env::var_os("DAGOR_REGENERATE").is_some() {
        fs::write(&expected, &rendered).unwrap();
    }
    assert_eq!(rendered, fs::read_to_string(&expected).unwrap());
}

#[test]
fn all_faults_of_a_file_are_shown_at_once_where_they_were_written() {
    assert_rendered("faulty.toml");
}

#[test]
fn references_that_lead_nowhere_are_shown_where_they_were_written() {
    assert_rendered("circle.toml");
}

#[test]
fn the_smallest_scenario_is_a_service_and_a_rate() {
    let text = "[traffic]\nrate = \"1x\"\n[[service]]\nname = \"s\"\ntime = \"10ms\"\n";
    let scenario = Scenario::parse("small.toml", text).unwrap();
    assert_eq!(scenario.businesses.len(), 1);
    assert_eq!((scenario.seeds, scenario.duration.as_secs()), (10, 60));
    assert_eq!(scenario.traffic.value(0.0), 100.0);
}

#[test]
fn an_empty_file_says_what_is_missing() {
    let faults = Scenario::parse("empty.toml", "# nothing\n").unwrap_err();
    assert!(faults.render(false).contains("there is no service"), "{faults}");
}

#[test]
fn no_text_makes_the_reader_panic() {
    let text = fs::read_to_string("tests/scenarios/08-order.toml").unwrap();
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
        let _ = Scenario::parse("cut.toml", &text[..end]);
    }
}

/// The first word of each row of a table, between backticks.
fn rows(manual: &str) -> Vec<String> {
    let cell = |line: &str| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned());
    manual.lines().filter_map(cell).collect()
}

#[test]
fn the_manual_explains_every_key_and_every_figure_and_nothing_else() {
    let rows = rows(&fs::read_to_string(MANUAL).unwrap());
    let mut expected = known_keys();
    expected.extend(Metric::ALL.iter().map(|metric| metric.name().to_owned()));
    for key in &expected {
        assert!(rows.contains(key), "{MANUAL} says nothing of `{key}`");
    }
    for row in &rows {
        assert!(expected.contains(row), "{MANUAL} explains `{row}`, which does not exist");
    }
}
