//! Pushes reach those who are connected, in order, and those who do not read cost a bounded number of bytes.

use dagor::{
    client::{DirectClient, Pushes},
    pb::client as pb,
    service::{Push, PushError},
    wire::{Kind, Reason},
};

use super::{
    site::{MESSAGE, Plan, Site, until, within},
    talker::{Talker, hello},
};

/// Small enough to be used up, large enough for a push.
const TIGHT: &str = "max_body = \"16KiB\"\noutgoing_bytes = \"64KiB\"\noutgoing_bytes_total = \"256KiB\"";
const OUTGOING_BYTES: usize = 64 * 1024;

async fn device(site: &Site, user: &str, device: &str) -> (DirectClient, Pushes) {
    let config = dagor::client::ClientConfig { device: device.into(), ..site.config(user) };
    within("login", DirectClient::connect(config)).await.unwrap()
}

async fn payload(pushes: &mut Pushes) -> String {
    let push = within("a push", pushes.recv()).await.unwrap();
    assert_eq!(push.business, MESSAGE);
    String::from_utf8(push.payload.to_vec()).unwrap()
}

#[tokio::test]
async fn a_push_reaches_all_devices_one_device_or_everyone() {
    let site = Site::with(Plan { workers: 2, ..Plan::default() }).await;
    let (phone, mut at_phone) = device(&site, "alice", "phone").await;
    let (tablet, mut at_tablet) = device(&site, "alice", "tablet").await;
    let (bob, mut at_bob) = site.client("bob").await;
    let pusher = site.pusher();
    let sent = async |push| within("result", pusher.push(push)).await.map(|pushed| pushed.connections);
    assert_eq!(sent(Push::to_user("alice", "message", "both")).await, Ok(2));
    assert_eq!(sent(Push::to_user("alice", "message", "one").device("tablet")).await, Ok(1));
    assert_eq!(sent(Push::to_everyone("message", "all")).await, Ok(3));
    assert_eq!(sent(Push::to_user("carol", "message", "x")).await, Err(PushError::NotConnected));
    assert_eq!(sent(Push::to_user("alice", "message", "x").device("watch")).await, Err(PushError::NotConnected));
    assert_eq!(sent(Push::to_user("alice", "gossip", "x")).await, Err(PushError::Invalid));
    assert_eq!(sent(Push::to_user("alice", "message", vec![0; 65 * 1024])).await, Err(PushError::Invalid));
    assert_eq!([payload(&mut at_phone).await, payload(&mut at_phone).await], ["both", "all"]);
    let tablets = [payload(&mut at_tablet).await, payload(&mut at_tablet).await, payload(&mut at_tablet).await];
    assert_eq!(tablets, ["both", "one", "all"]);
    assert_eq!(payload(&mut at_bob).await, "all");
    drop((phone, tablet, bob));
    until("all are gone", || site.gateway().roster.is_empty()).await;
    assert_eq!(sent(Push::to_everyone("message", "nobody")).await, Err(PushError::NotConnected));
    site.end().await;
}

#[tokio::test]
async fn push_ids_increase_in_the_order_of_writing() {
    let site = Site::new().await;
    let mut alice = site.talker("alice").await;
    let pusher = site.pusher();
    let all = (0..100).map(|n| pusher.push(Push::to_user("alice", "message", n.to_string()).dedupe_key("key")));
    for result in within("results", futures_util::future::join_all(all)).await {
        assert_eq!(result.unwrap().connections, 1);
    }
    for n in 0..100 {
        let frame = alice.expect(Kind::Push).await;
        assert_eq!((frame.id.0, frame.business), (n + 1, MESSAGE));
        let push: pb::Push = frame.message().unwrap();
        assert_eq!((&push.payload[..], &push.dedupe_key[..]), (n.to_string().as_bytes(), &b"key"[..]));
    }
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn a_service_pushes_to_the_one_who_asked_while_the_request_is_under_way() {
    let site = Site::new().await;
    let mut alice = site.talker("alice").await;
    alice.request(MESSAGE, 1, "hold").await;
    site.started(1).await;
    within("result", site.pusher().push(Push::to_user("alice", "message", "news"))).await.unwrap();
    assert_eq!(alice.expect(Kind::Push).await.id.0, 1);
    site.script().release(1);
    alice.replied(1).await;
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn pushes_to_a_client_that_does_not_read_are_refused_when_its_share_is_used_up() {
    let site = Site::with(Plan { connections: TIGHT, ..Plan::default() }).await;
    let mut slow = Talker::narrow(site.clients()).await.greet(&hello("slow")).await;
    let (bob, mut at_bob) = site.client("bob").await;
    let (pusher, gateway) = (site.pusher(), site.gateway());
    let mut written = 0;
    let refused = within("a refusal", async {
        loop {
            match pusher.push(Push::to_user("slow", "message", vec![b'x'; 10_000])).await {
                Ok(_) => written += 1,
                // Before its socket is full too, a session that is only late may have as much waiting for a moment.
                Err(PushError::SlowConsumer) if gateway.budget.used() <= OUTGOING_BYTES / 2 => {}
                Err(error) => break error,
            }
            assert!(gateway.budget.used() <= OUTGOING_BYTES, "{} bytes", gateway.budget.used());
        }
    });
    assert_eq!(refused.await, PushError::SlowConsumer);
    within("result", pusher.push(Push::to_user("bob", "message", "for bob"))).await.unwrap();
    assert_eq!(payload(&mut at_bob).await, "for bob");
    for id in 1..=written {
        assert_eq!(slow.expect(Kind::Push).await.id.0, id, "what was written arrives");
    }
    until("everything is written", || gateway.budget.used() == 0).await;
    within("result", pusher.push(Push::to_user("slow", "message", "welcome back"))).await.unwrap();
    assert_eq!(slow.expect(Kind::Push).await.id.0, written + 1);
    drop((slow, bob));
    site.end().await;
}

#[tokio::test]
async fn a_client_that_leaves_too_many_replies_unread_is_disconnected() {
    let site = Site::with(Plan { connections: TIGHT, ..Plan::default() }).await;
    let mut slow = Talker::narrow(site.clients()).await.greet(&hello("slow")).await;
    for id in 1..=20 {
        slow.request(MESSAGE, id, "size 1000000").await;
    }
    until("it is ended", || site.gateway().closed_total(Reason::SlowConsumer) == 1).await;
    until("it is gone", || site.gateway().limits.open() == 0).await;
    drop(slow);
    site.end().await;
}
