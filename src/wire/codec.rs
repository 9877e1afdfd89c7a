//! One frame out of a buffer, one frame into a buffer. Decoding is incremental: it asks for more until a whole frame is
//! there, and takes nothing from the buffer before that.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use super::{
    MAX_BODY_BYTES,
    header::{FIRST_CRITICAL_KIND, Flags, HEADER_BYTES, Header, Kind},
};
use crate::id::{BusinessCode, MessageId};

/// A frame of a known kind, its body not decoded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// See [`Flags`].
    pub flags: Flags,
    /// The business, on requests, replies and pushes.
    pub business: BusinessCode,
    /// The message id on requests and replies, the push id on pushes, else 0.
    pub id: MessageId,
    /// The protobuf body: a slice of the bytes that came in.
    pub body: Bytes,
}

/// Bytes that are not frames. The connection cannot go on after any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The header names a body above the limit.
    #[error("a body of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// What the header says.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A kind that this version does not know and must not skip.
    #[error("frame kind {0} is not known")]
    UnknownKind(u8),
    /// The body is not the protobuf message of its kind.
    #[error("the body of a {0:?} frame is malformed")]
    Malformed(Kind),
}

/// Takes the next frame of a known kind out of `buffer`. `None` asks for more bytes.
///
/// Unknown kinds below 128 are skipped. `max_body` bounds every body, in bytes; nothing is reserved for a body before it
/// has been checked.
///
/// # Errors
///
/// If what stands in the buffer can never become an acceptable frame.
pub fn decode(buffer: &mut BytesMut, max_body: usize) -> Result<Option<Frame>, DecodeError> {
    loop {
        let Some(bytes) = buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let header = Header::decode(bytes);
        let kind = Kind::from_code(header.kind);
        if kind.is_none() && header.kind >= FIRST_CRITICAL_KIND {
            return Err(DecodeError::UnknownKind(header.kind));
        }
        if header.body_bytes > max_body {
            return Err(DecodeError::TooLarge { bytes: header.body_bytes, limit: max_body });
        }
        if buffer.len() < HEADER_BYTES + header.body_bytes {
            return Ok(None);
        }
        let mut frame = buffer.split_to(HEADER_BYTES + header.body_bytes);
        let Some(kind) = kind else { continue };
        let body = frame.split_off(HEADER_BYTES).freeze();
        return Ok(Some(Frame { kind, flags: header.flags, business: header.business, id: header.id, body }));
    }
}

impl Frame {
    /// Decodes the body as the message of this frame's kind.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Malformed`] if it is not one.
    pub fn message<M: Message + Default>(self) -> Result<M, DecodeError> {
        M::decode(self.body).map_err(|_| DecodeError::Malformed(self.kind))
    }
}

/// Appends a frame to `out`.
///
/// # Errors
///
/// [`DecodeError::TooLarge`], and nothing is written, if the body does not fit the header's length field.
pub fn encode(
    out: &mut BytesMut,
    kind: Kind,
    flags: Flags,
    business: BusinessCode,
    id: MessageId,
    message: &impl Message,
) -> Result<(), DecodeError> {
    let body_bytes = message.encoded_len();
    if body_bytes > MAX_BODY_BYTES {
        return Err(DecodeError::TooLarge { bytes: body_bytes, limit: MAX_BODY_BYTES });
    }
    out.reserve(HEADER_BYTES + body_bytes);
    out.put_slice(&Header { body_bytes, kind: kind as u8, flags, business, id }.encode());
    message.encode_raw(out);
    Ok(())
}

/// Appends a control frame (no business, no id) to `out`. Control messages are small by construction.
pub fn encode_control(out: &mut BytesMut, kind: Kind, message: &impl Message) {
    let encoded = encode(out, kind, Flags::default(), BusinessCode::default(), MessageId::default(), message);
    debug_assert!(encoded.is_ok(), "a control message outgrew the header");
}
