//! Where a logic service has put a client, as a ticket carries it: it says what was granted, and never that it still is.

use crate::{
    id::{MAX_NAME_BYTES, OutboxId},
    pb::ticket as pb,
};

/// The largest user level.
const LAST_LEVEL: u8 = 127;

/// A range of user levels that a client moves in for a while, in place of its tier's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// First and last, 0–127, both included.
    pub levels: (u8, u8),
    /// From when on it counts for nothing, in milliseconds since the Unix epoch.
    pub until_unix_ms: u64,
    /// The session that it is for; `None` if it holds for the client's device whatever outbox it has.
    pub outbox: Option<OutboxId>,
    /// The policy's name of the service that gave it.
    pub service: String,
}

impl Mark {
    /// Whether a client with this outbox still has it at this time since the Unix epoch.
    pub fn is_due_to(&self, outbox: OutboxId, unix_ms: u64) -> bool {
        unix_ms < self.until_unix_ms && self.outbox.is_none_or(|own| own == outbox)
    }
}

/// A holder of the key may be another version with other bounds.
pub(super) fn checked(mark: pb::Mark) -> Option<Mark> {
    let level = |level: u32| u8::try_from(level).ok().filter(|&level| level <= LAST_LEVEL);
    let levels = (level(mark.first_level)?, level(mark.last_level)?);
    let sound = levels.0 <= levels.1 && mark.service.len() <= MAX_NAME_BYTES;
    let (until_unix_ms, outbox) = (mark.until_unix_ms, mark.outbox.map(OutboxId));
    sound.then_some(Mark { levels, until_unix_ms, outbox, service: mark.service })
}

impl From<Mark> for pb::Mark {
    fn from(mark: Mark) -> Self {
        Self {
            first_level: mark.levels.0.into(),
            last_level: mark.levels.1.into(),
            until_unix_ms: mark.until_unix_ms,
            outbox: mark.outbox.map(|outbox| outbox.0),
            service: mark.service,
        }
    }
}
