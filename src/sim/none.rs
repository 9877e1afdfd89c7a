//! No control at all: everything waits, first in, first out, until it is served or its time has passed.

use super::guard::{Arrangement, Call, Guard, Refused, Server};
use crate::clock::Timestamp;

/// Servers that refuse nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoControl;

impl Arrangement for NoControl {
    fn guard(&self, _workers: usize, _seed: u64) -> Box<dyn Guard> {
        Box::new(Self)
    }
}

impl Guard for NoControl {
    /// Nothing is refused for want of room either.
    fn queue_capacity(&self) -> usize {
        usize::MAX
    }

    fn arrive(&mut self, _now: Timestamp, _call: &Call, _server: &Server) -> Result<(), Refused> {
        Ok(())
    }
}
