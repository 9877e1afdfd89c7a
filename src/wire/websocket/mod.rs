//! The server's side of RFC 6455, without a socket and without a buffer of its own: bytes in, bytes and [`Event`]s out.
//!
//! A connection on WebSocket costs one [`Decoder`] of 16 bytes more than one on plain TCP. Payload is handed on as it
//! comes, without waiting for the end of a WebSocket frame or message, because dagor's frames have lengths of their own:
//! the boundaries of messages carry no meaning here. Extensions are never agreed on, so reserved bits are errors.
//!
//! ```
//! use bytes::BytesMut;
//! use dagor::wire::websocket::{Decoder, Event};
//!
//! let mut decoder = Decoder::default();
//! let mut frames = BytesMut::new();
//! // A masked binary message "Hello", then a masked ping, as a client sends them.
//! let mut received = BytesMut::from(&b"\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x89\x80\0\0\0\0"[..]);
//! let event = decoder.decode(&mut received, &mut frames, 64 * 1024).unwrap();
//! assert_eq!(event, Some(Event::Ping(Default::default())));
//! assert_eq!(&frames[..], b"Hello");
//! ```

mod decode;
mod encode;
mod upgrade;

pub use decode::{Decoder, Event, FrameError};
pub use encode::{MAX_BINARY_HEADER_BYTES, put_binary_header, put_close, put_pong};
pub use upgrade::{MAX_HEAD_BYTES, MAX_HEADERS, Upgrade, UpgradeError};

/// The most payload that a ping, a pong or a close may carry, in bytes.
pub const MAX_CONTROL_BYTES: usize = 125;

/// Bits of a frame's first byte, from RFC 6455 §5.2.
const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
/// The mask bit of the second byte.
const MASKED: u8 = 0x80;

/// What a frame is.
mod opcode {
    pub(super) const CONTINUATION: u8 = 0x0;
    pub(super) const TEXT: u8 = 0x1;
    pub(super) const BINARY: u8 = 0x2;
    pub(super) const CLOSE: u8 = 0x8;
    pub(super) const PING: u8 = 0x9;
    pub(super) const PONG: u8 = 0xa;
}

#[cfg(test)]
mod tests;
