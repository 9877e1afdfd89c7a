//! Frames to a client: final and never masked, as RFC 6455 §5.1 wants them from a server.

use bytes::{BufMut, BytesMut};

use super::{FIN, MAX_CONTROL_BYTES, opcode};

/// The longest header that [`put_binary_header`] writes, in bytes.
pub const MAX_BINARY_HEADER_BYTES: usize = 10;

/// Bytes of the code in front of a close frame's reason.
const CODE_BYTES: usize = 2;

/// Appends the header of a binary message whose `payload_bytes` the caller writes next.
pub fn put_binary_header(out: &mut BytesMut, payload_bytes: usize) {
    out.put_u8(FIN | opcode::BINARY);
    match payload_bytes {
        0..=125 => out.put_u8(payload_bytes as u8),
        126..=0xffff => {
            out.put_u8(126);
            out.put_u16(payload_bytes as u16);
        }
        _ => {
            out.put_u8(127);
            out.put_u64(payload_bytes as u64);
        }
    }
}

/// Appends the answer to a ping, with the ping's payload. What is beyond [`MAX_CONTROL_BYTES`] is left out.
pub fn put_pong(out: &mut BytesMut, payload: &[u8]) {
    let payload = &payload[..payload.len().min(MAX_CONTROL_BYTES)];
    out.put_slice(&[FIN | opcode::PONG, payload.len() as u8]);
    out.put_slice(payload);
}

/// Appends a close with a code and a reason for people, which is cut at a character's boundary if it is too long.
pub fn put_close(out: &mut BytesMut, code: u16, reason: &str) {
    let reason = &reason[..reason.floor_char_boundary(MAX_CONTROL_BYTES - CODE_BYTES)];
    out.put_slice(&[FIN | opcode::CLOSE, (CODE_BYTES + reason.len()) as u8]);
    out.put_u16(code);
    out.put_slice(reason.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
        let mut out = BytesMut::new();
        write(&mut out);
        out.to_vec()
    }

    #[test]
    fn lengths_are_written_in_their_shortest_form() {
        for (payload_bytes, header) in [
            (0, &b"\x82\x00"[..]),
            (125, b"\x82\x7d"),
            (126, b"\x82\x7e\x00\x7e"),
            (256, b"\x82\x7e\x01\x00"), // RFC 6455 §5.7
            (65535, b"\x82\x7e\xff\xff"),
            (65536, b"\x82\x7f\0\0\0\0\0\x01\0\0"), // RFC 6455 §5.7
        ] {
            assert_eq!(written(|out| put_binary_header(out, payload_bytes)), header);
            assert!(header.len() <= MAX_BINARY_HEADER_BYTES);
        }
    }

    #[test]
    fn a_pong_carries_the_pings_payload() {
        assert_eq!(written(|out| put_pong(out, b"Hello")), b"\x8a\x05Hello");
        assert_eq!(written(|out| put_pong(out, &[7; 200])).len(), 2 + MAX_CONTROL_BYTES);
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        assert_eq!(written(|out| put_close(out, 4100, "limit")), b"\x88\x07\x10\x04limit");
        let long = written(|out| put_close(out, 1002, &"ä".repeat(100)));
        assert_eq!(long.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&long[4..]).is_ok());
    }
}
