//! The driver against a scripted listener on loopback, over TCP and over WebSocket.

use std::{net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use dagor::{
    client::{ClientConfig, CloseReason, ConnectError, DirectClient, ProtocolError, RequestError, TransportKind},
    pb::client as pb,
    wire::{self, Kind, Reason},
};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
        http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL},
        protocol::CloseFrame,
    },
};

use crate::gateway::{Gateway, MESSAGE, replied, welcome};

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn config(address: SocketAddr) -> ClientConfig {
    ClientConfig { device: "phone".into(), ..ClientConfig::new(address.to_string(), "alice") }
}

/// A client's socket, seen from the gateway.
struct Peer {
    stream: Stream,
    gateway: Gateway,
}

enum Stream {
    Tcp(TcpStream),
    WebSocket(Box<WebSocketStream<TcpStream>>),
}

impl Peer {
    async fn accept(listener: &TcpListener, transport: TransportKind) -> Self {
        let mut stream = listener.accept().await.unwrap().0;
        let stream = if transport == TransportKind::WebSocket {
            let upgraded = tokio_tungstenite::accept_hdr_async(stream, subprotocol).await;
            Stream::WebSocket(Box::new(upgraded.unwrap()))
        } else {
            let mut magic = [0; 4];
            stream.read_exact(&mut magic).await.unwrap();
            assert_eq!(magic, wire::MAGIC);
            Stream::Tcp(stream)
        };
        Self { stream, gateway: Gateway::default() }
    }

    /// Accepts a client and lets it in.
    async fn welcome(listener: &TcpListener, transport: TransportKind) -> Self {
        let mut peer = Self::accept(listener, transport).await;
        assert_eq!(peer.next().await.unwrap().kind, Kind::Hello);
        peer.gateway.control(Kind::Welcome, &welcome());
        peer.flush().await;
        peer
    }

    /// The next frame; `None` when the client has closed.
    async fn next(&mut self) -> Option<wire::Frame> {
        loop {
            if let Some(frame) = self.gateway.next() {
                return Some(frame);
            }
            match &mut self.stream {
                Stream::Tcp(stream) => {
                    if stream.read_buf(&mut self.gateway.received).await.unwrap() == 0 {
                        return None;
                    }
                }
                Stream::WebSocket(stream) => match stream.next().await?.unwrap() {
                    Message::Binary(bytes) => {
                        self.gateway.received.extend_from_slice(&bytes);
                        assert_whole_frames(&self.gateway.received);
                    }
                    Message::Close(_) => return None,
                    other => panic!("{other:?}"),
                },
            }
        }
    }

    async fn flush(&mut self) {
        let bytes = self.gateway.outgoing.split().freeze();
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(&bytes).await.unwrap(),
            Stream::WebSocket(stream) => stream.send(Message::Binary(bytes)).await.unwrap(),
        }
    }
}

#[expect(clippy::result_large_err, reason = "the library's signature")]
fn subprotocol(
    request: &Request,
    mut response: Response,
) -> Result<Response, tokio_tungstenite::tungstenite::handshake::server::ErrorResponse> {
    assert_eq!(request.headers()[SEC_WEBSOCKET_PROTOCOL], wire::SUBPROTOCOL);
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(wire::SUBPROTOCOL));
    Ok(response)
}

fn assert_whole_frames(bytes: &BytesMut) {
    let mut rest = bytes.clone();
    while wire::decode(&mut rest, 1 << 20).unwrap().is_some() {}
    assert!(rest.is_empty(), "a message ends within a frame");
}

async fn connected(transport: TransportKind) -> (DirectClient, dagor::client::Pushes, Peer) {
    let (listener, address) = listen().await;
    let config = ClientConfig { transport, ..config(address) };
    let (client, peer) = tokio::join!(DirectClient::connect(config), Peer::welcome(&listener, transport));
    let (client, pushes) = client.unwrap();
    (client, pushes, peer)
}

async fn a_conversation(transport: TransportKind) {
    let (client, mut pushes, mut peer) = connected(transport).await;
    assert_eq!(client.business("message"), Some(MESSAGE));
    assert_eq!(client.session().gateway, "gateway-1");

    let one = client.request(MESSAGE, "one".into(), None);
    let two = client.request(MESSAGE, "two".into(), Some(Duration::from_secs(60)));
    let busy = client.request(MESSAGE, "three".into(), None).await;
    assert_eq!(busy, Err(RequestError::Busy));
    for _ in 0..2 {
        assert_eq!(peer.next().await.unwrap().kind, Kind::Request);
    }
    peer.gateway.push(1, "by the way");
    peer.gateway.reply(2, &replied("second"));
    peer.gateway.reply(1, &replied("first"));
    peer.flush().await;
    assert_eq!(one.await.unwrap().payload, "first");
    assert_eq!(two.await.unwrap().payload, "second");
    assert_eq!(pushes.recv().await.unwrap().payload, "by the way");
    assert_eq!(peer.next().await.unwrap().kind, Kind::PushAck);

    let unanswered = client.request(MESSAGE, "four".into(), None);
    assert_eq!(peer.next().await.unwrap().kind, Kind::Request);
    drop(client);
    assert_eq!(unanswered.await, Err(RequestError::Lost(CloseReason::Local)));
    assert_eq!(pushes.recv().await, None);
    assert_eq!(peer.next().await, None, "dropping the last handle closes the socket");
}

#[tokio::test]
async fn a_conversation_over_tcp() {
    a_conversation(TransportKind::Tcp).await;
}

#[tokio::test]
async fn a_conversation_over_websocket() {
    a_conversation(TransportKind::WebSocket).await;
}

#[tokio::test]
async fn many_requests_reach_the_gateway_whole() {
    for transport in [TransportKind::Tcp, TransportKind::WebSocket] {
        let (client, _pushes, mut peer) = connected(transport).await;
        let payload = Bytes::from(vec![7; 90]);
        for _ in 0..5000 {
            client.notify(MESSAGE, payload.clone()).unwrap();
        }
        for id in 1..=5000 {
            assert_eq!(peer.next().await.unwrap().id.0, id);
        }
    }
}

#[tokio::test]
async fn what_was_sent_just_before_the_end_arrives() {
    for transport in [TransportKind::Tcp, TransportKind::WebSocket] {
        let (client, _pushes, mut peer) = connected(transport).await;
        client.notify(MESSAGE, "last words".into()).unwrap();
        drop(client);
        assert_eq!(peer.next().await.unwrap().kind, Kind::Request);
        assert_eq!(peer.next().await, None);
    }
}

#[tokio::test]
async fn a_refused_login_is_a_typed_error_with_its_hint() {
    let (listener, address) = listen().await;
    let refuse = async {
        let mut peer = Peer::accept(&listener, TransportKind::Tcp).await;
        peer.next().await.unwrap();
        let refused = pb::Refused { reason: Reason::Limit.code(), retry_after_ms: 250, ..pb::Refused::default() };
        peer.gateway.control(Kind::Refused, &refused);
        peer.flush().await;
    };
    let (client, ()) = tokio::join!(DirectClient::connect(config(address)), refuse);
    let error = client.unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(error.retry_after(), Some(Duration::from_millis(250)));
}

#[tokio::test]
async fn a_gateway_that_goes_away_ends_the_connection_for_everyone() {
    let (client, mut pushes, peer) = connected(TransportKind::Tcp).await;
    let twin = client.clone();
    let unanswered = client.request(MESSAGE, "one".into(), None);
    drop(peer);
    assert!(matches!(unanswered.await, Err(RequestError::Lost(CloseReason::Disconnected))));
    assert_eq!(twin.closed().await, CloseReason::Disconnected);
    assert_eq!(pushes.recv().await, None);
    let after = client.request(MESSAGE, "two".into(), None).await;
    assert_eq!(after, Err(RequestError::Closed(CloseReason::Disconnected)));
}

#[tokio::test]
async fn a_websocket_close_code_tells_the_reason() {
    let (client, _pushes, mut peer) = connected(TransportKind::WebSocket).await;
    let Stream::WebSocket(stream) = &mut peer.stream else { panic!("not a WebSocket") };
    let frame = CloseFrame { code: Reason::Draining.close_code().into(), reason: "".into() };
    stream.as_mut().close(Some(frame)).await.unwrap();
    let CloseReason::Refused { verdict, .. } = client.closed().await else { panic!("no reason") };
    assert_eq!(verdict.reason(), Some(Reason::Draining));
}

#[tokio::test]
async fn a_text_message_breaks_the_protocol() {
    let (client, _pushes, mut peer) = connected(TransportKind::WebSocket).await;
    let Stream::WebSocket(stream) = &mut peer.stream else { panic!("not a WebSocket") };
    stream.send(Message::text("hello")).await.unwrap();
    assert!(matches!(client.closed().await, CloseReason::Protocol(ProtocolError::WebSocket(_))));
}

#[tokio::test]
async fn pushes_beyond_the_capacity_drop_the_oldest() {
    let (listener, address) = listen().await;
    let config = ClientConfig { push_capacity: 2, ..config(address) };
    let (client, mut peer) = tokio::join!(DirectClient::connect(config), Peer::welcome(&listener, TransportKind::Tcp));
    let (client, mut pushes) = client.unwrap();
    for (id, payload) in [(1, "one"), (2, "two"), (3, "three")] {
        peer.gateway.push(id, payload);
    }
    peer.flush().await;
    // The acknowledgement says that all three have been taken in.
    while peer.next().await.unwrap().message::<pb::PushAck>().unwrap().push_id < 3 {}
    assert_eq!(pushes.recv().await.unwrap().id, 2);
    assert_eq!(pushes.recv().await.unwrap().id, 3);
    assert_eq!(pushes.dropped(), 1);
    drop(client);
}

#[tokio::test]
async fn the_source_address_is_the_one_asked_for() {
    let (listener, address) = listen().await;
    let config = ClientConfig { source_address: Some("127.0.0.2".parse().unwrap()), ..config(address) };
    let accept = async {
        let (stream, from) = listener.accept().await.unwrap();
        drop(stream);
        from.ip().to_string()
    };
    let (client, from) = tokio::join!(DirectClient::connect(config), accept);
    assert_eq!(from, "127.0.0.2");
    assert!(matches!(client, Err(ConnectError::Closed(CloseReason::Disconnected))));
}

#[tokio::test]
async fn a_name_that_no_gateway_takes_is_not_sent() {
    let config = ClientConfig::new("127.0.0.1:9", "a".repeat(129));
    assert!(matches!(DirectClient::connect(config).await, Err(ConnectError::TooLong { bytes: 129, limit: 128, .. })));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let (listener, address) = listen().await;
    let config = ClientConfig { connect_timeout: Duration::from_millis(20), ..config(address) };
    let (client, _stream) = tokio::join!(DirectClient::connect(config), listener.accept());
    let error = client.unwrap_err();
    assert!(error.is_retryable(), "{error}");
}

#[test]
fn a_runtime_that_ends_leaves_nobody_waiting() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let (client, mut pushes, _peer) = first.block_on(connected(TransportKind::Tcp));
    let response = client.request(MESSAGE, "one".into(), None);
    drop(first);
    runtime().block_on(async {
        assert_eq!(response.await, Err(RequestError::Lost(CloseReason::Local)));
        assert_eq!(client.closed().await, CloseReason::Local);
        assert_eq!(pushes.recv().await, None);
    });
}
