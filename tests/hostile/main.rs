//! Whatever a client sends or does not send, it is told why its connection ends, in bounded time, and nobody else notices.
//!
//! Every test has a witness: a well-behaved client that is served before, while and after the gateway is attacked, by the
//! gateway's only worker.

#[path = "../site/mod.rs"]
mod site;
mod talker;

use std::{fs, net::SocketAddr};

use dagor::{
    gateway::{PolicySource, Running},
    id::BusinessCode,
    pb::client as pb,
    wire::{Kind, MAGIC, Reason},
};
use futures_util::future::join_all;
use tempfile::TempDir;

use self::{
    site::within,
    talker::{Heard, TRANSPORTS, Talker, Transport, frame, header, hello, hello_of, masked},
};

/// A body that is no protobuf message: a field whose length goes beyond the end.
const GARBAGE: &[u8] = &[0x7a, 0xff, 0xff, 0x03, 1, 2, 3];
/// The beginning of what a TLS client says first.
const TLS_CLIENT_HELLO: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0xaa, 0xbb, 0xcc, 0xdd, 0xee];
/// Frames that only a gateway sends.
const FROM_GATEWAYS: [Kind; 8] =
    [Kind::Welcome, Kind::Refused, Kind::Reply, Kind::Push, Kind::Goaway, Kind::Kick, Kind::Refusals, Kind::Settled];
/// Above every size limit of the default policy.
const TOO_LARGE_BYTES: usize = (64 << 10) + 1;

/// A gateway with its witness. It ends with the test process.
struct Attacked {
    gateway: Running,
    witness: Talker,
    /// Holds the policy file.
    _folder: TempDir,
}

impl Attacked {
    /// Gives clients so much time for their handshake that no test sees it end.
    async fn patient() -> Self {
        Self::with_handshake_timeout("1h").await
    }

    /// Gives clients little time for their handshake.
    async fn impatient() -> Self {
        Self::with_handshake_timeout("300ms").await
    }

    async fn with_handshake_timeout(timeout: &str) -> Self {
        Self::with(timeout, "").await
    }

    /// `lines` go into the policy's `[connections]`.
    async fn with(timeout: &str, lines: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("policy.toml");
        // A gate that never finds itself overloaded: a busy machine must not fail a test.
        let policy = format!(
            "[connections]\nhandshake_timeout = \"{timeout}\"\n{lines}\n\
             [gateway.gate]\ntarget = \"10s\"\nwindow = \"60s\"\n"
        );
        fs::write(&path, policy).expect("it can be written");
        let (service, _) = site::echo().await;
        let gateway = site::gateway(PolicySource::File(path), 1, service).await;
        let mut witness = Talker::login(gateway.addresses.clients, Transport::Tcp, "witness").await;
        witness.is_served().await;
        Self { gateway, witness, _folder: folder }
    }

    const fn address(&self) -> SocketAddr {
        self.gateway.addresses.clients
    }

    /// Connects on both transports in turn, sends `frames` in place of a `Hello`, and is refused because of `reason`.
    async fn refuses_before_login(&mut self, frames: &[u8], reason: Reason) {
        for transport in TRANSPORTS {
            let mut hostile = Talker::connect(self.address(), transport).await;
            hostile.say_frames(frames).await;
            self.witness.is_served().await;
            assert_eq!(hostile.refused().await, reason, "{transport:?}, {frames:?}");
        }
        self.witness.is_served().await;
    }

    /// The same behind a login.
    async fn refuses_after_login(&mut self, frames: &[u8], reason: Reason) {
        for transport in TRANSPORTS {
            let mut hostile = Talker::login(self.address(), transport, "hostile").await;
            hostile.say_frames(frames).await;
            self.witness.is_served().await;
            assert_eq!(hostile.refused().await, reason, "{transport:?}, {frames:?}");
        }
        self.witness.is_served().await;
    }

    /// Sends bytes on a fresh connection, without magic or upgrade.
    async fn refuses_first_bytes(&mut self, bytes: &[u8], reason: Reason) {
        let mut hostile = Talker::silent(self.address()).await;
        hostile.say(bytes).await;
        self.witness.is_served().await;
        assert_eq!(hostile.refused().await, reason, "{bytes:?}");
        self.witness.is_served().await;
    }
}

#[tokio::test]
async fn first_bytes_of_another_protocol_are_malformed() {
    let mut attacked = Attacked::patient().await;
    for bytes in [b"DGR2".as_slice(), b"X", TLS_CLIENT_HELLO, b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", &[0; 64]] {
        attacked.refuses_first_bytes(bytes, Reason::Malformed).await;
    }
}

#[tokio::test]
async fn http_that_is_no_websocket_is_answered_in_http() {
    let mut attacked = Attacked::patient().await;
    let endless = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 8192]].concat();
    for (request, status) in [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".as_slice(), "HTTP/1.1 426"),
        (b"GET \x00\x01\x02\r\n\r\n", "HTTP/1.1 400"),
        (b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "HTTP/1.1 400"),
        (&endless, "HTTP/1.1 431"),
    ] {
        let mut hostile = Talker::silent(attacked.address()).await;
        hostile.say(request).await;
        attacked.witness.is_served().await;
        let answer = hostile.http_answer().await;
        assert!(answer.starts_with(status), "{answer}");
    }
    attacked.witness.is_served().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_by_its_header() {
    let mut attacked = Attacked::patient().await;
    for kind in [Kind::Hello as u8, 100] {
        attacked.refuses_before_login(&header(kind, 4097), Reason::TooLarge).await;
        attacked.refuses_before_login(&header(kind, 0xff_ff_ff), Reason::TooLarge).await;
    }
    for kind in [Kind::Request as u8, 100] {
        attacked.refuses_after_login(&header(kind, TOO_LARGE_BYTES), Reason::TooLarge).await;
        attacked.refuses_after_login(&header(kind, 0xff_ff_ff), Reason::TooLarge).await;
    }
}

#[tokio::test]
async fn unknown_kinds_are_skipped_below_128_and_refused_from_there() {
    let mut attacked = Attacked::patient().await;
    for transport in TRANSPORTS {
        let mut newer = Talker::connect(attacked.address(), transport).await;
        let skipped = [frame(0, b""), frame(127, GARBAGE), hello("newer"), frame(99, GARBAGE)].concat();
        newer.say_frames(&skipped).await;
        newer.welcomed().await;
        newer.is_served().await;
    }
    for kind in [128, 255] {
        attacked.refuses_before_login(&frame(kind, b""), Reason::Malformed).await;
        attacked.refuses_after_login(&frame(kind, b""), Reason::Malformed).await;
    }
}

#[tokio::test]
async fn bodies_that_are_not_their_message_are_malformed() {
    let mut attacked = Attacked::patient().await;
    attacked.refuses_before_login(&frame(Kind::Hello as u8, GARBAGE), Reason::Malformed).await;
    for kind in [Kind::Request, Kind::PushAck, Kind::Ping] {
        attacked.refuses_after_login(&frame(kind as u8, GARBAGE), Reason::Malformed).await;
    }
}

#[tokio::test]
async fn frames_out_of_place_are_unexpected() {
    let mut attacked = Attacked::patient().await;
    attacked.refuses_after_login(&hello("hostile"), Reason::Unexpected).await;
    for kind in FROM_GATEWAYS {
        attacked.refuses_before_login(&frame(kind as u8, b""), Reason::Unexpected).await;
        attacked.refuses_after_login(&frame(kind as u8, b""), Reason::Unexpected).await;
    }
    for kind in [Kind::Request, Kind::PushAck, Kind::Ping, Kind::Pong] {
        attacked.refuses_before_login(&frame(kind as u8, b""), Reason::Unexpected).await;
    }
}

#[tokio::test]
async fn a_hello_must_name_a_user_and_a_version_that_is_spoken() {
    let mut attacked = Attacked::patient().await;
    let hello = pb::Hello { versions: vec![1], user: "hostile".into(), ..pb::Hello::default() };
    let long = "x".repeat(129);
    for (hello, reason) in [
        (pb::Hello { versions: vec![2, 3], ..hello.clone() }, Reason::Version),
        (pb::Hello { versions: vec![], ..hello.clone() }, Reason::Version),
        (pb::Hello { user: String::new(), ..hello.clone() }, Reason::Unauthorized),
        (pb::Hello { user: long.clone(), ..hello.clone() }, Reason::Unauthorized),
        (pb::Hello { device: long, ..hello }, Reason::Unauthorized),
    ] {
        attacked.refuses_before_login(&hello_of(&hello), reason).await;
    }
}

#[tokio::test]
async fn a_business_that_cannot_be_requested_is_refused_and_the_connection_goes_on() {
    let attacked = Attacked::patient().await;
    for transport in TRANSPORTS {
        let mut wrong = Talker::login(attacked.address(), transport, "wrong").await;
        for business in [BusinessCode(0), BusinessCode::LOGIN, BusinessCode(u16::MAX)] {
            let reply = wrong.ask(business).await;
            assert_eq!(reply.outcome(), pb::Outcome::Refused);
            assert_eq!(reply.reason, Reason::UnknownBusiness.code());
        }
        wrong.is_served().await;
    }
}

#[tokio::test]
async fn a_websocket_must_be_binary_and_masked() {
    let mut attacked = Attacked::patient().await;
    let unmasked = [&[0x82, 16][..], &header(Kind::Ping as u8, 0)].concat();
    for wrong in [masked(0x81, b"hello"), unmasked, masked(0xc2, b""), masked(0x80, b""), masked(0x83, b"")] {
        let mut stranger = Talker::connect(attacked.address(), Transport::WebSocket).await;
        let mut client = Talker::login(attacked.address(), Transport::WebSocket, "hostile").await;
        for hostile in [&mut stranger, &mut client] {
            hostile.say(&wrong).await;
            attacked.witness.is_served().await;
            assert_eq!(hostile.refused().await, Reason::Malformed, "{wrong:?}");
        }
    }
    attacked.witness.is_served().await;
}

#[tokio::test]
async fn a_client_that_leaves_within_a_frame_is_let_go() {
    let mut attacked = Attacked::patient().await;
    let address = attacked.address();
    for transport in TRANSPORTS {
        let mut stranger = Talker::connect(address, transport).await;
        let mut client = Talker::login(address, transport, "hostile").await;
        for hostile in [&mut stranger, &mut client] {
            hostile.say_frames(&header(Kind::Request as u8, 100)[..11]).await;
            attacked.witness.is_served().await;
            hostile.hang_up().await;
            let heard = hostile.hear().await;
            assert!(matches!(heard, Heard::End), "{heard:?}");
        }
    }
    attacked.witness.is_served().await;
}

#[tokio::test]
async fn a_handshake_one_byte_at_a_time_is_as_good_as_any() {
    let mut attacked = Attacked::patient().await;
    let mut slow = Talker::silent(attacked.address()).await;
    for byte in [&MAGIC[..], &hello("slow")].concat() {
        slow.say(&[byte]).await;
        // The only worker has served somebody in between, so it has seen the byte.
        attacked.witness.is_served().await;
    }
    slow.welcomed().await;
    slow.is_served().await;
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_timed_out_however_busy_it_is() {
    let mut attacked = Attacked::impatient().await;
    for transport in TRANSPORTS {
        let mut hostile = Talker::connect(attacked.address(), transport).await;
        let busy = async {
            while !hostile.has_something_to_hear() {
                // A whole frame, to be skipped: there is always something to read, and never a `Hello`.
                hostile.say_frames(&frame(0, b"")).await;
                attacked.witness.is_served().await;
            }
        };
        within("an answer", busy).await;
        assert_eq!(hostile.refused().await, Reason::HandshakeTimeout, "{transport:?}");
    }
}

#[tokio::test]
async fn half_a_handshake_is_timed_out() {
    let mut attacked = Attacked::impatient().await;
    for beginning in [&MAGIC[..1], &MAGIC, b"GET", b"GET / HTTP/1.1\r\nHost: localhost\r\n"] {
        attacked.refuses_first_bytes(beginning, Reason::HandshakeTimeout).await;
    }
    attacked.refuses_before_login(&hello("slow")[..17], Reason::HandshakeTimeout).await;
}

#[tokio::test]
async fn silent_connections_are_told_that_their_time_is_over() {
    let mut attacked = Attacked::impatient().await;
    let mut silent = join_all((0..300).map(|_| Talker::silent(attacked.address()))).await;
    attacked.witness.is_served().await;
    let reasons = join_all(silent.iter_mut().map(Talker::refused)).await;
    assert!(reasons.iter().all(|&reason| reason == Reason::HandshakeTimeout), "{reasons:?}");
    attacked.witness.is_served().await;
}
