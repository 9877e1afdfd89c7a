//! The buffers that all connections of a worker share: a connection has them while it is polled, and none in between.

use std::{cell::RefCell, mem};

use bytes::BytesMut;
use prost::Message;

use crate::{
    pb::client as pb,
    wire::{Kind, encode_control},
};

/// The size of the blocks that connections read into, in bytes. Requests of many connections share a block, since
/// payloads are slices of it; so it is also the most that a single slow request can pin.
const BLOCK_BYTES: usize = 16 * 1024;

/// The least room for a read, in bytes. The rest of a block below this is given up.
const LEAST_READ_BYTES: usize = 2 * 1024;

/// Makes room for a read, in a new block only if this one is used up.
pub fn make_room(buffer: &mut BytesMut) {
    if buffer.capacity() - buffer.len() < LEAST_READ_BYTES {
        buffer.reserve(BLOCK_BYTES);
    }
}

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
    /// Requests refused in this turn of a client that reads many refusals at once.
    pub refusals: pb::Refusals,
}

/// Refusals in one frame: their body stays below a third of what every client reads.
const MAX_REFUSALS: usize = 1024;

impl Scratch {
    /// Whether a turn has written as much as it should.
    pub fn is_full(&self) -> bool {
        self.output.len() > KEEP_OUTPUT_BYTES
    }

    /// Appends a control frame to the output.
    pub fn control(&mut self, kind: Kind, message: &impl Message) {
        encode_control(&mut self.output, kind, message);
    }

    /// Refuses a request of a client that reads many refusals at once, with the next [`Scratch::put_refusals`].
    pub fn refuse(&mut self, refused: pb::RefusedRequest, cuts: Vec<pb::ResolvedCut>) {
        self.refusals.refused.push(refused);
        self.refusals.cuts.extend(cuts);
        if self.refusals.refused.len() >= MAX_REFUSALS {
            self.put_refusals();
        }
    }

    /// Appends what was refused to the output.
    pub fn put_refusals(&mut self) {
        if !self.refusals.refused.is_empty() {
            encode_control(&mut self.output, Kind::Refusals, &self.refusals);
            self.refusals.refused.clear();
            self.refusals.cuts.clear();
        }
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
    scratch.refusals.refused.clear();
    scratch.refusals.cuts.clear();
    SCRATCH.set(scratch);
    result
}
