use super::*;
use crate::manager::core::tests::report;

const SECOND: Duration = Duration::from_secs(1);

fn marks() -> Marks {
    Marks::default()
}

/// A gateway that has been open for long enough to be closed by anything.
fn open(name: &str) -> Report {
    let mut report = report(name);
    report.uptime = Duration::from_secs(3600);
    report
}

/// Judges, and gives the gateway its standing back as it would report it a second later.
fn step(report: &mut Report) -> Standing {
    let standing = judge(report, Duration::ZERO, &marks(), Wish::None);
    let later = |(kind, lasted): (MarkKind, Duration)| (kind, lasted + SECOND);
    let over = standing.over.iter().copied().map(later).collect();
    report.standing = Some(Standing { age: standing.age + SECOND, over, ..standing.clone() });
    standing
}

#[test]
fn connections_close_at_once_and_open_below_the_low_mark_after_the_minimum_time() {
    let mut report = open("a");
    report.connections = 900;
    let closed = step(&mut report);
    assert_eq!((closed.accepting, closed.reason.as_str()), (false, "closed: connections at 90 % over 90 %"));
    report.connections = 850;
    (0..20).for_each(|second| assert!(!step(&mut report).accepting, "second {second}: between low and high"));
    report.connections = 799;
    assert!(step(&mut report).accepting, "it was closed for long enough");
    report.connections = 901;
    assert!(!step(&mut report).accepting);
    report.connections = 0;
    let opens_in = (1..60).find(|_| step(&mut report).accepting);
    assert_eq!(opens_in, Some(10), "not before it was closed for 10 s");
}

#[test]
fn a_late_event_loop_closes_only_if_it_lasts() {
    let mut report = open("a");
    report.event_loop = Duration::from_millis(38);
    for second in 0..5 {
        assert!(step(&mut report).accepting, "second {second}");
    }
    assert_eq!(step(&mut report).reason, "closed: event loop 38 ms late over 20 ms for 5 s");
}

#[test]
fn a_pause_in_between_starts_the_time_anew() {
    let mut report = open("a");
    for second in 0..30 {
        let late = if second % 5 == 4 { 1 } else { 38 };
        report.event_loop = Duration::from_millis(late);
        assert!(step(&mut report).accepting, "second {second}");
    }
}

#[test]
fn a_gateway_that_has_just_opened_is_closed_by_hard_limits_only() {
    let mut report = open("a");
    report.uptime = Duration::ZERO;
    report.cpu = Some(0.99);
    let closes_in = (0..60).find(|_| !step(&mut report).accepting);
    assert_eq!(closes_in, Some(10));
    let mut full = open("b");
    (full.uptime, full.connections) = (Duration::ZERO, 1000);
    assert!(!step(&mut full).accepting);
}

#[test]
fn each_mark_closes() {
    type Change = fn(&mut Report);
    let changes: [(Change, &str); 5] = [
        (|report| report.connections = 950, "connections at 95 %"),
        (|report| report.cpu = Some(0.95), "CPU at 95 %"),
        (|report| report.memory = Some(0.9), "memory at 90 %"),
        (|report| report.event_loop = Duration::from_millis(21), "event loop 21 ms late"),
        (|report| report.own_share = Some(Duration::from_millis(60)), "own share of the latency 60 ms"),
    ];
    for (change, words) in changes {
        let mut report = open("a");
        change(&mut report);
        let closed = (0..10).map(|_| step(&mut report)).find(|standing| !standing.accepting);
        let reason = closed.unwrap().reason;
        assert!(reason.contains(words), "{reason}");
    }
}

#[test]
fn what_is_not_known_neither_closes_nor_keeps_closed() {
    let mut report = open("a");
    (report.cpu, report.memory, report.own_share) = (None, None, None);
    assert!(step(&mut report).accepting);
    let standing = Standing { accepting: false, age: SECOND * 11, ..step(&mut report) };
    report.standing = Some(standing);
    assert!(step(&mut report).accepting);
}

#[test]
fn the_same_report_gives_the_same_answer_however_often_it_is_judged() {
    let mut report = open("a");
    report.connections = 950;
    let judged = || judge(&report, Duration::from_millis(700), &marks(), Wish::None);
    assert_eq!(judged(), judged());
}

#[test]
fn an_order_closes_at_once_and_its_end_opens_after_the_minimum_time() {
    let mut report = open("a");
    let drained = judge(&report, Duration::ZERO, &marks(), Wish::Drained);
    assert_eq!(drained.reason, "closed: drained by an operator");
    report.standing = Some(Standing { age: SECOND * 9, ..drained });
    let still = judge(&report, Duration::ZERO, &marks(), Wish::Drained);
    assert_eq!((still.accepting, still.age), (false, SECOND * 9));
    assert!(!judge(&report, Duration::ZERO, &marks(), Wish::None).accepting);
    assert!(judge(&report, SECOND, &marks(), Wish::None).accepting);
}

#[test]
fn a_closed_gateway_says_what_it_waits_for() {
    let mut report = open("a");
    report.connections = 950;
    let standing = step(&mut report);
    assert_eq!(waits_for(&report, &standing, &marks()).unwrap(), "opens below 80 %: connections at 95 %");
    report.connections = 0;
    assert_eq!(waits_for(&report, &standing, &marks()).unwrap(), "opens in 10 s at the earliest");
}
