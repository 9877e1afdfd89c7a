//! Bytes ⇄ frames. Every length is checked before anything is read or allocated for it, a frame can be classified and
//! refused before its body is decoded, and payloads are slices of the bytes that came in.

pub mod codec;
pub mod header;
pub mod reason;
#[cfg(feature = "gateway")]
pub mod websocket;

pub use codec::{DecodeError, Frame, decode, encode, encode_control};
pub use header::{Flags, HEADER_BYTES, Header, Kind};
pub use reason::Reason;

/// What a client sends first on plain TCP, before any frame.
pub const MAGIC: [u8; 4] = *b"DGR1";

/// The WebSocket subprotocol.
pub const SUBPROTOCOL: &str = "dagor.v1";

/// The protocol version spoken here.
pub const VERSION: u32 = 1;

/// The largest body that the header can name, in bytes.
pub const MAX_BODY_BYTES: usize = (1 << 24) - 1;
