use proptest::prelude::*;

use super::*;
use crate::admission::{Level, Tally, level::LEVELS};

const TICK: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);

fn gate() -> Gate {
    Gate::new(GateSettings::dagor_v3(), 2)
}

fn value(index: usize) -> Value {
    Value::new(Level::from_index(index), 0)
}

/// A backlog whose oldest request is so old.
fn waiting(oldest: Duration) -> Backlog {
    Backlog { oldest, ..Backlog::default() }
}

/// A second in which one request of each of the levels 0 to 99 was decided and waited for `queuing`.
fn second(gate: &Gate, from: Timestamp, queuing: Duration) {
    gate.tick(from, None);
    for index in 0..100 {
        if gate.decide(index % 2, from, value(index), Cost::ONE).is_ok() {
            gate.sample(index % 2, queuing);
        }
    }
    gate.tick(from + SECOND, None);
}

#[test]
fn an_overloaded_window_moves_the_cut_and_a_calm_one_moves_it_back() {
    let gate = gate();
    second(&gate, Timestamp::ZERO, 2 * TICK);
    assert_eq!(gate.own_cut(), Cut::OPEN, "exactly on target is fine");
    second(&gate, Timestamp::ZERO + SECOND, 3 * TICK);
    assert_eq!(gate.own_cut(), Cut::below_index(95));
    assert!(gate.snapshot().overloaded);
    second(&gate, Timestamp::ZERO + 2 * SECOND, TICK);
    assert_eq!(gate.own_cut(), Cut::below_index(96));
    let snapshot = gate.snapshot();
    assert_eq!((snapshot.admitted_total, snapshot.refused_total, snapshot.windows), (295, 5, 3));
    assert_eq!(snapshot.queuing, TICK);
}

#[test]
fn two_thousand_samples_close_a_window_early() {
    let gate = gate();
    gate.tick(Timestamp::ZERO, None);
    (0..2000).for_each(|_| gate.sample(1, SECOND));
    gate.tick(Timestamp::ZERO + TICK, None);
    assert_eq!(gate.snapshot().windows, 1);
}

#[test]
fn a_queue_that_stands_still_is_overloaded() {
    let gate = gate();
    gate.tick(Timestamp::ZERO, None);
    gate.decide(0, Timestamp::ZERO, value(5), Cost::ONE).unwrap();
    gate.tick(Timestamp::ZERO + SECOND, Some(waiting(SECOND)));
    assert_eq!(gate.own_cut(), Cut::below_index(5));
}

#[test]
fn the_strictest_cut_is_the_cause() {
    let gate = gate();
    second(&gate, Timestamp::ZERO, SECOND);
    let cause = |index| gate.decide(0, Timestamp::ZERO, value(index), Cost::ONE).unwrap_err().cause;
    assert_eq!(cause(95), Cause::ServiceCut);
    gate.set_manager_cap(Cut::below_index(50));
    assert_eq!((cause(95), cause(50)), (Cause::ManagerCap, Cause::ManagerCap));
    gate.set_gateway_cut(Cut::below_index(20));
    assert_eq!((cause(95), cause(50), cause(20)), (Cause::GatewayCut, Cause::GatewayCut, Cause::GatewayCut));
    gate.set_gateway_cut(Cut::OPEN);
    gate.set_manager_cap(Cut::OPEN);
    assert!(gate.admits(value(94)));
}

#[test]
fn a_refusal_names_the_cut_and_a_time_within_ten_seconds() {
    let gate = gate();
    second(&gate, Timestamp::ZERO, SECOND);
    let late = Timestamp::ZERO + SECOND;
    let refusal = gate.decide(0, late, value(8000), Cost::ONE).unwrap_err();
    assert_eq!(refusal.cut, Cut::below_index(95));
    assert!(refusal.retry_after > gate.decide(0, late, value(95), Cost::ONE).unwrap_err().retry_after);
    assert!(refusal.retry_after <= LONGEST_HINT);
}

#[test]
fn no_hint_lies_before_the_end_of_the_window() {
    let settings = GateSettings { window: 5 * SECOND, ..GateSettings::dagor_v3() };
    let gate = Gate::new(settings, 1);
    gate.tick(Timestamp::ZERO, None);
    gate.tick(Timestamp::ZERO + 5 * SECOND, None);
    let refusal = gate.refusal(Cause::QueueFull, Timestamp::ZERO + 6 * SECOND, value(0));
    assert_eq!(refusal.retry_after, 4 * SECOND);
}

#[test]
fn growth_waits_for_the_cap_to_be_lifted() {
    let gate = gate();
    second(&gate, Timestamp::ZERO, SECOND);
    gate.set_manager_cap(Cut::below_index(10));
    second(&gate, Timestamp::ZERO + SECOND, TICK);
    assert_eq!(gate.own_cut(), Cut::below_index(95));
    gate.set_manager_cap(Cut::OPEN);
    second(&gate, Timestamp::ZERO + 2 * SECOND, TICK);
    assert_eq!(gate.own_cut(), Cut::below_index(96));
}

#[test]
fn growth_waits_for_the_instances_and_they_refuse_nothing_here() {
    let gate = gate();
    second(&gate, Timestamp::ZERO, SECOND);
    gate.set_instance_cut(Cut::below_index(50));
    assert!(gate.admits(value(94)));
    second(&gate, Timestamp::ZERO + SECOND, TICK);
    assert_eq!(gate.own_cut(), Cut::below_index(95));
    gate.set_instance_cut(Cut::OPEN);
    second(&gate, Timestamp::ZERO + 2 * SECOND, TICK);
    assert_eq!(gate.own_cut(), Cut::below_index(96));
}

#[test]
fn the_cut_of_a_business_is_where_its_requests_are_refused() {
    let gate = gate();
    second(&gate, Timestamp::ZERO, SECOND);
    let floor = Cut::below_index(130);
    gate.cuts.floors[1].store(floor.bits(), Relaxed);
    assert_eq!((gate.cut_of(0), gate.cut_of(1)), (Cut::below_index(95), floor));
    let decided = |index| gate.decide(0, Timestamp::ZERO, value(index), Cost::ONE);
    assert_eq!((decided(129), decided(130).is_err(), decided(95).is_err()), (Ok(Admission::Share), true, true));
    gate.set_manager_cap(Cut::below_index(129));
    assert_eq!(gate.cut_of(1), Cut::below_index(129), "a minimum share is one of what others let in");
}

#[test]
fn new_settings_keep_the_cut() {
    let gate = gate();
    second(&gate, Timestamp::ZERO, SECOND);
    gate.reconfigure(GateSettings { target: 2 * SECOND, ..GateSettings::dagor_v3() });
    assert_eq!(gate.effective_cut(), Cut::below_index(95));
    second(&gate, Timestamp::ZERO + 3 * SECOND, SECOND);
    assert_eq!(gate.own_cut(), Cut::below_index(96), "under the new target this was calm");
}

#[test]
fn the_same_settings_again_do_not_restart_the_window() {
    let gate = gate();
    gate.tick(Timestamp::ZERO, None);
    gate.reconfigure(GateSettings::dagor_v3());
    gate.tick(Timestamp::ZERO + SECOND, Some(waiting(SECOND)));
    assert_eq!(gate.snapshot().windows, 1);
}

#[test]
fn completions_at_the_limit_tell_the_capacity() {
    let gate = gate();
    gate.tick(Timestamp::ZERO, None);
    gate.completed(0, Cost::ONE, false);
    gate.limited(0, SECOND);
    (0..500).for_each(|_| gate.completed(0, Cost::ONE, true));
    gate.tick(Timestamp::ZERO + SECOND, None);
    let snapshot = gate.snapshot();
    assert_eq!((snapshot.capacity_per_second, snapshot.completed_total), (Some(500.0), 501));
}

/// A gate in a dry run in front of a service that completes 50 a second.
fn dry_gate() -> Gate {
    let gate = Gate::new(GateSettings { mode: GateMode::DryRun, ..GateSettings::dagor_v3() }, 2);
    gate.tick(Timestamp::ZERO, None);
    gate.limited(0, SECOND);
    (0..50).for_each(|_| gate.completed(0, Cost::ONE, true));
    gate.tick(Timestamp::ZERO + SECOND, None);
    gate
}

/// A second of 100 requests, one of each of the levels 0 to 99, evenly mixed and with a tick after each. Returns how
/// many passed.
fn even_second(gate: &Gate, from: Timestamp) -> usize {
    let pass = |index: usize| {
        let passed = gate.decide(0, from, value(index * 37 % 100), Cost::ONE).is_ok();
        gate.sample(0, SECOND);
        gate.tick(from + TICK * (index as u32 + 1), Some(waiting(SECOND)));
        passed
    };
    (0..100).filter(|&index| pass(index)).count()
}

#[test]
fn a_dry_run_refuses_nothing_and_counts_what_it_would_have_refused() {
    let gate = dry_gate();
    for second in 1..30 {
        assert_eq!(even_second(&gate, Timestamp::ZERO + SECOND * second), 100);
    }
    let snapshot = gate.snapshot();
    assert_eq!((snapshot.admitted_total, snapshot.refused_total), (2900, 0));
    assert!(snapshot.would_refuse_total > 500, "{snapshot:?}");
    assert_eq!(snapshot.effective, Cut::OPEN);
}

#[test]
fn in_a_dry_run_the_cut_settles_at_the_capacity_although_the_real_queue_stays_full() {
    let gate = dry_gate();
    for second in 1..60 {
        even_second(&gate, Timestamp::ZERO + SECOND * second);
    }
    let levels = gate.own_cut().whole_levels();
    assert!((30..70).contains(&levels), "{levels} of 100 levels for half of the load");
}

#[test]
fn in_a_dry_run_the_cuts_of_others_still_refuse() {
    let gate = dry_gate();
    gate.set_manager_cap(Cut::below_index(10));
    assert_eq!(gate.decide(0, Timestamp::ZERO, value(10), Cost::ONE).unwrap_err().cause, Cause::ManagerCap);
    assert_eq!(gate.snapshot().refused_total, 1);
    assert_eq!(gate.snapshot().would_refuse_total, 0);
}

#[test]
fn workers_on_shards_of_their_own_lose_no_counts() {
    let gate = gate();
    gate.set_manager_cap(Cut::below_index(50));
    std::thread::scope(|scope| {
        for shard in 0..2 {
            let gate = &gate;
            let decide = move |step: &usize| gate.decide(shard, Timestamp::ZERO, value(*step % 100), Cost::ONE).is_ok();
            scope.spawn(move || assert_eq!((0..10_000).filter(decide).count(), 5_000));
        }
    });
    let snapshot = gate.snapshot();
    assert_eq!((snapshot.admitted_total, snapshot.refused_total), (10_000, 10_000));
}

fn bits() -> impl Strategy<Value = u32> {
    prop_oneof![any::<u32>(), Just(0), Just(u32::MAX)]
}

proptest! {
    // Each case walks the whole scale many times.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_better_value_is_refused_while_a_worse_one_passes(
        caps in prop::collection::vec((bits(), bits()), 1..8), values in prop::collection::vec(bits(), 1..40),
    ) {
        let gate = gate();
        for (gateway, manager) in caps {
            gate.set_gateway_cut(Cut::from_bits(gateway));
            gate.set_manager_cap(Cut::from_bits(manager));
            let passed = |&bits: &u32| gate.decide(0, Timestamp::ZERO, Value::from_bits(bits), Cost::ONE).is_ok();
            let (passed, refused): (Vec<u32>, Vec<u32>) = values.iter().partition(|bits| passed(bits));
            let worst_passed = passed.into_iter().map(Value::from_bits).max();
            let best_refused = refused.into_iter().map(Value::from_bits).min();
            prop_assert!(best_refused.is_none() || worst_passed < best_refused);
        }
    }

    #[test]
    fn the_effective_cut_is_the_minimum(gateway in bits(), manager in bits(), overloaded: bool) {
        let gate = gate();
        second(&gate, Timestamp::ZERO, if overloaded { SECOND } else { TICK });
        gate.set_gateway_cut(Cut::from_bits(gateway));
        gate.set_manager_cap(Cut::from_bits(manager));
        let least = gate.own_cut().bits().min(gateway).min(manager);
        prop_assert_eq!(gate.effective_cut(), Cut::from_bits(least));
        prop_assert_eq!(gate.snapshot().effective, Cut::from_bits(least));
    }

    #[test]
    fn no_decision_is_lost_or_counted_twice(
        values in prop::collection::vec((0..2_usize, bits()), 0..200), cap in bits(), dry: bool,
    ) {
        let mode = if dry { GateMode::DryRun } else { GateMode::Enforce };
        let gate = Gate::new(GateSettings { mode, ..GateSettings::dagor_v3() }, 2);
        gate.set_manager_cap(Cut::from_bits(cap));
        let mut tally = Tally::new();
        let mut passed = 0;
        for (at, &(shard, bits)) in values.iter().enumerate() {
            let now = Timestamp::ZERO + TICK * at as u32 * 7;
            passed += u64::from(gate.decide(shard, now, Value::from_bits(bits), Cost::ONE).is_ok());
            gate.sample(shard, Duration::from_nanos(u64::from(bits) << 30));
            gate.tick(now, Some(waiting(Duration::MAX)));
        }
        tally.read(&gate);
        let snapshot = gate.snapshot();
        prop_assert_eq!(tally.offered().iter().sum::<u32>() as usize, values.len());
        prop_assert_eq!(snapshot.admitted_total, passed);
        prop_assert_eq!((snapshot.admitted_total + snapshot.refused_total) as usize, values.len());
    }

    #[test]
    fn the_order_inside_a_window_does_not_matter(
        levels in prop::collection::vec(0..LEVELS, 1..100), rotate: usize, queuing_millis in 0..40_u64,
    ) {
        let after = |levels: &[usize]| {
            let gate = gate();
            second(&gate, Timestamp::ZERO, SECOND);
            let from = Timestamp::ZERO + 2 * SECOND;
            gate.tick(from, None);
            let mut cuts = Vec::new();
            for &index in levels {
                let _ = gate.decide(index % 2, from, value(index), Cost::ONE);
                gate.sample(index % 2, Duration::from_millis(queuing_millis));
                cuts.push(gate.own_cut());
            }
            prop_assert!(cuts.windows(2).all(|pair| pair[0] == pair[1]), "moved inside the window");
            gate.tick(from + SECOND, None);
            Ok(gate.own_cut())
        };
        let mut turned = levels.clone();
        turned.rotate_left(rotate % levels.len());
        turned.reverse();
        prop_assert_eq!(after(&levels)?, after(&turned)?);
    }
}

#[test]
fn the_fleets_cut_is_the_base_of_the_own_one_unless_far_too_much_waits() {
    let gate = Gate::new(GateSettings::dagor_v3(), 1);
    let fleet = Cut::through(Level::new(5, 127));
    let second = Duration::from_secs(1);
    let window = |number: u32, queuing: Duration, wanted: f64| {
        for business in 0..10 {
            let _ = gate.decide(0, Timestamp::ZERO, Value::new(Level::new(business, 0), 0), Cost::ONE);
        }
        gate.sample(0, queuing);
        let backlog = Backlog { oldest: queuing, cost: wanted, wanted };
        gate.tick(Timestamp::ZERO + second * number, Some(backlog));
    };
    gate.tick(Timestamp::ZERO, None);
    window(1, Duration::from_millis(50), 9.0);
    assert!(gate.own_cut() < Cut::OPEN, "its own queue was too long");
    gate.set_fleet_cut(fleet);
    let refusal = gate.decide(0, Timestamp::ZERO, Value::new(Level::new(6, 0), 0), Cost::ONE).unwrap_err();
    assert_eq!((refusal.cause, gate.effective_cut()), (Cause::ManagerCap, fleet));
    (2..20).for_each(|number| window(number, Duration::from_millis(50), 9.0));
    assert_eq!(gate.effective_cut(), fleet, "a queue above its target is the fleet's to work off");
    (20..40).for_each(|number| window(number, Duration::from_millis(50), 1000.0));
    assert!(gate.effective_cut() < fleet, "stricter in an emergency");
    window(40, Duration::ZERO, 0.0);
    assert_eq!((gate.own_cut(), gate.effective_cut()), (fleet, fleet), "no stricter than all others without a reason");
    gate.set_fleet_cut(Cut::OPEN);
    assert_eq!(gate.effective_cut(), fleet, "it goes on from where it was");
}
