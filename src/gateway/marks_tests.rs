use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_800_000_000_000;
const HOUR: u64 = 3_600_000;
const ALICE: Marked = Marked { tier: 0, outbox: OutboxId(7) };

fn policy(marks: &str) -> Policy {
    let tiers = "[[tier]]\nname = \"all\"\nlevels = [64, 127]\n[[tier]]\nname = \"vip\"\nlevels = [0, 15]\n";
    let service = format!("[[service]]\nname = \"main\"\n[service.marks]\n{marks}\n");
    Policy::parse("policy.toml", &(tiers.to_owned() + &service)).unwrap()
}

fn wanted(first_level: u32, last_level: u32, until_unix_ms: u64) -> pb::Mark {
    pb::Mark { first_level, last_level, until_unix_ms, lift: false }
}

fn granted(policy: &Policy, wanted: &pb::Mark) -> Result<Option<Mark>, MarkFault> {
    grant(wanted, &policy.services[0], ALICE, NOW)
}

#[test]
fn nothing_is_granted_where_the_policy_says_nothing() {
    let policy = policy("");
    assert_eq!(granted(&policy, &wanted(0, 15, 0)), Err(MarkFault::NotAllowed));
    assert_eq!(granted(&policy, &pb::Mark { lift: true, ..pb::Mark::default() }), Err(MarkFault::NotAllowed));
}

#[test]
fn a_mark_is_for_a_session_or_until_its_time() {
    let policy = policy("levels = [0, 15]\nlongest = \"1h\"");
    let session = granted(&policy, &wanted(3, 9, 0)).unwrap().unwrap();
    assert_eq!((session.levels, session.until_unix_ms, session.outbox), ((3, 9), NOW + HOUR, Some(ALICE.outbox)));
    let timed = granted(&policy, &wanted(0, 15, NOW + 1)).unwrap().unwrap();
    assert_eq!((timed.levels, timed.until_unix_ms, timed.outbox), ((0, 15), NOW + 1, None));
    assert_eq!(granted(&policy, &pb::Mark { lift: true, ..wanted(99, 3, 1) }), Ok(None));
}

#[test]
fn what_is_out_of_bounds_is_refused_for_the_first_reason() {
    let policy = policy("levels = [4, 15]\ntiers = [\"vip\"]");
    assert_eq!(granted(&policy, &wanted(0, 0, 1)), Err(MarkFault::Tier));
    let vip = |wanted: pb::Mark| grant(&wanted, &policy.services[0], Marked { tier: 1, ..ALICE }, NOW);
    for (first, last) in [(3, 15), (4, 16), (9, 8), (5, 300), (256, 260), (u32::MAX, u32::MAX)] {
        assert_eq!(vip(wanted(first, last, 0)), Err(MarkFault::Levels), "{first} to {last}");
    }
    assert_eq!(vip(wanted(4, 15, NOW)), Err(MarkFault::Past));
    assert_eq!(vip(wanted(4, 15, NOW + HOUR + 10_001)), Err(MarkFault::TooLong));
    assert_eq!(vip(wanted(4, 15, u64::MAX)), Err(MarkFault::TooLong));
    let of_a_clock_ahead = vip(wanted(4, 15, NOW + HOUR + 10_000)).unwrap().unwrap();
    assert_eq!(of_a_clock_ahead.until_unix_ms, NOW + HOUR);
}

#[test]
fn a_mark_ends_with_its_time_with_its_session_or_with_the_permission() {
    let may = policy("levels = [0, 15]");
    let session = granted(&may, &wanted(0, 15, 0)).unwrap().unwrap();
    let timed = granted(&may, &wanted(0, 15, NOW + 5)).unwrap().unwrap();
    let other = Marked { outbox: OutboxId(8), ..ALICE };
    assert_eq!(levels(&session, &may, ALICE, NOW), Some((0, 15)));
    assert_eq!(levels(&session, &may, other, NOW), None);
    assert_eq!((levels(&timed, &may, other, NOW + 4), levels(&timed, &may, other, NOW + 5)), (Some((0, 15)), None));
    for less in ["", "levels = [1, 15]", "levels = [0, 14]", "levels = [0, 15]\ntiers = [\"vip\"]"] {
        assert_eq!(levels(&session, &policy(less), ALICE, NOW), None, "{less}");
    }
    let of_another = Mark { service: "gone".into(), ..session };
    assert_eq!(levels(&of_another, &may, ALICE, NOW), None);
}

#[test]
fn a_slot_tells_of_each_change_once_and_not_of_what_was_brought_along() {
    let slot = Slot::default();
    assert_eq!((slot.get(), slot.take_news()), (None, false));
    slot.restore(Mark { until_unix_ms: 1, ..Mark::default() });
    assert_eq!((slot.get().unwrap().until_unix_ms, slot.take_news()), (1, false));
    slot.put(Some(Mark { until_unix_ms: 2, ..Mark::default() }));
    assert_eq!((slot.get().unwrap().until_unix_ms, slot.take_news(), slot.take_news()), (2, true, false));
    slot.put(None);
    assert_eq!((slot.get(), slot.take_news()), (None, true));
}

proptest! {
    #[test]
    fn whatever_a_service_wants_nobody_leaves_what_is_allowed(
        allowed in (0_u8..128, 0_u8..128),
        first in prop_oneof![0_u32..130, any::<u32>()], last in prop_oneof![0_u32..130, any::<u32>()],
        until in prop_oneof![Just(0), NOW - 9..NOW + 2 * HOUR, any::<u64>()],
        later in 0..3 * HOUR, tier in 0_u8..2,
    ) {
        let allowed = (allowed.0.min(allowed.1), allowed.0.max(allowed.1));
        let policy = policy(&format!("levels = [{}, {}]", allowed.0, allowed.1));
        let whom = Marked { tier, ..ALICE };
        if let Ok(Some(mark)) = grant(&wanted(first, last, until), &policy.services[0], whom, NOW) {
            prop_assert_eq!((u32::from(mark.levels.0), u32::from(mark.levels.1)), (first, last));
            prop_assert!(contains(allowed, mark.levels) && mark.levels.0 <= mark.levels.1);
            prop_assert!((NOW + 1..=NOW + HOUR).contains(&mark.until_unix_ms));
            let holds = levels(&mark, &policy, whom, NOW + later).is_some();
            prop_assert_eq!(holds, NOW + later < mark.until_unix_ms);
        }
    }
}
