//! What becomes of a message: each rule of the outbox, with an agent and its gateway in one synchronous test.

use std::time::Duration;

use dagor::{
    client::{ClientEvent, Fate, GiveUp, NewMessage, OutboxLimits, SubmitError},
    id::MessageId,
    pb::client as pb,
    wire::{Flags, Kind, Reason},
};

use crate::{
    gateway::{MESSAGE, replied},
    pair::SECOND,
    stage::{NOTE, Stage, config, roomy},
};

const UNKNOWN: i32 = pb::Outcome::Unknown as i32;

fn note(payload: &'static str) -> NewMessage {
    NewMessage::new(NOTE, payload)
}

fn silent(payload: &'static str) -> NewMessage {
    NewMessage::new("message", payload).without_reply()
}

#[test]
fn a_message_accepted_before_there_is_a_connection_is_sent_on_the_first_one() {
    let mut stage = Stage::new(config(&["a:1"]));
    assert_eq!((stage.submit("one"), stage.submit("two")), (1, 2));
    let (_, hello) = stage.login(&roomy());
    assert_eq!((hello.outbox, hello.oldest_unsettled, hello.reads_refusals), (11, 1, true));
    let arrived = stage.arrived();
    assert_eq!(arrived[0].body.payload, "one");
    assert_eq!((arrived[1].id, arrived[1].flags, arrived[1].body.oldest_unsettled), (2, Flags::default(), 1));
    stage.reply(2, &replied("second"));
    stage.reply(1, &replied("first"));
    let fates = stage.fates();
    assert_eq!(fates.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(fates[1].1.clone().reply().unwrap().payload, "first");
    assert_eq!(stage.agent.unsettled(), 0);
}

#[test]
fn every_request_says_what_is_unsettled_and_what_it_comes_after() {
    let mut stage = Stage::open();
    stage.submit("one");
    stage.submit_message(note("two")).unwrap();
    stage.submit("three");
    let said: Vec<_> = stage.arrived().into_iter().map(|arrived| arrived.body).collect();
    let of = |body: &pb::Request| (body.oldest_unsettled, body.oldest_unsettled_of_business, body.after);
    assert_eq!(said.iter().map(of).collect::<Vec<_>>(), [(1, 1, 0), (1, 2, 0), (1, 1, 1)]);
    stage.reply(1, &replied(""));
    stage.submit("four");
    assert_eq!(of(&stage.arrived()[0].body), (2, 3, 3));
}

#[test]
fn a_handler_that_failed_settles_and_is_not_asked_again() {
    let mut stage = Stage::open();
    stage.submit("one");
    stage.reply(1, &pb::Reply { reason: Reason::HandlerFailed.code(), ..pb::Reply::default() });
    assert!(
        matches!(&stage.fates()[..], [(1, Fate::Failed(verdict))] if verdict.reason() == Some(Reason::HandlerFailed))
    );
}

#[test]
fn a_reason_that_says_stop_rejects_and_says_whether_it_may_have_run() {
    for (before, may_have_run) in [(Some(UNKNOWN), true), (None, false)] {
        let mut stage = Stage::open();
        stage.submit("one");
        if let Some(outcome) = before {
            stage.reply(1, &pb::Reply { outcome, reason: Reason::Lost.code(), ..pb::Reply::default() });
            stage.pass(2 * SECOND);
        }
        stage.refuse(1, Reason::Conflict, 0);
        let [(1, Fate::Rejected { verdict, may_have_run: told })] = &stage.fates()[..] else { panic!("not rejected") };
        assert_eq!((verdict.reason(), *told), (Some(Reason::Conflict), may_have_run));
    }
}

#[test]
fn a_business_that_the_gateway_does_not_have_and_a_message_too_large_are_rejected() {
    let mut stage = Stage::open();
    stage.submit_message(NewMessage::new("nonsense", "x")).unwrap();
    stage.submit_message(NewMessage::new("message", vec![0; 1001])).unwrap();
    let reasons: Vec<_> = stage
        .fates()
        .into_iter()
        .map(|(_, fate)| match fate {
            Fate::Rejected { verdict, may_have_run: false } => verdict.reason(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(reasons, [Some(Reason::UnknownBusiness), Some(Reason::TooLarge)]);
    assert_eq!(stage.arrived(), []);
}

#[test]
fn a_refused_message_waits_for_the_hint_and_comes_again_under_its_id() {
    let mut stage = Stage::open();
    stage.submit("one");
    stage.arrived();
    stage.refuse(1, Reason::ServiceCut, 4000);
    let Some(ClientEvent::Refused { delay: Some(delay), .. }) =
        stage.events.iter().find(|event| matches!(event, ClientEvent::Refused { .. }))
    else {
        panic!("nobody was told")
    };
    assert!((4 * SECOND..=5 * SECOND).contains(delay), "{delay:?}");
    stage.pass(Duration::from_millis(3999));
    assert_eq!(stage.arrived(), []);
    stage.pass(Duration::from_millis(1001));
    let arrived = stage.arrived();
    assert_eq!((arrived[0].id, arrived[0].flags), (1, Flags::RESENT));
    stage.reply(1, &replied("at last"));
    assert!(matches!(&stage.fates()[..], [(1, Fate::Replied(_))]));
}

#[test]
fn many_refusals_in_one_frame_are_many_refusals() {
    let mut stage = Stage::open();
    for payload in ["one", "two", "three"] {
        stage.submit(payload);
    }
    let refused = |message_id| pb::RefusedRequest { message_id, reason: 110, retry_after_ms: 1000 };
    let refusals = pb::Refusals { refused: vec![refused(1), refused(3), refused(77)], cuts: Vec::new() };
    stage.arrived();
    stage.control(stage.link(), Kind::Refusals, &refusals);
    stage.pass(2 * SECOND);
    assert_eq!(stage.arrived_ids().len(), 2);
    assert_eq!(stage.agent.unsettled(), 3);
}

#[test]
fn retries_have_a_budget_of_three_and_a_tenth_of_what_is_new() {
    let mut stage = Stage::open();
    stage.submit_many(8);
    stage.arrived();
    for id in 1..=8 {
        stage.refuse(id, Reason::ServiceCut, 1000);
    }
    stage.pass(2 * SECOND);
    assert_eq!(stage.arrived_ids().len(), 3, "the burst");
    stage.pass(10 * SECOND);
    assert_eq!(stage.arrived_ids().len(), 1, "one per ten seconds");
    for id in 9..=28 {
        stage.submit("new");
        stage.reply(id, &replied(""));
    }
    let retried = stage.arrived().iter().filter(|arrived| arrived.flags == Flags::RESENT).count();
    assert_eq!(retried, 2, "a tenth of twenty");
}

#[test]
fn a_try_without_an_answer_is_unknown_and_sent_again() {
    let mut stage = Stage::open();
    stage.submit("one");
    stage.pass(Duration::from_millis(3499));
    assert_eq!(stage.arrived_ids(), [1]);
    stage.pass(3 * SECOND);
    assert_eq!(stage.arrived_ids(), [1]);
    assert!(stage.events.iter().any(|event| matches!(event, ClientEvent::Unknown { id: MessageId(1), .. })));
}

#[test]
fn an_answer_that_comes_late_settles_all_the_same_and_once() {
    let mut stage = Stage::open();
    stage.submit("one");
    stage.pass(Duration::from_millis(3500));
    stage.reply(1, &replied("late"));
    stage.reply(1, &replied("again"));
    assert!(matches!(&stage.fates()[..], [(1, Fate::Replied(reply))] if reply.payload == "late"));
    stage.pass(60 * SECOND);
    assert_eq!(stage.fates(), []);
}

#[test]
fn what_wants_no_reply_is_settled_through() {
    let mut stage = Stage::open();
    for _ in 0..3 {
        stage.submit_message(silent("x")).unwrap();
    }
    stage.submit("wants one");
    assert!(stage.arrived().iter().take(3).all(|arrived| arrived.flags == Flags::NO_REPLY_WANTED));
    stage.control(stage.link(), Kind::Settled, &pb::Settled { settled_through: 2 });
    assert_eq!(stage.fates(), [(1, Fate::Settled), (2, Fate::Settled)]);
    stage.reply(4, &pb::Reply { settled_through: 4, ..replied("yes") });
    let fates = stage.fates();
    assert!(matches!(&fates[..], [(4, Fate::Replied(_)), (3, Fate::Settled)]), "{fates:?}");
}

#[test]
fn what_wants_a_reply_is_not_settled_without_it_nor_what_was_not_sent_here() {
    let mut stage = Stage::open();
    stage.submit("wants one");
    stage.control(stage.link(), Kind::Settled, &pb::Settled { settled_through: u64::MAX });
    assert_eq!(stage.fates(), []);
    for _ in 0..9 {
        stage.submit_message(silent("x")).unwrap();
    }
    assert_eq!(stage.arrived_ids(), [1, 2, 3, 4, 5, 6, 7, 8], "the last two wait");
    stage.gateway(stage.link()).control(Kind::Settled, &pb::Settled { settled_through: u64::MAX });
    let link = stage.link();
    let mut bytes = stage.gateway(link).outgoing.split();
    stage.agent.handle_bytes(link, &mut bytes, stage.now);
    stage.exchange();
    assert_eq!(stage.fates().len(), 7);
}

#[test]
fn a_second_copy_wants_the_reply_that_the_app_does_not() {
    let mut stage = Stage::open();
    stage.submit_message(silent("x")).unwrap();
    stage.arrived();
    stage.refuse(1, Reason::ServiceCut, 100);
    stage.pass(SECOND);
    assert_eq!(stage.arrived()[0].flags, Flags::RESENT);
    stage.reply(1, &replied("done"));
    assert_eq!(stage.fates(), [(1, Fate::Settled)]);
}

#[test]
fn what_is_behind_comes_again_as_soon_as_the_one_before_it_is_settled() {
    let mut stage = Stage::open();
    for payload in ["one", "two", "three"] {
        stage.submit(payload);
    }
    assert_eq!(stage.arrived_ids(), [1, 2, 3]);
    stage.refuse(3, Reason::Behind, 0);
    stage.refuse(2, Reason::Behind, 0);
    stage.pass(2 * SECOND);
    assert_eq!(stage.arrived(), []);
    stage.reply(1, &replied(""));
    let arrived = stage.arrived();
    assert_eq!((arrived.len(), arrived[0].id, arrived[0].body.after), (1, 2, 0), "no retry of the budget's");
    stage.submit("four");
    assert_eq!(stage.arrived(), [], "this gateway keeps the order, so it is not asked in vain");
    stage.reply(2, &replied(""));
    assert_eq!(stage.arrived_ids(), [3]);
    assert!(stage.agent.cancel(MessageId(3), stage.now));
    stage.exchange();
    assert_eq!(stage.arrived_ids(), [4]);
}

#[test]
fn a_gateway_that_says_behind_of_the_first_is_met_with_patience() {
    let mut stage = Stage::open();
    stage.submit("one");
    for _ in 0..20 {
        stage.refuse(1, Reason::Behind, 0);
        stage.pass(SECOND);
    }
    assert!(stage.arrived_ids().len() < 8, "it is a retry like any other");
}

#[test]
fn a_message_is_kept_for_its_time_and_then_given_up() {
    let mut stage = Stage::open();
    stage.submit_message(NewMessage::new("message", "never run").keep_for(60 * SECOND)).unwrap();
    stage.submit_message(NewMessage::new("message", "who knows").keep_for(60 * SECOND)).unwrap();
    stage.refuse(1, Reason::ServiceCut, 3_600_000);
    stage.cut();
    stage.pass(Duration::from_millis(59_999));
    assert_eq!(stage.fates(), []);
    stage.pass(SECOND / 1000);
    let expired = |may_have_run| Fate::GivenUp { why: GiveUp::Expired, may_have_run };
    assert_eq!(stage.fates(), [(1, expired(false)), (2, expired(true))]);
}

#[test]
fn the_gateways_limit_on_keeping_holds_where_it_is_shorter() {
    let mut stage = Stage::new(config(&["a:1"]));
    stage.submit("one");
    let limits = Some(pb::Limits { max_body_bytes: 1000, max_in_flight: 100, keep_for_ms: 20_000 });
    stage.login(&pb::Welcome { limits, ..roomy() });
    stage.pass(20 * SECOND);
    assert!(matches!(&stage.fates()[..], [(1, Fate::GivenUp { why: GiveUp::Expired, may_have_run: true })]));
}

#[test]
fn an_outbox_is_bounded_in_messages_and_bytes() {
    let limits = OutboxLimits { messages: 3, bytes: 1000, keep_for: SECOND };
    let mut stage = Stage::new(dagor::client::ClientConfig { outbox: limits, ..config(&["a:1"]) });
    let of = |bytes: usize| NewMessage::new("message", vec![0; bytes]);
    assert_eq!(stage.submit_message(of(937)), Err(SubmitError::TooLarge { bytes: 1001, limit: 1000 }));
    assert_eq!(stage.submit_message(of(800)), Ok(1));
    assert_eq!(stage.submit_message(of(100)), Err(SubmitError::Full { messages: 1, bytes: 864 }));
    assert_eq!(stage.submit_message(of(0)), Ok(2), "what is not accepted uses no id up");
    assert_eq!(stage.submit_message(of(0)), Ok(3));
    assert!(matches!(stage.submit_message(of(0)), Err(SubmitError::Full { messages: 3, .. })));
    assert!(stage.agent.cancel(MessageId(2), stage.now));
    assert_eq!(stage.submit_message(of(0)), Ok(4));
    let name = "x".repeat(129);
    assert_eq!(
        stage.submit_message(NewMessage::new(name, "")),
        Err(SubmitError::NameTooLong { bytes: 129, limit: 128 })
    );
}

#[test]
fn eight_are_in_flight_at_first_and_twice_as_many_after_each_round_of_replies() {
    let mut stage = Stage::open();
    stage.submit_many(40);
    assert_eq!(stage.arrived_ids(), (1..=8).collect::<Vec<_>>());
    (1..=8).for_each(|id| stage.reply(id, &replied("")));
    assert_eq!(stage.arrived_ids(), (9..=24).collect::<Vec<_>>());
    (9..=24).for_each(|id| stage.reply(id, &replied("")));
    assert_eq!(stage.arrived_ids(), (25..=40).collect::<Vec<_>>());
}

#[test]
fn nothing_is_sent_more_than_1023_above_the_oldest_unsettled() {
    let mut stage = Stage::open();
    stage.submit("the oldest");
    stage.refuse(1, Reason::ServiceCut, 3_000_000);
    for id in 2..=1024 {
        stage.submit("x");
        stage.reply(id, &replied(""));
    }
    stage.arrived();
    assert_eq!(stage.submit("one too many"), 1025);
    assert_eq!((stage.arrived_ids(), stage.agent.unsettled()), (vec![], 2));
    stage.agent.cancel(MessageId(1), stage.now);
    stage.exchange();
    assert_eq!(stage.arrived_ids(), [1025]);
}

#[test]
fn what_the_gateway_would_refuse_is_held_back_and_comes_later() {
    let mut stage = Stage::open();
    let cuts = vec![pb::ResolvedCut { business: MESSAGE.0.into(), open_permille: 0, valid_ms: 1000 }];
    stage.control(stage.link(), Kind::Pong, &pb::Pong { cuts, ..pb::Pong::default() });
    let ids: Vec<_> = (0..5).map(|_| stage.submit("x")).collect();
    assert_eq!(stage.arrived(), []);
    assert!(stage.events.iter().any(|event| matches!(event, ClientEvent::HeldBack { .. })));
    stage.pass(2 * SECOND);
    let mut arrived = stage.arrived();
    arrived.sort_by_key(|arrived| arrived.id);
    assert_eq!(arrived.iter().map(|arrived| arrived.id).collect::<Vec<_>>(), ids);
    assert!(arrived.iter().all(|arrived| arrived.flags == Flags::default()), "it was not sent before");
}

#[test]
fn a_cancelled_message_says_whether_it_may_have_run() {
    let mut stage = Stage::new(config(&["a:1"]));
    stage.submit("never sent");
    assert!(stage.agent.cancel(MessageId(1), stage.now));
    stage.login(&roomy());
    stage.submit("in flight");
    assert!(stage.agent.cancel(MessageId(2), stage.now));
    assert!(!stage.agent.cancel(MessageId(2), stage.now));
    stage.exchange();
    let cancelled = |may_have_run| Fate::GivenUp { why: GiveUp::Cancelled, may_have_run };
    assert_eq!(stage.fates(), [(1, cancelled(false)), (2, cancelled(true))]);
    stage.reply(2, &replied("too late"));
    assert_eq!(stage.fates(), []);
}
