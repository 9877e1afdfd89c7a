//! How much is remembered, and for how long.

use std::time::Duration;

use super::{Bound, Claim, Known};

/// The bounds of an instance's windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSettings {
    /// How long a window that is not used is kept at least; 75 minutes by default. It must be longer than a message can
    /// live: the gateways' `connections.keep_for` (1 hour by default), and the longest try timeout on top. Shorter, and a
    /// message can be run twice; longer only costs memory.
    pub keep: Duration,
    /// The answers that one window remembers, in bytes; 1 MiB by default. A window that is over it refuses new messages,
    /// all but the client's oldest, until its client settles some. What runs at that time is remembered all the same.
    pub reply_bytes: usize,
    /// How many windows there are at most; 1,000,000 by default. One more refuses its user's messages until a window has
    /// rested for [`WindowSettings::keep`].
    pub windows: usize,
    /// What all windows may hold, in bytes, with their own weight (about 700 bytes each); 512 MiB by default. Beyond it
    /// new messages are refused. What runs at that time is remembered all the same, so leave the process room for an
    /// answer per worker.
    pub total_bytes: usize,
}

impl Default for WindowSettings {
    fn default() -> Self {
        Self { keep: Duration::from_secs(75 * 60), reply_bytes: 1 << 20, windows: 1_000_000, total_bytes: 512 << 20 }
    }
}

/// What an instance's windows hold, and what they have done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowStats {
    /// Windows at present.
    pub windows: usize,
    /// Bytes at present.
    pub bytes: usize,
    /// Tries that were run.
    pub run: u64,
    /// Tries that waited for another one of the same message.
    pub waited: u64,
    /// Tries that got a remembered answer.
    pub replayed: u64,
    /// Tries of settled messages.
    pub stale: u64,
    /// Tries whose id was used for another payload.
    pub conflicts: u64,
    /// Tries that were refused because too many waited for the same message.
    pub refused_copies: u64,
    /// Tries that were refused because their window's answers were at their bound.
    pub refused_reply_bytes: u64,
    /// Tries that were refused because there were too many windows.
    pub refused_windows: u64,
    /// Tries that were refused because all windows together were at their bound.
    pub refused_total_bytes: u64,
    /// Windows that were dropped after their rest.
    pub evicted: u64,
    /// Answers that were forgotten because their client never says what it has settled.
    pub forgotten: u64,
}

impl WindowStats {
    /// Counts a try by what became of it.
    pub(super) fn count<W, A>(&mut self, claim: &Claim<W, A>) {
        let counter = match claim {
            Claim::Run(_) => &mut self.run,
            Claim::Waits => &mut self.waited,
            Claim::Known(_, Known::Replied(_)) => &mut self.replayed,
            Claim::Known(_, Known::Stale) => &mut self.stale,
            Claim::Known(_, Known::Conflict) => &mut self.conflicts,
            Claim::Known(_, Known::Refused { bound, .. }) => match bound {
                Bound::Copies => &mut self.refused_copies,
                Bound::ReplyBytes => &mut self.refused_reply_bytes,
                Bound::Windows => &mut self.refused_windows,
                Bound::TotalBytes => &mut self.refused_total_bytes,
            },
        };
        *counter += 1;
    }
}
