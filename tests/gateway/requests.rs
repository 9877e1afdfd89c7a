use dagor::{
    client::RequestError,
    clock::Clock,
    id::BusinessCode,
    pb::client::Outcome,
    wire::Reason,
};
use std::time::Duration;

use super::{

    site::{MESSAGE, MOMENTS, PAYMENT, Plan, Site, until, within},
    talker::{ending, request},
};

#[tokio::test]
async fn replies_come_back_by_id_as_they_are_ready() {
    let site = Site::new().await;
    let mut alice = site.talker("alice").await;
    alice.request(MESSAGE, 1, "hold first").await;
    alice.request(PAYMENT, 2, "second").await;
    alice.request(MESSAGE, 3, "hold third").await;
    assert_eq!(&alice.replied(2).await.payload[..], b"second");
    site.script().release(2);
    let mut rest = [alice.next().await.unwrap().id.0, alice.next().await.unwrap().id.0];
    rest.sort_unstable();
    assert_eq!(rest, [1, 3]);
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn many_clients_on_many_workers_each_get_their_own_replies() {
    let site = Site::with(Plan { workers: 3, ..Plan::default() }).await;
    let clients = (0..12).map(async |number| {
        let (client, _pushes) = site.client(&format!("user-{number}")).await;
        let asked: Vec<_> = (0..50)
            .map(|n| (format!("{number}/{n}"), client.request(MESSAGE, format!("{number}/{n}").into(), None)))
            .collect();
        for (payload, response) in asked {
            assert_eq!(within("reply", response).await.unwrap().payload, payload);
        }
    });
    futures_util::future::join_all(clients).await;
    assert_eq!(site.script().started().len(), 600);
    site.end().await;
}

#[tokio::test]
async fn what_nobody_serves_is_refused_and_the_connection_lives_on() {
    let site = Site::new().await;
    let mut alice = site.talker("alice").await;
    for (id, code) in [(1, BusinessCode(9)), (2, BusinessCode::LOGIN), (3, BusinessCode(0))] {
        let reply = alice.ask(code, id, "x").await;
        assert_eq!(ending(&reply), (Outcome::Refused, Some(Reason::UnknownBusiness)), "{code}");
    }
    assert_eq!(&alice.ask(MESSAGE, 4, "here").await.payload[..], b"here");
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn every_way_in_which_a_handler_ends_has_its_outcome_and_reason() {
    let site = Site::new().await;
    let mut alice = site.talker("alice").await;
    let expected = [
        ("fail", Outcome::Replied, Reason::HandlerFailed, "no such room"),
        ("panic", Outcome::Replied, Reason::HandlerFailed, "the handler panicked"),
        ("misplace", Outcome::Refused, Reason::Misplaced, "not a guest"),
        ("refuse", Outcome::Refused, Reason::ServiceRefused, "later"),
    ];
    for (id, (order, outcome, reason, detail)) in (1..).zip(expected) {
        let reply = alice.ask(MESSAGE, id, order).await;
        assert_eq!((ending(&reply), &reply.detail[..]), ((outcome, Some(reason)), detail), "{order}");
        assert_eq!(reply.retry_after_ms, if order == "refuse" { 70 } else { 0 }, "{order}");
    }
    assert_eq!(ending(&alice.ask(MESSAGE, 9, "fine").await), (Outcome::Replied, None));
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn a_request_without_an_answer_is_unknown_when_its_timeout_has_passed() {
    let site = Site::new().await;
    let mut alice = site.talker("alice").await;
    let (clock, timeout) = (Clock::system(), Duration::from_millis(300));
    let asked = clock.now();
    alice.say(&request(MESSAGE, 1, 300, b"hold")).await;
    let reply = alice.replied(1).await;
    let waited = clock.now().since(asked);
    assert_eq!(ending(&reply), (Outcome::Unknown, Some(Reason::TimedOut)));
    assert!(waited >= timeout && waited < timeout + Duration::from_secs(2), "{waited:?}");
    let link = site.links().remove(0);
    assert_eq!(link.queue().in_flight(), 1, "the service is still busy with it");
    site.script().release(1);
    until("its place is free", || link.queue().in_flight() == 0).await;
    assert_eq!(&alice.ask(MESSAGE, 2, "next").await.payload[..], b"next");
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn one_request_too_many_in_flight_is_refused_and_the_others_are_answered() {
    let site = Site::with(Plan { connections: "max_in_flight = 2", ..Plan::default() }).await;
    let mut alice = site.talker("alice").await;
    alice.request(MESSAGE, 1, "hold").await;
    alice.request(MESSAGE, 2, "hold").await;
    assert_eq!(ending(&alice.ask(MESSAGE, 3, "x").await), (Outcome::Refused, Some(Reason::Limit)));
    site.script().release(2);
    for _ in 0..2 {
        let frame = alice.next().await.unwrap();
        assert_eq!(ending(&frame.message().unwrap()), (Outcome::Replied, None));
    }
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn a_client_that_leaves_gives_up_its_places_when_the_service_is_done() {
    let site = Site::new().await;
    let mut alice = site.talker("alice").await;
    alice.request(MOMENTS, 1, "hold").await;
    site.started(1).await;
    drop(alice);
    let link = site.links().remove(0);
    until("alice is gone", || site.gateway().roster.is_empty()).await;
    assert_eq!(link.queue().in_flight(), 1);
    site.script().release(1);
    until("the place is free", || link.queue().in_flight() == 0 && link.link().pending() == 0).await;
    site.end().await;
}

#[tokio::test]
async fn a_reply_that_no_frame_can_carry_fails_instead_of_getting_lost() {
    let site = Site::new().await;
    let mut alice = site.talker("alice").await;
    let reply = alice.ask(MESSAGE, 1, &format!("size {}", dagor::wire::MAX_BODY_BYTES)).await;
    assert_eq!(ending(&reply), (Outcome::Replied, Some(Reason::HandlerFailed)));
    assert_eq!(&alice.ask(MESSAGE, 2, "next").await.payload[..], b"next");
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn what_wants_no_reply_runs_and_gets_none() {
    let site = Site::new().await;
    let (alice, _pushes) = site.client("alice").await;
    alice.notify(MESSAGE, "quiet".into()).unwrap();
    let reply = within("reply", alice.request(MESSAGE, "loud".into(), None)).await.unwrap();
    assert_eq!(reply.id.0, 2);
    assert_eq!(site.script().started(), ["quiet", "loud"]);
    let refused = within("refusal", alice.request(MESSAGE, "refuse".into(), None)).await.unwrap_err();
    assert!(matches!(&refused, RequestError::Refused(verdict) if verdict.retry_after == Some(Duration::from_millis(70))));
    assert!(!refused.may_have_run());
    drop(alice);
    site.end().await;
}

