use std::time::Duration;

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000);
const MILLI: Duration = Duration::from_millis(1);

fn ticket(level: usize) -> Ticket {
    within(level, 500 * MILLI)
}

fn within(level: usize, timeout: Duration) -> Ticket {
    Ticket::new(Value::new(Level::from_index(level), 0), NOW, NOW + timeout)
}

fn drained(mut line: Line<u32>) -> Vec<u32> {
    std::iter::from_fn(|| line.take_next(NOW).map(|left| left.item)).collect()
}

#[test]
fn the_best_level_goes_first_and_in_a_level_the_first() {
    let mut line = Line::new(8);
    for (item, level) in [(0, 7), (1, 3), (2, 7), (3, 3)] {
        line.join(NOW, ticket(level), item).unwrap();
    }
    assert_eq!(drained(line), [1, 3, 0, 2]);
}

#[test]
fn a_full_line_gives_up_the_last_of_its_worst_for_a_better_one() {
    let mut line = Line::new(2);
    line.join(NOW, ticket(5), 0).unwrap();
    line.join(NOW, ticket(5), 1).unwrap();
    assert_eq!(line.join(NOW, ticket(5), 2).unwrap_err(), Cause::QueueFull);
    let (_, pushed_out) = line.join(NOW, ticket(4), 3).unwrap();
    assert_eq!(pushed_out.unwrap().item, 1);
    assert_eq!(drained(line), [3, 0]);
}

#[test]
fn a_line_that_became_too_long_grows_no_more() {
    let mut line = Line::new(2);
    line.join(NOW, ticket(5), 0).unwrap();
    line.join(NOW, ticket(5), 1).unwrap();
    line.set_capacity(1);
    assert_eq!(line.join(NOW, ticket(5), 2).unwrap_err(), Cause::QueueFull);
    assert!(line.join(NOW, ticket(4), 3).unwrap().1.is_some());
    assert_eq!(line.len(), 2);
    line.set_capacity(3);
    assert!(line.join(NOW, ticket(5), 4).unwrap().1.is_none());
}

#[test]
fn with_a_capacity_of_zero_nothing_waits() {
    assert_eq!(Line::new(0).join(NOW, ticket(0), 0).unwrap_err(), Cause::QueueFull);
}

#[test]
fn what_is_too_late_never_joins() {
    let mut line = Line::new(99);
    assert_eq!(line.join(NOW, within(0, Duration::ZERO), 0).unwrap_err(), Cause::Expired);
    // One dispatch each 10 ms.
    for step in 0..=16 {
        line.join(NOW + MILLI * 10 * step, ticket(9), step).unwrap();
        line.join(NOW + MILLI * 10 * step, ticket(9), step).unwrap();
        line.take_next(NOW).unwrap();
        line.dispatched();
        line.observe(NOW + MILLI * 10 * step);
    }
    assert_eq!(line.len(), 17);
    let now = NOW + MILLI * 160;
    assert_eq!(line.join(now, within(9, 300 * MILLI), 0).unwrap_err(), Cause::TooLate);
    assert!(line.join(now, within(8, 300 * MILLI), 0).is_ok(), "nothing is before it");
}

#[test]
fn a_line_that_stands_still_takes_only_who_has_more_time_than_it_has_stood() {
    let mut line = Line::new(99);
    line.join(NOW, within(5, 500 * MILLI), 0).unwrap();
    let now = NOW + MILLI * 600;
    assert_eq!(line.review(now, Cut::OPEN, 50 * MILLI).len(), 1);
    line.observe(now);
    assert_eq!(line.join(now, within(0, 1100 * MILLI), 1).unwrap_err(), Cause::TooLate, "the best is no exception");
    assert!(line.join(now, within(0, 1300 * MILLI), 2).is_ok());
    line.take_next(now).unwrap();
    line.dispatched();
    assert!(line.join(now, within(5, 700 * MILLI), 3).is_ok(), "it moves again");
}

/// A line under pressure whose requests are answered after 30 ms, with so many waiting behind the given ones.
fn answering(others: u32) -> Line<u32> {
    let mut line = Line::new(99);
    (0..200).for_each(|_| line.observe_stay(Cost::ONE, 30 * MILLI));
    (100..100 + others).for_each(|item| {
        line.join(NOW, ticket(9), item).unwrap();
    });
    line.review(NOW, Cut::below_index(50), 50 * MILLI);
    line
}

#[test]
fn while_the_cut_is_open_it_suffices_that_half_would_be_answered_in_time() {
    let mut line = answering(4);
    (0..2000).for_each(|look| line.observe_stay(Cost::ONE, MILLI * (1 + look * 37 % 100)));
    let asked = within(9, 65 * MILLI);
    assert_eq!(line.is_late(NOW, &asked), Some(Cause::TooLate));
    assert_eq!(line.is_late(NOW, &within(0, 65 * MILLI)), None, "nobody as important waits for the place");
    line.review(NOW, Cut::OPEN, 50 * MILLI);
    assert_eq!(line.is_late(NOW, &asked), None);
    assert_eq!(line.is_late(NOW, &within(9, 35 * MILLI)), Some(Cause::TooLate));
}

#[test]
fn what_cannot_be_answered_in_time_does_not_take_a_place_from_others() {
    let line = answering(4);
    assert_eq!(line.is_late(NOW, &within(0, 20 * MILLI)), Some(Cause::TooLate));
    assert_eq!(line.is_late(NOW, &within(0, 40 * MILLI)), None);
    assert_eq!(line.is_late(NOW, &within(0, Duration::ZERO)), Some(Cause::Expired));
    let dear = Ticket { cost: Cost::from_units(4.0), ..within(0, 100 * MILLI) };
    assert_eq!(line.is_late(NOW, &dear), Some(Cause::TooLate));
    assert_eq!(answering(3).is_late(NOW, &within(0, 20 * MILLI)), None, "few wait");
}

#[test]
fn who_would_be_answered_too_late_does_not_even_join() {
    let mut line = answering(0);
    for step in 0..=16 {
        (0..2).for_each(|_| drop(line.join(NOW + MILLI * step, ticket(9), step)));
        line.take_next(NOW + MILLI * step).unwrap();
        line.dispatched();
        line.observe(NOW + MILLI * step);
    }
    // Seventeen wait, a millisecond each.
    let now = NOW + MILLI * 16;
    assert_eq!(line.join(now, within(9, MILLI * 50), 0).unwrap_err(), Cause::TooLate);
    assert!(line.join(now, within(9, MILLI * 80), 0).is_ok());
    assert!(line.join(now, within(8, MILLI * 50), 0).is_ok(), "nobody is before it");
}

#[test]
fn dear_requests_that_have_waited_long_take_no_more_than_their_part() {
    let mut line = Line::new(99);
    for item in [5, 6] {
        line.join(NOW, Ticket { cost: Cost::from_units(5.0), ..ticket(5) }, item).unwrap();
    }
    for item in 100..125 {
        line.join(NOW + 50 * MILLI, Ticket { arrived: NOW + 50 * MILLI, ..ticket(3) }, item).unwrap();
    }
    line.review(NOW + 60 * MILLI, Cut::OPEN, 60 * MILLI);
    let order = drained(line);
    let place = |item| order.iter().position(|&other| other == item);
    assert_eq!((place(5), place(6)), (Some(10), Some(21)));
}

#[test]
fn after_the_patience_a_request_is_served_in_turn_or_refused() {
    let mut line = Line::new(99);
    line.join(NOW, ticket(5), 5).unwrap();
    line.join(NOW, ticket(7), 7).unwrap();
    for item in 100..109 {
        let later = Ticket { arrived: NOW + 50 * MILLI, ..ticket(3) };
        line.join(NOW + 50 * MILLI, later, item).unwrap();
    }
    let cut = Cut::below_index(6);
    assert!(line.review(NOW + 99 * MILLI, cut, 100 * MILLI).is_empty());
    assert_eq!((line.backlog(NOW).cost, line.backlog(NOW).wanted), (11.0, 10.0));
    let out = line.review(NOW + 100 * MILLI, cut, 100 * MILLI);
    assert_eq!(out.iter().map(|(left, cause)| (left.item, *cause)).collect::<Vec<_>>(), [(7, Cause::ServiceCut)]);
    assert_eq!(drained(line)[..5], [100, 101, 5, 102, 103]);
}

#[test]
fn what_a_minimum_share_let_in_stays_above_the_cut() {
    let mut line = Line::new(9);
    let shared = Ticket { level: Level::MOST_IMPORTANT, ..ticket(800) };
    line.join(NOW, shared, 1).unwrap();
    assert!(line.review(NOW + 200 * MILLI, Cut::below_index(6), 100 * MILLI).is_empty());
}

#[test]
fn the_oldest_is_found_among_those_that_stay() {
    let mut line = Line::new(8);
    let later = Ticket { arrived: NOW + MILLI, ..within(1, 30 * MILLI) };
    line.join(NOW, within(0, 10 * MILLI), 0).unwrap();
    line.join(NOW, later, 1).unwrap();
    assert_eq!(line.review(NOW + MILLI, Cut::OPEN, 400 * MILLI).len(), 0);
    assert_eq!(line.oldest(), Some(NOW));
    assert_eq!(line.review(NOW + 10 * MILLI, Cut::OPEN, 400 * MILLI).len(), 1);
    assert_eq!(line.oldest(), Some(NOW + MILLI));
    assert_eq!(line.review(NOW + 30 * MILLI, Cut::OPEN, 400 * MILLI).len(), 1);
    assert_eq!(line.oldest(), None);
}

#[test]
fn expired_requests_are_taken_out_wherever_they_stand() {
    let mut line = Line::new(8);
    for (item, millis) in [(0, 30), (1, 10), (2, 20)] {
        line.join(NOW, within(item as usize, MILLI * millis), item).unwrap();
    }
    assert!(line.review(NOW + MILLI * 9, Cut::OPEN, 400 * MILLI).is_empty());
    let items = |left: Vec<(Left<u32>, Cause)>| left.into_iter().map(|(left, _)| left.item).collect::<Vec<_>>();
    assert_eq!(items(line.review(NOW + MILLI * 20, Cut::OPEN, 400 * MILLI)), [1, 2]);
    assert_eq!(items(line.review(NOW + MILLI * 30, Cut::OPEN, 400 * MILLI)), [0]);
    assert!(line.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_is_lost_and_nothing_worse_stays_instead_of_something_better(
        levels in prop::collection::vec(0..40_usize, 1..60), capacity in 0..20_usize,
    ) {
        let mut line = Line::new(capacity);
        let mut out = Vec::new();
        for (item, &level) in levels.iter().enumerate() {
            match line.join(NOW, ticket(level), item as u32) {
                Ok((_, pushed_out)) => out.extend(pushed_out.map(|left| left.item)),
                Err(_) => out.push(item as u32),
            }
            prop_assert!(line.len() <= capacity);
        }
        let inside = drained(line);
        prop_assert_eq!(inside.len() + out.len(), levels.len());
        let level_of = |&item: &u32| levels[item as usize];
        prop_assert!(inside.is_sorted_by_key(level_of));
        let worst_inside = inside.iter().map(level_of).max();
        prop_assert!(out.iter().map(level_of).min().is_none_or(|best| worst_inside.is_none_or(|w| w <= best)));
    }
}
