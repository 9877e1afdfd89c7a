//! Frames from a client. Every length is checked when its header is read, so that nothing is kept for a payload that
//! will be refused; and what is kept between two reads is this module's 16 bytes.

use bytes::{Buf, Bytes, BytesMut};

use super::{FIN, MASKED, MAX_CONTROL_BYTES, RESERVED, opcode};

/// What a client said about the connection itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Wants a pong with the same payload, at most [`MAX_CONTROL_BYTES`].
    Ping(Bytes),
    /// A sign of life.
    Pong,
    /// The client's last frame: whatever follows is thrown away.
    Close {
        /// Why, if it said so.
        code: Option<u16>,
    },
}

/// Bytes that a client must not send. The connection cannot go on after any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A client's frames are masked, all of them.
    #[error("a frame is not masked")]
    Unmasked,
    /// Extensions are never agreed on.
    #[error("a reserved bit is set")]
    ReservedBits,
    /// An opcode without a meaning.
    #[error("opcode {0:#x} is not known")]
    Opcode(u8),
    /// The protocol is binary.
    #[error("a text message; only binary ones are spoken here")]
    Text,
    /// A control frame in fragments, or with a payload over [`MAX_CONTROL_BYTES`].
    #[error("a control frame is fragmented or too long")]
    Control,
    /// A continuation of nothing, or a message within a message.
    #[error("a fragment is out of place")]
    Fragment,
    /// A length in more bytes than it needs.
    #[error("a length is not in its shortest form")]
    Length,
    /// A close frame of one byte, with a code that must not be sent, or with a reason that is no text.
    #[error("a close frame is malformed")]
    Close,
    /// A message above the limit.
    #[error("a message of {bytes} bytes or more is over the limit of {limit}")]
    TooLarge {
        /// What its headers said so far.
        bytes: u64,
        /// What is allowed.
        limit: usize,
    },
}

/// Where a connection stands between two reads.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    /// The key of the current frame, turned so that its first byte belongs to the next byte of payload.
    mask: [u8; 4],
    /// Payload of the current data frame that has not come yet.
    remaining: u32,
    /// Payload of the current message, over all its frames so far.
    message: u32,
    /// The last data frame was not its message's last.
    fragmented: bool,
    /// The client has sent its close.
    closed: bool,
}

impl Decoder {
    /// Takes what it can from `input` and appends the payload of binary messages to `output`. `None` asks for more
    /// input; after an event there may be more to take at once.
    ///
    /// At most a header and a control frame, 139 bytes, stay in `input`. `max_message` bounds a message over all its
    /// fragments, in bytes.
    ///
    /// # Errors
    ///
    /// If a client must not send this. What stood before it is in `output`.
    pub fn decode(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
        max_message: usize,
    ) -> Result<Option<Event>, FrameError> {
        loop {
            if self.closed {
                input.clear();
                return Ok(None);
            }
            self.take_payload(input, output);
            let Some(header) = Header::parse(input)? else { return Ok(None) };
            if !header.is_control() {
                self.begin(&header, max_message)?;
                input.advance(header.bytes);
            } else if input.len() < header.bytes + header.payload as usize {
                return Ok(None);
            } else {
                input.advance(header.bytes);
                return self.take_control(&header, input).map(Some);
            }
        }
    }

    /// Whether the client has sent its close.
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    fn take_payload(&mut self, input: &mut BytesMut, output: &mut BytesMut) {
        let bytes = input.len().min(self.remaining as usize);
        let start = output.len();
        output.extend_from_slice(&input[..bytes]);
        unmask(&mut output[start..], self.mask);
        input.advance(bytes);
        self.mask.rotate_left(bytes % 4);
        self.remaining -= bytes as u32;
    }

    /// Starts a data frame.
    fn begin(&mut self, header: &Header, max_message: usize) -> Result<(), FrameError> {
        let before = match (header.opcode, self.fragmented) {
            (opcode::BINARY, false) => 0,
            (opcode::CONTINUATION, true) => self.message,
            _ => return Err(FrameError::Fragment),
        };
        let bytes = header.payload.saturating_add(before.into());
        let message = u32::try_from(bytes).ok().filter(|&bytes| bytes as usize <= max_message);
        self.message = message.ok_or(FrameError::TooLarge { bytes, limit: max_message })?;
        // Part of a sum that fits.
        self.remaining = header.payload as u32;
        self.mask = header.mask;
        self.fragmented = !header.last;
        Ok(())
    }

    /// Takes the payload of a control frame, which is in `input` as a whole.
    fn take_control(&mut self, header: &Header, input: &mut BytesMut) -> Result<Event, FrameError> {
        let mut buffer = [0; MAX_CONTROL_BYTES];
        let payload = &mut buffer[..header.payload as usize];
        input.copy_to_slice(payload);
        unmask(payload, header.mask);
        match header.opcode {
            opcode::PING => Ok(Event::Ping(Bytes::copy_from_slice(payload))),
            opcode::PONG => Ok(Event::Pong),
            _ => {
                self.closed = true;
                close_code(payload).map(|code| Event::Close { code })
            }
        }
    }
}

/// The code in a close frame, RFC 6455 §7.4.
fn close_code(payload: &[u8]) -> Result<Option<u16>, FrameError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(FrameError::Close) };
    };
    match u16::from_be_bytes(*code) {
        code @ (1000..=1003 | 1007..=1014 | 3000..=4999) if std::str::from_utf8(reason).is_ok() => Ok(Some(code)),
        _ => Err(FrameError::Close),
    }
}

/// The 6 to 14 bytes before a payload.
struct Header {
    last: bool,
    opcode: u8,
    payload: u64,
    mask: [u8; 4],
    /// Of the header itself.
    bytes: usize,
}

impl Header {
    /// `None` asks for more bytes. The first two are judged as soon as they are there.
    fn parse(input: &[u8]) -> Result<Option<Self>, FrameError> {
        let [first, second, rest @ ..] = input else { return Ok(None) };
        let last = first & FIN != 0;
        let opcode = first & 0x0f;
        if first & RESERVED != 0 {
            return Err(FrameError::ReservedBits);
        }
        if second & MASKED == 0 {
            return Err(FrameError::Unmasked);
        }
        let short = second & !MASKED;
        match opcode {
            opcode::CONTINUATION | opcode::BINARY => {}
            opcode::TEXT => return Err(FrameError::Text),
            opcode::CLOSE..=opcode::PONG if last && short as usize <= MAX_CONTROL_BYTES => {}
            opcode::CLOSE..=opcode::PONG => return Err(FrameError::Control),
            unknown => return Err(FrameError::Opcode(unknown)),
        }
        let Some((payload, rest)) = payload_length(short, rest)? else { return Ok(None) };
        let Some((&mask, after)) = rest.split_first_chunk() else { return Ok(None) };
        Ok(Some(Self { last, opcode, payload, mask, bytes: input.len() - after.len() }))
    }

    const fn is_control(&self) -> bool {
        self.opcode >= opcode::CLOSE
    }
}

/// The length of the payload, and what follows it in the header.
fn payload_length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, FrameError> {
    let (length, least, rest) = match short {
        126 => match rest.split_first_chunk() {
            Some((&bytes, rest)) => (u16::from_be_bytes(bytes).into(), 126, rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk() {
            Some((&bytes, rest)) => (u64::from_be_bytes(bytes), 1 << 16, rest),
            None => return Ok(None),
        },
        short => (short.into(), 0, rest),
    };
    if length < least { Err(FrameError::Length) } else { Ok(Some((length, rest))) }
}

/// Masks or unmasks, eight bytes at a time so that the compiler can use the processor's widest registers.
fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (eights, rest) = bytes.as_chunks_mut();
    for eight in eights {
        *eight = (u64::from_ne_bytes(*eight) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}
