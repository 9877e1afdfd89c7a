//! Fleets: how clients come back when gateways are lost, and that nobody is lost or made up on the way.

use std::{fs, path::Path};

use dagor::{
    clock::{Clock, Timestamp},
    sim::fleet::{Report, Scenario, run, scenario::known_keys},
};

const MANUAL: &str = "docs/simulate-fleet.md";
const SMALL: &str = "tests/scenarios/fleet/small-loss.toml";

fn load(path: &str) -> Scenario {
    Scenario::load(Path::new(path)).unwrap_or_else(|faults| panic!("{faults}"))
}

/// A clock that stands still, so that nothing of the report depends on the machine.
fn simulated(scenario: &Scenario, seed: u64) -> Report {
    run(scenario, seed, &Clock::manual(Timestamp::ZERO), |_| ())
}

/// The small fleet with something else in its file.
fn small(text: &str) -> Scenario {
    let text = format!("gateways = 20\nclients = 40_000\nmanagers = 2\nwarmup = \"35s\"\n{text}");
    Scenario::parse("small.toml", &text).unwrap_or_else(|faults| panic!("{faults}"))
}

const ROOM: &str = "[gateway]\nmax = 4_000\nlogin_rate = \"1000/s\"\nlogin_burst = 2000\n";

#[test]
fn a_tenth_of_the_fleet_is_lost_and_everybody_is_back_soon_and_evenly() {
    let report = simulated(&load(SMALL), 1);
    let recovery = &report.recovery;
    // A few have come or gone by themselves before.
    assert!((19_000..=21_000).contains(&recovery.lost), "{recovery:?}");
    assert!(recovery.back_95_s.unwrap() <= recovery.spread_s + 2.0, "{recovery:?}");
    assert!(recovery.back_all_s.is_some() && recovery.still_away == 0, "{recovery:?}");
    let logins = &report.logins;
    assert!(f64::from(logins.peak_max) <= logins.ceiling_per_s, "{logins:?}");
    assert!(logins.peak_mean <= 1.1 * logins.limit_per_s, "{logins:?}");
    assert!(report.balance.survivors_deviation < 0.05, "{:?}", report.balance);
    assert_eq!((report.balance.gateways, report.manager_load.reports_per_s), (18, 20.0));
}

#[test]
fn no_client_is_lost_or_made_up() {
    let report = simulated(&load(SMALL), 3);
    let last = |values: &[u64]| *values.last().unwrap();
    // But for those who came anew and wait for up to a second.
    let away = report.clients - last(&report.series.connected);
    assert!(away <= report.clients / 1000, "{away}");
    assert_eq!(last(&report.series.away), report.recovery.still_away);
}

#[test]
fn the_same_seed_gives_the_same_report_and_another_one_another() {
    let scenario = small(&format!("duration = \"30s\"\n{ROOM}[[lose]]\nat = \"5s\"\nshare = 0.2\n"));
    assert_eq!(simulated(&scenario, 7), simulated(&scenario, 7));
    assert_ne!(simulated(&scenario, 7), simulated(&scenario, 8));
}

#[test]
fn clients_come_back_without_managers_too() {
    let text = format!(
        "duration = \"60s\"\n{ROOM}[[managers_away]]\nat = \"1s\"\nfor = \"55s\"\n[[lose]]\nat = \"20s\"\nshare = 0.1\n"
    );
    let recovery = simulated(&small(&text), 1).recovery;
    assert!(recovery.back_95_s.is_some_and(|seconds| seconds <= recovery.spread_s + 2.0), "{recovery:?}");
    assert_eq!(recovery.still_away, 0);
}

#[test]
fn silent_gateways_are_noticed_by_the_heartbeat() {
    let text = format!("duration = \"150s\"\n{ROOM}[[lose]]\nat = \"5s\"\nshare = 0.1\nsilent = true\n");
    let recovery = simulated(&small(&text), 1).recovery;
    // What was received last came within the heartbeat of 30 s; 75 s later the connection is given up.
    assert!((50.0..70.0).contains(&recovery.back_50_s.unwrap()), "{recovery:?}");
    assert!(recovery.back_99_s.is_some_and(|seconds| seconds < 100.0), "{recovery:?}");
}

#[test]
fn a_restart_of_all_moves_everybody_and_refuses_nobody_for_good() {
    let text =
        format!("duration = \"200s\"\n{ROOM}[[restart]]\nat = \"5s\"\ntogether = 2\nevery = \"17s\"\ntakes = \"5s\"\n");
    let report = simulated(&small(&text), 1);
    assert!(report.recovery.moved >= 40_000, "{:?}", report.recovery);
    assert_eq!((report.recovery.lost, report.balance.gateways), (0, 20));
    assert!(report.logins.peak_max > 0, "{:?}", report.logins);
    let least = report.series.connected.iter().min().unwrap();
    assert!(*least > 30_000, "{least}: the others have room for two");
}

#[test]
fn gateways_that_come_back_empty_are_filled_with_one_move_for_each_client() {
    let run = |above: &str| {
        let placement = format!("[placement]\nrebalance_above = {above}\nrebalance_share = 0.01\n");
        let loss = "[[lose]]\nat = \"5s\"\nshare = 0.1\nback_after = \"20s\"\n";
        simulated(&small(&format!("duration = \"150s\"\n{ROOM}{placement}{loss}")), 1).balance
    };
    let (with, without) = (run("1.25"), run("0"));
    assert!(with.largest_deviation <= 0.05, "{with:?}");
    // Two of twenty, of 2,000 each.
    assert!((3_500..=4_800).contains(&with.moved), "{with:?}");
    assert!(without.largest_deviation > 0.5 && without.moved == 0, "{without:?}");
}

#[test]
fn where_all_gateways_are_full_the_most_important_are_let_in_slowly() {
    let text =
        "duration = \"60s\"\n[gateway]\nmax = 2_100\nlogin_rate = \"100/s\"\n[[lose]]\nat = \"5s\"\nshare = 0.5\n";
    let report = simulated(&small(text), 1);
    let most = report.series.connected.iter().skip(10).max().unwrap();
    assert!(*most <= 2_100 * 20, "{most}");
    assert!(report.recovery.still_away > 0 && report.logins.limited + report.logins.cut > 0, "{:?}", report.logins);
}

#[test]
fn every_scenario_of_a_fleet_is_sound() {
    let paths = fs::read_dir("tests/scenarios/fleet").unwrap().map(|entry| entry.unwrap().path());
    let count = paths.map(|path| assert!(!load(path.to_str().unwrap()).description.is_empty())).count();
    assert!(count >= 5, "{count}");
}

#[test]
fn all_faults_of_a_fleet_are_shown_at_once() {
    let text = "gateways = 1\nclients = 10\nmangers = 2\n[[lose]]\nat = \"1s\"\nshare = 2\n";
    let faults = Scenario::parse("faulty.toml", text).unwrap_err();
    let shown = faults.render(false);
    for expected in ["gateways must be from 2", "did you mean", "share must be from 0 to 1"] {
        assert!(shown.contains(expected), "{shown}");
    }
}

#[test]
fn the_balance_of_a_fleet_is_bound_as_in_a_managers_configuration() {
    let text = |placement: &str| format!("gateways = 2\nclients = 10\n[placement]\n{placement}\n");
    for (faulty, expected) in [
        ("rebalance_above = 1.04", "`rebalance_above` is below 1.05"),
        ("rebalance_share = 0", "`rebalance_share` is 0 and `rebalance_above` is not"),
    ] {
        let shown = Scenario::parse("faulty.toml", &text(faulty)).unwrap_err().render(false);
        assert!(shown.contains(expected), "{shown}");
    }
    assert!(Scenario::parse("off.toml", &text("rebalance_above = 0\nrebalance_share = 0")).is_ok());
}

#[test]
fn the_manual_of_fleets_explains_every_key_and_nothing_else() {
    let manual = fs::read_to_string(MANUAL).unwrap();
    let rows: Vec<_> =
        manual.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned())).collect();
    let keys = known_keys();
    assert!(keys.iter().all(|key| rows.contains(key)), "{keys:?} of {rows:?}");
    assert!(rows.iter().all(|row| keys.contains(row)), "{rows:?} of {keys:?}");
}
