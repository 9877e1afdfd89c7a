//! Who does not read, does not acknowledge or asks without end costs a bounded number of bytes, and nobody else anything.

use dagor::{
    pb::client as pb,
    service::{Push, PushError},
    wire::{Kind, Reason},
};

use super::{
    site::{MESSAGE, Plan, Site, until, within},
    talker::{Talker, control, hello, request},
};

#[tokio::test]
async fn who_acknowledges_nothing_gets_only_so_many_pushes_until_it_does() {
    let site = Site::with(Plan { connections: "max_unacked_pushes = 3", ..Plan::default() }).await;
    let mut alice = site.talker("alice").await;
    let (bob, mut at_bob) = site.client("bob").await;
    let (pusher, budget) = (site.pusher(), &site.gateway().budget);
    let push = async |user: &str| within("result", pusher.push(Push::to_user(user, "message", "x"))).await.map(drop);
    for id in 1..=3 {
        assert_eq!(push("alice").await, Ok(()));
        assert_eq!(alice.expect(Kind::Push).await.id.0, id);
    }
    assert_eq!((push("alice").await, budget.unacked()), (Err(PushError::SlowConsumer), 3));
    // One that was forged acknowledges what was sent, and nothing in advance.
    alice.say(&control(Kind::PushAck, &pb::PushAck { push_id: u64::MAX })).await;
    until("it is taken in", || budget.unacked() == 0).await;
    for id in 4..=6 {
        assert_eq!(push("alice").await, Ok(()));
        assert_eq!(alice.expect(Kind::Push).await.id.0, id);
    }
    assert_eq!(push("alice").await, Err(PushError::SlowConsumer));
    // A ping acknowledges as well.
    alice.say(&control(Kind::Ping, &pb::Ping { last_push_id: 5, ..pb::Ping::default() })).await;
    alice.expect(Kind::Pong).await;
    assert_eq!([push("alice").await, push("alice").await], [Ok(()), Ok(())]);
    until("both are on their way", || budget.unacked() == 3).await;
    for _ in 0..10 {
        assert_eq!(push("bob").await, Ok(()), "bob's client acknowledges");
        within("a push", at_bob.recv()).await.unwrap();
        until("bob has acknowledged", || budget.unacked() == 3).await;
    }
    drop((alice, bob));
    until("nobody owes anything", || budget.unacked() == 0).await;
    site.end().await;
}

const TIGHT: &str = "max_body = \"16KiB\"\noutgoing_bytes = \"64KiB\"\noutgoing_bytes_total = \"512KiB\"";
const OUTGOING_BYTES: usize = 64 << 10;
const TOTAL_BYTES: usize = 512 << 10;
const REPLY_BYTES: usize = 100_000;
/// What a turn of a session writes at most before it looks at the socket, and a reply.
const TURN_BYTES: usize = (256 << 10) + REPLY_BYTES;

#[tokio::test]
async fn replies_that_nobody_reads_are_bounded_and_end_the_connection() {
    let site = Site::with(Plan { connections: TIGHT, ..Plan::default() }).await;
    let (bob, _pushes) = site.client("bob").await;
    let gateway = site.gateway();
    let mut slow = Talker::narrow(site.clients()).await.greet(&hello("slow")).await;
    // In one write, so that all are read before the first reply is there.
    let order = format!("size {REPLY_BYTES}");
    let all: Vec<u8> = (1..=200).flat_map(|id| request(MESSAGE, id, 0, order.as_bytes())).collect();
    slow.say(&all).await;
    until("it is ended", || gateway.closed_total(Reason::SlowConsumer) == 1).await;
    let most = gateway.budget.peak();
    assert!(most > OUTGOING_BYTES, "something waited");
    assert!(most <= OUTGOING_BYTES + 2 * TURN_BYTES, "{most} bytes");
    let reply = within("reply", bob.request(MESSAGE, "still here".into(), None)).await.unwrap();
    assert_eq!(reply.payload, "still here");
    drop((slow, bob));
    site.end().await;
}

/// Each alone stays within its own bound; together they would use up what is there for all.
#[tokio::test]
async fn many_who_stop_reading_are_ended_before_the_others_pay_for_them() {
    let site = Site::with(Plan { connections: TIGHT, ..Plan::default() }).await;
    let (bob, mut at_bob) = site.client("bob").await;
    let (gateway, pusher) = (site.gateway(), site.pusher());
    let users: Vec<_> = (0..8).map(|number| format!("slow-{number}")).collect();
    let mut slow = Vec::new();
    for user in &users {
        slow.push(Talker::narrow(site.clients()).await.greet(&hello(user)).await);
    }
    within("room is made", async {
        while gateway.closed_total(Reason::SlowConsumer) == 0 {
            for user in &users {
                // Refused as soon as nothing more has room.
                let _ = pusher.push(Push::to_user(user, "message", vec![b'x'; 15_000])).await;
                assert!(gateway.budget.used() <= TOTAL_BYTES, "{} bytes", gateway.budget.used());
            }
        }
    })
    .await;
    until("it is enough", || !gateway.budget.is_scarce()).await;
    within("result", pusher.push(Push::to_user("bob", "message", "for bob"))).await.unwrap();
    assert_eq!(within("a push", at_bob.recv()).await.unwrap().payload, "for bob");
    drop((slow, bob));
    site.end().await;
}
