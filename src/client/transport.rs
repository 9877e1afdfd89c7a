//! The streams below the frames. An idle link holds no buffer of its own: what is read goes through the stack into a
//! buffer as large as what came, and both ends of that buffer belong to the driver.

use std::{
    io,
    mem::MaybeUninit,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use futures_util::{Sink, Stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        handshake::client::Request,
        http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL},
        protocol::{CloseFrame, WebSocketConfig},
    },
};

use super::{ClientConfig, CloseReason, ConnectError, ProtocolError, TransportKind, Verdict};
use crate::wire::{self, HEADER_BYTES, Header};

/// Bytes read at once; they lie on the stack.
const READ_BYTES: usize = 8 * 1024;
/// What tungstenite allocates per connection for reading, in bytes (its own default is 128 KiB).
const WEBSOCKET_READ_BYTES: usize = 1024;
/// Frames are gathered into WebSocket messages of at most this many bytes; a longer frame has a message of its own.
const WEBSOCKET_MESSAGE_BYTES: usize = 16 * 1024;
/// WebSocket close codes above this are a reason's code plus this.
const CLOSE_CODE_BASE: u16 = 4000;

/// A stream that carries frames.
#[derive(Debug)]
pub(super) enum Link {
    Tcp(TcpStream),
    WebSocket(Box<WebSocketStream<TcpStream>>),
}

impl Link {
    /// Connects, and speaks what must be spoken before the first frame. TLS will wrap the stream between the two.
    pub(super) async fn open(address: &str, config: &ClientConfig) -> Result<Self, ConnectError> {
        let stream = dial(address, config.source_address).await?;
        match config.transport {
            TransportKind::Tcp => Ok(Self::Tcp(stream)),
            TransportKind::WebSocket => upgrade(stream, address, config).await,
        }
    }

    /// What goes out before the first frame.
    pub(super) fn preamble(&self) -> &'static [u8] {
        match self {
            Self::Tcp(_) => &wire::MAGIC,
            Self::WebSocket(_) => &[],
        }
    }

    /// Appends to `buffer` what has arrived.
    pub(super) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<Result<(), CloseReason>> {
        match self {
            Self::Tcp(stream) => poll_read(stream, cx, buffer),
            Self::WebSocket(stream) => poll_message(stream, cx, buffer),
        }
    }

    /// Sends the whole frames in `unsent`; ready when all of it is on its way.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, unsent: &mut BytesMut) -> Poll<Result<(), CloseReason>> {
        match self {
            Self::Tcp(stream) => poll_write(stream, cx, unsent),
            Self::WebSocket(stream) => poll_send_messages(stream, cx, unsent).map_err(websocket_fault),
        }
    }

    /// Says goodbye as far as that is possible without waiting.
    pub(super) fn poll_goodbye(&mut self, cx: &mut Context<'_>) {
        let _best_effort = match self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx).map(|_| ()),
            Self::WebSocket(stream) => Pin::new(stream.as_mut()).poll_close(cx).map(|_| ()),
        };
    }
}

async fn dial(address: &str, source: Option<IpAddr>) -> Result<TcpStream, ConnectError> {
    // A literal address skips the look-up, which takes a thread.
    let candidates = match address.parse::<SocketAddr>() {
        Ok(address) => vec![address],
        Err(_) => tokio::net::lookup_host(address).await?.collect(),
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in candidates {
        match dial_one(candidate, source).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last.into())
}

async fn dial_one(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(address).await?;
    // Frames are gathered before they are written; waiting for more would only delay them.
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn upgrade(stream: TcpStream, address: &str, config: &ClientConfig) -> Result<Link, ConnectError> {
    let settings = WebSocketConfig::default()
        .read_buffer_size(WEBSOCKET_READ_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(config.max_body_bytes + HEADER_BYTES))
        .max_frame_size(Some(config.max_body_bytes + HEADER_BYTES));
    let request = upgrade_request(address).map_err(|error| ConnectError::Handshake(Box::new(error)))?;
    match tokio_tungstenite::client_async_with_config(request, stream, Some(settings)).await {
        Ok((stream, _response)) => Ok(Link::WebSocket(Box::new(stream))),
        Err(tungstenite::Error::Io(error)) => Err(error.into()),
        Err(error) => Err(ConnectError::Handshake(Box::new(error))),
    }
}

fn upgrade_request(address: &str) -> Result<Request, tungstenite::Error> {
    use tungstenite::client::IntoClientRequest;
    let mut request = format!("ws://{address}/").into_client_request()?;
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(wire::SUBPROTOCOL));
    Ok(request)
}

fn poll_read(stream: &mut TcpStream, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<Result<(), CloseReason>> {
    let mut chunk = [MaybeUninit::uninit(); READ_BYTES];
    let mut chunk = ReadBuf::uninit(&mut chunk);
    ready!(Pin::new(stream).poll_read(cx, &mut chunk)).map_err(io_fault)?;
    if chunk.filled().is_empty() {
        return Poll::Ready(Err(CloseReason::Disconnected));
    }
    buffer.extend_from_slice(chunk.filled());
    Poll::Ready(Ok(()))
}

fn poll_write(stream: &mut TcpStream, cx: &mut Context<'_>, unsent: &mut BytesMut) -> Poll<Result<(), CloseReason>> {
    while !unsent.is_empty() {
        let written = ready!(Pin::new(&mut *stream).poll_write(cx, unsent)).map_err(io_fault)?;
        if written == 0 {
            return Poll::Ready(Err(CloseReason::Disconnected));
        }
        unsent.advance(written);
    }
    Poll::Ready(Ok(()))
}

fn poll_message(
    stream: &mut WebSocketStream<TcpStream>,
    cx: &mut Context<'_>,
    buffer: &mut BytesMut,
) -> Poll<Result<(), CloseReason>> {
    loop {
        match ready!(Pin::new(&mut *stream).poll_next(cx)) {
            Some(Ok(Message::Binary(bytes))) => {
                buffer.extend_from_slice(&bytes);
                return Poll::Ready(Ok(()));
            }
            Some(Ok(Message::Close(frame))) => return Poll::Ready(Err(closed(frame))),
            Some(Ok(Message::Text(_))) => {
                let fault = ProtocolError::WebSocket("a text message".into());
                return Poll::Ready(Err(fault.into()));
            }
            // The library answers pings itself.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Err(error)) => return Poll::Ready(Err(websocket_fault(error))),
            None => return Poll::Ready(Err(CloseReason::Disconnected)),
        }
    }
}

fn poll_send_messages(
    stream: &mut WebSocketStream<TcpStream>,
    cx: &mut Context<'_>,
    unsent: &mut BytesMut,
) -> Poll<Result<(), tungstenite::Error>> {
    while !unsent.is_empty() {
        ready!(Pin::new(&mut *stream).poll_ready(cx))?;
        let message = unsent.split_to(whole_frames(unsent, WEBSOCKET_MESSAGE_BYTES)).freeze();
        Pin::new(&mut *stream).start_send(Message::Binary(message))?;
    }
    Pin::new(stream).poll_flush(cx)
}

/// How many bytes at the front of `frames` are whole frames and within `limit`; at least one frame.
fn whole_frames(frames: &[u8], limit: usize) -> usize {
    let mut end = 0;
    while let Some(header) = frames.get(end..).and_then(<[u8]>::first_chunk::<HEADER_BYTES>) {
        let next = end + HEADER_BYTES + Header::decode(header).body_bytes;
        if next > frames.len() || (end > 0 && next > limit) {
            break;
        }
        end = next;
    }
    end
}

fn io_fault(error: io::Error) -> CloseReason {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            CloseReason::Disconnected
        }
        kind => CloseReason::Io(kind),
    }
}

fn websocket_fault(error: tungstenite::Error) -> CloseReason {
    use tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
    match error {
        tungstenite::Error::Io(error) => io_fault(error),
        tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed
        | tungstenite::Error::Protocol(ResetWithoutClosingHandshake) => CloseReason::Disconnected,
        other => ProtocolError::WebSocket(other.to_string()).into(),
    }
}

/// A close code of this protocol says why, where no frame has said so before.
fn closed(frame: Option<CloseFrame>) -> CloseReason {
    let Some(frame) = frame else { return CloseReason::Disconnected };
    match u16::from(frame.code).checked_sub(CLOSE_CODE_BASE) {
        Some(code) => {
            let verdict = Verdict::new(code.into(), frame.reason.to_string(), 0);
            CloseReason::Refused { verdict, alternatives: Vec::new() }
        }
        None => CloseReason::Disconnected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Kind;

    #[test]
    fn a_websocket_message_holds_whole_frames_and_at_least_one() {
        let mut frames = BytesMut::new();
        for _ in 0..3 {
            wire::encode_control(&mut frames, Kind::PushAck, &crate::pb::client::PushAck { push_id: 5 });
        }
        let one = frames.len() / 3;
        assert_eq!(whole_frames(&frames, 1), one);
        assert_eq!(whole_frames(&frames, 2 * one), 2 * one);
        assert_eq!(whole_frames(&frames, 3 * one - 1), 2 * one);
        assert_eq!(whole_frames(&frames, usize::MAX), 3 * one);
    }

    #[test]
    fn a_close_code_above_4000_is_a_reason() {
        let frame = CloseFrame { code: 4007.into(), reason: "bye".into() };
        let reason = closed(Some(frame));
        assert_eq!(
            reason,
            CloseReason::Refused { verdict: Verdict::new(7, "bye".into(), 0), alternatives: Vec::new() }
        );
        assert!(!reason.is_retryable());
        assert_eq!(closed(Some(CloseFrame { code: 1000.into(), reason: "".into() })), CloseReason::Disconnected);
    }
}
