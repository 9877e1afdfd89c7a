//! One connection's bytes over either transport: whole frames go out, bytes to decode come in.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use bytes::BytesMut;
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{self, ClientRequestBuilder, Message, protocol::WebSocketConfig},
};

use super::config::Transport;
use crate::wire::{HEADER_BYTES, Header, MAGIC, SUBPROTOCOL};

/// The defaults cost 128 KiB per idle connection.
const WEBSOCKET_READ_BUFFER_BYTES: usize = 4 << 10;

/// Frames are gathered into messages of at most this size, because a gateway limits messages as it limits frames.
const WEBSOCKET_MESSAGE_BYTES: usize = 16 << 10;

/// Where the gateway is and how frames travel to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) transport: Transport,
}

/// How a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// The peer sees an end of stream.
    Graceful,
    /// With a reset, so that thousands of short connections leave no port waiting.
    Reset,
}

pub(super) enum Reader {
    Tcp(OwnedReadHalf),
    WebSocket(Box<SplitStream<WebSocketStream<TcpStream>>>),
}

pub(super) enum Writer {
    Tcp(OwnedWriteHalf),
    WebSocket(Box<SplitSink<WebSocketStream<TcpStream>, Message>>),
}

impl Target {
    /// Connects, from `source` if one is given, up to the point where frames may flow.
    pub(super) async fn open(self, source: Option<Ipv4Addr>, closing: Closing) -> io::Result<(Reader, Writer)> {
        let socket = if self.address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(source) = source {
            socket.bind(SocketAddr::new(IpAddr::V4(source), 0))?;
        }
        let mut stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        if closing == Closing::Reset {
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        }
        match self.transport {
            Transport::Tcp => {
                stream.write_all(&MAGIC).await?;
                let (reader, writer) = stream.into_split();
                Ok((Reader::Tcp(reader), Writer::Tcp(writer)))
            }
            Transport::Ws => {
                let (writer, reader) = self.upgrade(stream).await?.split();
                Ok((Reader::WebSocket(Box::new(reader)), Writer::WebSocket(Box::new(writer))))
            }
        }
    }

    async fn upgrade(self, stream: TcpStream) -> io::Result<WebSocketStream<TcpStream>> {
        let uri = format!("ws://{}/", self.address).parse().map_err(io::Error::other)?;
        let request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
        let config = WebSocketConfig::default().read_buffer_size(WEBSOCKET_READ_BUFFER_BYTES);
        let (socket, _response) = client_async_with_config(request, stream, Some(config)).await.map_err(into_io)?;
        Ok(socket)
    }
}

impl Reader {
    /// Appends what has come in to `inbox`; false at the end of the stream. Nothing is lost if the future is dropped.
    pub(super) async fn receive(&mut self, inbox: &mut BytesMut) -> io::Result<bool> {
        match self {
            Self::Tcp(reader) => Ok(reader.read_buf(inbox).await? > 0),
            Self::WebSocket(reader) => match reader.next().await {
                Some(Ok(Message::Binary(bytes))) => {
                    inbox.extend_from_slice(&bytes);
                    Ok(true)
                }
                Some(Ok(Message::Close(_))) | None => Ok(false),
                Some(Ok(_)) => Ok(true),
                Some(Err(error)) => Err(into_io(error)),
            },
        }
    }
}

impl Writer {
    /// Sends whole frames.
    pub(super) async fn send(&mut self, mut frames: BytesMut) -> io::Result<()> {
        match self {
            Self::Tcp(writer) => writer.write_all_buf(&mut frames).await,
            Self::WebSocket(writer) => {
                while !frames.is_empty() {
                    let message = frames.split_to(whole_frames(&frames, WEBSOCKET_MESSAGE_BYTES));
                    writer.feed(Message::Binary(message.freeze())).await.map_err(into_io)?;
                }
                writer.flush().await.map_err(into_io)
            }
        }
    }
}

/// The length of the whole frames at the beginning of `frames` that fit into `limit` bytes, and of at least the first.
fn whole_frames(frames: &[u8], limit: usize) -> usize {
    let mut end = 0;
    while let Some(header) = frames[end..].first_chunk::<HEADER_BYTES>() {
        let next = end + HEADER_BYTES + Header::decode(header).body_bytes;
        if end > 0 && next > limit {
            break;
        }
        end = next.min(frames.len());
    }
    end
}

fn into_io(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{BusinessCode, MessageId},
        pb::client::Request,
        wire::{Flags, Kind, encode},
    };

    #[test]
    fn a_message_holds_whole_frames_and_at_least_one() {
        let mut frames = BytesMut::new();
        for payload_bytes in [10, 20, 30] {
            let request = Request { payload: vec![b'x'; payload_bytes].into(), ..Request::default() };
            encode(&mut frames, Kind::Request, Flags::default(), BusinessCode(1), MessageId(1), &request).unwrap();
        }
        let ends = [28, 28 + 38, 28 + 38 + 48];
        assert_eq!(whole_frames(&frames, 1), ends[0]);
        assert_eq!(whole_frames(&frames, ends[1]), ends[1]);
        assert_eq!(whole_frames(&frames, ends[2] - 1), ends[1]);
        assert_eq!(whole_frames(&frames, usize::MAX), frames.len());
    }
}
