//! What holds in every world.

use dagor::sim::{
    compare::{Job, compare},
    controllers,
    measure::{Metric, Run, Towards},
    run,
};

use crate::{figure, of_business, scenario, simulate};

/// Everything at once: chains, fan-out, several instances, pauses, changes, impatient clients, lost feedback.
const BUSY: &str = r#"
duration = "5s"
warmup = "1s"

[traffic]
rate = "1.5x"
change = [{ at = "2s", rate = "4x", for = "1s" }]

[entry]
gateways = 3
feedback_loss = 0.2
feedback_delay = "50ms"
hop = "1ms"

[users]
count = 500
skew = 0.8

[[users.tier]]
name = "paying"
share = 1
levels = [0, 31]

[[users.tier]]
name = "others"
share = 9
levels = [32, 127]

[[client]]
share = 1
patience = "3s"
resends = "unlimited"
on = ["refused", "timeout"]
after = "100ms"

[[client]]
share = 2
patience = "5s"
resends = 2

[[service]]
name = "front"
instances = 2
workers = 4
time = "2ms"
balance = "least-loaded"
call = [{ service = "left", times = 2, parallel = true, resends = 1 }, { service = "right" }]

[[service]]
name = "left"
instances = 2
workers = 2
time = "5ms"
distribution = "lognormal"
scv = 2
pause = [{ at = "3s", for = "500ms", instance = 1 }]
call = [{ service = "bottom" }]

[[service]]
name = "right"
workers = 2
threads = 6
time = "5ms"
balance = "user-hash"
change = [{ at = "4s", workers = 1, speed = 0.5 }]
call = [{ service = "bottom", times = 2 }]

[[service]]
name = "bottom"
instances = 3
workers = 2
time = "2ms"
distribution = "hyperexponential"
scv = 4
balance = "round-robin"

[[business]]
name = "top"
priority = 0
share = 1
timeout = "200ms"
call = [{ service = "front" }]

[[business]]
name = "bottom"
priority = 9
rate = "20/s"
cost = 3
call = [{ service = "left", times = 3 }, { service = "bottom", times = 2, parallel = true }]
"#;

#[test]
fn every_task_ends_exactly_once_and_the_same_seed_gives_the_same_run_bit_for_bit() {
    for name in controllers::names() {
        let (run, again) = (simulate(BUSY, name), simulate(BUSY, name));
        assert_same(&run, &again);
        let fates = [Metric::SuccessRate, Metric::Refused, Metric::Missed];
        let sum: f64 = fates.map(|metric| figure(&run, metric)).iter().sum();
        assert!((sum - 1.0).abs() < 1e-9, "{name}: {sum}");
        assert_eq!(figure(&run, Metric::Unfinished), 0.0, "{name}");
        assert!(figure(&run, Metric::Offered) > 200.0, "{name}");
    }
}

fn assert_same(one: &Run, other: &Run) {
    assert_eq!(one.figures, other.figures);
    assert_eq!(one.businesses, other.businesses);
    assert_eq!(one.series, other.series);
    assert_eq!(one.settled, other.settled);
}

#[test]
fn another_seed_gives_another_run() {
    let (scenario, none) = (scenario(BUSY), controllers::named("none").unwrap());
    assert_ne!(run(&scenario, &none, 1.0, 1).figures, run(&scenario, &none, 1.0, 2).figures);
}

#[test]
fn controllers_are_compared_on_the_same_tasks() {
    let runs = ["none", "capacity"].map(|name| simulate(BUSY, name));
    assert_eq!(runs[0].series.offered_per_s, runs[1].series.offered_per_s);
    assert_ne!(runs[0].series.succeeded_per_s, runs[1].series.succeeded_per_s);
}

#[test]
fn threads_change_nothing_but_the_time_that_it_takes() {
    let job = Job { file: "test.toml".into(), scenario: scenario(BUSY), seeds: vec![1] };
    let report = compare(&[job], &|| ());
    let outcomes = &report.scenarios[0].points[0].outcomes;
    let names: Vec<_> = outcomes.iter().map(|outcome| outcome.controller.as_str()).collect();
    assert_eq!(names, ["capacity", "dagor-v3", "none"]);
    for outcome in outcomes {
        let alone = simulate(BUSY, &outcome.controller);
        assert_eq!(outcome.figures[&Metric::SuccessRate].values[0], Some(figure(&alone, Metric::SuccessRate)));
        assert_eq!(outcome.series, alone.series);
    }
}

/// A service of 100/s, with three businesses of which the first two just fit.
fn overloaded(head: &str) -> String {
    format!(
        "{head}\n[traffic]\nrate = \"2x\"\n[[service]]\nname = \"s\"\nworkers = 2\ntime = \"20ms\"\n
         [[business]]\nname = \"login\"\npriority = 0\nshare = 1\n[[business]]\nname = \"message\"\npriority = 9\nshare = 3\n
         [[business]]\nname = \"moments\"\npriority = 20\nshare = 6\n"
    )
}

#[test]
fn a_gate_sheds_by_importance_and_no_control_by_chance() {
    let text = overloaded("duration = \"60s\"\nwarmup = \"20s\"");
    for gate in ["capacity", "dagor-v3"] {
        let run = simulate(&text, gate);
        assert!(of_business(&run, 0, Metric::SuccessRate) > 0.99, "{gate}: {:?}", run.businesses[0]);
        assert!(of_business(&run, 2, Metric::SuccessRate) < 0.3, "{gate}: {:?}", run.businesses[2]);
        assert_eq!(figure(&run, Metric::Inversions), 0.0, "{gate}");
    }
    let none = simulate(&text, "none");
    let rates: Vec<_> = (0..3).map(|business| of_business(&none, business, Metric::SuccessRate)).collect();
    assert!(rates.iter().all(|rate| *rate < 0.3), "{rates:?}");
}

#[test]
fn the_optimum_is_what_an_ideal_could_serve_with_and_without_priorities() {
    let run = simulate(&overloaded("duration = \"60s\"\nwarmup = \"20s\""), "none");
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 0.03, "{found} is not {expected}");
    close(figure(&run, Metric::Optimum), 0.5);
    close(of_business(&run, 0, Metric::Optimum), 1.0);
    close(of_business(&run, 1, Metric::Optimum), 1.0);
    close(of_business(&run, 2, Metric::Optimum), (100.0 - 80.0) / 120.0);
}

#[test]
fn changes_are_judged_one_by_one() {
    let text = r#"
duration = "60s"
[traffic]
rate = "0.5x"
change = [{ at = "20s", rate = "4x", for = "20s" }]
[[service]]
name = "s"
workers = 4
time = "10ms"
"#;
    let run = simulate(text, "capacity");
    let judged: Vec<_> = run.settled.iter().map(|one| (one.at_s, one.towards)).collect();
    assert_eq!(judged, [(0.0, Towards::Calm), (20.0, Towards::Overload), (40.0, Towards::Recovery)]);
    assert!(run.settled.iter().all(|one| one.settled), "{:?}", run.settled);
    // With nothing but a queue, the spike is never settled, and is over when the queue is empty again: within a time-out.
    let none = simulate(text, "none");
    assert!(!none.settled[1].settled && none.settled[1].settled_s == 20.0, "{:?}", none.settled);
    assert!(none.settled[2].reopened_s.unwrap() <= 1.5, "{:?}", none.settled);
}
