use std::time::Duration;

use super::*;
use crate::manager::core::tests::report;

fn standing(accepting: bool, age: u64) -> Standing {
    let age = Duration::from_secs(age);
    Standing { accepting, age, over: Vec::new(), reason: String::new(), wait: Duration::ZERO }
}

fn member(report: &Report, accepting: bool, age: u64, placed: f64) -> Member<'_> {
    let standing = standing(accepting, age);
    let headroom = headroom(report, &standing, placed, &Settings::default());
    Member { report, standing, placed, headroom }
}

#[test]
fn room_below_the_mark_is_what_counts_less_those_on_their_way() {
    let (mut empty, mut half) = (report("a"), report("b"));
    (empty.connections, half.connections) = (0, 450);
    let members = [member(&empty, true, 600, 0.0), member(&half, true, 600, 0.0)];
    let weights = || alternatives(&members, None, 1).into_iter().map(|one| one.weight).collect::<Vec<_>>();
    assert_eq!(weights(), [1000, 500]);
    let members = [member(&empty, true, 600, 675.0), member(&half, true, 600, 0.0)];
    let weights: Vec<_> = alternatives(&members, None, 1).into_iter().map(|one| one.weight).collect();
    assert_eq!(weights, [500, 1000], "whoever was sent there fills it as if it had arrived");
}

#[test]
fn whatever_is_scarcest_lowers_the_weight() {
    let (idle, mut busy) = (report("a"), report("b"));
    busy.cpu = Some(0.45);
    let members = [member(&idle, true, 600, 0.0), member(&busy, true, 600, 0.0)];
    assert_eq!(alternatives(&members, None, 1)[1].weight, 500);
}

#[test]
fn a_new_gateway_gets_a_growing_part() {
    let report = report("a");
    let room = |age| headroom(&report, &standing(true, age), 0.0, &Settings::default());
    let whole = room(60);
    assert_eq!((room(0) / whole, room(30) / whole, room(600) / whole), (0.1, 0.5, 1.0));
}

#[test]
fn the_closed_the_full_and_oneself_are_no_alternatives() {
    let (me, closed, mut full) = (report("me"), report("closed"), report("full"));
    full.connections = 900;
    let members = [member(&me, true, 600, 0.0), member(&closed, false, 600, 0.0), member(&full, true, 600, 0.0)];
    assert_eq!(alternatives(&members, Some("me"), 1), []);
    assert_eq!(alternatives(&members, None, 1).len(), 1);
}

#[test]
fn of_many_a_few_are_drawn_by_weight() {
    let reports: Vec<_> = (0..100).map(|number| report(&format!("g{number:02}"))).collect();
    let mut members: Vec<_> = reports.iter().map(|report| member(report, true, 600, 0.0)).collect();
    members[0].headroom *= 50.0;
    let drawn: Vec<_> = (0..200).map(|seed| alternatives(&members, None, seed)).collect();
    assert!(drawn.iter().all(|list| list.len() == MAX_ALTERNATIVES));
    let with_first = drawn.iter().filter(|list| list.iter().any(|one| one.gateway == "g00")).count();
    assert!(with_first > 150, "{with_first} of 200");
    let others: std::collections::BTreeSet<_> = drawn.iter().flatten().map(|one| &one.gateway).collect();
    assert!(others.len() > 95, "{} of 100", others.len());
}

#[test]
fn clients_count_as_placed_until_they_arrive() {
    let (mut here, mut there) = (report("here"), report("there"));
    here.sent = vec![("there".to_owned(), 30.0), ("elsewhere".to_owned(), 7.0)];
    there.arrived = 10.0;
    assert_eq!(placed(&there, &[&here, &there]), 20.0);
    there.arrived = 40.0;
    assert_eq!(placed(&there, &[&here, &there]), 0.0, "some come without having been sent");
}
