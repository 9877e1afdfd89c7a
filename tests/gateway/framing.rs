//! Where the bytes of frames are cut has no meaning.

use bytes::Bytes;
use dagor::{
    client::{ClientConfig, DirectClient, TransportKind},
    wire::Kind,
};

use super::{
    site::{MESSAGE, Site, within},
    talker::{BINARY, BINARY_BEGINS, CONTINUES, LAST, Talker, masked, request},
};

#[tokio::test]
async fn frames_may_be_cut_anywhere() {
    let site = Site::new().await;
    let mut alice = site.talker("alice").await;
    let [one, two] = [1, 2].map(|_| request(MESSAGE, 0, 0, b"cut").len());
    let mut id = 0;
    for cut in 1..one + two {
        let frames = [request(MESSAGE, id + 1, 0, b"cut"), request(MESSAGE, id + 2, 0, b"cut")].concat();
        let (before, behind) = frames.split_at(cut);
        alice.say(before).await;
        // The gateway has read up to the cut when it answers what came first, on its own connection or another one.
        if cut >= one {
            alice.replied(id + 1).await;
        } else {
            site.talker("bob").await;
        }
        alice.say(behind).await;
        if cut < one {
            alice.replied(id + 1).await;
        }
        assert_eq!(&alice.replied(id + 2).await.payload[..], b"cut");
        id += 2;
    }
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn many_frames_may_come_in_one_write() {
    let site = Site::new().await;
    let mut alice = site.talker("alice").await;
    let frames: Vec<_> = (1..=200).flat_map(|id| request(MESSAGE, id, 0, b"many")).collect();
    alice.say(&frames).await;
    let mut ids = Vec::new();
    for _ in 0..200 {
        ids.push(alice.expect(Kind::Reply).await.id.0);
    }
    ids.sort_unstable();
    assert!(ids.into_iter().eq(1..=200));
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn the_largest_body_goes_there_and_back_on_both_transports() {
    let site = Site::new().await;
    for transport in [TransportKind::Tcp, TransportKind::WebSocket] {
        let config = ClientConfig { transport, ..site.config("alice") };
        let (alice, _pushes) = within("login", DirectClient::connect(config)).await.unwrap();
        // What the payload's key and length take of the body.
        let payload = Bytes::from(vec![b'x'; alice.session().max_body_bytes - 4]);
        let reply = within("reply", alice.request(MESSAGE, payload.clone(), None)).await.unwrap();
        assert_eq!(reply.payload, payload);
        alice.close();
    }
    site.end().await;
}

#[tokio::test]
async fn websocket_messages_may_hold_several_frames_or_a_part_of_one() {
    let site = Site::new().await;
    let mut alice = Talker::login_on_websocket(site.clients(), "alice").await;
    let frames = [1, 2, 3].map(|id| request(MESSAGE, id, 0, b"together")).concat();
    alice.say(&masked(BINARY, &frames)).await;
    for id in 1..=3 {
        assert_eq!(&alice.replied(id).await.payload[..], b"together");
    }
    let frame = request(MESSAGE, 4, 0, b"in pieces");
    let (head, rest) = frame.split_at(7);
    let (middle, tail) = rest.split_at(13);
    alice.say(&masked(BINARY_BEGINS, head)).await;
    alice.say(&masked(CONTINUES, middle)).await;
    alice.say(&masked(CONTINUES | LAST, tail)).await;
    assert_eq!(&alice.replied(4).await.payload[..], b"in pieces");
    for id in 5..=7 {
        for byte in masked(BINARY, &request(MESSAGE, id, 0, b"x")) {
            alice.say(&[byte]).await;
        }
        assert_eq!(&alice.replied(id).await.payload[..], b"x");
    }
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn a_frame_may_span_websocket_messages() {
    let site = Site::new().await;
    let mut alice = Talker::login_on_websocket(site.clients(), "alice").await;
    let frame = request(MESSAGE, 1, 0, b"spread");
    for cut in frame.chunks(9) {
        alice.say(&masked(BINARY, cut)).await;
    }
    assert_eq!(&alice.replied(1).await.payload[..], b"spread");
    drop(alice);
    site.end().await;
}
