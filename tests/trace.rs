//! What traffic there was, as the two that can write it down saw it: the load generator and the gateway.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
    time::Duration,
};

use dagor::trace::{Lines, Outcome};

/// A `serve` of its own, which ends with the test.
struct Serve {
    child: Child,
    /// Must stay open: the process writes to it until its end.
    stderr: BufReader<ChildStderr>,
    address: String,
}

impl Serve {
    fn start(flags: &[&str]) -> Self {
        let anywhere = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--push",
            "127.0.0.1:0",
            "--manager",
            "127.0.0.1:0",
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_dagor"));
        command.args(anywhere).args(flags).env_remove("RUST_LOG").stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended before it served");
            if let Some(rest) = line.trim().strip_prefix("clients") {
                break rest.split_whitespace().next().unwrap().to_owned();
            }
        };
        Self { child, stderr, address }
    }

    /// Asks it to end, and waits until it has.
    fn stop(mut self) {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(asked.success());
        // Until the end of its words, which is its own.
        let said: Vec<_> = self.stderr.by_ref().lines().map(Result::unwrap).collect();
        assert!(self.child.wait().unwrap().success(), "{said:?}");
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn load(address: &str, trace: &Path, flags: &str) -> serde_json::Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dagor"));
    command.args(["load", "--addr", address, "--json", "--allow-lag", "--record"]).arg(trace);
    let output = command.args(flags.split_whitespace()).env_remove("RUST_LOG").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// By business: how many requests there were, and how many were answered in time.
fn counts(trace: &Path, check: impl Fn(&dagor::trace::Line<'_>)) -> BTreeMap<String, (u64, u64)> {
    let mut lines = Lines::new(BufReader::new(File::open(trace).unwrap())).unwrap();
    let mut counts = BTreeMap::<_, (u64, u64)>::new();
    while let Some(line) = lines.next_line().unwrap() {
        check(&line);
        let (offered, ok) = counts.entry(line.business.to_owned()).or_default();
        *offered += 1;
        *ok += u64::from(line.outcome == Outcome::Ok);
    }
    counts
}

#[test]
fn load_and_gateway_write_down_the_same_traffic() {
    let folder = tempfile::tempdir().unwrap();
    let (sent, seen) = (folder.path().join("sent.csv"), folder.path().join("seen.csv"));
    let serve = Serve::start(&["--sample-log", seen.to_str().unwrap(), "--sample", "1/1"]);
    let flags = "--rate 200 --arrivals even --duration 1s --connections 20 --users 7 --mix login=1,payment=4,message=5";
    let report = load(&serve.address, &sent, flags);
    serve.stop();

    let sent = counts(&sent, |line| {
        assert!(line.at < Duration::from_secs(1) && line.user < 7 && line.stands_for == 1, "{line}");
    });
    assert_eq!(sent.values().map(|(offered, _)| offered).sum::<u64>(), 200);
    for business in report["businesses"].as_array().unwrap() {
        let (offered, ok) = sent[business["business"].as_str().unwrap()];
        assert_eq!((business["offered"].as_u64(), business["ok"].as_u64()), (Some(offered), Some(ok)), "{business}");
    }
    assert_eq!(report["trace"]["requests"], 200);

    let mut seen = counts(&seen, |line| assert_eq!(line.stands_for, 1));
    // The generator's own: its first greeting and its connections.
    seen.entry("login".to_owned()).and_modify(|(offered, _)| *offered -= 21);
    let offered = |counts: BTreeMap<String, (u64, u64)>| -> BTreeMap<_, _> {
        counts.into_iter().map(|(business, (offered, _))| (business, offered)).collect()
    };
    assert_eq!(offered(seen), offered(sent));
}

const SCENARIO: &str = r#"
controllers = ["none", "dagor-v3"]
seeds = 1

[traffic]
trace = "traffic.csv"
without = ["login"]

[[service]]
name = "main"
workers = 8
time = "10ms"
distribution = "deterministic"

[[business]]
name = "payment"
priority = 10

[[business]]
name = "message"
priority = 20
"#;

#[test]
fn what_load_has_sent_arrives_again_in_a_simulation() {
    let folder = tempfile::tempdir().unwrap();
    let (trace, scenario) = (folder.path().join("traffic.csv"), folder.path().join("scenario.toml"));
    let serve = Serve::start(&[]);
    let flags = "--rate 400 --duration 1s --connections 20 --mix login=1,payment=4,message=5";
    load(&serve.address, &trace, flags);
    serve.stop();
    std::fs::write(&scenario, SCENARIO).unwrap();
    let mut simulate = Command::new(env!("CARGO_BIN_EXE_dagor"));
    let output = simulate.arg("simulate").arg(&scenario).arg("--json").env_remove("RUST_LOG").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();

    let sent = counts(&trace, |_| ());
    for outcome in report.pointer("/scenarios/0/points/0/outcomes").unwrap().as_array().unwrap() {
        for (index, business) in ["payment", "message"].into_iter().enumerate() {
            let figure = |name: &str| {
                let pointer = format!("/businesses/{index}/{name}/mean");
                outcome.pointer(&pointer).and_then(serde_json::Value::as_f64).unwrap_or_else(|| panic!("{outcome}"))
            };
            assert_eq!(figure("offered"), sent[business].0 as f64, "{business}");
            // Half of what the simulated service can do.
            assert_eq!(figure("success_rate"), 1.0, "{business}");
        }
    }
}

#[test]
fn a_sample_stands_for_what_it_leaves_out() {
    let folder = tempfile::tempdir().unwrap();
    let (sent, seen) = (folder.path().join("sent.csv"), folder.path().join("seen.csv"));
    let serve = Serve::start(&["--sample-log", seen.to_str().unwrap(), "--sample", "1/4", "--echo-work", "0s"]);
    load(&serve.address, &sent, "--rate 1000 --arrivals even --duration 1s --connections 20 --mix payment=1");
    serve.stop();
    let (payments, _) = counts(&seen, |line| assert_eq!(line.stands_for, 4))["payment"];
    assert!((200..300).contains(&payments), "{payments} of 1,000");
}

#[test]
fn a_trace_that_cannot_be_written_is_told_before_anything_is_sent() {
    let output = Command::new(env!("CARGO_BIN_EXE_dagor"))
        .args(["load", "--record", "/no such folder/trace.csv"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("/no such folder/trace.csv") && said.contains("--record"), "{said}");
}
