use std::time::Duration;

use super::*;
use crate::admission::Value;

/// A gate that is offered the same at each of 100 levels, and completes so much while its places are taken. As much waits as
/// belongs there; what requests cost is not known, so that chance has no part in it.
fn gate(offered: f64, capacity: f64) -> GateReport {
    GateReport {
        service: "main".to_owned(),
        own_cut: Cut::through(Level::from_index(40)),
        fleet_cut: Cut::OPEN,
        queuing: Duration::ZERO,
        target: Duration::from_millis(20),
        capacity,
        mean_cost: 0.0,
        admitted: capacity,
        limited: 1.0,
        backlog: capacity * ROOM_SECONDS,
        dry_run: false,
        offered: (0..100).map(|index| (Level::from_index(index), offered / 100.0)).collect(),
        latency: None,
    }
}

fn decided(gates: &[GateReport]) -> ServiceDecision {
    of_service("main", &gates.iter().collect::<Vec<_>>(), true, false)
}

/// The part of the offered requests that a cut lets through.
fn share(cut: Cut) -> f64 {
    let values = (0..100)
        .flat_map(|index| (0..100).map(move |part| Value::new(Level::from_index(index), (part << GRAIN_BITS) / 100)));
    values.filter(|&value| cut.admits(value)).count() as f64 / 10_000.0
}

#[test]
fn one_cut_comes_from_the_sums_however_they_are_split() {
    let even = decided(&[gate(800.0, 400.0), gate(800.0, 400.0)]);
    let uneven = decided(&[gate(1440.0, 500.0), gate(160.0, 300.0)]);
    assert_eq!(even.cut, uneven.cut);
    assert!((share(even.cut) - 0.5).abs() < 0.001, "{}", even.cut);
    assert!(even.reason.starts_with("cut at 0/50+0: 1600/s offered, 800/s let in"), "{}", even.reason);
}

#[test]
fn the_marginal_level_is_let_in_by_a_part() {
    let cut = decided(&[gate(800.0, 404.0), gate(800.0, 400.0)]).cut;
    assert!((share(cut) - 804.0 / 1600.0).abs() < 0.001, "{cut}");
}

#[test]
fn without_taken_places_or_a_shedding_gate_or_an_excess_there_is_no_cut() {
    let mut free = [gate(800.0, 400.0), gate(800.0, 400.0)];
    free.iter_mut().for_each(|gate| gate.limited = 0.3);
    assert_eq!(decided(&free).cut, Cut::OPEN);
    let mut open = [gate(800.0, 400.0), gate(800.0, 400.0)];
    open.iter_mut().for_each(|gate| gate.own_cut = Cut::OPEN);
    assert_eq!(decided(&open).cut, Cut::OPEN);
    assert_eq!(decided(&[gate(400.0, 400.0), gate(410.0, 400.0)]).cut, Cut::OPEN);
}

#[test]
fn while_places_are_free_the_cut_moves_up_step_by_step() {
    let mut gates = [gate(800.0, 300.0), gate(800.0, 300.0)];
    gates.iter_mut().for_each(|gate| (gate.limited, gate.fleet_cut) = (0.2, Cut::through(Level::from_index(20))));
    let decision = decided(&gates);
    assert!((share(decision.cut) - 1.25 * 600.0 / 1600.0).abs() < 0.001, "{}: more than is completed", decision.cut);
    assert!(decision.reason.contains("places are free"), "{}", decision.reason);
    gates.iter_mut().for_each(|gate| gate.fleet_cut = decision.cut);
    let next = decided(&gates).cut;
    assert!((share(next) - 1.25 * 750.0 / 1600.0).abs() < 0.001, "{next}: a quarter more with each step");
}

#[test]
fn the_less_places_are_short_the_more_is_tried() {
    let mut gates = [gate(800.0, 300.0), gate(800.0, 300.0)];
    gates.iter_mut().for_each(|gate| gate.limited = 0.75);
    assert!((share(decided(&gates).cut) - 1.125 * 600.0 / 1600.0).abs() < 0.001);
}

#[test]
fn the_cut_stays_while_it_lets_in_about_what_fits_and_moves_no_further_than_it_must() {
    let mut gates = [gate(800.0, 400.0), gate(800.0, 400.0)];
    let in_force = decided(&gates).cut;
    let mut with = |capacity: f64| {
        for gate in &mut gates {
            (gate.fleet_cut, gate.capacity, gate.backlog) = (in_force, capacity, capacity * ROOM_SECONDS);
        }
        decided(&gates)
    };
    assert_eq!(with(411.0).cut, in_force, "within 3 %");
    let decision = with(390.0);
    assert_eq!(decision.cut, in_force);
    assert!(decision.reason.ends_with("800/s let in, which is about what fits"), "{}", decision.reason);
    assert!((share(with(500.0).cut) - (1000.0 - 30.0) / 1600.0).abs() < 0.001);
    assert!((share(with(300.0).cut) - (600.0 + 18.0) / 1600.0).abs() < 0.001);
}

#[test]
fn the_fewer_requests_there_are_the_more_may_wait_and_the_less_a_difference_says() {
    let mut gates = [gate(800.0, 400.0), gate(800.0, 400.0)];
    let in_force = decided(&gates).cut;
    for gate in &mut gates {
        (gate.mean_cost, gate.fleet_cut, gate.capacity, gate.backlog) = (10.0, in_force, 370.0, 100.0);
    }
    assert_eq!(decided(&gates).cut, in_force);
    gates.iter_mut().for_each(|gate| gate.mean_cost = 0.1);
    assert!(decided(&gates).cut < in_force);
}

#[test]
fn while_places_are_free_no_other_cut_draws_this_one_down() {
    let mut gates = [gate(800.0, 300.0), gate(800.0, 300.0)];
    let in_force = Cut::through(Level::from_index(60));
    for gate in &mut gates {
        (gate.limited, gate.fleet_cut, gate.admitted, gate.capacity) = (0.1, in_force, 10.0, 10.0);
        gate.offered.truncate(30);
    }
    assert!(decided(&gates).cut >= in_force);
}

#[test]
fn a_backlog_is_worked_off_and_never_closes_the_service() {
    let mut gates = [gate(800.0, 400.0), gate(800.0, 400.0)];
    gates[0].backlog += 600.0;
    assert!((share(decided(&gates).cut) - 600.0 / 1600.0).abs() < 0.001);
    gates[0].backlog = 1e9;
    assert!((share(decided(&gates).cut) - 400.0 / 1600.0).abs() < 0.001);
}

#[test]
fn more_is_let_in_where_less_waits_than_keeps_the_places_taken() {
    let mut gates = [gate(800.0, 400.0), gate(800.0, 400.0)];
    gates.iter_mut().for_each(|gate| (gate.mean_cost, gate.backlog) = (1.0, 0.0));
    let room = ROOM_SECONDS * 800.0 + ROOM_DEVIATIONS * (800.0 * DRAIN_SECONDS).sqrt();
    assert!((share(decided(&gates).cut) - (800.0 + room / DRAIN_SECONDS) / 1600.0).abs() < 0.001);
}

#[test]
fn it_ends_when_all_that_is_offered_fits() {
    let mut gates = [gate(300.0, 400.0), gate(300.0, 400.0)];
    gates.iter_mut().for_each(|gate| gate.fleet_cut = Cut::through(Level::from_index(30)));
    let decision = decided(&gates);
    assert_eq!(decision.cut, Cut::OPEN);
    assert!(decision.reason.starts_with("open again"), "{}", decision.reason);
}

#[test]
fn while_the_service_stands_still_no_cut_moves_or_begins() {
    let mut gates = [gate(800.0, 0.0), gate(800.0, 0.0), gate(400.0, 100.0)];
    gates.iter_mut().for_each(|gate| gate.backlog = 1000.0);
    assert_eq!(decided(&gates).cut, Cut::OPEN);
    let in_force = Cut::through(Level::from_index(30));
    gates.iter_mut().for_each(|gate| gate.fleet_cut = in_force);
    assert_eq!(decided(&gates).cut, in_force);
    gates[0].capacity = 400.0;
    assert_ne!(decided(&gates).cut, in_force, "most of it works");
    gates[0].capacity = 0.0;
    gates.iter_mut().for_each(|gate| (gate.limited, gate.backlog) = (0.0, 0.0));
    assert!(decided(&gates).cut > in_force, "places are free");
}

#[test]
fn no_report_breaks_the_decision_whatever_its_numbers_are() {
    let numbers = [0.0, f64::from_bits(1), 1e-300, 1.0, 1e300, f64::MAX, f64::INFINITY, f64::NAN];
    let fleet_cut = Cut::through(Level::from_index(50));
    for (capacity, mean_cost) in numbers.iter().flat_map(|&one| numbers.map(|other| (one, other))) {
        for backlog in numbers {
            let sane = GateReport { fleet_cut, ..gate(800.0, 400.0) };
            decided(&[GateReport { capacity, mean_cost, backlog, ..sane.clone() }, sane]);
        }
    }
}

#[test]
fn one_gateway_alone_and_a_dry_run_have_no_fleet_cut() {
    assert_eq!(decided(&[gate(1600.0, 800.0)]).cut, Cut::OPEN);
    let mut dry = [gate(800.0, 400.0), gate(800.0, 400.0)];
    dry[1].dry_run = true;
    assert_eq!(decided(&dry).cut, Cut::OPEN);
}

#[test]
fn a_frozen_cut_stays_where_it_is() {
    let mut gates = [gate(100.0, 400.0), gate(100.0, 400.0)];
    gates[1].fleet_cut = Cut::through(Level::from_index(9));
    let gates: Vec<_> = gates.iter().collect();
    assert_eq!(of_service("main", &gates, true, true).cut, Cut::through(Level::from_index(9)));
}
