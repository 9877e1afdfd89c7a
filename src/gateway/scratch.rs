//! The buffers that all connections of a worker share: a connection has them while it is polled, and none in between.

use std::{cell::RefCell, mem};

use bytes::BytesMut;
use prost::Message;

use crate::wire::{Kind, encode_control};

/// How much one read may bring, in bytes. It is also the most that a slow request can pin, since payloads are slices of
/// what was read.
pub const READ_BYTES: usize = 16 * 1024;

/// An output buffer above this size is given back to the allocator after its turn, in bytes.
const KEEP_OUTPUT_BYTES: usize = 256 * 1024;

/// A worker's shared buffers.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Bytes read, after the transport's own framing was taken off.
    pub input: BytesMut,
    /// Bytes as they came from a socket with a framing of its own.
    pub raw: BytesMut,
    /// Frames to be written, before the transport's own framing.
    pub output: BytesMut,
    /// The same with the transport's framing.
    pub framed: BytesMut,
}

impl Scratch {
    /// Appends a control frame to the output.
    pub fn control(&mut self, kind: Kind, message: &impl Message) {
        encode_control(&mut self.output, kind, message);
    }

    /// Returns a buffer that was taken out to be written.
    pub fn give_back(&mut self, mut bytes: BytesMut) {
        bytes.clear();
        let place = if self.output.capacity() == 0 { &mut self.output } else { &mut self.framed };
        if bytes.capacity() <= KEEP_OUTPUT_BYTES {
            *place = bytes;
        }
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Runs `f` with this thread's buffers, empty. They are taken out meanwhile, so that a nested use finds new ones.
pub fn with<T>(f: impl FnOnce(&mut Scratch) -> T) -> T {
    let mut scratch = SCRATCH.with_borrow_mut(mem::take);
    let result = f(&mut scratch);
    scratch.output.clear();
    scratch.framed.clear();
    SCRATCH.set(scratch);
    result
}
