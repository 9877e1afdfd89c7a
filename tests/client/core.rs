//! Both ends in one synchronous test, with a hand-moved time.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use dagor::{
    client::{CloseReason, Event, NewRequest, ProtocolError, RequestError},
    id::{BusinessCode, MessageId},
    pb::client as pb,
    wire::{DecodeError, Flags, Header, Kind, Reason},
};

use crate::{
    gateway::{MESSAGE, replied, welcome},
    pair::{Pair, SECOND, request},
};

#[test]
fn a_login_says_who_it_is_and_learns_what_it_may() {
    let mut pair = Pair::greeting();
    let (id, hello) = pair.gateway.expect::<pb::Hello>(Kind::Hello);
    assert_eq!((id, hello.user.as_str(), hello.device.as_str()), (MessageId(0), "alice", "phone"));
    assert_eq!((hello.versions, hello.outbox, hello.heartbeat_ms), (vec![1], 11, 5000));
    pair.gateway.control(Kind::Welcome, &welcome());
    pair.exchange();
    let Some(Event::Welcomed(session)) = pair.client.poll_event() else { panic!("not welcomed") };
    assert_eq!(session.business_named("message").unwrap().code, MESSAGE);
    assert_eq!((session.heartbeat, session.max_in_flight), (10 * SECOND, 2));
    assert_eq!(pair.gateway.next(), None);
}

#[test]
fn replies_find_their_requests_in_any_order() {
    let mut pair = Pair::open();
    assert_eq!(pair.request("one"), Ok(MessageId(1)));
    assert_eq!(pair.request("two"), Ok(MessageId(2)));
    assert_eq!(pair.gateway.expect::<pb::Request>(Kind::Request).1.payload, "one");
    assert_eq!(pair.gateway.expect::<pb::Request>(Kind::Request).0, MessageId(2));
    pair.gateway.reply(2, &replied("second"));
    pair.gateway.reply(1, &replied("first"));
    pair.exchange();
    assert_eq!(pair.ended(), (MessageId(2), Ok("second".into())));
    assert_eq!(pair.ended(), (MessageId(1), Ok("first".into())));
}

#[test]
fn a_second_reply_to_the_same_request_is_told_apart_and_one_to_no_request_is_ignored() {
    let mut pair = Pair::open();
    pair.request("one").unwrap();
    pair.gateway.reply(1, &replied("first"));
    pair.gateway.reply(1, &replied("again"));
    pair.gateway.reply(99, &replied("never asked"));
    pair.exchange();
    assert_eq!(pair.ended(), (MessageId(1), Ok("first".into())));
    assert_eq!(pair.late(), (MessageId(1), Ok("again".into())));
    assert_eq!(pair.client.poll_event(), None);
}

#[test]
fn a_refused_request_says_why_and_when_to_come_back() {
    let mut pair = Pair::open();
    pair.request("one").unwrap();
    let reply = pb::Reply {
        outcome: pb::Outcome::Refused.into(),
        reason: Reason::ServiceCut.code(),
        retry_after_ms: 700,
        cuts: vec![pb::ResolvedCut { business: MESSAGE.0.into(), open_permille: 250, valid_ms: 2000 }],
        ..pb::Reply::default()
    };
    pair.gateway.reply(1, &reply);
    pair.exchange();
    let (_, Err(error)) = pair.ended() else { panic!("not refused") };
    assert!(error.is_retryable() && !error.may_have_run());
    assert_eq!(error.retry_after(), Some(Duration::from_millis(700)));
    assert_eq!(pair.client.open_permille(MESSAGE, pair.now), 250);
    assert_eq!(pair.client.open_permille(MESSAGE, pair.now + 2 * SECOND), 1000, "a cut expires");
}

#[test]
fn every_outcome_has_its_error() {
    let outcome_of = |outcome: i32, reason: Reason| {
        let mut pair = Pair::open();
        pair.request("one").unwrap();
        pair.gateway.reply(1, &pb::Reply { outcome, reason: reason.code(), ..pb::Reply::default() });
        pair.exchange();
        pair.ended().1.unwrap_err()
    };
    let of = |outcome: pb::Outcome, reason| outcome_of(outcome.into(), reason);
    assert!(matches!(of(pb::Outcome::Refused, Reason::QueueFull), RequestError::Refused(_)));
    assert!(matches!(of(pb::Outcome::Unknown, Reason::Lost), RequestError::Unknown(_)));
    assert!(matches!(of(pb::Outcome::Replied, Reason::HandlerFailed), RequestError::Failed(_)));
    assert!(matches!(of(pb::Outcome::Unknown, Reason::HandlerFailed), RequestError::Failed(_)));
    assert!(matches!(outcome_of(77, Reason::Lost), RequestError::Unknown(_)), "an outcome of the future");
}

#[test]
fn an_unanswered_request_ends_a_little_after_its_timeout() {
    let mut pair = Pair::open();
    pair.request("one").unwrap();
    pair.pass(Duration::from_millis(3499));
    assert_eq!(pair.client.poll_event(), None);
    pair.pass(Duration::from_millis(1));
    assert_eq!(pair.ended(), (MessageId(1), Err(RequestError::TimedOut(3 * SECOND))));
    pair.gateway.reply(1, &replied("late"));
    pair.exchange();
    assert_eq!(pair.late(), (MessageId(1), Ok("late".into())));
}

#[test]
fn a_request_that_cannot_be_sent_is_refused_on_the_spot() {
    let mut pair = Pair::open();
    let unknown =
        NewRequest { business: BusinessCode(1000), payload: "x".into(), timeout: None, flags: Flags::default() };
    assert_eq!(pair.client.send_request(unknown, pair.now), Err(RequestError::UnknownBusiness(BusinessCode(1000))));
    let longest = pair.client.send_request(request(vec![0; 98], Flags::default()), pair.now);
    assert_eq!(longest, Ok(MessageId(1)), "a payload of 98 bytes and its 2 bytes of framing");
    let request = request(vec![0; 99], Flags::default());
    let too_large = pair.client.send_request(request, pair.now);
    assert_eq!(too_large, Err(RequestError::TooLarge { bytes: 101, limit: 100 }));
    assert_eq!(pair.request("two"), Ok(MessageId(2)), "ids are consecutive over what was really sent");
    assert_eq!(pair.request("three"), Err(RequestError::Busy));
}

#[test]
fn a_request_without_a_reply_takes_no_place() {
    let mut pair = Pair::open();
    for id in 1..=5 {
        let request = request("x", Flags::NO_REPLY_WANTED);
        assert_eq!(pair.client.send_request(request, pair.now), Ok(MessageId(id)));
    }
    pair.exchange();
    assert_eq!(pair.gateway.next().unwrap().flags, Flags::NO_REPLY_WANTED);
}

#[test]
fn requests_are_not_piled_up_for_a_gateway_that_reads_nothing() {
    let mut pair = Pair::open();
    let sent = (0..)
        .map_while(|_| {
            let request = request(vec![0; 90], Flags::NO_REPLY_WANTED);
            pair.client.send_request(request, pair.now).ok()
        })
        .count();
    assert!(sent * 90 <= 1024 * 1024, "{sent} requests of 90 bytes and more");
    for _ in 0..1000 {
        pair.gateway.control(Kind::Ping, &pb::Ping::default());
    }
    pair.client.handle_bytes(&mut pair.gateway.outgoing, pair.now);
    let mut out = BytesMut::new();
    pair.client.poll_transmit(&mut out);
    assert!(out.len() <= 1024 * 1024 + 200, "{} bytes wait", out.len());
}

#[test]
fn a_refused_login_says_when_and_where_to_try_again() {
    let mut pair = Pair::greeting();
    let refused = pb::Refused {
        reason: Reason::GatewayCut.code(),
        detail: "busy".into(),
        retry_after_ms: 1500,
        alternatives: vec![pb::Alternative { addresses: vec!["127.0.0.1:7401".into()], weight: 3 }],
        cuts: Vec::new(),
    };
    pair.gateway.control(Kind::Refused, &refused);
    pair.exchange();
    let reason = pair.closed();
    assert!(reason.is_retryable());
    assert_eq!(reason.retry_after(), Some(Duration::from_millis(1500)));
    let CloseReason::Refused { alternatives, .. } = reason else { panic!("{reason:?}") };
    assert_eq!(alternatives[0].addresses, ["127.0.0.1:7401"]);
}

#[test]
fn a_login_without_an_answer_ends_in_time() {
    let mut pair = Pair::greeting();
    pair.pass(10 * SECOND);
    assert_eq!(pair.closed(), CloseReason::LoginTimedOut);
}

#[test]
fn a_gateway_that_answers_with_another_version_is_left() {
    let mut pair = Pair::greeting();
    pair.gateway.control(Kind::Welcome, &pb::Welcome { version: 2, ..welcome() });
    pair.exchange();
    assert_eq!(pair.closed(), CloseReason::Protocol(ProtocolError::Version(2)));
}

#[test]
fn a_quiet_connection_is_kept_alive_by_pings() {
    let mut pair = Pair::open();
    for _ in 0..10 {
        pair.pass(10 * SECOND);
        let (_, ping) = pair.gateway.expect::<pb::Ping>(Kind::Ping);
        assert_eq!(ping.next_interval_ms, 10_000);
        pair.gateway.control(Kind::Pong, &pb::Pong::default());
        pair.exchange();
    }
    assert_eq!(pair.gateway.next(), None);
    assert_eq!(pair.client.poll_event(), None);
}

#[test]
fn sending_alone_does_not_keep_a_connection_alive() {
    let mut pair = Pair::open();
    for _ in 0..24 {
        let request = request("anyone?", Flags::NO_REPLY_WANTED);
        pair.client.send_request(request, pair.now).unwrap();
        pair.pass(SECOND);
        assert_eq!(pair.client.poll_event(), None);
    }
    pair.pass(SECOND);
    assert_eq!(pair.closed(), CloseReason::HeartbeatLost);
}

#[test]
fn part_of_a_frame_is_no_sign_of_life_but_a_skipped_frame_is() {
    let mut pair = Pair::open();
    pair.pass(20 * SECOND);
    pair.gateway.outgoing.put_slice(&header(100, 0).encode());
    pair.exchange();
    pair.pass(4 * SECOND);
    pair.gateway.outgoing.put_slice(&header(100, 1).encode()[..10]);
    pair.exchange();
    pair.pass(20 * SECOND);
    assert_eq!(pair.client.poll_event(), None);
    pair.pass(SECOND);
    assert_eq!(pair.closed(), CloseReason::HeartbeatLost);
}

#[test]
fn requests_that_a_lost_connection_leaves_behind_may_have_run() {
    let mut pair = Pair::open();
    pair.request("one").unwrap();
    pair.request("two").unwrap();
    pair.client.handle_disconnect(CloseReason::Disconnected);
    for id in 1..=2 {
        let (ended, Err(error)) = pair.ended() else { panic!("replied") };
        assert_eq!((ended, &error), (MessageId(id), &RequestError::Lost(CloseReason::Disconnected)));
        assert!(error.may_have_run() && error.is_retryable());
    }
    assert_eq!(pair.closed(), CloseReason::Disconnected);
    assert_eq!(pair.request("three"), Err(RequestError::Closed(CloseReason::Disconnected)));
}

#[test]
fn a_kick_is_the_end() {
    let mut pair = Pair::open();
    pair.gateway.control(Kind::Kick, &pb::Kick { reason: Reason::Replaced.code(), detail: "newer login".into() });
    pair.gateway.push(1, "after the end");
    pair.exchange();
    let reason = pair.closed();
    assert!(!reason.is_retryable());
    assert_eq!(reason.to_string(), "kicked: replaced (6): newer login");
}

#[test]
fn a_gateway_that_wants_its_clients_to_move_keeps_serving() {
    let mut pair = Pair::open();
    pair.request("one").unwrap();
    let goaway = pb::Goaway { reason: Reason::Draining.code(), move_after_ms: 4000, ..pb::Goaway::default() };
    pair.gateway.control(Kind::Goaway, &goaway);
    pair.gateway.reply(1, &replied("still here"));
    pair.exchange();
    let Some(Event::MoveWanted(goaway)) = pair.client.poll_event() else { panic!("no goaway") };
    assert_eq!((goaway.verdict.reason(), goaway.move_after), (Some(Reason::Draining), 4 * SECOND));
    assert_eq!(pair.ended(), (MessageId(1), Ok("still here".into())));
}

#[test]
fn pushes_of_a_round_are_acknowledged_by_one_frame() {
    let mut pair = Pair::open();
    for id in 1..=3 {
        pair.gateway.push(id, "hello");
    }
    pair.exchange();
    for id in 1..=3 {
        let Some(Event::Pushed(push)) = pair.client.poll_event() else { panic!("no push") };
        assert_eq!((push.id, push.business, push.payload), (id, MESSAGE, "hello".into()));
    }
    assert_eq!(pair.gateway.expect::<pb::PushAck>(Kind::PushAck).1.push_id, 3);
    assert_eq!(pair.gateway.next(), None);
    pair.pass(10 * SECOND);
    assert_eq!(pair.gateway.expect::<pb::Ping>(Kind::Ping).1.last_push_id, 3);
}

#[test]
fn a_ping_of_the_gateway_is_answered() {
    let mut pair = Pair::open();
    pair.gateway.control(Kind::Ping, &pb::Ping::default());
    pair.exchange();
    assert_eq!(pair.gateway.next().unwrap().kind, Kind::Pong);
}

#[test]
fn frames_of_the_future_are_skipped_unless_they_are_critical() {
    let mut pair = Pair::open();
    pair.gateway.outgoing.put_slice(&header(127, 3).encode());
    pair.gateway.outgoing.put_slice(b"???");
    pair.gateway.push(1, "behind it");
    pair.exchange();
    assert!(matches!(pair.client.poll_event(), Some(Event::Pushed(_))));
    pair.gateway.outgoing.put_slice(&header(128, 0).encode());
    pair.exchange();
    assert_eq!(pair.closed(), CloseReason::Protocol(DecodeError::UnknownKind(128).into()));
}

#[test]
fn malformed_bytes_end_the_connection() {
    let mut pair = Pair::open();
    pair.gateway.outgoing.put_slice(&header(Kind::Reply as u8, 1).encode());
    pair.gateway.outgoing.put_slice(&[0xff]);
    pair.exchange();
    let reason = pair.closed();
    assert_eq!(reason, CloseReason::Protocol(DecodeError::Malformed(Kind::Reply).into()));
    assert!(!reason.is_retryable());

    let mut pair = Pair::open();
    pair.gateway.outgoing.put_slice(&header(Kind::Push as u8, 1001).encode());
    pair.exchange();
    assert_eq!(pair.closed(), CloseReason::Protocol(DecodeError::TooLarge { bytes: 1001, limit: 1000 }.into()));
}

#[test]
fn a_frame_that_only_clients_send_ends_the_connection() {
    for kind in [Kind::Hello, Kind::Welcome, Kind::Request, Kind::PushAck] {
        let mut pair = Pair::open();
        pair.gateway.outgoing.put_slice(&header(kind as u8, 0).encode());
        pair.exchange();
        assert_eq!(pair.closed(), CloseReason::Protocol(ProtocolError::Unexpected(kind)));
    }
}

/// Says that no request of the business passes for this time.
fn close(pair: &mut Pair, valid_ms: u32) {
    let cuts = vec![pb::ResolvedCut { business: MESSAGE.0.into(), open_permille: 0, valid_ms }];
    pair.gateway.control(Kind::Pong, &pb::Pong { cuts, ..pb::Pong::default() });
    pair.exchange();
}

#[test]
fn what_the_gateway_would_refuse_is_not_sent_and_learns_when_to_come_again() {
    let mut pair = Pair::open();
    close(&mut pair, 1000);
    let Err(error) = pair.request("one") else { panic!("sent") };
    let RequestError::HeldBack { id, business, open_permille, retry_after } = error else { panic!("{error:?}") };
    assert_eq!((id, business, open_permille), (MessageId(1), MESSAGE, 0));
    assert!(retry_after >= SECOND && retry_after < 2 * SECOND, "{retry_after:?}");
    assert!(error.is_retryable() && !error.may_have_run());
    assert_eq!(error.to_string(), "held back: the gateway takes no requests of business 7 at present");
    assert_eq!((pair.gateway.next(), pair.client.poll_event()), (None, None));

    pair.pass(SECOND);
    assert_eq!(pair.request("two"), Ok(MessageId(2)), "the gateway's word has ended");
    assert_eq!(pair.gateway.expect::<pb::Request>(Kind::Request).1.payload, "two");
}

#[test]
fn a_closed_business_is_still_asked_now_and_then() {
    let mut pair = Pair::open();
    close(&mut pair, 1000);
    let send = |pair: &mut Pair| pair.client.send_request(request("x", Flags::NO_REPLY_WANTED), pair.now).is_ok();
    let sent = (0..2000).filter(|_| send(&mut pair)).count();
    assert!((1..=60).contains(&sent), "{sent} of 2000");
}

#[test]
fn a_client_that_insists_sends_everything() {
    let mut pair = Pair::insisting();
    close(&mut pair, 1000);
    assert_eq!(pair.request("one"), Ok(MessageId(1)));
    assert_eq!(pair.client.open_permille(MESSAGE, pair.now), 0, "it knows all the same");
}

fn header(kind: u8, body_bytes: usize) -> Header {
    Header { body_bytes, kind, flags: Flags::default(), business: BusinessCode(0), id: MessageId(0) }
}
