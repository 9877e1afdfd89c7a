use std::collections::{BTreeMap, BTreeSet};

use proptest::{prelude::*, test_runner::RngSeed};

use super::*;
use crate::id::{BusinessCode, OutboxId};

const KEEP: Duration = Duration::from_secs(60);

fn settings() -> WindowSettings {
    WindowSettings { keep: KEEP, ..WindowSettings::default() }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

fn key_of(user: &str, id: u64) -> CallKey {
    let window = WindowKey { user: user.into(), outbox: OutboxId(7), business: BusinessCode(9) };
    CallKey { window, message: MessageId(id) }
}

/// One user's windows, with names for who waits and text for answers.
struct Desk {
    windows: Windows<&'static str, String>,
    now: Timestamp,
}

impl Desk {
    fn new(settings: WindowSettings) -> Self {
        Self { windows: Windows::new(settings), now: at(0) }
    }

    fn claim(&mut self, id: u64, oldest: u64, payload: &str) -> Claim<&'static str, String> {
        self.claim_of("ann", id, oldest, payload)
    }

    fn claim_of(&mut self, user: &str, id: u64, oldest: u64, payload: &str) -> Claim<&'static str, String> {
        let payload = Fingerprint::of(payload.as_bytes());
        self.windows.claim(self.now, &key_of(user, id), MessageId(oldest), payload, "first")
    }

    fn replied(&mut self, id: u64, answer: &str) -> Vec<&'static str> {
        self.windows.finish(self.now, &key_of("ann", id), End::Final(answer.into(), answer.len()))
    }

    /// Runs a message from its claim to its answer.
    fn run(&mut self, id: u64, oldest: u64, answer: &str) {
        assert_eq!(self.claim(id, oldest, "hello"), Claim::Run("first"), "{id}");
        assert!(self.replied(id, answer).is_empty());
    }
}

fn known(known: Known<String>) -> Claim<&'static str, String> {
    Claim::Known("first", known)
}

fn replied(answer: &str) -> Claim<&'static str, String> {
    known(Known::Replied(answer.into()))
}

#[test]
fn a_copy_of_a_replied_message_gets_the_same_answer() {
    let mut desk = Desk::new(settings());
    desk.run(1, 1, "hi");
    assert_eq!(desk.claim(1, 1, "hello"), replied("hi"));
    assert_eq!(desk.claim(1, 1, "hello"), replied("hi"));
    assert_eq!(desk.windows.stats().replayed, 2);
}

#[test]
fn a_copy_of_a_running_message_waits_for_the_first() {
    let mut desk = Desk::new(settings());
    assert_eq!(desk.claim(1, 1, "hello"), Claim::Run("first"));
    for copy in ["second", "third"] {
        let claim = desk.windows.claim(desk.now, &key_of("ann", 1), MessageId(1), Fingerprint::of(b"hello"), copy);
        assert_eq!(claim, Claim::Waits);
    }
    assert_eq!(desk.replied(1, "hi"), ["second", "third"]);
    assert_eq!(desk.claim(1, 1, "hello"), replied("hi"));
}

#[test]
fn another_payload_under_the_same_id_is_a_conflict_whether_it_runs_or_is_replied() {
    let mut desk = Desk::new(settings());
    desk.claim(1, 1, "hello");
    assert_eq!(desk.claim(1, 1, "bye"), known(Known::Conflict));
    desk.replied(1, "hi");
    assert_eq!(desk.claim(1, 1, "bye"), known(Known::Conflict));
    assert_eq!(desk.claim(1, 1, "hello"), replied("hi"), "the first one stands");
}

#[test]
fn below_the_highest_oldest_unsettled_a_copy_is_stale_even_if_it_never_ran() {
    let mut desk = Desk::new(settings());
    desk.run(1, 1, "hi");
    desk.run(5, 4, "there");
    assert_eq!(desk.claim(1, 1, "hello"), known(Known::Stale), "an older word does not lower the floor");
    assert_eq!(desk.claim(3, 3, "hello"), known(Known::Stale));
    assert_eq!(desk.claim(4, 4, "hello"), Claim::Run("first"));
}

#[test]
fn ids_that_come_out_of_order_all_run() {
    let mut desk = Desk::new(settings());
    for id in [3, 1, 4, 2] {
        desk.run(id, 1, "hi");
    }
}

#[test]
fn what_ends_without_effect_may_run_again_and_who_waited_comes_back() {
    let mut desk = Desk::new(settings());
    desk.claim(1, 1, "hello");
    assert_eq!(desk.claim(1, 1, "hello"), Claim::Waits);
    assert_eq!(desk.windows.finish(desk.now, &key_of("ann", 1), End::NoEffect), ["first"]);
    assert_eq!(desk.claim(1, 1, "another payload"), Claim::Run("first"), "nothing is known of it");
}

#[test]
fn who_waits_for_an_id_that_was_settled_meanwhile_gets_its_answer() {
    let mut desk = Desk::new(settings());
    desk.claim(1, 1, "hello");
    desk.claim(1, 1, "hello");
    desk.run(2, 2, "hi");
    assert_eq!(desk.claim(1, 1, "hello"), known(Known::Stale));
    assert_eq!(desk.replied(1, "late"), ["first"]);
    assert_eq!(desk.claim(1, 1, "hello"), known(Known::Stale));
}

#[test]
fn users_outboxes_and_businesses_do_not_meet() {
    let mut windows: Windows<(), ()> = Windows::new(settings());
    let first = key_of("ann", 1);
    let mut others = [first.clone(), first.clone(), first.clone()];
    others[0].window.user = "bob".into();
    others[1].window.outbox = OutboxId(8);
    others[2].window.business = BusinessCode(10);
    for (n, key) in [first].iter().chain(&others).enumerate() {
        let payload = Fingerprint::of(&[n as u8]);
        assert_eq!(windows.claim(at(0), key, MessageId(1), payload, ()), Claim::Run(()));
    }
}

#[test]
fn no_window_holds_more_ids_than_the_protocol_has() {
    let mut desk = Desk::new(settings());
    for id in 1..=3000 {
        desk.run(id, 0, "hi");
    }
    assert_eq!(desk.claim(3000 - WINDOW_IDS + 1, 0, "hello"), replied("hi"));
    assert_eq!(desk.claim(3000 - WINDOW_IDS, 0, "hello"), known(Known::Stale));
}

#[test]
fn an_enormous_id_harms_nobody_else() {
    let mut desk = Desk::new(settings());
    desk.run(u64::MAX, u64::MAX, "hi");
    assert_eq!(desk.claim(u64::MAX, u64::MAX, "hello"), replied("hi"));
    assert_eq!(desk.claim_of("bob", 1, 1, "hello"), Claim::Run("first"));
}

#[test]
fn a_window_with_too_many_answers_refuses_until_its_client_settles_some() {
    let mut desk = Desk::new(WindowSettings { reply_bytes: 10, ..settings() });
    desk.run(1, 1, "12345678");
    desk.run(2, 1, "12345678");
    let refused = Known::Refused { bound: Bound::ReplyBytes, retry_after: Duration::from_secs(1) };
    assert_eq!(desk.claim(3, 1, "hello"), known(refused));
    assert_eq!(desk.claim(1, 1, "hello"), replied("12345678"), "nothing is forgotten");
    desk.run(3, 2, "12345678");
    assert_eq!(desk.windows.stats().refused_reply_bytes, 1);
}

/// Refused, it would hold up everything above it: a client that waits for its answer can settle nothing.
#[test]
fn a_full_window_lets_its_oldest_message_in() {
    let mut desk = Desk::new(WindowSettings { reply_bytes: 10, ..settings() });
    desk.run(2, 1, "12345678");
    desk.run(3, 1, "12345678");
    assert!(matches!(desk.claim(4, 1, "hello"), Claim::Known(_, Known::Refused { .. })));
    desk.run(1, 1, "12345678");
    desk.run(4, 4, "12345678");
    assert_eq!(desk.windows.stats().refused_reply_bytes, 1);
}

#[test]
fn of_a_client_that_never_says_what_is_settled_the_lowest_answers_go_and_are_counted() {
    let mut desk = Desk::new(WindowSettings { reply_bytes: 10, ..settings() });
    for id in 1..=4 {
        desk.run(id, 0, "12345678");
    }
    assert_eq!(desk.windows.stats().forgotten, 2);
    assert_eq!(desk.claim(4, 0, "hello"), replied("12345678"));
}

#[test]
fn too_many_copies_of_a_running_message_are_refused() {
    let mut desk = Desk::new(settings());
    desk.claim(1, 1, "hello");
    for _ in 0..MOST_COPIES {
        assert_eq!(desk.claim(1, 1, "hello"), Claim::Waits);
    }
    let refused = Known::Refused { bound: Bound::Copies, retry_after: Duration::from_secs(1) };
    assert_eq!(desk.claim(1, 1, "hello"), known(refused));
    assert_eq!(desk.replied(1, "hi").len(), MOST_COPIES);
}

#[test]
fn one_window_more_than_fits_is_refused_until_another_has_rested() {
    let mut desk = Desk::new(WindowSettings { windows: 2, ..settings() });
    assert_eq!(desk.claim_of("running", 1, 1, "hello"), Claim::Run("first"));
    desk.now = at(10);
    desk.run(1, 1, "hi");
    let refused = |seconds| Known::Refused { bound: Bound::Windows, retry_after: Duration::from_secs(seconds) };
    assert_eq!(desk.claim_of("bob", 1, 1, "hello"), known(refused(30)), "no hint is longer");
    desk.now = at(59);
    assert_eq!(desk.claim_of("bob", 1, 1, "hello"), known(refused(1)));
    desk.now = at(69);
    assert_eq!(desk.claim_of("bob", 1, 1, "hello"), known(refused(1)), "one rests too short, the other runs");
    desk.now = at(70);
    assert_eq!(desk.claim_of("bob", 1, 1, "hello"), Claim::Run("first"));
    let stats = desk.windows.stats();
    assert_eq!((stats.windows, stats.evicted, stats.refused_windows), (2, 1, 3));
    assert_eq!(desk.claim_of("running", 1, 1, "hello"), Claim::Waits, "what runs is never forgotten");
}

#[test]
fn the_bytes_of_all_windows_are_bounded_and_come_back() {
    let mut desk = Desk::new(WindowSettings { total_bytes: 3000, ..settings() });
    desk.run(1, 1, &"x".repeat(3000));
    assert!(matches!(desk.claim(2, 1, "hello"), Claim::Known(_, Known::Refused { bound: Bound::TotalBytes, .. })));
    let other = desk.claim_of("bob", 1, 1, "hello");
    assert!(matches!(other, Claim::Known(_, Known::Refused { bound: Bound::TotalBytes, .. })), "{other:?}");
    desk.run(2, 2, "hi");
    assert!(desk.windows.stats().bytes < 3000);
    desk.now = at(120);
    desk.windows.sweep(desk.now);
    let stats = desk.windows.stats();
    assert_eq!((stats.windows, stats.bytes, stats.refused_total_bytes), (0, 0, 2));
}

#[test]
fn an_answer_outlives_keep_for_and_then_goes() {
    let mut desk = Desk::new(settings());
    desk.run(1, 1, "hi");
    desk.now = at(59);
    assert_eq!(desk.claim(1, 1, "hello"), replied("hi"));
    desk.now = at(60);
    assert_eq!(desk.claim(2, 1, "hello"), Claim::Run("first"), "the window itself lives on");
    assert_eq!(desk.claim(1, 1, "hello"), Claim::Run("first"));
}

/// A step of a world with one outbox of few ids.
#[derive(Clone, Debug)]
enum Step {
    Claim { id: u64, oldest: u64, payload: u8 },
    Final { id: u64 },
    NoEffect { id: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let id = 1..9u64;
    let step = prop_oneof![
        4 => (id.clone(), 0..6u64, 0..8u8).prop_map(|(id, oldest, odd)| Step::Claim {
            id,
            oldest: oldest.min(id),
            payload: u8::from(odd == 0),
        }),
        2 => id.clone().prop_map(|id| Step::Final { id }),
        1 => id.prop_map(|id| Step::NoEffect { id }),
    ];
    prop::collection::vec(step, 1..80)
}

/// What decides on tries; the windows, and what one could take for them.
trait Dedupe {
    fn claim(&mut self, key: &CallKey, oldest: u64, payload: Fingerprint, waiter: u32) -> Claim<u32, u32>;
    fn finish(&mut self, key: &CallKey, end: End<u32>) -> Vec<u32>;
}

impl Dedupe for Windows<u32, u32> {
    fn claim(&mut self, key: &CallKey, oldest: u64, payload: Fingerprint, waiter: u32) -> Claim<u32, u32> {
        Windows::claim(self, at(1), key, MessageId(oldest), payload, waiter)
    }

    fn finish(&mut self, key: &CallKey, end: End<u32>) -> Vec<u32> {
        Windows::finish(self, at(1), key, end)
    }
}

/// Everything that ever happened to an id.
#[derive(Default)]
struct History {
    payload: Option<Fingerprint>,
    running: bool,
    waiting: Vec<u32>,
    answer: Option<u32>,
}

/// Holds `dedupe` to what is promised, from a memory that forgets nothing. Says what was broken.
fn judge(dedupe: &mut impl Dedupe, steps: &[Step]) -> Result<(), String> {
    let (mut ids, mut floor) = (BTreeMap::<u64, History>::new(), 0);
    for (n, step) in (0u32..).zip(steps) {
        let fault = |what: &str| Err(format!("step {n} {step:?}: {what}"));
        match *step {
            Step::Claim { id, oldest, payload } => {
                floor = floor.max(oldest);
                let payload = Fingerprint::of(&[payload]);
                let history = ids.entry(id).or_default();
                let expected = if id < floor {
                    Claim::Known(n, Known::Stale)
                } else if history.payload.is_some_and(|first| first != payload) {
                    Claim::Known(n, Known::Conflict)
                } else if history.running {
                    history.waiting.push(n);
                    Claim::Waits
                } else if let Some(answer) = history.answer {
                    Claim::Known(n, Known::Replied(answer))
                } else {
                    (history.running, history.payload) = (true, Some(payload));
                    Claim::Run(n)
                };
                let claim = dedupe.claim(&key_of("ann", id), oldest, payload, n);
                if claim != expected {
                    return fault(&format!("{claim:?} instead of {expected:?}"));
                }
            }
            Step::Final { id } | Step::NoEffect { id } => {
                let Some(history) = ids.get_mut(&id).filter(|history| history.running) else { continue };
                history.running = false;
                let end = if matches!(step, Step::Final { .. }) {
                    history.answer = Some(n);
                    End::Final(n, 1)
                } else {
                    history.payload = None;
                    End::NoEffect
                };
                if dedupe.finish(&key_of("ann", id), end) != std::mem::take(&mut history.waiting) {
                    return fault("not all who waited came back");
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(4), cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn every_message_runs_at_most_once_and_every_try_gets_its_one_answer(steps in steps()) {
        let judged = judge(&mut Windows::new(settings()), &steps);
        prop_assert!(judged.is_ok(), "{}", judged.unwrap_err());
    }

    #[test]
    fn the_bytes_are_those_of_what_is_there(steps in steps()) {
        let mut windows: Windows<u32, u32> = Windows::new(settings());
        let _ = judge(&mut windows, &steps);
        windows.sweep(at(1000));
        let running = windows.stats().windows;
        // Ends what runs still, and rests again.
        (0..9).for_each(|id| drop(windows.finish(at(1), &key_of("ann", id), End::NoEffect)));
        windows.sweep(at(3000));
        prop_assert!(running <= 1);
        prop_assert_eq!((windows.stats().windows, windows.stats().bytes), (0, 0));
    }
}

/// Faults that one could make, each judged as the windows are.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Takes every id up to the highest one seen for known.
    HighWater,
    /// Lets a copy of a running message run.
    RunsCopies,
    /// Remembers what had no effect.
    RemembersNoEffect,
    /// Lets the floor follow the last word instead of the highest.
    FloorGoesDown,
    /// Does not look at payloads.
    BlindToPayloads,
}

struct Faulty {
    fault: Fault,
    windows: Windows<u32, u32>,
    highest: u64,
    seen: BTreeSet<u64>,
}

impl Dedupe for Faulty {
    fn claim(&mut self, key: &CallKey, oldest: u64, payload: Fingerprint, waiter: u32) -> Claim<u32, u32> {
        let id = key.message.0;
        let late = id < self.highest && !self.seen.contains(&id);
        self.highest = self.highest.max(id);
        self.seen.insert(id);
        let (oldest, payload) = match self.fault {
            Fault::HighWater if late => return Claim::Known(waiter, Known::Stale),
            Fault::FloorGoesDown => (0, payload),
            Fault::BlindToPayloads => (oldest, Fingerprint([0; 16])),
            Fault::HighWater | Fault::RunsCopies | Fault::RemembersNoEffect => (oldest, payload),
        };
        match (self.fault, Dedupe::claim(&mut self.windows, key, oldest, payload, waiter)) {
            (Fault::RunsCopies, Claim::Waits) => Claim::Run(waiter),
            (_, claim) => claim,
        }
    }

    fn finish(&mut self, key: &CallKey, end: End<u32>) -> Vec<u32> {
        let end =
            if matches!((self.fault, end), (Fault::RemembersNoEffect, End::NoEffect)) { End::Final(0, 1) } else { end };
        Dedupe::finish(&mut self.windows, key, end)
    }
}

#[test]
fn each_planted_fault_is_found() {
    for fault in
        [Fault::HighWater, Fault::RunsCopies, Fault::RemembersNoEffect, Fault::FloorGoesDown, Fault::BlindToPayloads]
    {
        let config =
            ProptestConfig { rng_seed: RngSeed::Fixed(4), failure_persistence: None, ..ProptestConfig::default() };
        let found = proptest::test_runner::TestRunner::new(config).run(&steps(), |steps| {
            let windows = Windows::new(settings());
            let mut faulty = Faulty { fault, windows, highest: 0, seen: BTreeSet::new() };
            judge(&mut faulty, &steps).map_err(TestCaseError::fail)
        });
        assert!(found.is_err(), "{fault:?} was not found");
    }
}
