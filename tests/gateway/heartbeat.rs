//! Only whole frames that were received count as life.

use dagor::{
    pb::client as pb,
    service::Push,
    wire::{Flags, HEADER_BYTES, Header, Kind, Reason},
};

use super::{
    site::{MESSAGE, Plan, Site, within},
    talker::control,
};

const SHORT: Plan = Plan {
    service: "",
    connections: "heartbeat = \"100ms\"\nheartbeat_tolerance = \"600ms\"",
    queue: "",
    moments: "",
    workers: 1,
    instance: |server| server,
};

#[tokio::test]
async fn a_silent_client_is_given_up_whatever_is_written_to_it_and_a_lively_one_is_not() {
    let site = Site::with(SHORT).await;
    let (lively, _pushes) = site.client("lively").await;
    let mut silent = site.talker("silent").await;
    let pusher = site.pusher();
    let reason = within("the end", async {
        loop {
            // Fails once the gateway has given the client up.
            let _ = pusher.push(Push::to_user("silent", "message", "are you there?")).await;
            let frame = silent.next().await.unwrap();
            if frame.kind != Kind::Push {
                break frame.message::<pb::Refused>().unwrap().reason;
            }
        }
    });
    assert_eq!(reason.await, Reason::HeartbeatLost.code());
    drop(silent);
    let reply = within("reply", lively.request(MESSAGE, "still here".into(), None)).await.unwrap();
    assert_eq!(reply.payload, "still here");
    drop(lively);
    site.end().await;
}

#[tokio::test]
async fn a_frame_that_never_ends_is_no_sign_of_life() {
    let site = Site::with(SHORT).await;
    let mut alice = site.talker("alice").await;
    let endless = Header {
        body_bytes: 60_000,
        kind: 100,
        flags: Flags::default(),
        business: Default::default(),
        id: Default::default(),
    };
    let [first, rest @ ..]: [u8; HEADER_BYTES] = endless.encode();
    alice.say(&[first]).await;
    alice.say(&rest).await;
    let pusher = site.pusher();
    let reason = within("the end", async {
        loop {
            let _ = pusher.push(Push::to_user("alice", "message", "go on")).await;
            let frame = alice.next().await.unwrap();
            if frame.kind != Kind::Push {
                break frame.message::<pb::Refused>().unwrap().reason;
            }
            alice.say(&[0]).await;
        }
    });
    assert_eq!(reason.await, Reason::HeartbeatLost.code());
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn a_ping_gets_a_pong() {
    let site = Site::new().await;
    let mut alice = site.talker("alice").await;
    alice.say(&control(Kind::Ping, &pb::Ping::default())).await;
    let pong: pb::Pong = alice.expect(Kind::Pong).await.message().unwrap();
    assert!(pong.spread_ms > 0 && pong.cuts.is_empty());
    drop(alice);
    site.end().await;
}
