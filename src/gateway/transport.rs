//! A socket with its framing taken off: plain TCP carries frames as they are, WebSocket wraps them. TLS will be a third.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{BufMut, BytesMut};
use tokio::{io::AsyncWrite, net::TcpStream};

use super::scratch::{Scratch, make_room};
use crate::wire::{
    Reason,
    websocket::{self, Decoder, Event, FrameError},
};

/// The largest WebSocket message, in bytes. It holds any number of frames, which have limits of their own, and is never
/// collected; so this only keeps its header honest.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// The WebSocket close code of a client that gives none.
const NORMAL_CLOSURE: u16 = 1000;

/// How long a client has to read the last frame.
pub const LEAVE_TIME: Duration = Duration::from_secs(2);

/// A client's socket.
#[derive(Debug)]
pub struct Transport {
    socket: TcpStream,
    framing: Framing,
}

#[derive(Debug)]
enum Framing {
    Raw,
    WebSocket {
        decoder: Decoder,
        /// The beginning of a WebSocket header whose end has not been read.
        partial: Option<Box<BytesMut>>,
        /// The code of the client's close, which is to be sent back.
        closing: Option<u16>,
    },
}

/// What one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// At least one byte, which is a sign of life.
    Bytes,
    /// The client has closed its side.
    End,
    /// Bytes that break the transport's own rules.
    Malformed(Reason),
}

impl Transport {
    /// Frames directly on a stream of bytes.
    pub const fn raw(socket: TcpStream) -> Self {
        Self { socket, framing: Framing::Raw }
    }

    /// Frames in binary WebSocket messages, after the upgrade.
    pub fn websocket(socket: TcpStream) -> Self {
        Self { socket, framing: Framing::WebSocket { decoder: Decoder::default(), partial: None, closing: None } }
    }

    /// Reads once and appends the frames' bytes to `input`. Answers to the transport's own pings go to `scratch.framed`.
    ///
    /// A client's close ends the stream only with the next read, so that what came before it is taken first. The close
    /// in return (RFC 6455 §5.5.1) goes to `scratch.framed`, behind all of `scratch.output`.
    ///
    /// # Errors
    ///
    /// If the socket is broken.
    pub fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut BytesMut,
        scratch: &mut Scratch,
    ) -> Poll<io::Result<Received>> {
        match &mut self.framing {
            Framing::Raw => poll_read(&self.socket, cx, input),
            Framing::WebSocket { decoder, .. } if decoder.is_closed() => {
                self.answer_close(scratch);
                Poll::Ready(Ok(Received::End))
            }
            Framing::WebSocket { decoder, partial, closing } => {
                let mut raw = partial.take().map_or_else(|| std::mem::take(&mut scratch.raw), |partial| *partial);
                make_room(&mut raw);
                let mut result = poll_read(&self.socket, cx, &mut raw);
                if let Poll::Ready(Ok(Received::Bytes)) = result {
                    result = Poll::Ready(Ok(unwrap(decoder, &mut raw, input, &mut scratch.framed, closing)));
                }
                if !raw.is_empty() {
                    *partial = Some(Box::new(BytesMut::from(&raw[..])));
                }
                raw.clear();
                scratch.raw = raw;
                result
            }
        }
    }

    fn answer_close(&mut self, scratch: &mut Scratch) {
        if let Framing::WebSocket { closing, .. } = &mut self.framing
            && let Some(code) = closing.take()
        {
            wrap(&mut scratch.output, &mut scratch.framed);
            websocket::put_close(&mut scratch.framed, code, "");
        }
    }

    /// Takes everything that is to be written out of `scratch`, framed. Give the buffer back with
    /// [`Scratch::give_back`].
    pub fn framed(&self, scratch: &mut Scratch) -> BytesMut {
        match self.framing {
            Framing::Raw => std::mem::take(&mut scratch.output),
            Framing::WebSocket { .. } => {
                let mut bytes = std::mem::take(&mut scratch.framed);
                wrap(&mut scratch.output, &mut bytes);
                bytes
            }
        }
    }

    /// Moves everything that is to be written out of `scratch` behind `unsent`, framed.
    pub fn frame_onto(&self, scratch: &mut Scratch, unsent: &mut BytesMut) {
        match self.framing {
            Framing::Raw => unsent.put(std::mem::take(&mut scratch.output)),
            Framing::WebSocket { .. } => {
                unsent.put_slice(&scratch.framed);
                scratch.framed.clear();
                wrap(&mut scratch.output, unsent);
            }
        }
    }

    /// Appends what the transport itself says at the end of a connection.
    pub fn put_close(&self, reason: Reason, out: &mut BytesMut) {
        match self.framing {
            Framing::Raw => {}
            Framing::WebSocket { .. } => websocket::put_close(out, reason.close_code(), reason.name()),
        }
    }

    /// Writes what the socket takes.
    ///
    /// # Errors
    ///
    /// If the socket is broken.
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            // Most writes go through at once; asking for readiness first would cost a registration each time.
            match self.socket.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.socket.poll_write_ready(cx))?,
                result => return Poll::Ready(result),
            }
        }
    }

    /// Says that nothing more will be written, then reads and throws away until the client closes its side: closing a
    /// socket with unread bytes would reset the connection and could take the last frame with it. The caller bounds the
    /// time by [`LEAVE_TIME`].
    pub fn poll_leave(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<()> {
        if ready!(Pin::new(&mut self.socket).poll_shutdown(cx)).is_err() {
            return Poll::Ready(());
        }
        loop {
            scratch.raw.clear();
            make_room(&mut scratch.raw);
            match ready!(poll_read(&self.socket, cx, &mut scratch.raw)) {
                Ok(Received::Bytes) => {}
                Ok(Received::End | Received::Malformed(_)) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}

/// Reads once; waits if there is nothing.
///
/// # Errors
///
/// If the socket is broken.
pub fn poll_read(socket: &TcpStream, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<Received>> {
    loop {
        ready!(socket.poll_read_ready(cx))?;
        match socket.try_read_buf(input) {
            Ok(0) => return Poll::Ready(Ok(Received::End)),
            Ok(_) => return Poll::Ready(Ok(Received::Bytes)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

/// Moves `output` into one binary message at the end of `out`.
fn wrap(output: &mut BytesMut, out: &mut BytesMut) {
    if !output.is_empty() {
        websocket::put_binary_header(out, output.len());
        out.put_slice(output);
        output.clear();
    }
}

/// Takes the WebSocket framing off.
fn unwrap(
    decoder: &mut Decoder,
    raw: &mut BytesMut,
    input: &mut BytesMut,
    control: &mut BytesMut,
    closing: &mut Option<u16>,
) -> Received {
    loop {
        match decoder.decode(raw, input, MAX_MESSAGE_BYTES) {
            Ok(None) => return Received::Bytes,
            Ok(Some(Event::Ping(payload))) => websocket::put_pong(control, &payload),
            Ok(Some(Event::Pong)) => {}
            Ok(Some(Event::Close { code })) => *closing = Some(code.unwrap_or(NORMAL_CLOSURE)),
            Err(FrameError::TooLarge { .. }) => return Received::Malformed(Reason::TooLarge),
            Err(_) => return Received::Malformed(Reason::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    #[tokio::test]
    async fn what_comes_before_a_close_is_taken_and_the_close_is_answered_behind_everything() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut transport = Transport::websocket(listener.accept().await.unwrap().0);
        // A binary message "hi", a close with the code 1001, and bytes that mean nothing any more; the key is zero.
        client.write_all(b"\x82\x82\0\0\0\0hi\x88\x82\0\0\0\0\x03\xe9more").await.unwrap();
        let (mut input, mut scratch) = (BytesMut::new(), Scratch::default());
        let first = poll_fn(|cx| transport.poll_receive(cx, &mut input, &mut scratch)).await.unwrap();
        assert_eq!((first, &input[..], &scratch.framed[..]), (Received::Bytes, &b"hi"[..], &b""[..]));
        scratch.output.put_slice(b"reply");
        let second = poll_fn(|cx| transport.poll_receive(cx, &mut input, &mut scratch)).await.unwrap();
        assert_eq!(
            (second, &transport.framed(&mut scratch)[..]),
            (Received::End, &b"\x82\x05reply\x88\x02\x03\xe9"[..])
        );
    }
}
