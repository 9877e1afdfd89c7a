//! A burst that can be worked off is no overload. Whoever turns a part of it away does so for nothing: the load before and
//! after it leaves room, and the line serves it by importance meanwhile. How long it lasts cannot be known while it lasts; so
//! all is let in until more is owed than a pause or a burst usually leaves behind, and only then the rates decide.
//!
//! What is owed is the work that arrived beyond what could be done since places were last free. It is not counted down
//! while the cut refuses: then the rates decide until they have opened it and places are free again. Nothing alternates.

use super::{Cut, controller::WindowStats};

/// So many seconds of work may be owed: most of a time-out of the usual length and what a pause of half a second leaves
/// behind, but less than the nine tenths of a second that a single window of ten times the capacity adds.
const MOST_SECONDS: f64 = 0.85;
/// Below this share of a window with all places taken places were free, and nothing is owed.
const FREE: f64 = 0.7;

/// The work that is owed, in seconds.
#[derive(Debug)]
pub struct Surge {
    owed_seconds: f64,
}

impl Default for Surge {
    /// No calm has been seen yet: who starts into an overload has no burst to work off.
    fn default() -> Self {
        Self { owed_seconds: MOST_SECONDS }
    }
}

impl Surge {
    /// Whether what this window brought may all be let in, at this capacity. Only an open cut stays open for it.
    pub fn may_pass(&mut self, capacity: f64, stats: &WindowStats<'_>) -> bool {
        let elapsed = stats.elapsed.as_secs_f64();
        if stats.cut != Cut::OPEN {
            self.owed_seconds = MOST_SECONDS;
        } else if stats.limited_seconds < FREE * elapsed {
            self.owed_seconds = 0.0;
        } else if self.owed_seconds < MOST_SECONDS {
            let arrived: f64 = stats.costs.iter().sum();
            let done = if stats.throughput.is_stalled() { 0.0 } else { elapsed };
            self.owed_seconds = (self.owed_seconds + arrived / capacity - done).max(0.0);
        }
        self.owed_seconds < MOST_SECONDS
    }
}
