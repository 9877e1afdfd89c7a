use proptest::prelude::*;

use super::*;
use crate::admission::{Cut, Level};

/// A gateway that has nothing to do.
pub(super) fn report(name: &str) -> Report {
    Report {
        gateway: name.to_owned(),
        incarnation: Incarnation(1),
        addresses: vec![format!("{name}:7400")],
        uptime: Duration::from_secs(3600),
        connections: 0,
        limit: 1000,
        cpu: Some(0.0),
        memory: Some(0.0),
        event_loop: Duration::ZERO,
        own_share: None,
        login_limit: 100.0,
        logins: 0.0,
        standing: None,
        sent: Vec::new(),
        arrived: 0.0,
        leaving: false,
        policy: 7,
        refused_policy: 0,
        gates: Vec::new(),
    }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}

fn fleet(reports: impl IntoIterator<Item = Report>) -> Core {
    let mut core = Core::new(Settings::default());
    reports.into_iter().for_each(|report| core.hear(report, at(0)));
    core
}

fn names(alternatives: &[Alternative]) -> Vec<&str> {
    alternatives.iter().map(|one| one.gateway.as_str()).collect()
}

fn decide(core: &mut Core, millis: u64) -> Decisions {
    core.decide(&Orders::default(), at(millis), 1)
}

#[test]
fn a_full_gateway_is_closed_and_the_others_are_its_alternatives() {
    let mut full = report("full");
    full.connections = 950;
    let mut core = fleet([full, report("a"), report("b")]);
    let decisions = decide(&mut core, 100);
    let directive = &decisions.gateways["full"];
    assert_eq!((directive.accept, names(&directive.alternatives)), (false, vec!["a", "b"]));
    assert_eq!(names(&decisions.open), ["a", "b"]);
    assert_eq!(names(&decisions.gateways["a"].alternatives), ["b"]);
    assert_eq!(directive.spare_logins, 200.0);
}

#[test]
fn who_is_silent_leaves_the_list_when_its_lease_ends() {
    let mut core = fleet([report("a"), report("b"), report("c")]);
    for name in ["a", "b"] {
        core.hear(report(name), at(2500));
    }
    assert_eq!(names(&decide(&mut core, 2999).open), ["a", "b", "c"]);
    assert_eq!(names(&decide(&mut core, 3000).open), ["a", "b"]);
}

#[test]
fn a_manager_that_lost_half_of_the_fleet_from_sight_changes_nothing() {
    let mut core = fleet(["a", "b", "c", "d"].map(report));
    decide(&mut core, 100);
    let mut full = report("a");
    full.connections = 990;
    core.hear(full, at(3500));
    core.hear(report("b"), at(3500));
    let decisions = decide(&mut core, 3600);
    assert!(decisions.gateways["a"].accept, "not closed either");
    assert_eq!(names(&decisions.open), ["b"], "but who is gone is gone, and who is full is full");
    let why = decisions.frozen.unwrap();
    assert_eq!(why, "2 of 4 gateways are seen: nothing changes for 60 s more");
    core.hear(report("c"), at(3700));
    let decisions = decide(&mut core, 3800);
    assert_eq!((decisions.frozen, decisions.gateways["a"].accept), (None, false));
}

#[test]
fn while_the_board_cannot_be_read_nobody_elsewhere_is_taken_for_gone() {
    let mut core = fleet([report("a"), report("b")]);
    core.keep(at(60_000), |name| name == "a");
    assert_eq!(names(&decide(&mut core, 59_000).open), ["b"]);
    assert_eq!(decide(&mut core, 60_000).gateways.len(), 0);
}

#[test]
fn an_older_report_says_nothing_and_a_new_run_takes_the_seat() {
    let mut core = fleet([report("a")]);
    let mut second = report("a");
    (second.incarnation, second.connections) = (Incarnation(2), 5);
    core.hear(second, at(50));
    core.hear(report("a"), at(40));
    assert_eq!(decide(&mut core, 60).gateways["a"].connections.0, 5);
    core.forget("a", Incarnation(1));
    assert_eq!(core.incarnation("a"), Some(Incarnation(2)));
    core.forget("a", Incarnation(2));
    assert_eq!(decide(&mut core, 60).gateways.len(), 0);
}

/// Logins of all four classes at the same rate.
fn logins(per_second: f64) -> GateReport {
    GateReport {
        service: String::new(),
        own_cut: Cut::OPEN,
        fleet_cut: Cut::OPEN,
        queuing: Duration::ZERO,
        target: Duration::from_millis(20),
        capacity: 0.0,
        mean_cost: 0.0,
        admitted: per_second,
        limited: 0.0,
        backlog: 0.0,
        dry_run: false,
        offered: (0..4).map(|class| (Level::new(0, class * 32), per_second / 4.0)).collect(),
        latency: None,
    }
}

#[test]
fn when_all_are_closed_the_most_important_logins_pass_and_the_rest_is_spread() {
    let full = |name| {
        let mut report = report(name);
        (report.connections, report.gates) = (950, vec![logins(40.0)]);
        report
    };
    let mut core = fleet(["a", "b"].map(full));
    let decisions = decide(&mut core, 100);
    let logins = decisions.logins.unwrap();
    // 20/s of 80/s: the first of four classes.
    assert_eq!((logins.allowed, logins.cut), (20.0, Cut::below_index(32)));
    assert_eq!(logins.wait, Duration::from_secs(15), "60/s are refused, and come back after 5 s at first");
    let directive = &decisions.gateways["a"];
    assert_eq!((directive.accept, directive.alternatives.len()), (true, 0));
    assert!(!directive.standing.accepting, "it stays closed in its own right");
    assert_eq!(directive.standing.wait, logins.wait);
}

#[test]
fn a_drained_gateway_moves_its_clients_if_there_is_somewhere_to_go() {
    let drain = orders::DrainOrder { gateway: "a".into(), incarnation: Incarnation(1), per_second: 50.0 };
    let orders = Orders { drains: vec![drain], ..Orders::default() };
    let mut core = fleet([report("a"), report("b")]);
    let decisions = core.decide(&orders, at(100), 1);
    let directive = &decisions.gateways["a"];
    assert_eq!((directive.accept, names(&decisions.open)), (false, vec!["b"]));
    assert_eq!(directive.moves, Some(Moves { per_second: 50.0, down_to: 0, to: Vec::new() }));
    let mut alone = fleet([report("a")]);
    let directive = alone.decide(&orders, at(100), 1).gateways.remove("a").unwrap();
    assert_eq!((directive.moves, directive.accept), (None, false));
}

#[test]
fn a_drain_ends_with_the_run_that_it_was_meant_for() {
    let drain = orders::DrainOrder { gateway: "a".into(), incarnation: Incarnation(9), per_second: 50.0 };
    let orders = Orders { drains: vec![drain], ..Orders::default() };
    let mut core = fleet([report("a"), report("b")]);
    assert!(core.decide(&orders, at(100), 1).gateways["a"].accept);
}

#[test]
fn clients_are_sent_elsewhere_no_faster_than_they_can_log_in_there() {
    let mut full = report("full");
    (full.connections, full.sent) = (950, vec![("a".to_owned(), 300.0)]);
    let mut core = fleet([full, report("a")]);
    let directive = decide(&mut core, 100).gateways.remove("full").unwrap();
    assert_eq!(directive.standing.wait, Duration::from_secs(3), "300 clients at 100/s");
}

fn any_report() -> impl Strategy<Value = Report> {
    let standing = (any::<bool>(), 0_u64..100, 0_u64..20);
    let load = (0_u64..1200, 0.0..1.2, 0_u64..60, 0_u64..100, any::<bool>());
    (0_u8..12, load, prop::option::of(standing), 0.0..500.0).prop_map(|(name, load, standing, sent)| {
        let (connections, cpu, late, own, leaving) = load;
        let mut report = report(&format!("g{name}"));
        (report.connections, report.cpu, report.leaving) = (connections, Some(cpu), leaving && name == 3);
        report.event_loop = Duration::from_millis(late);
        report.own_share = Some(Duration::from_millis(own));
        report.sent = vec![("g1".to_owned(), sent)];
        report.gates = vec![logins(sent)];
        report.standing = standing.map(|(accepting, age, over)| Standing {
            accepting,
            age: Duration::from_secs(age),
            over: vec![(MarkKind::Cpu, Duration::from_secs(over))],
            reason: String::new(),
            wait: Duration::from_secs(over),
            balancing: over % 2 == 0,
        });
        report
    })
}

proptest! {
    #[test]
    fn nobody_is_ever_sent_to_a_closed_gateway_or_to_itself(
        reports in prop::collection::vec(any_report(), 0..30), seed: u64,
    ) {
        let mut core = fleet(reports);
        let decisions = decide(&mut core, 100);
        for (name, directive) in &decisions.gateways {
            prop_assert!(directive.alternatives.len() <= MAX_ALTERNATIVES);
            for other in directive.alternatives.iter().chain(&decisions.open) {
                prop_assert!(decisions.gateways[&other.gateway].standing.accepting, "{} is closed", other.gateway);
                prop_assert!((1..=1000).contains(&other.weight));
            }
            prop_assert!(directive.alternatives.iter().all(|other| other.gateway != *name));
            prop_assert!(!directive.standing.reason.is_empty() || core.seats[name].report.standing.is_some());
            prop_assert!(directive.standing.wait <= Duration::from_secs(300));
            for other in directive.moves.iter().flat_map(|moves| &moves.to) {
                prop_assert!(decisions.gateways[&other.gateway].standing.accepting && other.gateway != *name);
                prop_assert!(decisions.gateways[&other.gateway].moves.is_none(), "{} gives too", other.gateway);
                prop_assert!((1..=1000).contains(&other.weight));
            }
            if let Some(moves) = &directive.moves {
                prop_assert!(moves.per_second.is_finite() && moves.per_second > 0.0);
                prop_assert!(!moves.to.is_empty() && moves.down_to < directive.connections.0);
            }
        }
        let again = |seed| core.clone().decide(&Orders::default(), at(100), seed);
        prop_assert_eq!(again(seed), again(seed));
    }
}
