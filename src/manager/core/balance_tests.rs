use std::collections::BTreeMap;

use super::*;
use crate::{
    clock::Timestamp,
    id::Incarnation,
    manager::core::{Core, Decisions, Orders, Report, Standing, orders::DrainOrder, tests::report},
};

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}

/// Gateways with so many connections, which have been there for an hour, and take 100 logins per second.
fn fleet(connections: &[u64]) -> Vec<Report> {
    let of = |(number, &connections): (usize, &u64)| Report {
        connections,
        limit: 10_000,
        ..report(&format!("g{number:03}"))
    };
    connections.iter().enumerate().map(of).collect()
}

fn decide(reports: &[Report], orders: &Orders, change: impl FnOnce(&mut Settings)) -> Decisions {
    let mut settings = Settings::default();
    settings.placement.rebalance_share = 0.1;
    change(&mut settings);
    let mut core = Core::new(settings);
    reports.iter().for_each(|report| core.hear(report.clone(), at(0)));
    core.decide(orders, at(100), 1)
}

/// Who gives, how many per second and down to how many, and to whom with which weight.
type Given = BTreeMap<String, (f64, u64, Vec<(String, u32)>)>;

fn given(decisions: &Decisions) -> Given {
    let to = |moves: &Moves| moves.to.iter().map(|one| (one.gateway.clone(), one.weight)).collect();
    let of = |moves: &Moves| ((moves.per_second * 10.0).round() / 10.0, moves.down_to, to(moves));
    let gateways = decisions.gateways.iter();
    gateways.filter_map(|(name, one)| Some((name.clone(), of(one.moves.as_ref()?)))).collect()
}

fn moves(reports: &[Report]) -> Given {
    given(&decide(reports, &Orders::default(), |_| ()))
}

fn to(list: &[(&str, u32)]) -> Vec<(String, u32)> {
    list.iter().map(|&(name, weight)| (name.to_owned(), weight)).collect()
}

/// What was decided comes back with the next report.
fn balancing(mut reports: Vec<Report>) -> Vec<Report> {
    for report in &mut reports {
        let standing =
            decide(std::slice::from_ref(report), &Orders::default(), |_| ()).gateways[&report.gateway].standing.clone();
        report.standing = Some(Standing { balancing: true, ..standing });
    }
    reports
}

#[test]
fn who_has_too_many_gives_to_those_who_lack_some_as_many_as_each_lacks() {
    // The mean is 300: they lack 120 and 60, to be corrected within six seconds.
    let given = moves(&fleet(&[480, 180, 240]));
    assert_eq!(given, BTreeMap::from([("g000".into(), (30.0, 300, to(&[("g001", 1000), ("g002", 500)])))]));
}

#[test]
fn who_is_on_the_way_lacks_no_more() {
    let mut reports = fleet(&[480, 180, 240]);
    reports[0].sent = vec![("g001".to_owned(), 90.0), ("g002".to_owned(), 60.0)];
    assert_eq!(moves(&reports)["g000"], (5.0, 300, to(&[("g001", 1000)])));
}

#[test]
fn an_empty_gateway_is_filled_by_all_who_are_a_little_above_the_mean() {
    let given = moves(&fleet(&[0, 202, 201, 200, 202, 201, 200, 202, 201, 200]));
    assert_eq!(given.len(), 9, "{given:?}");
    let all: f64 = given.values().map(|(per_second, ..)| per_second).sum();
    assert!((all - 180.9 / 6.0).abs() < 0.5, "{given:?}");
    assert!(given.values().all(|(_, down_to, to)| (*down_to, &*to[0].0) == (180, "g000")), "{given:?}");
    assert!(given["g001"].0 > given["g003"].0, "each as it has too many: {given:?}");
}

#[test]
fn who_is_near_the_mean_gives_only_where_nobody_has_more() {
    let givers = |connections: &[u64]| moves(&balancing(fleet(connections))).into_keys().collect::<Vec<_>>();
    assert_eq!(givers(&[1_300, 1_010, 1_000, 690]), ["g000"]);
    assert_eq!(givers(&[1_015, 1_010, 1_005, 970]), ["g000", "g001", "g002"]);
}

#[test]
fn it_begins_outside_of_the_band_and_ends_far_inside_of_it() {
    let above = |reports: &[Report]| !moves(reports).is_empty();
    assert!(!above(&fleet(&[1240, 920, 920, 920])), "24 % above");
    assert!(above(&fleet(&[1260, 910, 920, 910])), "26 % above");
    assert!(above(&fleet(&[740, 1080, 1090, 1090])), "26 % below");
    assert!(above(&balancing(fleet(&[1030, 990, 990, 990]))), "3 % above, and it has begun");
    assert!(above(&balancing(fleet(&[970, 1010, 1010, 1010]))), "3 % below, and it has begun");
    assert!(!above(&balancing(fleet(&[1024, 976, 1000, 1000]))), "2.4 %");
    let decisions = decide(&balancing(fleet(&[1024, 976, 1000, 1000])), &Orders::default(), |_| ());
    assert!(decisions.gateways.values().all(|one| !one.standing.balancing), "nobody is told that it goes on");
}

#[test]
fn it_goes_on_as_long_as_most_say_so_of_those_who_were_told() {
    let goes_on = |say_so: &[Option<bool>]| {
        let mut reports = balancing(fleet(&[1030, 990, 990, 990]));
        for (report, &say_so) in reports.iter_mut().zip(say_so) {
            report.standing =
                report.standing.take().zip(say_so).map(|(told, balancing)| Standing { balancing, ..told });
        }
        let decisions = decide(&reports, &Orders::default(), |_| ());
        decisions.gateways.values().all(|one| one.standing.balancing)
    };
    let (yes, no, new) = (Some(true), Some(false), None);
    assert!(!goes_on(&[yes, no, no, no]), "one has not heard that it has ended");
    assert!(!goes_on(&[yes, yes, no, no]));
    assert!(goes_on(&[yes, yes, yes, no]));
    assert!(goes_on(&[yes, new, new, new]), "whoever is new was told nothing");
    assert!(!goes_on(&[new, new, new, new]));
}

/// The same with other limits.
fn limited(of: &[(u64, u64)]) -> Vec<Report> {
    let mut reports = fleet(&of.iter().map(|&(connections, _)| connections).collect::<Vec<_>>());
    reports.iter_mut().zip(of).for_each(|(report, &(_, limit))| report.limit = limit);
    reports
}

fn is_sought(reports: &[Report]) -> bool {
    let decisions = decide(reports, &Orders::default(), |_| ());
    decisions.gateways.values().any(|one| one.standing.balancing)
}

#[test]
fn gateways_of_unequal_size_are_to_be_as_full_as_each_other() {
    // As full as each other, with a mean of 2,200.
    let even = [(4_000, 10_000), (4_000, 10_000), (400, 1_000), (400, 1_000)];
    assert!(!is_sought(&limited(&even)));
    assert!(!is_sought(&balancing(limited(&even))));
    // In all 8,800 of 22,000: the large one gives down to 4,000, and 1,000 of those go to the large one and 200 to the small one.
    let given = moves(&limited(&[(5_200, 10_000), (3_000, 10_000), (200, 1_000), (400, 1_000)]));
    let (per_second, down_to, to_whom) = &given["g000"];
    assert_eq!((given.len(), *down_to, to_whom), (1, 4_000, &to(&[("g001", 1000), ("g002", 667)])));
    assert_eq!(*per_second, 83.3, "half of its logins, and all it lacks");
}

#[test]
fn nobody_is_filled_up_to_its_mark() {
    // The mean is 8,167, and 8,100 are nine tenths of the mark.
    let mut reports = balancing(fleet(&[8_890, 7_000, 8_610]));
    reports[1].login_limit = 5_000.0;
    let given = moves(&reports);
    let all: f64 = given.values().map(|(per_second, ..)| per_second).sum();
    assert!((all * 6.0 - 1_100.0).abs() < 1.0, "{given:?}");
    reports[1].connections = 8_100;
    assert_eq!(moves(&reports), BTreeMap::new());
}

#[test]
fn what_nobody_can_take_is_not_sought() {
    let mut reports = limited(&[(8_890, 10_000), (8_100, 10_000), (8_100, 10_000)]);
    assert!(!is_sought(&balancing(reports.clone())), "the others are full enough");
    reports = limited(&[(6_000, 10_000), (2_000, 10_000), (2_000, 10_000)]);
    assert!(is_sought(&reports));
    (reports[1].cpu, reports[2].cpu) = (Some(0.9), Some(0.95));
    assert!(!is_sought(&reports) && !is_sought(&balancing(reports.clone())), "the others are busy enough");
    reports[2].cpu = Some(0.0);
    assert!(is_sought(&reports));
}

#[test]
fn few_clients_and_what_chance_makes_are_left_alone() {
    assert_eq!(moves(&fleet(&[99, 0, 0])), BTreeMap::new());
    assert!(!moves(&fleet(&[100, 0, 0])).is_empty());
    let narrow = |connections: &[u64]| {
        given(&decide(&fleet(connections), &Orders::default(), |settings| settings.placement.rebalance_above = 1.01))
    };
    // The root of 400.
    assert_eq!(narrow(&[419, 400, 400, 381]), BTreeMap::new());
    assert!(!narrow(&[421, 400, 400, 379]).is_empty());
}

#[test]
fn it_is_off_where_nobody_wants_it() {
    let off = |settings: &mut Settings| settings.placement.rebalance_above = 0.0;
    let decisions = decide(&balancing(fleet(&[4000, 0, 0])), &Orders::default(), off);
    assert_eq!(given(&decisions), BTreeMap::new());
    assert!(decisions.gateways.values().all(|one| !one.standing.balancing));
}

#[test]
fn who_is_closed_by_a_mark_gives_and_gets_nothing() {
    let mut reports = fleet(&[9_500, 1_000, 1_000]);
    let given = moves(&reports);
    // Closed at 90 % of 10,000; the mean is that of all three.
    assert_eq!((given.len(), given["g000"].1), (1, 3_833));
    // Closed with fewer than the others: these are a fleet of two.
    reports[0].standing = Some(Standing { accepting: false, ..balancing(fleet(&[0]))[0].standing.clone().unwrap() });
    (reports[0].connections, reports[0].cpu) = (0, Some(0.95));
    (reports[1].connections, reports[2].connections) = (3_000, 1_000);
    let given = moves(&reports);
    assert_eq!((given.len(), given["g001"].1, &given["g001"].2), (1, 2_000, &to(&[("g002", 1000)])));
}

#[test]
fn who_is_drained_or_leaves_is_left_out() {
    let mut reports = fleet(&[4_000, 1_000, 1_000, 1_000]);
    reports[0].leaving = true;
    assert_eq!(moves(&reports), BTreeMap::new(), "it tells all of them by itself");
    reports[0].leaving = false;
    let drain = DrainOrder { gateway: "g000".into(), incarnation: Incarnation(1), per_second: 50.0 };
    let orders = Orders { drains: vec![drain], ..Orders::default() };
    let given = given(&decide(&reports, &orders, |_| ()));
    assert_eq!(given, BTreeMap::from([("g000".into(), (50.0, 0, Vec::new()))]), "to anybody, and down to nobody");
}

#[test]
fn nobody_is_given_more_than_half_of_the_logins_that_it_has_to_spare() {
    let mut reports = fleet(&[9_000, 3_000, 0, 3_000]);
    (reports[1].logins, reports[3].logins) = (100.0, 80.0);
    // 3,500 is the mean: lacking 500 and 3,500 and 500, of which each takes 0, 50 and 10 per second.
    reports[0].connections = 8_000;
    let given = moves(&reports);
    assert_eq!(given["g000"], (60.0, 3_500, to(&[("g002", 1000), ("g003", 200)])));
}

#[test]
fn nobody_gives_more_than_its_share() {
    let slow = |settings: &mut Settings| settings.placement.rebalance_share = 0.005;
    assert_eq!(given(&decide(&fleet(&[600, 100, 200]), &Orders::default(), slow))["g000"].0, 3.0);
}

#[test]
fn who_has_no_room_lacks_nothing() {
    let mut reports = fleet(&[4_000, 0, 1_000]);
    (reports[1].limit, reports[1].connections) = (500, 450);
    assert_eq!(moves(&reports)["g000"].2, to(&[("g002", 1000)]));
    let mut reports = balancing(fleet(&[1_000, 950, 1_000, 1_000]));
    (reports[1].connections, reports[1].cpu) = (899, Some(0.9));
    assert_eq!(moves(&reports), BTreeMap::new(), "so it is nothing to balance");
}

#[test]
fn a_gateway_in_its_ramp_gets_up_to_its_part_of_the_mean() {
    let mut reports = fleet(&[0, 4_000, 4_000]);
    reports[0].uptime = Duration::from_secs(15);
    reports[0].login_limit = 5_000.0;
    let lacks = |reports: &[Report]| moves(reports).values().map(|(per_second, ..)| per_second * 6.0).sum::<f64>();
    // A quarter of a mean of 2,667.
    assert!((660.0..675.0).contains(&lacks(&reports)), "{}", lacks(&reports));
    reports[0].uptime = Duration::from_secs(600);
    assert!((2_660.0..2_670.0).contains(&lacks(&reports)), "{}", lacks(&reports));
}

#[test]
fn a_manager_that_lost_half_of_the_fleet_from_sight_moves_nobody() {
    let mut core = Core::new(Settings::default());
    let reports = balancing(fleet(&[4_000, 1_000, 4_000, 1_000]));
    reports.iter().for_each(|report| core.hear(report.clone(), at(0)));
    let decisions = core.decide(&Orders::default(), at(100), 1);
    assert!(!given(&decisions).is_empty() && decisions.is_balancing());
    reports[..2].iter().for_each(|report| core.hear(report.clone(), at(3500)));
    let decisions = core.decide(&Orders::default(), at(3600), 1);
    assert!(decisions.frozen.is_some() && !decisions.is_balancing());
    assert!(decisions.gateways.values().all(|one| one.standing.balancing), "it goes on afterwards");
    assert_eq!(given(&decisions), BTreeMap::new());
}

#[test]
fn of_many_who_lack_some_each_is_drawn_as_often_as_it_lacks() {
    let mut connections = vec![100; 50];
    (connections[0], connections[1]) = (4_000, 0);
    let reports = fleet(&connections);
    let mut core = Core::new(Settings::default());
    reports.iter().for_each(|report| core.hear(report.clone(), at(0)));
    let (mut weights, mut first) = (0.0, 0.0);
    for seed in 0..500 {
        let decisions = core.decide(&Orders::default(), at(100), seed);
        let moves = decisions.gateways["g000"].moves.as_ref().unwrap();
        assert!(moves.to.len() <= MAX_DESTINATIONS);
        let all: u32 = moves.to.iter().map(|one| one.weight).sum();
        let of_first = moves.to.iter().find(|one| one.gateway == "g001").map_or(0, |one| one.weight);
        weights += 1.0;
        first += f64::from(of_first) / f64::from(all);
    }
    // 176 is the mean: one lacks 176, and 48 lack 76 each.
    let (found, expected) = (first / weights, 176.0 / (176.0 + 48.0 * 76.0));
    assert!((found / expected - 1.0).abs() < 0.1, "{found} of {expected}");
}
