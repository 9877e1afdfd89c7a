use std::time::Duration;

use super::*;
use crate::manager::core::tests::report;

fn standing(accepting: bool, age: u64) -> Standing {
    let age = Duration::from_secs(age);
    Standing { accepting, age, over: Vec::new(), reason: String::new(), wait: Duration::ZERO, balancing: false }
}

fn member(report: &Report, accepting: bool, age: u64, placed: f64) -> Member<'_> {
    let standing = standing(accepting, age);
    let headroom = headroom(report, &standing, placed, &Settings::default());
    Member { report, standing, wish: Wish::None, placed, headroom }
}

#[test]
fn room_below_the_mark_is_what_counts_less_those_on_their_way() {
    let (mut empty, mut half) = (report("a"), report("b"));
    (empty.connections, half.connections) = (0, 450);
    let members = [member(&empty, true, 600, 0.0), member(&half, true, 600, 0.0)];
    let weights = || Field::new(&members).alternatives(None, 1).into_iter().map(|one| one.weight).collect::<Vec<_>>();
    assert_eq!(weights(), [1000, 500]);
    let members = [member(&empty, true, 600, 675.0), member(&half, true, 600, 0.0)];
    let weights: Vec<_> = Field::new(&members).alternatives(None, 1).into_iter().map(|one| one.weight).collect();
    assert_eq!(weights, [500, 1000], "whoever was sent there fills it as if it had arrived");
}

#[test]
fn whatever_is_scarcest_lowers_the_weight() {
    let (idle, mut busy) = (report("a"), report("b"));
    busy.cpu = Some(0.45);
    let members = [member(&idle, true, 600, 0.0), member(&busy, true, 600, 0.0)];
    assert_eq!(Field::new(&members).alternatives(None, 1)[1].weight, 500);
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
    assert_eq!(Field::new(&members).alternatives(Some(&members[0]), 1), []);
    assert_eq!(Field::new(&members).alternatives(None, 1).len(), 1);
}

#[test]
fn of_many_a_few_are_drawn_by_weight() {
    let reports: Vec<_> = (0..100).map(|number| report(&format!("g{number:02}"))).collect();
    let mut members: Vec<_> = reports.iter().map(|report| member(report, true, 600, 0.0)).collect();
    members[0].headroom *= 50.0;
    let drawn: Vec<_> = (0..200).map(|seed| Field::new(&members).alternatives(None, seed)).collect();
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
    assert_eq!(placed(&there, &sent([&here, &there].into_iter())), 20.0);
    there.arrived = 40.0;
    assert_eq!(placed(&there, &sent([&here, &there].into_iter())), 0.0, "some come without having been sent");
}

#[test]
fn where_few_have_nearly_all_the_room_as_many_are_drawn_and_never_oneself() {
    let reports: Vec<_> = (0..100).map(|number| report(&format!("g{number:02}"))).collect();
    let mut members: Vec<_> = reports.iter().map(|report| member(report, true, 600, 0.0)).collect();
    members[0].headroom = 1e15;
    let field = Field::new(&members);
    for (seed, me) in (0..).zip(&members) {
        let drawn = field.alternatives(Some(me), seed);
        let names: std::collections::BTreeSet<_> = drawn.iter().map(|one| &one.gateway).collect();
        assert_eq!((names.len(), names.contains(&me.report.gateway)), (MAX_ALTERNATIVES, false));
    }
}

#[test]
fn each_is_drawn_first_as_often_as_its_room_says() {
    let reports: Vec<_> = (0..20).map(|number| report(&format!("g{number:02}"))).collect();
    let mut members: Vec<_> = reports.iter().map(|report| member(report, true, 600, 0.0)).collect();
    members.iter_mut().zip(1..).for_each(|(member, weight)| member.headroom = f64::from(weight));
    let field = Field::new(&members);
    let first = |seed| field.alternatives(None, seed)[0].gateway.clone();
    let count = (0..21_000).filter(|&seed| first(seed) == "g19").count();
    // 20 of 210.
    assert!((1_850..2_150).contains(&count), "{count} of 21000");
}

#[test]
fn what_the_others_can_take_leaves_out_oneself() {
    let (mut a, mut b) = (report("a"), report("b"));
    (a.logins, b.logins) = (10.0, 30.0);
    let closed = report("c");
    let members = [member(&a, true, 600, 5.0), member(&b, true, 600, 7.0), member(&closed, false, 600, 0.0)];
    let field = Field::new(&members);
    assert_eq!(members.each_ref().map(|one| field.spare_logins(one)), [70.0, 90.0, 160.0]);
    assert_eq!(members.each_ref().map(|one| field.on_the_way(one)), [7.0, 5.0, 12.0]);
}

#[test]
fn clients_spread_as_if_a_tenth_of_the_fleet_were_lost() {
    let reports: Vec<_> = (0..100).map(|number| report(&format!("g{number:02}"))).collect();
    let members: Vec<_> = reports.iter().map(|report| member(report, true, 600, 0.0)).collect();
    // 90 are left with 100/s each, and ten are lost.
    assert!((Field::new(&members).spare_if_lost(&members[0]) - 900.0).abs() < 1e-6);
    let few = Field::new(&members[..5]);
    assert_eq!(few.spare_if_lost(&members[0]), 400.0, "of five, one alone");
    assert_eq!(Field::new(&members[..1]).spare_if_lost(&members[0]), 0.0);
}
