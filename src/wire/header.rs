//! The 16 bytes before every body, big endian: length u24, kind u8, flags u8, reserved u8, business u16, message id u64.

use crate::id::{BusinessCode, MessageId};

/// Bytes of a header.
pub const HEADER_BYTES: usize = 16;

/// Kinds at or above this end the connection if they are not known; below it they are skipped.
pub const FIRST_CRITICAL_KIND: u8 = 128;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// What a frame is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Kind {
            $($(#[$doc])* $name = $code,)*
        }

        impl Kind {
            /// Every kind, in the order of their codes.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The kind with this code, if this version knows it.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// Client: who connects.
    Hello = 1,
    /// Gateway: logged in.
    Welcome = 2,
    /// Gateway: not logged in, or the end of a connection.
    Refused = 3,
    /// Client: a message for a logic service.
    Request = 4,
    /// Gateway: how a request ended.
    Reply = 5,
    /// Gateway: a message from a logic service.
    Push = 6,
    /// Client: pushes received.
    PushAck = 7,
    /// Either side: a sign of life that wants one back.
    Ping = 8,
    /// Either side: the sign of life that a ping wanted.
    Pong = 9,
    /// Gateway: move elsewhere.
    Goaway = 10,
    /// Gateway: the end; do not reconnect.
    Kick = 11,
    /// Gateway: many requests refused at once.
    Refusals = 12,
    /// Gateway: ids settled that no reply tells of.
    Settled = 13,
}

/// The flags byte. Bits without a meaning are ignored when read and zero when written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// The sender of a request wants no reply to it.
    pub const NO_REPLY_WANTED: Self = Self(1);
    /// The sender has sent this request before.
    pub const RESENT: Self = Self(2);

    /// Whether all of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A decoded header. The kind is a bare number, so that unknown ones can be skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the body that follows, at most 2²⁴ − 1.
    pub body_bytes: usize,
    /// See [`Kind`].
    pub kind: u8,
    /// See [`Flags`].
    pub flags: Flags,
    /// The business, on requests, replies and pushes.
    pub business: BusinessCode,
    /// The message id on requests and replies, the push id on pushes, else 0.
    pub id: MessageId,
}

impl Header {
    /// Reads a header.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Self {
        let [l0, l1, l2, kind, flags, _reserved, b0, b1, id @ ..] = *bytes;
        Self {
            body_bytes: u32::from_be_bytes([0, l0, l1, l2]) as usize,
            kind,
            flags: Flags(flags),
            business: BusinessCode(u16::from_be_bytes([b0, b1])),
            id: MessageId(u64::from_be_bytes(id)),
        }
    }

    /// Writes a header. The length must have been checked against [`super::MAX_BODY_BYTES`]; its upper byte is dropped.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let [_, l0, l1, l2] = (self.body_bytes as u32).to_be_bytes();
        let [b0, b1] = self.business.0.to_be_bytes();
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&[l0, l1, l2, self.kind, self.flags.0, 0, b0, b1]);
        bytes[8..].copy_from_slice(&self.id.0.to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_as_it_was_written() {
        let header = Header {
            body_bytes: 0x01_02_03,
            kind: Kind::Request as u8,
            flags: Flags::RESENT,
            business: BusinessCode(0x0405),
            id: MessageId(0x0607_0809_0a0b_0c0d),
        };
        let bytes = header.encode();
        assert_eq!(bytes, [1, 2, 3, 4, 2, 0, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
        assert_eq!(Header::decode(&bytes), header);
    }

    #[test]
    fn every_kind_is_found_by_its_code() {
        for &kind in Kind::ALL {
            assert_eq!(Kind::from_code(kind as u8), Some(kind));
            assert!((kind as u8) < FIRST_CRITICAL_KIND);
        }
        assert_eq!(Kind::from_code(0), None);
    }
}
