//! The program as it is typed: what it says, where it says it, and its exit code.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::Stdio,
    time::Duration,
};

use assert_cmd::Command;
use serde_json::Value;

mod fake;

fn dagor(line: &str) -> Command {
    let mut command = Command::cargo_bin("dagor").unwrap();
    command.args(line.split_whitespace()).env_remove("RUST_LOG").timeout(Duration::from_secs(60));
    command
}

fn stderr_of(command: &mut Command, exit_code: i32) -> String {
    let output = command.assert().code(exit_code).get_output().clone();
    assert!(output.stdout.is_empty(), "only --json writes to standard output");
    String::from_utf8(output.stderr).unwrap()
}

fn load(gateway: SocketAddr, flags: &str) -> Value {
    let mut command = dagor(&format!("load --addr {gateway} --connections 20 --allow-lag --json {flags}"));
    let output = command.assert().success().get_output().clone();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(report: &Value, pointer: &str) -> f64 {
    report.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer} in {report}"))
}

#[test]
fn help_lists_the_commands_on_standard_output() {
    let output = dagor("--help").assert().success().get_output().clone();
    let help = String::from_utf8(output.stdout).unwrap();
    for text in [
        "cap",
        "client",
        "drain",
        "echo",
        "gateway",
        "kick",
        "load",
        "manager",
        "policy",
        "serve",
        "simulate",
        "Examples:",
        "Exit codes:",
    ] {
        assert!(help.contains(text), "{help}");
    }
}

#[test]
fn a_flag_that_does_not_exist_is_a_usage_error() {
    let said = stderr_of(&mut dagor("load --speed 9"), 2);
    assert!(said.contains("error:") && said.contains("--speed") && said.contains("Usage:"), "{said}");
}

#[test]
fn a_faulty_log_filter_is_a_usage_error() {
    let said = stderr_of(&mut dagor("--log dagor=loud load"), 2);
    assert!(said.contains("--log") && said.contains("hint:"), "{said}");
}

#[test]
fn a_sound_policy_is_shown_and_a_faulty_one_is_a_usage_error_with_its_place() {
    let said = stderr_of(&mut dagor("policy check policies/chat.toml"), 0);
    assert!(said.contains("sound") && said.contains("payment"), "{said}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[[busines]]\nname = \"a\"\n").unwrap();
    let said = stderr_of(&mut dagor(&format!("policy check {}", file.path().display())), 2);
    assert!(said.contains("busines") && said.contains(":1:") && said.contains("hint:"), "{said}");
}

#[test]
fn a_search_writes_settings_that_a_scenario_takes() {
    let scenario =
        "duration = '4s'\nwarmup = '1s'\ntraffic.rate = '2x'\n[[service]]\nname = 'main'\nworkers = 4\ntime = '10ms'\n";
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), scenario).unwrap();
    let path = file.path().display().to_string();

    let mut search = dagor(&format!("simulate {path} --search 6 --controllers codel --seeds 1 --json"));
    let output = search.assert().success().get_output().clone();
    let tuned: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((tuned[0]["controller"].as_str(), tuned[0]["tries"].as_u64()), (Some("codel"), Some(6)));
    assert!(number(&tuned, "/0/best") > number(&tuned, "/0/authors"), "{tuned}");

    let said = String::from_utf8(output.stderr).unwrap();
    let settings = said.lines().find(|line| line.starts_with("{ kind = ")).unwrap();
    std::fs::write(file.path(), format!("controllers = [{settings}]\n{scenario}")).unwrap();
    let said = stderr_of(&mut dagor(&format!("simulate {path} --quick")), 0);
    assert!(said.contains("codel"), "{said}");

    let said = stderr_of(&mut dagor(&format!("simulate {path} --search 6 --controllers code1")), 2);
    assert!(said.contains("there is no `code1`") && said.contains("rajomon"), "{said}");
}

#[test]
fn a_gateway_does_not_listen_where_other_machines_could_log_in() {
    for line in ["serve --listen 0.0.0.0:7400", "gateway --service main=127.0.0.1:1 --push 0.0.0.0:7402"] {
        let said = stderr_of(&mut dagor(line), 2);
        assert!(said.contains("only loopback") && said.contains("hint:"), "{said}");
    }
}

#[test]
fn load_says_what_to_do_when_nobody_listens() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let said = stderr_of(&mut dagor(&format!("load --addr {nobody}")), 1);
    assert!(said.contains("cannot connect") && said.contains("hint: start a gateway with `dagor serve`"), "{said}");
}

#[test]
fn a_business_that_the_gateway_does_not_know_is_named_with_those_that_it_knows() {
    let gateway = fake::start(fake::Service::default());
    let said = stderr_of(&mut dagor(&format!("load --addr {gateway} --mix paymnt=1")), 2);
    assert!(said.contains("\"paymnt\"") && said.contains("login, payment, message, moments"), "{said}");
}

#[test]
fn every_request_offered_ends_in_exactly_one_column() {
    let gateway = fake::start(fake::Service::default());
    let report = load(gateway, "--rate 1000 --duration 1s --mix login=5,payment=45,moments=50");
    let offered: f64 = (0..3).map(|at| number(&report, &format!("/businesses/{at}/offered"))).sum();
    assert_eq!(offered, number(&report, "/total/offered"));
    assert!((offered - 1000.0).abs() < 150.0, "{offered}");
    for at in [0, 1] {
        let fate = format!("/businesses/{at}");
        assert_eq!(number(&report, &format!("{fate}/offered")), number(&report, &format!("{fate}/ok")), "{report}");
        assert!(number(&report, &format!("{fate}/latency/p50_ms")) > 0.0);
    }
    assert_eq!(number(&report, "/businesses/2/offered"), number(&report, "/businesses/2/refused/service_cut"));
    assert_eq!(report.pointer("/saturation"), Some(&Value::Null));
}

#[test]
fn load_travels_over_websockets_too() {
    let gateway = fake::start(fake::Service::default());
    let report = load(gateway, "--transport ws --rate 500 --duration 1s --mix login=1,payment=9 --arrivals even");
    assert_eq!((number(&report, "/total/offered"), number(&report, "/total/ok")), (500.0, 500.0), "{report}");
}

#[test]
fn the_warm_up_is_in_the_series_and_not_in_the_table() {
    let gateway = fake::start(fake::Service::default());
    let report = load(gateway, "--rate 500 --warmup 1s --duration 1s --mix payment=1 --arrivals even --threads 2");
    assert_eq!(number(&report, "/total/offered"), 500.0);
    let series = report["series"].as_array().unwrap();
    let offered: f64 = (0..series.len()).map(|at| number(&report, &format!("/series/{at}/businesses/0/offered"))).sum();
    assert_eq!(offered, 1000.0, "{series:?}");
    assert_eq!((&series[0]["warmup"], &series[1]["warmup"]), (&Value::Bool(true), &Value::Bool(false)));
}

#[test]
fn the_saturation_is_measured_before_its_multiple_is_offered() {
    let service = fake::Service { workers: 4, work: Duration::from_millis(10), ..fake::Service::default() };
    let report = load(fake::start(service), "--overload 0.5x --duration 1s --mix payment=1 --arrivals even");
    let saturation = number(&report, "/saturation/requests_per_s");
    assert!((150.0..=405.0).contains(&saturation), "four workers of at least 10 ms: {saturation}");
    let rate = number(&report, "/rate");
    assert!((rate / saturation - 0.5).abs() < 1e-9, "{rate} of {saturation}");
}

#[test]
fn what_a_lost_connection_leaves_unanswered_is_lost() {
    let service = fake::Service { workers: 64, work: Duration::from_millis(100), closes_after: 20 };
    let report = load(fake::start(service), "--rate 1000 --duration 1s --mix payment=1");
    assert!(number(&report, "/total/lost") > 0.0, "{report}");
    assert!(report["connections_lost"].as_object().is_some_and(|lost| !lost.is_empty()), "{report}");
    let ended = ["ok", "late", "unknown", "lost", "unsent"].map(|end| number(&report, &format!("/total/{end}")));
    assert_eq!(ended.iter().sum::<f64>(), number(&report, "/total/offered"), "{report}");
}

#[test]
fn an_interrupt_ends_the_run_with_the_table_so_far() {
    let gateway = fake::start(fake::Service::default());
    let line = format!("load --addr {gateway} --rate 500 --duration 1h --mix payment=1 --allow-lag");
    let mut run = std::process::Command::new(env!("CARGO_BIN_EXE_dagor"))
        .args(line.split(' '))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(run.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("offering")));
    let kill = std::process::Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let rest: Vec<_> = lines.collect();
    assert!(rest.iter().any(|line| line.contains("stopped early")), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("offered") && line.contains("p99.9 ms")), "{rest:?}");
    assert!(run.wait().unwrap().success());
}

#[test]
fn an_answer_after_the_timeout_is_late() {
    let service = fake::Service { workers: 1000, work: Duration::from_millis(60), ..fake::Service::default() };
    let report = load(fake::start(service), "--rate 200 --duration 1s --mix payment=1 --timeout 50ms");
    assert_eq!(number(&report, "/total/late"), number(&report, "/total/offered"), "{report}");
    assert_eq!(number(&report, "/total/in_time_percent"), 0.0);
}

const SCENARIO: &str = "duration = \"1s\"\n[traffic]\nrate = \"2x\"\n[[service]]\nname = \"main\"\ntime = \"10ms\"\n";

#[test]
fn simulate_writes_the_same_page_for_the_same_seed_and_complains_before_it_runs() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path("step.toml"), SCENARIO).unwrap();
    let pages = ["one.html", "two.html"].map(|name| {
        // What is longer than the new page must not show through behind it.
        std::fs::write(path(name), "x".repeat(1 << 20)).unwrap();
        stderr_of(&mut dagor(&format!("simulate {} --seed 3 --quick --html {}", path("step.toml"), path(name))), 0);
        std::fs::read_to_string(path(name)).unwrap()
    });
    assert!(pages[0].starts_with("<!DOCTYPE html>") && pages[0].trim_end().ends_with("</html>"));
    assert!(pages[0].contains("--seed 3 --quick") && pages[0] == pages[1]);

    let nowhere = format!("simulate {} --quick --html {}/no/page.html", path("step.toml"), path(""));
    let said = stderr_of(&mut dagor(&nowhere), 2);
    assert!(said.contains("--html") && !said.contains("goodput"), "{said}");
}

/// A second of three times what a service can do, which of all controllers nobody expects to be served.
const TOO_MUCH: &str = r#"
description = "Too much."
duration = "1s"
seeds = 2
controllers = ["capacity", "none"]
expect = [
  { controller = "none", metric = "success_rate", at_least = 0.99 },
  { controller = "none", metric = "unfinished", at_most = 0 },
]
[traffic]
rate = "3x"
[[service]]
name = "main"
time = "10ms"
"#;

#[test]
fn a_simulation_is_a_table_and_with_json_everything() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("too-much.toml"), TOO_MUCH).unwrap();
    let said = stderr_of(dagor("simulate").arg(directory.path()), 0);
    for text in ["too-much: Too much.", "2 seeds", "capacity", "MISSED  none: success_rate", "met     none: unfinished"]
    {
        assert!(said.contains(text), "{text} in {said}");
    }
    let output = dagor("simulate --json --quick").arg(directory.path()).assert().success().get_output().clone();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report.pointer("/scenarios/0/seeds").unwrap(), &serde_json::json!([1]));
    let optimum = number(&report, "/scenarios/0/points/0/outcomes/1/figures/optimum/mean");
    assert!((0.25..0.45).contains(&optimum), "{optimum}");
}

#[test]
fn a_missed_expectation_fails_only_where_expectations_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("too-much.toml");
    std::fs::write(&file, TOO_MUCH).unwrap();
    let said = stderr_of(dagor("simulate --check --quick").arg(&file), 1);
    assert!(said.contains("1 expectation missed"), "{said}");
    let said = stderr_of(dagor("simulate --quick --controllers capacity --check").arg(&file), 0);
    assert!(!said.contains("none"), "what was not run is not judged: {said}");
    let said = stderr_of(dagor("simulate --controllers capaciti").arg(&file), 2);
    assert!(said.contains("there is no `capaciti`"), "{said}");
}

#[test]
fn a_faulty_scenario_is_a_usage_error_with_its_place() {
    let said = stderr_of(&mut dagor("simulate tests/data/scenario/circle.toml"), 2);
    assert!(said.contains("circle.toml:2:8") && said.contains("docs/simulator.md"), "{said}");
}
