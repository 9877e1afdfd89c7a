//! Silence and age, on a clock that is moved by hand.

use super::*;

const TOLERANCE: Duration = Duration::from_secs(10);

fn at(millis: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_millis(millis)
}

fn silent<T: Clone + Ord>(table: &Heartbeats<T>, now: Timestamp) -> Vec<T> {
    let mut found = Vec::new();
    let count = table.scan(now, TOLERANCE, |entry| found.push(entry));
    assert_eq!(count, found.len());
    found.sort();
    found
}

#[test]
fn a_pulse_is_small() {
    assert!(size_of::<Pulse<Arc<u8>>>() <= 16);
}

#[test]
fn only_what_was_not_touched_is_reported_and_only_once() {
    let table = Heartbeats::new();
    let lively = table.insert("lively", at(0));
    let _quiet = table.insert("quiet", at(0));
    lively.touch(at(5_000));
    assert_eq!(silent(&table, at(10_300)), ["quiet"]);
    assert_eq!(silent(&table, at(10_400)), [""; 0]);
    assert_eq!(silent(&table, at(15_300)), ["lively"]);
}

#[test]
fn silence_is_never_reported_early_and_at_most_three_ticks_late() {
    for start in (0..300).step_by(29) {
        let table = Heartbeats::new();
        let _pulse = table.insert((), at(start));
        let tolerance = TOLERANCE.as_millis() as u64;
        let reported = (start..).step_by(10).find(|&now| !silent(&table, at(now)).is_empty()).unwrap();
        assert!(reported > start + tolerance && reported <= start + tolerance + 300, "{start} {reported}");
    }
}

#[test]
fn a_second_silence_is_reported_again() {
    let table = Heartbeats::new();
    let pulse = table.insert(1, at(0));
    assert_eq!(silent(&table, at(20_000)), [1]);
    pulse.touch(at(21_000));
    assert_eq!(silent(&table, at(22_000)), [0; 0]);
    assert_eq!(silent(&table, at(40_000)), [1]);
}

#[test]
fn the_tolerance_may_change_between_two_scans() {
    let table = Heartbeats::new();
    let _pulse = table.insert((), at(0));
    assert_eq!(table.scan(at(20_000), Duration::MAX, |()| ()), 0);
    assert_eq!(table.scan(at(20_000), Duration::ZERO, |()| ()), 1);
}

#[test]
fn dropping_the_pulse_drops_the_entry_and_frees_its_place() {
    let table = Heartbeats::new();
    let entry = Arc::new(());
    let pulse = table.insert(entry.clone(), at(0));
    assert_eq!((table.len(), Arc::strong_count(&entry)), (1, 2));
    drop(pulse);
    assert_eq!((table.len(), Arc::strong_count(&entry)), (0, 1));
    assert!(silent(&table, at(60_000)).is_empty());
    assert!(lock(&table.chunks).is_empty());
}

#[test]
fn a_report_may_drop_the_pulse_and_use_the_table() {
    let table = Heartbeats::new();
    let mut pulses: Vec<_> = (0..3).map(|entry| Some(table.insert(entry, at(0)))).collect();
    table.scan(at(20_000), TOLERANCE, |entry: usize| {
        pulses[entry] = None;
        drop(table.insert(7, at(20_000)));
    });
    assert!(table.is_empty());
}

const HOUR: u64 = 3_600_000;

/// Everyone who comes to an end, and everyone who stays, second by second from `from` to `to`.
fn aged(table: &Heartbeats<u64>, rule: &MaxAge, from: u64, to: u64) -> (Vec<(u64, u64)>, Vec<u64>) {
    let (mut ends, mut stays) = (Vec::new(), Vec::new());
    for second in from / 1000..=to / 1000 {
        let rule = followed(rule, false, second * 1000);
        table.scan_ages(&rule, |entry, what| match what {
            Aged::Ends => ends.push((entry, second)),
            Aged::Stays => stays.push(entry),
        });
    }
    (ends, stays)
}

fn hour(since: u64) -> MaxAge {
    MaxAge::follow(None, Some(Duration::from_millis(HOUR)), false, at(since)).unwrap()
}

fn followed(rule: &MaxAge, pauses: bool, millis: u64) -> MaxAge {
    MaxAge::follow(Some(*rule), Some(Duration::from_millis(HOUR)), pauses, at(millis)).unwrap()
}

/// How many in the fullest ten seconds, of those that begin with a full ten.
fn fullest(ends: &[(u64, u64)]) -> usize {
    let mut counts = std::collections::BTreeMap::<_, usize>::new();
    ends.iter().for_each(|(_, second)| *counts.entry(second / 10).or_default() += 1);
    counts.into_values().max().unwrap_or(0)
}

#[test]
fn entries_that_began_together_end_one_after_the_other_around_the_age() {
    for seed in 0..3 {
        let table = Heartbeats::seeded(seed);
        let _pulses: Vec<_> = (0..7200).map(|entry| table.insert(entry, at(1000))).collect();
        let (mut ends, stays) = aged(&table, &hour(0), HOUR * 8 / 9, HOUR * 8 / 7);
        let (first, last) = (ends[0].1, ends[ends.len() - 1].1);
        assert!((3241..3260).contains(&first) && (3940..=3962).contains(&last), "seed {seed}: {first} to {last}");
        assert!(fullest(&ends) < 150, "seed {seed}: {} in 10 s, where 100 are even", fullest(&ends));
        assert_eq!(stays.len(), 7200, "each is told once, and once more");
        ends.sort_unstable();
        assert_eq!(ends.iter().map(|&(entry, _)| entry).collect::<Vec<_>>(), Vec::from_iter(0..7200));
    }
}

#[test]
fn a_rule_that_comes_into_force_among_old_entries_spreads_them() {
    let table = Heartbeats::seeded(1);
    let _pulses: Vec<_> = (0..7200).map(|entry| table.insert(entry, at(entry))).collect();
    let day = 24 * HOUR;
    let (ends, _) = aged(&table, &hour(day), day, day + HOUR / 4);
    let (begin, last) = (day / 1000, ends[ends.len() - 1].1);
    assert!(ends.len() == 7200 && last > begin + 700 && last <= begin + 721, "{} until {last}", ends.len());
    assert!(fullest(&ends) < 150, "{} in 10 s, where 100 are even", fullest(&ends));
}

#[test]
fn recurring_pauses_keep_nobody_for_ever_and_make_no_crowd() {
    // In seconds: a blip each minute, a long one each ten, and more time with than without, for five hours.
    for (every, lasts) in [(60, 1), (600, 60), (600, 400), (2400, 1500)] {
        let table = Heartbeats::seeded(3);
        let _pulses: Vec<_> = (0..1800).map(|entry| table.insert(entry, at(entry * 2000))).collect();
        let (mut rule, mut ends) = (hour(0), Vec::new());
        for second in 0..5 * 3600 {
            let pauses = second % every < lasts;
            rule = followed(&rule, pauses, second * 1000);
            if !pauses {
                table.scan_ages(&rule, |entry, what| ends.extend((what == Aged::Ends).then_some((entry, second))));
            }
        }
        let last = ends[ends.len() - 1].1;
        // Twice the even number while the rule catches up, and that of all within the spread when it begins anew.
        let most = if lasts > 60 { 45 } else { 25 };
        assert!(fullest(&ends) < most, "{every}, {lasts}: {} in 10 s, where 5 are even", fullest(&ends));
        let left = 1800 - ends.len();
        assert!(left <= 2, "{every}, {lasts}: {left} of 1800 stay, the last went after {last} s");
        assert!(lasts > 60 || left == 0 && last <= 7650, "{every}, {lasts}: {left} stay, the last after {last} s");
    }
}

#[test]
fn a_steady_crowd_moves_at_its_number_by_the_age() {
    // One login each half second for an hour; whoever comes to an end begins anew, in the same place of the table.
    let table = Heartbeats::seeded(2);
    let mut pulses: Vec<_> = (0..7200).map(|entry| Some(table.insert(entry, at(entry * 500)))).collect();
    let mut ends = 0;
    for second in (3600..4 * 3600).step_by(15) {
        table.scan_ages(&followed(&hour(0), false, second * 1000), |entry, what| {
            assert_eq!(what, Aged::Ends);
            ends += 1;
            pulses[entry as usize] = None;
            pulses[entry as usize] = Some(table.insert(entry, at(second * 1000)));
        });
    }
    assert!((3 * 7200 - 720..3 * 7200 + 720).contains(&ends), "{ends} of 7200 in 3 h, each once an hour");
}

#[test]
fn who_leaves_in_time_is_told_once_and_a_sign_of_life_changes_no_age() {
    let table = Heartbeats::new();
    let pulse = table.insert(7, at(0));
    pulse.touch(at(HOUR));
    let (ends, stays) = aged(&table, &hour(0), HOUR / 2, HOUR + HOUR / 10 + 121_000);
    assert!(matches!(ends[..], [(7, 3240..=3960)]), "{ends:?}");
    assert_eq!(stays, [7]);
    drop(pulse);
    let again = table.insert(8, at(2 * HOUR));
    let (ends, _) = aged(&table, &hour(0), 2 * HOUR, 2 * HOUR + HOUR / 10);
    assert_eq!(ends, [], "its place has a new age");
    drop(again);
    assert!(table.is_empty());
}

#[test]
fn entries_come_and_go_on_other_threads_while_scans_run() {
    let table = Heartbeats::new();
    let kept = std::thread::scope(|scope| {
        let threads = [0, 1, 2].map(|thread| {
            let table = &table;
            scope.spawn(move || {
                let pulses: Vec<_> = (0..CHUNK).map(|entry| table.insert(thread * CHUNK + entry, at(0))).collect();
                pulses.into_iter().step_by(2).collect::<Vec<_>>()
            })
        });
        (0..100).for_each(|_| assert_eq!(table.scan(at(0), TOLERANCE, |_| ()), 0));
        threads.map(|thread| thread.join().unwrap())
    });
    assert_eq!(table.len(), 3 * CHUNK / 2);
    assert_eq!(silent(&table, at(20_000)), Vec::from_iter((0..3 * CHUNK).step_by(2)));
    drop(kept);
    assert!(table.is_empty());
}

#[test]
fn places_are_used_again_before_the_table_grows() {
    let table = Heartbeats::new();
    let mut pulses: Vec<_> = (0..2 * CHUNK).map(|entry| table.insert(entry, at(0))).collect();
    assert_eq!(lock(&table.chunks).len(), 2);
    pulses.drain(..10);
    pulses.extend((0..10).map(|entry| table.insert(entry, at(0))));
    assert_eq!((table.len(), lock(&table.chunks).len()), (2 * CHUNK, 2));
    assert_eq!(silent(&table, at(20_000)), Vec::from_iter(0..2 * CHUNK));
}
