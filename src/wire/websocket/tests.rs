//! What a client can do to the decoder: the RFC's examples, every split, every fault, and a real client.

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest, protocol::CloseFrame},
};

use super::*;
use crate::wire::SUBPROTOCOL;

const LIMIT: usize = 1 << 20;

/// A frame as a client writes it.
fn frame(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    put_binary_header(&mut out, payload.len());
    out[0] = first;
    out[1] |= MASKED;
    out.put_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    out.to_vec()
}

/// Feeds the pieces one after the other.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<(Vec<u8>, Vec<Event>), FrameError> {
    let (mut decoder, mut input, mut output, mut events) =
        (Decoder::default(), BytesMut::new(), BytesMut::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        while let Some(event) = decoder.decode(&mut input, &mut output, LIMIT)? {
            events.push(event);
        }
        assert!(input.len() < 139, "{} bytes were left in the input", input.len());
    }
    Ok((output.to_vec(), events))
}

fn fault(bytes: &[u8]) -> FrameError {
    let at_once = decode([bytes]).unwrap_err();
    assert_eq!(decode(bytes.chunks(1)).unwrap_err(), at_once);
    at_once
}

#[test]
fn the_state_between_two_reads_is_small() {
    assert!(size_of::<Decoder>() <= 16);
}

#[test]
fn the_rfcs_masked_ping_and_pong_are_read() {
    // RFC 6455 §5.7: a masked pong with "Hello"; the ping differs in its opcode alone.
    let pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(decode([&pong[..]]).unwrap().1, [Event::Pong]);
    let mut ping = *pong;
    ping[0] = 0x89;
    assert_eq!(decode(ping.chunks(1)).unwrap().1, [Event::Ping(Bytes::from_static(b"Hello"))]);
}

#[test]
fn a_control_frame_may_stand_between_fragments() {
    let bytes = [
        frame(0x02, [1, 2, 3, 4], b"Hel"),
        frame(0x89, [9; 4], b"?"),
        frame(0x00, [5, 6, 7, 8], b""),
        frame(0x80, [5, 6, 7, 8], b"lo"),
        frame(0x82, [0; 4], b"!"),
    ]
    .concat();
    let (payload, events) = decode([&bytes[..]]).unwrap();
    assert_eq!(payload, b"Hello!");
    assert_eq!(events, [Event::Ping(Bytes::from_static(b"?"))]);
}

#[test]
fn payload_is_handed_on_before_its_frame_ends() {
    let bytes = frame(0x82, [7, 8, 9, 10], &[42; 1000]);
    let (payload, _) = decode([&bytes[..500]]).unwrap();
    assert_eq!(payload, vec![42; 500 - 8]);
}

#[test]
fn nothing_is_read_after_a_close() {
    let bytes = [frame(0x88, [1; 4], b"\x03\xe8bye"), b"\x00garbage".to_vec()].concat();
    assert_eq!(decode([&bytes[..]]).unwrap().1, [Event::Close { code: Some(1000) }]);
    assert_eq!(decode([&frame(0x88, [1; 4], b"")[..]]).unwrap().1, [Event::Close { code: None }]);
}

#[test]
fn a_fault_is_found_in_one_piece_and_byte_by_byte() {
    let masked = |first, payload: &[u8]| frame(first, [1, 2, 3, 4], payload);
    let cases = [
        (b"\x82\x05".to_vec(), FrameError::Unmasked),
        (masked(0xc2, b""), FrameError::ReservedBits),
        (masked(0x81, b"text"), FrameError::Text),
        (masked(0x83, b""), FrameError::Opcode(3)),
        (masked(0x8b, b""), FrameError::Opcode(11)),
        (masked(0x09, b""), FrameError::Control),
        (masked(0x89, &[0; 126]), FrameError::Control),
        (masked(0x80, b"of nothing"), FrameError::Fragment),
        ([masked(0x02, b"a"), masked(0x82, b"b")].concat(), FrameError::Fragment),
        (b"\x82\xfe\x00\x7d".to_vec(), FrameError::Length),
        (b"\x82\xff\0\0\0\0\0\0\xff\xff".to_vec(), FrameError::Length),
        (masked(0x88, b"\x03"), FrameError::Close),
        (masked(0x88, b"\x03\xed"), FrameError::Close),
        (masked(0x88, b"\x03\xe8\xff"), FrameError::Close),
    ];
    for (bytes, error) in cases {
        assert_eq!(fault(&bytes), error);
    }
}

#[test]
fn a_message_over_the_limit_is_refused_by_its_header() {
    let header = b"\x82\xff\0\0\0\0\0\x10\0\x01\0\0\0\0";
    assert_eq!(fault(header), FrameError::TooLarge { bytes: LIMIT as u64 + 1, limit: LIMIT });
    let endless = b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0";
    assert_eq!(fault(endless), FrameError::TooLarge { bytes: u64::MAX, limit: LIMIT });
}

#[test]
fn the_limit_holds_over_all_fragments_of_a_message() {
    let half = vec![0; LIMIT / 2];
    let whole = [frame(0x02, [0; 4], &half), frame(0x00, [0; 4], &half)].concat();
    assert_eq!(decode([&whole[..]]).unwrap().0.len(), LIMIT);
    let more = [whole, frame(0x80, [0; 4], b"x")].concat();
    assert_eq!(decode([&more[..]]).unwrap_err(), FrameError::TooLarge { bytes: LIMIT as u64 + 1, limit: LIMIT });
}

proptest! {
    #[test]
    fn any_split_gives_the_same_bytes(
        messages in prop::collection::vec((any::<[u8; 4]>(), prop::collection::vec(any::<u8>(), 0..300)), 1..6),
        cuts in prop::collection::vec(1_usize..40, 1..50),
    ) {
        let last = messages.len() - 1;
        let mut bytes = Vec::new();
        let mut payload: Vec<u8> = Vec::new();
        for (index, (mask, part)) in messages.iter().enumerate() {
            let first = if index == 0 { opcode::BINARY } else { opcode::CONTINUATION };
            bytes.extend(frame(first | if index == last { FIN } else { 0 }, *mask, part));
            bytes.extend(frame(0x8a, *mask, &part[..part.len().min(10)]));
            payload.extend(part);
        }
        let mut pieces = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        let (read, events) = decode(pieces).unwrap();
        prop_assert_eq!(read, payload);
        prop_assert_eq!(events, vec![Event::Pong; messages.len()]);
    }

    #[test]
    fn no_bytes_make_it_panic_or_give_more_than_it_got(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        if let Ok((payload, _)) = decode(bytes.chunks(7)) {
            prop_assert!(payload.len() < bytes.len().max(1));
        }
    }
}

/// Answers pings, echoes each read's payload as one message, and ends after the client's close.
async fn serve(mut socket: DuplexStream) -> Option<u16> {
    let (mut input, mut payload, mut out) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
    let upgrade = loop {
        assert_ne!(socket.read_buf(&mut input).await.unwrap(), 0);
        if let Some(upgrade) = Upgrade::parse(&input).unwrap() {
            break upgrade;
        }
    };
    let _request = input.split_to(upgrade.consumed);
    out.put(upgrade.response());
    let mut decoder = Decoder::default();
    loop {
        let event = decoder.decode(&mut input, &mut payload, LIMIT).unwrap();
        if !payload.is_empty() {
            put_binary_header(&mut out, payload.len());
            out.put(payload.split());
        }
        match event {
            Some(Event::Ping(payload)) => put_pong(&mut out, &payload),
            Some(Event::Pong) => {}
            Some(Event::Close { code }) => {
                put_close(&mut out, code.unwrap_or(1000), "closed");
                socket.write_all(&out).await.unwrap();
                return code;
            }
            None => {
                socket.write_all_buf(&mut out).await.unwrap();
                assert_ne!(socket.read_buf(&mut input).await.unwrap(), 0);
            }
        }
    }
}

#[tokio::test]
async fn a_real_client_is_understood_and_understands() {
    let (client, server) = duplex(64);
    let server = tokio::spawn(serve(server));
    let mut request = "ws://localhost/".into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", SUBPROTOCOL.parse().unwrap());
    let (mut client, response) = client_async(request, client).await.unwrap();
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], SUBPROTOCOL);

    let sent: Vec<u8> = (0..2000_u32).map(|number| number as u8).collect();
    client.feed(Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
    client.feed(Message::binary(sent.clone())).await.unwrap();
    let close = CloseFrame { code: 4001.into(), reason: "done".into() };
    // Sent beside the reads, because the pipe between the two holds 64 bytes only.
    let (mut sink, mut stream) = client.split();
    let sending = tokio::spawn(async move { sink.send(Message::Close(Some(close))).await });

    let mut echoed = Vec::new();
    let mut ponged = false;
    while let Some(message) = stream.next().await {
        match message.unwrap() {
            Message::Binary(payload) => echoed.extend_from_slice(&payload),
            Message::Pong(payload) => ponged = payload == "there?",
            Message::Close(frame) => {
                assert_eq!(frame.unwrap().reason, "closed");
                break;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert!(ponged);
    assert_eq!(echoed, sent);
    sending.await.unwrap().unwrap();
    assert_eq!(server.await.unwrap(), Some(4001));
}
