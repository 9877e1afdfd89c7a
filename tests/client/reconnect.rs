//! What an agent does when connections are refused, lost, redirected, moved, taken over or ended for good.

use std::time::Duration;

use dagor::{
    client::{ClientEvent, CloseReason, Fate, GiveUp, StopReason, SubmitError},
    pb::client::{self as pb, ConnectReason},
    wire::{Flags, Kind, Reason},
};

use crate::{
    gateway::replied,
    pair::SECOND,
    stage::{Stage, config, roomy},
};

const MINUTE: Duration = Duration::from_secs(60);

fn refused(reason: Reason, retry_after_ms: u32, alternatives: &[(&str, u32)]) -> pb::Refused {
    pb::Refused {
        reason: reason.code(),
        retry_after_ms,
        alternatives: self::alternatives(alternatives),
        ..pb::Refused::default()
    }
}

fn alternatives(list: &[(&str, u32)]) -> Vec<pb::Alternative> {
    list.iter().map(|&(address, weight)| pb::Alternative { addresses: vec![address.into()], weight }).collect()
}

/// Accepts what was dialed, and answers its `Hello` so.
fn refuse_login(stage: &mut Stage, refused: &pb::Refused) -> (String, pb::Hello) {
    let (link, address) = stage.accept();
    let hello = stage.hello(link);
    stage.control(link, Kind::Refused, refused);
    (address, hello)
}

#[test]
fn everything_unsettled_is_sent_again_in_the_order_of_ids_and_marked() {
    let mut stage = Stage::open();
    stage.submit_many(12);
    stage.reply(2, &replied(""));
    stage.refuse(3, Reason::ServiceCut, 60_000);
    stage.cut();
    stage.pass(SECOND);
    let (_, hello) = stage.login(&roomy());
    assert_eq!((hello.oldest_unsettled, hello.reason()), (1, ConnectReason::Network));
    assert_eq!(&hello.ticket[..], b"ticket-1");
    let arrived = stage.arrived();
    let said: Vec<_> = arrived.iter().map(|arrived| (arrived.id, arrived.flags)).collect();
    let resent = [1, 3, 4, 5, 6, 7, 8, 9].map(|id| (id, Flags::RESENT));
    assert_eq!(said, resent, "eight at first, those that waited for a hint among them, without the budget");
    let connected = |event: &ClientEvent| match event {
        ClientEvent::Connected { resent, unsettled, .. } => Some((*resent, *unsettled)),
        _ => None,
    };
    assert_eq!(stage.events.iter().find_map(connected), Some((9, 11)));
    stage.reply(1, &replied(""));
    stage.reply(3, &replied(""));
    let said: Vec<_> = stage.arrived().iter().map(|arrived| (arrived.id, arrived.flags)).collect();
    assert_eq!(said, [(10, Flags::RESENT), (11, Flags::default())], "what was never sent is no copy");
}

#[test]
fn after_a_loss_a_client_goes_where_the_last_pong_said() {
    let mut stage = Stage::new(config(&["a:1"]));
    let alternative = |address: &str| pb::Alternative { addresses: vec![address.to_owned()], weight: 1000 };
    stage.login(&pb::Welcome { alternatives: vec![alternative("b:1")], ..roomy() });
    let pong = pb::Pong { alternatives: vec![alternative("c:1")], ..pb::Pong::default() };
    stage.control(stage.link(), Kind::Pong, &pong);
    stage.control(stage.link(), Kind::Pong, &pb::Pong::default());
    stage.pass(MINUTE / 3);
    stage.cut();
    assert_eq!(stage.waiting().0, "c:1", "and one that names none says nothing new");
}

#[test]
fn the_first_try_after_a_loss_comes_within_the_spread_and_elsewhere() {
    let mut stage = Stage::new(config(&["a:1", "b:1"]));
    let first = stage.dialed[0].1.clone();
    stage.login(&pb::Welcome { spread_ms: 8000, ..roomy() });
    stage.control(stage.link(), Kind::Pong, &pb::Pong { spread_ms: 4000, ..pb::Pong::default() });
    stage.pass(MINUTE / 3);
    stage.cut();
    let (address, delay) = stage.waiting();
    assert!(delay <= 4 * SECOND && address != first, "{address} in {delay:?}: the last word on the spread holds");
    stage.pass(4 * SECOND);
    assert_eq!(stage.accept().1, address);
}

#[test]
fn waits_grow_to_a_minute_while_nothing_answers_and_go_round_the_list() {
    let mut stage = Stage::new(config(&["a:1", "b:1", "c:1"]));
    let mut addresses = Vec::new();
    for failures in 0..40_u32 {
        let (link, address) = stage.dialed.pop_front().unwrap();
        addresses.push(address);
        stage.agent.handle_disconnect(link, CloseReason::Unreachable("no route".into()), stage.now);
        stage.exchange();
        let (_, delay) = stage.waiting();
        assert!(delay <= SECOND * (1 << failures.min(6)).min(60), "{delay:?} after {failures} failures");
        stage.pass(delay);
    }
    let round: Vec<_> = addresses.iter().take(3).collect();
    for (index, address) in addresses.iter().enumerate() {
        assert_eq!(&address, &round[index % 3], "the one that failed last comes last");
    }
}

#[test]
fn a_gateway_that_falls_right_after_each_login_is_not_hammered() {
    let mut stage = Stage::new(config(&["a:1"]));
    let begin = stage.now;
    for _ in 0..20 {
        stage.login(&roomy());
        stage.cut();
        let (_, delay) = stage.waiting();
        stage.pass(delay);
    }
    assert!(stage.now.since(begin) > 2 * MINUTE, "{:?}", stage.now.since(begin));
}

#[test]
fn a_gateway_that_never_answers_is_left_in_time() {
    let mut stage = Stage::new(config(&["a:1"]));
    stage.pass(10 * SECOND);
    assert_eq!(stage.hung_up.len(), 1, "not even a stream");
    stage.pass(MINUTE / 60);
    stage.accept();
    stage.pass(10 * SECOND);
    assert_eq!(stage.hung_up.len(), 2, "no welcome");
}

#[test]
fn a_refusal_by_its_range() {
    for reason in [Reason::Unauthorized, Reason::Version, Reason::Malformed] {
        let mut stage = Stage::new(config(&["a:1", "b:1"]));
        refuse_login(&mut stage, &refused(reason, 0, &[]));
        assert!(matches!(stage.stopped(), Some(StopReason::Refused(verdict)) if verdict.reason() == Some(reason)));
        stage.pass(10 * MINUTE);
        assert_eq!((stage.dialed.len(), stage.agent.poll_timeout()), (0, None));
        assert!(matches!(stage.submit_message(dagor::client::NewMessage::new("m", "")), Err(SubmitError::Stopped(_))));
        assert!(stage.agent.restart(None, stage.now));
        stage.exchange();
        assert_eq!(stage.dialed.len(), 1, "the app may try again, with another token say");
    }
    let mut stage = Stage::new(config(&["a:1", "b:1"]));
    let (here, _) = refuse_login(&mut stage, &refused(Reason::GatewayCut, 7000, &[]));
    let (address, delay) = stage.waiting();
    assert!(address == here && (7 * SECOND..9 * SECOND).contains(&delay), "back off here: {address} in {delay:?}");

    let mut stage = Stage::new(config(&["a:1", "b:1"]));
    let (here, _) = refuse_login(&mut stage, &refused(Reason::Draining, 0, &[]));
    assert!(stage.waiting().0 != here, "reconnect after the spread");
}

#[test]
fn a_redirect_is_followed_at_once_by_weight_and_counted() {
    let mut stage = Stage::new(config(&["a:1"]));
    refuse_login(&mut stage, &refused(Reason::GatewayClosed, 0, &[("x:1", 1)]));
    assert_eq!(stage.waiting(), ("x:1".into(), Duration::ZERO));
    stage.pass(Duration::ZERO);
    let (_, hello) = stage.login(&roomy());
    assert_eq!((hello.gateways_tried, hello.reason()), (1, ConnectReason::Redirected));
}

#[test]
fn a_circle_of_redirects_is_left_after_three() {
    let mut stage = Stage::new(config(&["a:1"]));
    let ring = [("a:1", 1), ("b:1", 1), ("c:1", 1), ("d:1", 1), ("e:1", 1)];
    let mut tried = Vec::new();
    for redirects in 0..6 {
        let (_, hello) = refuse_login(&mut stage, &refused(Reason::GatewayClosed, 0, &ring));
        tried.push(hello.gateways_tried);
        let (_, delay) = stage.waiting();
        assert_eq!(delay.is_zero(), redirects < 3, "{delay:?} after {redirects}");
        stage.pass(delay);
    }
    assert_eq!(tried, [0, 1, 2, 3, 4, 5]);
    stage.login(&roomy());
    stage.cut();
    stage.pass(SECOND);
    assert_eq!(stage.login(&roomy()).1.gateways_tried, 0, "another login, another count");
}

#[test]
fn a_hint_beats_the_formula() {
    let mut stage = Stage::open();
    stage.control(stage.link(), Kind::Refused, &refused(Reason::SlowConsumer, 20_000, &[]));
    let (_, delay) = stage.waiting();
    assert!((20 * SECOND..=25 * SECOND).contains(&delay), "{delay:?}");
    let mut stage = Stage::new(config(&["a:1"]));
    refuse_login(&mut stage, &refused(Reason::Limit, u32::MAX, &[]));
    assert!(stage.waiting().1 <= Duration::from_secs(5000), "but no hint silences a client for days");
}

#[test]
fn a_goaway_makes_the_new_connection_first_and_then_leaves_the_old_one() {
    let mut stage = Stage::open();
    let old = stage.link();
    stage.submit("one");
    let goaway = pb::Goaway {
        reason: Reason::Draining.code(),
        alternatives: alternatives(&[("b:1", 1)]),
        move_after_ms: 2000,
        ..pb::Goaway::default()
    };
    stage.control(old, Kind::Goaway, &goaway);
    stage.pass(Duration::from_millis(1999));
    assert!(stage.dialed.is_empty());
    stage.submit("two");
    assert_eq!(stage.arrived_ids(), [1, 2], "it serves until then");
    stage.pass(SECOND / 1000);
    let (new, address) = stage.accept();
    assert_eq!((address.as_str(), stage.hung_up.len()), ("b:1", 0));
    stage.gateway(old).reply(1, &replied("the old one's answer"));
    stage.exchange();
    assert_eq!(stage.fates().len(), 1);
    assert_eq!(stage.hello(new).reason(), ConnectReason::Redirected);
    stage.control(new, Kind::Welcome, &roomy());
    assert_eq!((stage.hung_up.clone(), stage.arrived_ids()), (vec![old], vec![2]));
}

#[test]
fn a_goaway_without_alternatives_leads_to_the_next_gateway_and_to_the_same_one_at_last() {
    let goaway = pb::Goaway { reason: Reason::Aged.code(), ..pb::Goaway::default() };
    let mut stage = Stage::new(config(&["a:1", "b:1"]));
    let here = stage.dialed[0].1.clone();
    stage.login(&roomy());
    let old = stage.link();
    stage.submit("one");
    stage.control(old, Kind::Goaway, &goaway);
    stage.pass(Duration::ZERO);
    let (link, next) = stage.dialed.pop_front().unwrap();
    assert_ne!(next, here);
    stage.agent.handle_disconnect(link, CloseReason::Unreachable("no route".into()), stage.now);
    stage.exchange();
    let (address, delay) = stage.waiting();
    assert!(address == here && delay <= SECOND, "{address} in {delay:?}");
    stage.control(old, Kind::Goaway, &goaway);
    stage.pass(delay);
    assert_eq!((stage.arrived_ids(), stage.hung_up.clone()), (vec![1], vec![link]), "it is served meanwhile");
    stage.login(&roomy());
    assert_eq!(
        (stage.arrived_ids(), stage.hung_up.clone()),
        (vec![1], vec![link, old]),
        "a new login at the same gateway"
    );
    assert!(stage.dialed.is_empty());
}

#[test]
fn gateways_that_send_a_client_on_after_each_login_are_not_hammered() {
    let mut stage = Stage::new(config(&["a:1"]));
    let mut logins = Vec::new();
    for _ in 0..20 {
        stage.login(&roomy());
        logins.push(stage.now);
        stage.control(stage.link(), Kind::Goaway, &pb::Goaway { reason: Reason::Aged.code(), ..pb::Goaway::default() });
        while stage.dialed.is_empty() {
            stage.control(stage.link(), Kind::Pong, &pb::Pong::default());
            stage.pass(SECOND);
        }
    }
    let (first, all) = (logins[3].since(logins[0]), logins[19].since(logins[0]));
    assert!(first <= 4 * SECOND && all > 2 * MINUTE, "{first:?} for three, {all:?} for twenty");
}

#[test]
fn frames_of_a_connection_that_is_not_the_newest_are_ignored() {
    let mut stage = Stage::open();
    let old = stage.link();
    stage.submit("one");
    stage.control(old, Kind::Goaway, &pb::Goaway { reason: 200, ..pb::Goaway::default() });
    stage.pass(Duration::ZERO);
    let (new, _) = stage.accept();
    stage.control(old, Kind::Kick, &pb::Kick { reason: Reason::Replaced.code(), detail: String::new() });
    assert_eq!(stage.stopped(), None, "the newer login is this client's own");
    stage.hello(new);
    stage.control(new, Kind::Welcome, &roomy());
    let mut late = bytes::BytesMut::new();
    dagor::wire::encode_control(&mut late, Kind::Kick, &pb::Kick::default());
    stage.agent.handle_bytes(old, &mut late, stage.now);
    stage.exchange();
    assert!(late.is_empty());
    assert_eq!(stage.stopped(), None);
    stage.reply(1, &replied("here"));
    assert_eq!(stage.fates().len(), 1);
}

#[test]
fn a_gateway_that_falls_during_a_move_leaves_one_stream_on_its_way() {
    let mut stage = Stage::open();
    let old = stage.link();
    stage.control(old, Kind::Goaway, &pb::Goaway { reason: 200, ..pb::Goaway::default() });
    stage.pass(Duration::ZERO);
    stage.agent.handle_disconnect(old, CloseReason::Disconnected, stage.now);
    stage.exchange();
    stage.pass(5 * SECOND);
    assert_eq!((stage.dialed.len(), stage.hung_up.clone()), (1, vec![old]));
    stage.submit("one");
    stage.login(&roomy());
    assert_eq!(stage.arrived_ids(), [1]);
}

#[test]
fn a_move_that_fails_changes_nothing_while_the_old_gateway_serves() {
    let mut stage = Stage::open();
    let old = stage.link();
    stage.control(old, Kind::Goaway, &pb::Goaway { reason: 200, ..pb::Goaway::default() });
    stage.pass(Duration::ZERO);
    let (new, _) = stage.accept();
    stage.hello(new);
    stage.control(new, Kind::Refused, &refused(Reason::Unauthorized, 0, &[]));
    assert_eq!((stage.stopped(), stage.hung_up.clone()), (None, vec![new]));
    stage.submit("still served");
    assert_eq!(stage.arrived_ids(), [1]);
}

#[test]
fn a_taken_over_outbox_stops_quietly_and_keeps_its_messages() {
    let mut stage = Stage::open();
    stage.submit("one");
    stage.control(stage.link(), Kind::Refused, &refused(Reason::Replaced, 0, &[]));
    assert_eq!((stage.stopped(), stage.fates()), (Some(StopReason::Replaced), vec![]));
    stage.pass(10 * MINUTE);
    assert!(stage.dialed.is_empty());
    assert!(stage.agent.restart(None, stage.now), "it is not the end");
    stage.exchange();
    stage.login(&roomy());
    assert_eq!(stage.arrived_ids(), [1]);
}

#[test]
fn a_login_of_this_client_that_comes_late_does_not_silence_it() {
    let mut stage = Stage::new(config(&["a:1", "b:1"]));
    stage.accept();
    stage.pass(10 * SECOND);
    let (_, delay) = stage.waiting();
    stage.pass(delay);
    stage.login(&roomy());
    stage.control(stage.link(), Kind::Refused, &refused(Reason::Replaced, 0, &[]));
    assert_eq!(stage.stopped(), None);
    let (_, delay) = stage.waiting();
    stage.pass(delay);
    assert_eq!(stage.dialed.len(), 1);
}

#[test]
fn a_kick_ends_it() {
    let mut stage = Stage::open();
    stage.submit("one");
    stage.control(stage.link(), Kind::Kick, &pb::Kick { reason: Reason::Kicked.code(), detail: "spam".into() });
    let Some(StopReason::Kicked(verdict)) = stage.stopped() else { panic!("not kicked") };
    assert_eq!(verdict.detail, "spam");
    assert!(!stage.agent.restart(None, stage.now));
    stage.pass(2 * MINUTE);
    assert!(stage.dialed.is_empty());
    stage.agent.close(Duration::ZERO, stage.now);
    stage.exchange();
    assert_eq!(stage.fates(), [(1, Fate::GivenUp { why: GiveUp::Closed, may_have_run: true })]);
}

#[test]
fn a_gateway_that_breaks_the_protocol_is_left_for_another() {
    let mut stage = Stage::new(config(&["a:1", "b:1"]));
    let (link, here) = stage.accept();
    stage.control(link, Kind::Reply, &pb::Reply::default());
    assert_ne!(stage.waiting().0, here);
    assert_eq!(stage.stopped(), None);
}

#[test]
fn a_silent_gateway_is_pinged_and_then_left() {
    let mut stage = Stage::open();
    let link = stage.link();
    stage.pass(10 * SECOND);
    assert_eq!(stage.gateway(link).expect::<pb::Ping>(Kind::Ping).1.next_interval_ms, 10_000);
    stage.pass(15 * SECOND);
    assert_eq!(stage.hung_up, [link]);
    let lost = |event: &ClientEvent| matches!(event, ClientEvent::Waiting { reason: CloseReason::HeartbeatLost, .. });
    assert!(stage.events.iter().any(lost));
}

#[test]
fn a_push_is_shown_once_across_connections() {
    let mut stage = Stage::open();
    let push = |key: &'static str| pb::Push { dedupe_key: key.into(), payload: key.into() };
    let pushed = |stage: &Stage| stage.events.iter().filter(|event| matches!(event, ClientEvent::Pushed(_))).count();
    for (id, key) in [(1, "a"), (2, "a"), (3, "b"), (4, ""), (5, "")] {
        let link = stage.link();
        stage.gateway(link).send(Kind::Push, id, &push(key));
        stage.exchange();
    }
    assert_eq!(pushed(&stage), 4);
    stage.cut();
    stage.pass(SECOND);
    let (link, _) = stage.login(&roomy());
    stage.gateway(link).send(Kind::Push, 1, &push("b"));
    stage.exchange();
    assert_eq!(pushed(&stage), 4);
    let frames: Vec<_> = std::iter::from_fn(|| stage.gateway(link).next()).collect();
    assert!(frames.iter().any(|frame| frame.kind == Kind::PushAck), "it is acknowledged all the same");
}

#[test]
fn a_client_that_closes_drains_first_and_for_so_long_at_the_most() {
    let mut stage = Stage::open();
    stage.submit("one");
    stage.agent.close(5 * SECOND, stage.now);
    assert!(matches!(stage.submit_message(dagor::client::NewMessage::new("m", "")), Err(SubmitError::Stopped(_))));
    stage.reply(1, &replied("in time"));
    assert_eq!((stage.stopped(), stage.hung_up.len()), (Some(StopReason::Closed), 1));

    let mut stage = Stage::open();
    stage.submit("one");
    stage.agent.close(5 * SECOND, stage.now);
    stage.cut();
    stage.pass(5 * SECOND);
    assert_eq!(stage.stopped(), Some(StopReason::Closed));
    assert_eq!(stage.fates(), [(1, Fate::GivenUp { why: GiveUp::Closed, may_have_run: true })]);
    assert_eq!((stage.agent.left(), stage.agent.poll_timeout()), (1, None));
}

#[test]
fn a_ticket_that_changed_is_shown_at_the_next_login() {
    let mut stage = Stage::open();
    stage.submit("one");
    stage.reply(1, &pb::Reply { ticket: "ticket-2".into(), ..replied("") });
    stage.cut();
    stage.pass(SECOND);
    assert_eq!(&stage.login(&roomy()).1.ticket[..], b"ticket-2");
    stage.control(stage.link(), Kind::Refused, &refused(Reason::Draining, 1, &[]));
    stage.pass(SECOND);
    let (_, hello) = stage.login(&pb::Welcome { ticket: vec![7; 5000].into(), ..roomy() });
    assert_eq!(&hello.ticket[..], b"ticket-1");
    stage.cut();
    stage.pass(2 * SECOND);
    assert!(stage.login(&roomy()).1.ticket.is_empty(), "a gateway reads no Hello of that size");
}
