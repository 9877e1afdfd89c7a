//! The frames on the wire mean what `tests/data/frames` says. Fixtures are added to, never edited.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fs, path::Path};

use bytes::{Bytes, BytesMut};
use dagor::{
    id::{BusinessCode, MessageId},
    pb::client as pb,
    wire::{self, DecodeError, Flags, Frame, Kind, Reason},
};
use prost::Message;

const FRAMES: &str = "tests/data/frames";
/// The limit that the fixtures were made for, in bytes.
const MAX_BODY: usize = 65536;

/// Checks that a frame means what its fixture says.
type Meaning = fn(Frame);

/// Frames that decode to what is said here, and encode to the same bytes.
const VALID: &[(&str, Meaning)] = &[
    ("hello", hello),
    ("hello-resuming", hello_resuming),
    ("welcome", welcome),
    ("refused", refused),
    ("request", request),
    ("request-resent", request_resent),
    ("request-empty", request_empty),
    ("reply", reply),
    ("reply-refused", reply_refused),
    ("reply-unknown", reply_unknown),
    ("request-ordered", request_ordered),
    ("reply-settling", reply_settling),
    ("refusals", refusals),
    ("settled", settled),
    ("push", push),
    ("push-ack", push_ack),
    ("ping", ping),
    ("pong", pong),
    ("goaway", goaway),
    ("kick", kick),
];

/// Bytes that end the connection, with the error.
const HOSTILE: &[(&str, DecodeError)] = &[
    ("hostile-oversized", DecodeError::TooLarge { bytes: 65537, limit: MAX_BODY }),
    ("hostile-largest-length", DecodeError::TooLarge { bytes: wire::MAX_BODY_BYTES, limit: MAX_BODY }),
    ("hostile-unknown-oversized", DecodeError::TooLarge { bytes: 65537, limit: MAX_BODY }),
    ("hostile-unknown-critical", DecodeError::UnknownKind(128)),
    ("hostile-malformed-body", DecodeError::Malformed(Kind::Reply)),
    ("hostile-endless-varint", DecodeError::Malformed(Kind::PushAck)),
    ("hostile-long-field", DecodeError::Malformed(Kind::Push)),
    ("hostile-not-utf8", DecodeError::Malformed(Kind::Kick)),
];

/// Bytes that are not a frame yet.
const UNFINISHED: &[&str] = &["hostile-truncated-header", "hostile-truncated-body"];

/// Bytes with something in them that this version does not know and passes over: what is left says "push 5 received".
const TOLERATED: &[&str] = &["hostile-unknown-skipped", "future-unknown-field", "future-flags-and-reserved"];

fn fixture(name: &str) -> BytesMut {
    let text = fs::read_to_string(Path::new(FRAMES).join(name).with_extension("hex")).unwrap();
    let bytes = text.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace);
    bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

/// Decodes a frame's body and encodes the frame again.
fn again<M: Message + Default>(frame: &Frame) -> BytesMut {
    let mut out = BytesMut::new();
    let message = frame.clone().message::<M>().unwrap();
    wire::encode(&mut out, frame.kind, frame.flags, frame.business, frame.id, &message).unwrap();
    out
}

/// Decodes a frame's body as the message of its kind, whatever that is, and encodes the frame again.
fn reencode(frame: &Frame) -> BytesMut {
    match frame.kind {
        Kind::Hello => again::<pb::Hello>(frame),
        Kind::Welcome => again::<pb::Welcome>(frame),
        Kind::Refused => again::<pb::Refused>(frame),
        Kind::Request => again::<pb::Request>(frame),
        Kind::Reply => again::<pb::Reply>(frame),
        Kind::Push => again::<pb::Push>(frame),
        Kind::PushAck => again::<pb::PushAck>(frame),
        Kind::Ping => again::<pb::Ping>(frame),
        Kind::Pong => again::<pb::Pong>(frame),
        Kind::Goaway => again::<pb::Goaway>(frame),
        Kind::Kick => again::<pb::Kick>(frame),
        Kind::Refusals => again::<pb::Refusals>(frame),
        Kind::Settled => again::<pb::Settled>(frame),
    }
}

fn check(frame: &Frame) -> Result<(), DecodeError> {
    match frame.kind {
        Kind::Reply => frame.clone().message::<pb::Reply>().map(|_| ()),
        Kind::Push => frame.clone().message::<pb::Push>().map(|_| ()),
        Kind::PushAck => frame.clone().message::<pb::PushAck>().map(|_| ()),
        Kind::Kick => frame.clone().message::<pb::Kick>().map(|_| ()),
        other => panic!("no hostile fixture has a {other:?}"),
    }
}

#[test]
fn every_frame_means_what_its_fixture_says() {
    for (name, check) in VALID {
        let bytes = fixture(name);
        let mut buffer = bytes.clone();
        let frame = wire::decode(&mut buffer, MAX_BODY).unwrap().unwrap_or_else(|| panic!("{name} is not whole"));
        assert!(buffer.is_empty(), "{name} has bytes behind its frame");
        assert_eq!(reencode(&frame), bytes, "{name} comes out otherwise");
        check(frame);
    }
}

#[test]
fn every_kind_has_a_fixture() {
    let kind = |name: &str| fixture(name)[3];
    let covered: BTreeSet<_> = VALID.iter().map(|(name, _)| kind(name)).collect();
    assert_eq!(covered, Kind::ALL.iter().map(|&kind| kind as u8).collect());
}

#[test]
fn hostile_bytes_end_in_an_error() {
    for &(name, error) in HOSTILE {
        let outcome = wire::decode(&mut fixture(name), MAX_BODY);
        let outcome = outcome.and_then(|frame| check(&frame.unwrap_or_else(|| panic!("{name} is not whole"))));
        assert_eq!(outcome, Err(error), "{name}");
    }
}

#[test]
fn unfinished_frames_wait_and_keep_their_bytes() {
    for name in UNFINISHED {
        let mut buffer = fixture(name);
        let bytes = buffer.clone();
        assert_eq!(wire::decode(&mut buffer, MAX_BODY), Ok(None), "{name}");
        assert_eq!(buffer, bytes, "{name}");
    }
}

#[test]
fn what_is_not_known_and_not_critical_is_passed_over() {
    for name in TOLERATED {
        let mut buffer = fixture(name);
        let frame = wire::decode(&mut buffer, MAX_BODY).unwrap().unwrap();
        assert_eq!(frame.message::<pb::PushAck>(), Ok(pb::PushAck { push_id: 5 }), "{name}");
        assert!(buffer.is_empty(), "{name}");
    }
}

#[test]
fn a_conversation_that_dribbles_in_is_the_same_conversation() {
    let whole: BytesMut = VALID.iter().flat_map(|(name, _)| fixture(name)).collect();
    let mut at_once = whole.clone();
    let expected: Vec<_> = std::iter::from_fn(|| wire::decode(&mut at_once, MAX_BODY).unwrap()).collect();
    assert_eq!(expected.len(), VALID.len());

    let mut buffer = BytesMut::new();
    let mut dribbled = Vec::new();
    for byte in whole {
        buffer.extend_from_slice(&[byte]);
        dribbled.extend(wire::decode(&mut buffer, MAX_BODY).unwrap());
    }
    assert_eq!(dribbled, expected);
}

#[test]
fn hostile_bytes_that_dribble_in_end_the_same_way() {
    for &(name, error) in HOSTILE {
        let mut buffer = BytesMut::new();
        let ended = fixture(name).into_iter().find_map(|byte| {
            buffer.extend_from_slice(&[byte]);
            wire::decode(&mut buffer, MAX_BODY).and_then(|frame| frame.as_ref().map_or(Ok(()), check)).err()
        });
        assert_eq!(ended, Some(error), "{name}");
    }
}

#[test]
fn every_fixture_is_in_a_table() {
    let listed = VALID.iter().map(|&(name, _)| name).chain(HOSTILE.iter().map(|&(name, _)| name));
    let listed: BTreeSet<_> = listed.chain(UNFINISHED.iter().copied()).chain(TOLERATED.iter().copied()).collect();
    let names = fs::read_dir(FRAMES).unwrap().map(|entry| entry.unwrap().path());
    let names: Vec<_> = names.filter(|path| path.extension().is_some_and(|extension| extension == "hex")).collect();
    let present = names.iter().map(|path| path.file_stem().unwrap().to_str().unwrap()).collect();
    assert_eq!(listed, present);
}

/// The rows of the table below a heading of the protocol page: a number and a name in backticks.
fn numbered(heading: &str) -> Vec<(u32, String)> {
    let page = fs::read_to_string("docs/protocol.md").unwrap();
    let lines = page.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.starts_with('#'));
    let rows = lines.filter_map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let number = cells.next()?.parse().ok()?;
        Some((number, cells.next()?.trim_matches('`').to_owned()))
    });
    rows.collect()
}

#[test]
fn the_protocol_page_lists_the_reasons_that_there_are() {
    let known: Vec<_> = Reason::ALL.iter().map(|reason| (reason.code(), reason.name().to_owned())).collect();
    assert_eq!(numbered("## Reasons"), known);
}

#[test]
fn the_protocol_page_lists_the_frames_that_there_are() {
    let known: Vec<_> = Kind::ALL.iter().map(|&kind| (kind as u32, format!("{kind:?}"))).collect();
    assert_eq!(numbered("## Frames"), known);
}

#[test]
fn the_protocol_page_shows_the_bytes_of_the_fixtures() {
    let page = fs::read_to_string("docs/protocol.md").unwrap();
    for name in ["hello", "request", "reply"] {
        let text = fs::read_to_string(Path::new(FRAMES).join(name).with_extension("hex")).unwrap();
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(page.contains(&lines.join("\n")), "the bytes of {name} are not on the page");
    }
}

/// Splits a frame of business 7 into its id, its flags and its message.
fn of_business<M: Message + Default>(frame: Frame) -> (u64, Flags, M) {
    assert_eq!(frame.business, BusinessCode(7));
    (frame.id.0, frame.flags, frame.message().unwrap())
}

/// The message of a frame that has neither business nor id nor flags.
fn control<M: Message + Default>(frame: Frame) -> M {
    assert_eq!((frame.business, frame.id, frame.flags), (BusinessCode(0), MessageId(0), Flags(0)));
    frame.message().unwrap()
}

fn request_ordered(frame: Frame) {
    let (oldest_unsettled, oldest_unsettled_of_business, after) = (40, 41, 41);
    let payload = Bytes::from_static(b"hello");
    let expected =
        pb::Request { oldest_unsettled, oldest_unsettled_of_business, after, payload, ..pb::Request::default() };
    assert_eq!(of_business(frame), (42, Flags::RESENT, expected));
}

fn reply_settling(frame: Frame) {
    let (ticket, payload) = (Bytes::from_static(b"ticket"), Bytes::from_static(b"hi"));
    let expected = pb::Reply { settled_through: 41, ticket, payload, ..pb::Reply::default() };
    assert_eq!(of_business(frame), (41, Flags(0), expected));
}

fn refusals(frame: Frame) {
    let refused = |message_id, reason: Reason, retry_after_ms| pb::RefusedRequest {
        message_id,
        reason: reason.code(),
        retry_after_ms,
    };
    let refused = vec![refused(41, Reason::ServiceCut, 1250), refused(42, Reason::Behind, 0)];
    assert_eq!(control::<pb::Refusals>(frame), pb::Refusals { refused, cuts: vec![cut(7, 250)] });
}

fn settled(frame: Frame) {
    assert_eq!(control::<pb::Settled>(frame), pb::Settled { settled_through: 300 });
}

fn alternative() -> pb::Alternative {
    pb::Alternative { addresses: vec!["127.0.0.1:7401".into()], weight: 3 }
}

fn cut(business: u32, open_permille: u32) -> pb::ResolvedCut {
    pb::ResolvedCut { business, open_permille, valid_ms: 2000 }
}

fn alice() -> pb::Hello {
    pb::Hello {
        versions: vec![1],
        user: "alice".into(),
        device: "phone".into(),
        outbox: 0x0102_0304_0506_0708,
        ..pb::Hello::default()
    }
}

fn hello(frame: Frame) {
    assert_eq!(control::<pb::Hello>(frame), pb::Hello { heartbeat_ms: 30_000, ..alice() });
}

fn hello_resuming(frame: Frame) {
    let expected = pb::Hello {
        token: Bytes::from_static(b"secret"),
        ticket: Bytes::from_static(b"ticket"),
        oldest_unsettled: 41,
        gateways_tried: 1,
        reason: pb::ConnectReason::Network.into(),
        ..alice()
    };
    assert_eq!(control::<pb::Hello>(frame), expected);
}

fn welcome(frame: Frame) {
    let expected = pb::Welcome {
        version: 1,
        ticket: Bytes::from_static(b"ticket"),
        gateway: "gateway-1".into(),
        incarnation: 0x1112_1314_1516_1718,
        connection_epoch: 4,
        heartbeat_ms: 30_000,
        tolerance_ms: 75_000,
        limits: Some(pb::Limits { max_body_bytes: 65536, max_in_flight: 64, keep_for_ms: 600_000 }),
        businesses: vec![
            pb::Business { code: 1, name: "login".into(), timeout_ms: 10_000, ..pb::Business::default() },
            pb::Business { code: 7, name: "message".into(), timeout_ms: 3000, ..pb::Business::default() },
        ],
        cuts: vec![cut(7, 500)],
        alternatives: vec![alternative()],
        spread_ms: 5000,
    };
    assert_eq!(control::<pb::Welcome>(frame), expected);
}

fn refused(frame: Frame) {
    let expected = pb::Refused {
        reason: Reason::GatewayCut.code(),
        detail: "busy".into(),
        retry_after_ms: 1500,
        alternatives: vec![alternative()],
        cuts: vec![cut(1, 0)],
    };
    assert_eq!(control::<pb::Refused>(frame), expected);
}

fn request(frame: Frame) {
    let expected = pb::Request { timeout_ms: 2000, payload: Bytes::from_static(b"hello"), ..pb::Request::default() };
    assert_eq!(of_business(frame), (1, Flags(0), expected));
}

fn request_resent(frame: Frame) {
    let expected = pb::Request {
        timeout_ms: 0,
        oldest_unsettled: 41,
        oldest_unsettled_of_business: 41,
        after: 41,
        payload: Bytes::from_static(&[0xff, 0]),
    };
    assert_eq!(of_business(frame), (42, Flags::RESENT.with(Flags::NO_REPLY_WANTED), expected));
}

fn request_empty(frame: Frame) {
    assert_eq!(of_business(frame), (2, Flags(0), pb::Request::default()));
}

fn reply(frame: Frame) {
    let expected = pb::Reply { payload: Bytes::from_static(b"hi"), ..pb::Reply::default() };
    assert_eq!(of_business(frame), (1, Flags(0), expected));
}

fn reply_refused(frame: Frame) {
    let expected = pb::Reply {
        outcome: pb::Outcome::Refused.into(),
        reason: Reason::ServiceCut.code(),
        detail: "overloaded".into(),
        retry_after_ms: 700,
        cuts: vec![cut(7, 250)],
        ..pb::Reply::default()
    };
    assert_eq!(of_business(frame), (2, Flags(0), expected));
}

fn reply_unknown(frame: Frame) {
    let expected = pb::Reply {
        outcome: pb::Outcome::Unknown.into(),
        reason: Reason::Lost.code(),
        settled_through: 2,
        ticket: Bytes::from_static(b"ticket"),
        ..pb::Reply::default()
    };
    assert_eq!(of_business(frame), (3, Flags(0), expected));
}

fn push(frame: Frame) {
    let expected = pb::Push { dedupe_key: Bytes::from_static(b"k1"), payload: Bytes::from_static(b"ding") };
    assert_eq!(of_business(frame), (5, Flags(0), expected));
}

fn push_ack(frame: Frame) {
    assert_eq!(control::<pb::PushAck>(frame), pb::PushAck { push_id: 5 });
}

fn ping(frame: Frame) {
    assert_eq!(control::<pb::Ping>(frame), pb::Ping { last_push_id: 5, next_interval_ms: 30_000 });
}

fn pong(frame: Frame) {
    assert_eq!(
        control::<pb::Pong>(frame),
        pb::Pong { spread_ms: 5000, cuts: vec![cut(7, 1000)], ..pb::Pong::default() }
    );
}

fn goaway(frame: Frame) {
    let expected = pb::Goaway {
        reason: Reason::Draining.code(),
        detail: "update".into(),
        alternatives: vec![alternative()],
        move_after_ms: 4000,
        settled_through: 2,
    };
    assert_eq!(control::<pb::Goaway>(frame), expected);
}

fn kick(frame: Frame) {
    let expected = pb::Kick { reason: Reason::Replaced.code(), detail: "newer login".into() };
    assert_eq!(control::<pb::Kick>(frame), expected);
}
