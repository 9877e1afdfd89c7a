//! One number tells a client what it may leave behind; an order that it wants kept is kept; many refusals are one frame.

use dagor::{
    pb::client::{self as pb, Outcome},
    wire::{Flags, Kind, Reason},
};

use super::{
    site::{MESSAGE, MOMENTS, Plan, Site, until, within},
    talker::{Message, Talker, ending, hello, request},
};

/// A client with an outbox whose oldest message is 1.
async fn resuming(site: &Site) -> Talker {
    let hello = pb::Hello { oldest_unsettled: 1, reads_refusals: true, ..hello("alice") };
    Talker::silent(site.clients()).await.greet(&hello).await
}

#[tokio::test]
async fn a_reply_tells_up_to_where_everything_is_answered() {
    let site = Site::new().await;
    let mut alice = resuming(&site).await;
    let ask = |id, payload| Message { id, oldest: 1, payload, ..Message::default() }.to(MESSAGE);
    alice.say(&ask(1, "hold")).await;
    for id in [2, 3] {
        alice.say(&ask(id, "now")).await;
        assert_eq!(alice.replied(id).await.settled_through, 0, "1 has no answer yet");
    }
    site.script().release(1);
    assert_eq!(alice.replied(1).await.settled_through, 3);
    alice.say(&ask(4, "fail")).await;
    let failed = alice.replied(4).await;
    assert_eq!((failed.outcome(), failed.settled_through), (Outcome::Replied, 4), "a handler that failed has answered");
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn what_was_refused_is_not_covered_until_the_client_itself_is_past_it() {
    let site = Site::new().await;
    let mut alice = resuming(&site).await;
    let ask = |id, oldest, payload| Message { id, oldest, payload, ..Message::default() }.to(MESSAGE);
    alice.say(&ask(1, 1, "refuse")).await;
    assert_eq!(ending(&alice.replied(1).await), (Outcome::Refused, Some(Reason::ServiceRefused)));
    alice.say(&ask(2, 1, "now")).await;
    assert_eq!(alice.replied(2).await.settled_through, 0);
    alice.say(&ask(3, 2, "now")).await;
    let settled: pb::Settled = alice.expect(Kind::Settled).await.message().unwrap();
    assert_eq!(settled.settled_through, 2, "at once");
    assert_eq!(alice.replied(3).await.settled_through, 3);
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn what_wants_no_reply_is_settled_by_a_frame_of_its_own() {
    let site = Site::new().await;
    let mut alice = resuming(&site).await;
    let quiet = Message { id: 1, oldest: 1, flags: Flags::NO_REPLY_WANTED, payload: "quiet", ..Message::default() };
    alice.say(&quiet.to(MESSAGE)).await;
    let settled: pb::Settled = alice.expect(Kind::Settled).await.message().unwrap();
    assert_eq!(settled.settled_through, 1);
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn a_client_without_an_outbox_is_told_nothing_of_one() {
    let site = Site::new().await;
    let mut alice = site.talker("alice").await;
    for id in [1, 2, 9000] {
        assert_eq!(alice.ask(MESSAGE, id, "now").await.settled_through, 0);
    }
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn a_goaway_says_what_is_settled_by_then() {
    let Site { running, .. } = &site().await;
    let mut alice = Talker::silent(running.addresses.clients).await;
    alice = alice.greet(&pb::Hello { oldest_unsettled: 1, ..hello("alice") }).await;
    alice.say(&Message { id: 1, oldest: 1, payload: "now", ..Message::default() }.to(MESSAGE)).await;
    assert_eq!(alice.replied(1).await.settled_through, 1);
    let ending = dagor::gateway::connection::Ending::Goaway(Reason::Draining, Default::default());
    running.gateway.roster.for_each(|connection| connection.end(ending.clone()));
    let goaway: pb::Goaway = alice.expect(Kind::Goaway).await.message().unwrap();
    assert_eq!(goaway.settled_through, 1);
}

async fn site() -> Site {
    Site::with(Plan { moments: "ordering = \"outbox\"\n", ..Plan::default() }).await
}

#[tokio::test]
async fn an_ordered_business_runs_a_message_only_when_the_one_before_it_is_replied_to() {
    let site = site().await;
    let mut alice = resuming(&site).await;
    let ordering: Vec<_> = alice.welcome.businesses.iter().map(pb::Business::ordering).collect();
    assert_eq!(ordering, [pb::Ordering::None, pb::Ordering::None, pb::Ordering::None, pb::Ordering::Outbox]);
    let ask = |id, after, payload| Message { id, oldest: 1, after, payload, ..Message::default() };
    alice.say(&ask(1, 0, "hold").to(MOMENTS)).await;
    alice.say(&ask(2, 1, "second").to(MOMENTS)).await;
    let refusals: pb::Refusals = alice.expect(Kind::Refusals).await.message().unwrap();
    let behind = pb::RefusedRequest { message_id: 2, reason: Reason::Behind.code(), retry_after_ms: 0 };
    assert_eq!(refusals.refused, [behind]);
    // Another business does not care.
    alice.say(&ask(3, 1, "unordered").to(MESSAGE)).await;
    assert_eq!(ending(&alice.replied(3).await), (Outcome::Replied, None));
    site.script().release(1);
    assert_eq!(alice.replied(1).await.settled_through, 1);
    alice.say(&Message { flags: Flags::RESENT, ..ask(2, 1, "second") }.to(MOMENTS)).await;
    assert_eq!(alice.replied(2).await.settled_through, 3);
    assert_eq!(site.script().started(), ["hold", "unordered", "second"]);
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn ids_that_the_client_has_settled_or_must_not_send_yet_are_refused() {
    let site = Site::new().await;
    let mut alice = Talker::silent(site.clients()).await;
    alice = alice.greet(&pb::Hello { oldest_unsettled: 5, ..hello("alice") }).await;
    let ask = |id| Message { id, oldest: 5, payload: "x", ..Message::default() }.to(MESSAGE);
    for (id, reason) in [(4, Some(Reason::Stale)), (5, None), (1028, None), (1029, Some(Reason::Limit))] {
        alice.say(&ask(id)).await;
        let outcome = if reason.is_some() { Outcome::Refused } else { Outcome::Replied };
        assert_eq!(ending(&alice.replied(id).await), (outcome, reason), "{id}");
    }
    assert_eq!(site.script().started().len(), 2);
    drop(alice);
    site.end().await;
}

/// They come in one read, because they are sent in one write.
#[tokio::test]
async fn the_refusals_of_a_turn_share_a_frame_with_a_client_that_reads_it() {
    let site = Site::new().await;
    let mut alice = resuming(&site).await;
    let many: Vec<u8> = (1..=50).flat_map(|id| request(dagor::id::BusinessCode(9), id, 0, b"")).collect();
    alice.say(&many).await;
    let refusals: pb::Refusals = alice.expect(Kind::Refusals).await.message().unwrap();
    let ids: Vec<_> = refusals.refused.iter().map(|refused| refused.message_id).collect();
    assert_eq!(ids, (1..=50).collect::<Vec<_>>());
    assert!(refusals.refused.iter().all(|refused| refused.reason == Reason::UnknownBusiness.code()));

    let mut older = site.talker("older").await;
    older.say(&many).await;
    for id in 1..=50 {
        assert_eq!(ending(&older.replied(id).await), (Outcome::Refused, Some(Reason::UnknownBusiness)));
    }
    drop((alice, older));
    site.end().await;
}

#[tokio::test]
async fn what_a_gate_refuses_shares_a_frame_too_with_its_hint_and_its_cuts() {
    let site = Site::new().await;
    site.gateway().gates[0].set_manager_cap(dagor::admission::Cut::CLOSED);
    let mut alice = resuming(&site).await;
    let many: Vec<u8> = (1..=20).flat_map(|id| request(MESSAGE, id, 0, b"")).collect();
    alice.say(&many).await;
    let refusals: pb::Refusals = alice.expect(Kind::Refusals).await.message().unwrap();
    assert_eq!(refusals.refused.len(), 20);
    for refused in &refusals.refused {
        assert_eq!(refused.reason, Reason::ManagerCap.code());
        assert!(refused.retry_after_ms > 0);
    }
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn replies_of_one_turn_carry_the_number_once() {
    let site = Site::new().await;
    let mut alice = resuming(&site).await;
    for id in 1..=8 {
        alice.say(&Message { id, oldest: 1, payload: "hold", ..Message::default() }.to(MESSAGE)).await;
    }
    site.started(8).await;
    site.script().release(8);
    let (mut told, mut answered) = (0, std::collections::BTreeSet::new());
    while answered.len() < 8 {
        let frame = within("a reply", alice.next()).await.unwrap();
        answered.insert(frame.id.0);
        let through = frame.message::<pb::Reply>().unwrap().settled_through;
        assert!(through == 0 || through > told, "the same twice");
        told = told.max(through);
        assert!((1..=told).all(|id| answered.contains(&id)), "{told} covers what has not come: {answered:?}");
    }
    assert_eq!(told, 8);
    drop(alice);
    until("alice is gone", || site.gateway().roster.is_empty()).await;
    site.end().await;
}
