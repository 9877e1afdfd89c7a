//! The figures of the DAGOR paper, from the scenario files that reproduce them.

use std::{path::Path, time::Duration};

use dagor::sim::{measure::Metric, measure::Run, run, scenario::Scenario};

use crate::{figure, of_business};

/// A run of this file at this load by the contender with this label, half as long as the file says.
fn paper(file: &str, load: f64, label: &str) -> Run {
    let path = Path::new("tests/scenarios").join(file);
    let mut scenario = Scenario::load(&path).unwrap();
    (scenario.warmup, scenario.duration) = (Duration::from_secs(20), Duration::from_secs(45));
    let contender = scenario.contenders.iter().find(|contender| contender.label == label).unwrap();
    run(&scenario, contender, load, 1)
}

fn success(file: &str, load: f64, label: &str) -> f64 {
    figure(&paper(file, load, label), Metric::SuccessRate)
}

#[test]
fn with_one_call_per_task_dagor_and_codel_are_alike() {
    let [dagor, codel] = ["dagor-v3", "codel"].map(|label| success("paper-m1.toml", 1500.0, label));
    assert!((dagor - codel).abs() < 0.06 && dagor > 0.4, "{dagor} {codel}");
}

#[test]
fn with_two_calls_dagor_serves_half_as_much_again() {
    let [dagor, codel] = ["dagor-v3", "codel"].map(|label| success("paper-m2.toml", 1500.0, label));
    assert!(dagor > 1.35 * codel, "{dagor} {codel}");
}

#[test]
fn with_four_calls_dagor_stays_near_the_optimum_and_the_others_fall_away() {
    let dagor = paper("paper-m4.toml", 1500.0, "dagor-v3");
    assert!(figure(&dagor, Metric::OfOptimum) > 0.8, "{:?}", dagor.figures);
    for rival in ["codel", "random"] {
        let other = success("paper-m4.toml", 1500.0, rival);
        assert!(other < 0.3, "{rival}: {other}");
    }
}

#[test]
fn in_the_mix_dagor_treats_all_tasks_alike_and_codel_those_of_one_call_better() {
    let spread = |run: &Run| of_business(run, 0, Metric::SuccessRate) - of_business(run, 3, Metric::SuccessRate);
    let [dagor, codel] = ["dagor-v3", "codel"].map(|label| spread(&paper("paper-mix.toml", 2.0, label)));
    assert!(dagor.abs() < 0.06 && codel > 0.3, "{dagor} {codel}");
}

#[test]
fn shedding_begins_at_the_saturation_by_queuing_time_and_long_before_by_response_time() {
    let refused = |load: f64, label: &str| figure(&paper("paper-onset.toml", load, label), Metric::Refused);
    assert!(refused(700.0, "dagor-v3") < 0.01);
    assert!(refused(800.0, "dagor-v3") > 0.05);
    assert!(refused(600.0, "by-response") < 0.02);
    assert!(refused(660.0, "by-response") > 0.02);
}
