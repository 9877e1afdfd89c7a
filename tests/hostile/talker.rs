//! A client that says anything, on either transport, and hears what the gateway makes of it.

use std::net::SocketAddr;

use bytes::{Buf, BytesMut};
use dagor::{
    id::{BusinessCode, MessageId},
    pb::client as pb,
    wire::{Flags, Frame, HEADER_BYTES, Header, Kind, MAGIC, MAX_BODY_BYTES, Reason, decode},
};
use futures_util::FutureExt;
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::site::within;

/// The business that the built-in default policy lets clients request.
pub(crate) const BUSINESS: BusinessCode = BusinessCode(2);

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: dagor.v1\r\n\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    WebSocket,
}

pub(crate) const TRANSPORTS: [Transport; 2] = [Transport::Tcp, Transport::WebSocket];

/// What the gateway did.
#[derive(Debug)]
pub(crate) enum Heard {
    Frame(Frame),
    /// A WebSocket close with its code.
    Close(u16),
    /// The end of the stream.
    End,
}

#[derive(Debug)]
pub(crate) struct Talker {
    socket: TcpStream,
    transport: Transport,
    /// Bytes from the socket.
    received: BytesMut,
    /// The frames in them.
    frames: BytesMut,
    close_code: Option<u16>,
    requests: u64,
}

impl Talker {
    /// A connection on which nothing was said.
    pub(crate) async fn silent(gateway: SocketAddr) -> Self {
        let socket = within("connect", TcpStream::connect(gateway)).await.expect("the gateway listens");
        socket.set_nodelay(true).expect("the socket is open");
        let (received, frames) = (BytesMut::new(), BytesMut::new());
        Self { socket, transport: Transport::Tcp, received, frames, close_code: None, requests: 0 }
    }

    /// A connection that is ready for the `Hello`.
    pub(crate) async fn connect(gateway: SocketAddr, transport: Transport) -> Self {
        let mut talker = Self::silent(gateway).await;
        match transport {
            Transport::Tcp => talker.say(&MAGIC).await,
            Transport::WebSocket => talker.upgrade().await,
        }
        talker
    }

    /// A connection that is logged in.
    pub(crate) async fn login(gateway: SocketAddr, transport: Transport, user: &str) -> Self {
        let mut talker = Self::connect(gateway, transport).await;
        talker.say_frames(&hello(user)).await;
        talker.welcomed().await;
        talker
    }

    async fn upgrade(&mut self) {
        self.say(UPGRADE).await;
        let answer = self.http_answer().await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        self.transport = Transport::WebSocket;
    }

    /// Bytes as they are.
    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        // A gateway that has hung up in the meantime has said why, and that is still to be read.
        let _ = within("say", self.socket.write_all(bytes)).await;
    }

    /// Frames, in a binary message on a WebSocket.
    pub(crate) async fn say_frames(&mut self, frames: &[u8]) {
        match self.transport {
            Transport::Tcp => self.say(frames).await,
            Transport::WebSocket => self.say(&masked(0x82, frames)).await,
        }
    }

    /// Nothing more will be said.
    pub(crate) async fn hang_up(&mut self) {
        let _ = self.socket.shutdown().await;
    }

    /// The head of an HTTP response.
    pub(crate) async fn http_answer(&mut self) -> String {
        loop {
            if let Some(end) = self.received.windows(4).position(|four| four == b"\r\n\r\n") {
                return String::from_utf8_lossy(&self.received.split_to(end + 4)).into_owned();
            }
            assert!(self.read().await, "the end of the stream within an HTTP response");
        }
    }

    /// Whether the next things are the `Welcome` and nothing else.
    pub(crate) async fn welcomed(&mut self) {
        match self.hear().await {
            Heard::Frame(frame) if frame.kind == Kind::Welcome => {}
            other => panic!("{other:?} in place of a welcome"),
        }
    }

    /// The reason of the `Refused` that must come next, with the close code that belongs to it and the end behind.
    pub(crate) async fn refused(&mut self) -> Reason {
        let reason = match self.hear().await {
            Heard::Frame(frame) if frame.kind == Kind::Refused => {
                let refused: pb::Refused = frame.message().expect("a Refused body");
                assert!(!refused.detail.is_empty(), "nothing for a person who reads a log");
                Reason::from_code(refused.reason).expect("a known reason")
            }
            other => panic!("{other:?} in place of a refusal"),
        };
        if self.transport == Transport::WebSocket {
            let next = self.hear().await;
            assert!(matches!(next, Heard::Close(code) if code == reason.close_code()), "{next:?} after {reason:?}");
        }
        let last = self.hear().await;
        assert!(matches!(last, Heard::End), "{last:?} after the last frame");
        reason
    }

    /// Sends a request and waits for its reply.
    pub(crate) async fn ask(&mut self, business: BusinessCode) -> pb::Reply {
        self.requests += 1;
        let id = self.requests;
        let request = pb::Request { payload: b"hello"[..].into(), timeout_ms: 10_000, ..pb::Request::default() };
        let header = |body: &[u8]| header_of(Kind::Request as u8, business, MessageId(id), body.len());
        let body = request.encode_to_vec();
        self.say_frames(&[&header(&body)[..], &body].concat()).await;
        match self.hear().await {
            Heard::Frame(frame) if frame.kind == Kind::Reply && frame.id == MessageId(id) => {
                frame.message().expect("a Reply body")
            }
            other => panic!("{other:?} in place of reply {id}"),
        }
    }

    /// Asks the service for an answer and gets it.
    pub(crate) async fn is_served(&mut self) {
        let reply = self.ask(BUSINESS).await;
        assert_eq!((reply.outcome(), &reply.payload[..]), (pb::Outcome::Replied, &b"hello"[..]), "{reply:?}");
    }

    /// Whether [`Talker::hear`] would not have to wait for the gateway's next word.
    pub(crate) fn has_something_to_hear(&self) -> bool {
        self.socket.peek(&mut [0]).now_or_never().is_some()
    }

    /// The next frame, close or end.
    pub(crate) async fn hear(&mut self) -> Heard {
        within("hear", self.hear_unbounded()).await
    }

    async fn hear_unbounded(&mut self) -> Heard {
        loop {
            self.unwrap();
            if let Some(frame) = decode(&mut self.frames, MAX_BODY_BYTES).expect("a gateway's frames are well-formed") {
                return Heard::Frame(frame);
            }
            if let Some(code) = self.close_code.take() {
                return Heard::Close(code);
            }
            if !self.read().await {
                assert!(self.frames.is_empty() && self.received.is_empty(), "the stream ended within a frame");
                return Heard::End;
            }
        }
    }

    /// `false` at the end of the stream. A reset is no end: it could have taken the last frame with it.
    async fn read(&mut self) -> bool {
        let read = within("read", self.socket.read_buf(&mut self.received)).await;
        read.expect("a stream that ends in good order") > 0
    }

    /// Takes the transport's framing off what was received.
    fn unwrap(&mut self) {
        if self.transport == Transport::Tcp {
            self.frames.unsplit(self.received.split());
            return;
        }
        while let Some((opcode, payload)) = take_message(&mut self.received) {
            match opcode {
                0x82 => self.frames.extend_from_slice(&payload),
                0x88 => self.close_code = Some(u16::from_be_bytes([payload[0], payload[1]])),
                other => panic!("a WebSocket frame that starts with {other:#x}"),
            }
        }
    }
}

/// One WebSocket frame of the gateway, which are all final and unmasked: its first byte and payload.
fn take_message(received: &mut BytesMut) -> Option<(u8, BytesMut)> {
    let (&[first, short], rest) = received.split_first_chunk()?;
    let (header_bytes, payload_bytes) = match short {
        0..126 => (2, usize::from(short)),
        126 => (4, usize::from(u16::from_be_bytes(*rest.first_chunk()?))),
        _ => panic!("no frame of these tests is that long"),
    };
    if received.len() < header_bytes + payload_bytes {
        return None;
    }
    received.advance(header_bytes);
    Some((first, received.split_to(payload_bytes)))
}

/// A WebSocket frame as a client must send it; its key is zero. `first` is its first byte.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u16::try_from(payload.len()).expect("no frame of these tests is that long") {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// Requests with these ids, one behind the other.
pub(crate) fn requests(business: BusinessCode, ids: std::ops::Range<u64>) -> Vec<u8> {
    ids.flat_map(|id| header_of(Kind::Request as u8, business, MessageId(id), 0)).collect()
}

/// A header without business and id.
pub(crate) fn header(kind: u8, body_bytes: usize) -> [u8; HEADER_BYTES] {
    header_of(kind, BusinessCode::default(), MessageId::default(), body_bytes)
}

fn header_of(kind: u8, business: BusinessCode, id: MessageId, body_bytes: usize) -> [u8; HEADER_BYTES] {
    Header { body_bytes, kind, flags: Flags::default(), business, id }.encode()
}

/// A frame of any kind.
pub(crate) fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    [&header(kind, body.len())[..], body].concat()
}

/// A `Hello` of version 1.
pub(crate) fn hello(user: &str) -> Vec<u8> {
    hello_of(&pb::Hello { versions: vec![1], user: user.into(), outbox: 1, ..pb::Hello::default() })
}

/// A frame with this `Hello`.
pub(crate) fn hello_of(hello: &pb::Hello) -> Vec<u8> {
    frame(Kind::Hello as u8, &hello.encode_to_vec())
}
