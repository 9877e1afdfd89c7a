//! A client that writes its frames by hand, on either transport.

use std::net::SocketAddr;

use bytes::{Buf, BytesMut};
use dagor::{
    id::{BusinessCode, MessageId},
    pb::client as pb,
    wire::{Flags, Frame, Kind, MAGIC, MAX_BODY_BYTES, Reason, decode, encode},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::site::within;

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: dagor.v1\r\n\r\n";

/// First bytes of a WebSocket frame.
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const BINARY_BEGINS: u8 = 0x02;
pub(crate) const CONTINUES: u8 = 0x00;
pub(crate) const LAST: u8 = 0x80;

pub(crate) struct Talker {
    socket: TcpStream,
    websocket: bool,
    /// Bytes from the socket.
    received: BytesMut,
    /// The frames in them.
    frames: BytesMut,
    /// WebSocket messages that they came in.
    messages: usize,
    pub(crate) welcome: pb::Welcome,
}

impl Talker {
    /// A connection on which nothing was said.
    pub(crate) async fn silent(gateway: SocketAddr) -> Self {
        Self::new(within("connect", TcpStream::connect(gateway)).await.unwrap())
    }

    /// The same with as little room for what it does not read as the system allows.
    pub(crate) async fn narrow(gateway: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(1).unwrap();
        Self::new(within("connect", socket.connect(gateway)).await.unwrap())
    }

    fn new(socket: TcpStream) -> Self {
        socket.set_nodelay(true).unwrap();
        let (received, frames) = (BytesMut::new(), BytesMut::new());
        Self { socket, websocket: false, received, frames, messages: 0, welcome: pb::Welcome::default() }
    }

    /// A connection that is logged in.
    pub(crate) async fn login(gateway: SocketAddr, user: &str) -> Self {
        Self::silent(gateway).await.greet(&hello(user)).await
    }

    /// The same on a WebSocket.
    pub(crate) async fn login_on_websocket(gateway: SocketAddr, user: &str) -> Self {
        let mut talker = Self::silent(gateway).await;
        talker.say(UPGRADE).await;
        while !talker.received.ends_with(b"\r\n\r\n") {
            assert!(talker.read().await, "the end of the stream within the upgrade");
        }
        assert!(talker.received.starts_with(b"HTTP/1.1 101"));
        talker.received.clear();
        talker.websocket = true;
        talker.say(&masked(BINARY, &control(Kind::Hello, &hello(user)))).await;
        talker.welcomed().await
    }

    /// Logs in.
    pub(crate) async fn greet(mut self, hello: &pb::Hello) -> Self {
        self.say(&MAGIC).await;
        self.say(&control(Kind::Hello, hello)).await;
        self.welcomed().await
    }

    pub(crate) async fn welcomed(mut self) -> Self {
        self.welcome = self.expect(Kind::Welcome).await.message().unwrap();
        self
    }

    /// Bytes as they are. A gateway that has hung up in the meantime has said why, and that is still to be read.
    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        let _ = within("say", self.socket.write_all(bytes)).await;
    }

    pub(crate) async fn request(&mut self, business: BusinessCode, id: u64, payload: &str) {
        self.say(&request(business, id, 0, payload.as_bytes())).await;
    }

    /// Sends a request and waits for its reply, which must come next.
    pub(crate) async fn ask(&mut self, business: BusinessCode, id: u64, payload: &str) -> pb::Reply {
        self.request(business, id, payload).await;
        self.replied(id).await
    }

    /// The next frame, which must be the reply to this request.
    pub(crate) async fn replied(&mut self, id: u64) -> pb::Reply {
        let frame = self.expect(Kind::Reply).await;
        assert_eq!(frame.id, MessageId(id));
        frame.message().unwrap()
    }

    /// The next frame, which must be of this kind.
    pub(crate) async fn expect(&mut self, kind: Kind) -> Frame {
        let frame = self.next().await.unwrap_or_else(|| panic!("the end in place of {kind:?}"));
        assert_eq!(frame.kind, kind, "{frame:?}");
        frame
    }

    /// The next frame, which must be the gateway's last word.
    pub(crate) async fn refused(&mut self) -> pb::Refused {
        let refused = self.expect(Kind::Refused).await.message().unwrap();
        assert_eq!(self.next().await, None, "nothing comes behind the last frame");
        refused
    }

    /// The next frame; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            self.unwrap();
            if let Some(frame) = decode(&mut self.frames, MAX_BODY_BYTES).unwrap() {
                return Some(frame);
            }
            if !self.read().await {
                return None;
            }
        }
    }

    async fn read(&mut self) -> bool {
        within("read", self.socket.read_buf(&mut self.received)).await.unwrap() > 0
    }

    /// How many WebSocket messages came so far.
    pub(crate) fn messages(&self) -> usize {
        self.messages
    }

    /// Takes the transport's framing off what was received.
    fn unwrap(&mut self) {
        if !self.websocket {
            self.frames.unsplit(self.received.split());
            return;
        }
        while let Some((first, payload)) = take_message(&mut self.received) {
            assert_eq!(first, BINARY, "{payload:?}");
            self.frames.unsplit(payload);
            self.messages += 1;
        }
    }
}

/// One WebSocket frame of a gateway, which are all whole and unmasked: its first byte and its payload.
fn take_message(received: &mut BytesMut) -> Option<(u8, BytesMut)> {
    let (&[first, short], rest) = received.split_first_chunk()?;
    let (header_bytes, payload_bytes) = match short {
        0..126 => (2, usize::from(short)),
        126 => (4, usize::from(u16::from_be_bytes(*rest.first_chunk()?))),
        _ => (10, usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).unwrap()),
    };
    if received.len() < header_bytes + payload_bytes {
        return None;
    }
    received.advance(header_bytes);
    Some((first, received.split_to(payload_bytes)))
}

/// A WebSocket frame as a client must send it. `first` is its first byte.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match u16::try_from(payload.len()).unwrap() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend(KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// A `Hello` of version 1.
pub(crate) fn hello(user: &str) -> pb::Hello {
    pb::Hello { versions: vec![1], user: user.into(), outbox: 1, ..pb::Hello::default() }
}

/// A frame without business and id.
pub(crate) fn control(kind: Kind, message: &impl prost::Message) -> Vec<u8> {
    frame(kind, BusinessCode::default(), 0, message)
}

/// A request of a client that keeps an outbox.
#[derive(Default)]
pub(crate) struct Message {
    pub(crate) id: u64,
    /// The oldest unsettled id.
    pub(crate) oldest: u64,
    pub(crate) after: u64,
    pub(crate) flags: Flags,
    pub(crate) payload: &'static str,
}

impl Message {
    pub(crate) fn to(&self, business: BusinessCode) -> Vec<u8> {
        let (oldest_unsettled, after) = (self.oldest, self.after);
        let payload = self.payload.as_bytes().into();
        let request = pb::Request { oldest_unsettled, after, payload, ..pb::Request::default() };
        frame_with(self.flags, Kind::Request, business, self.id, &request)
    }
}

/// A `Request` frame; with a timeout of 0 the business's own holds.
pub(crate) fn request(business: BusinessCode, id: u64, timeout_ms: u32, payload: &[u8]) -> Vec<u8> {
    let message = pb::Request { timeout_ms, payload: payload.to_vec().into(), ..pb::Request::default() };
    frame(Kind::Request, business, id, &message)
}

fn frame(kind: Kind, business: BusinessCode, id: u64, message: &impl prost::Message) -> Vec<u8> {
    frame_with(Flags::default(), kind, business, id, message)
}

fn frame_with(flags: Flags, kind: Kind, business: BusinessCode, id: u64, message: &impl prost::Message) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(&mut out, kind, flags, business, MessageId(id), message).unwrap();
    out.to_vec()
}

/// A reply as outcome and reason; `None` as reason for a plain reply.
pub(crate) fn ending(reply: &pb::Reply) -> (pb::Outcome, Option<Reason>) {
    (reply.outcome(), Reason::from_code(reply.reason))
}
