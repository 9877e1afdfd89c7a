//! A controller sees one window after the other and answers with a cut; it never sees a request.
//!
//! **Signal.** The time that requests spend in the gateway's queue, from arrival until they leave it for any reason, and
//! the age of the oldest one waiting ([`Detector`](super::detector::Detector)). Response time also grows when something
//! further down is slow, and a busy processor is not an overloaded one; only a queue that does not empty says that more
//! was admitted than can be served.
//!
//! **Decision.** One number, the cut, for the whole of the next window. What differs between two requests is in their
//! values; so the same request gets the same answer at the same cut, a retry cannot draw again, and two gates with the
//! same cut treat a task's calls alike. Sub-level cuts are points in the grain.
//!
//! **Cold start.** A gate starts open. An idle service admits its first burst whole, and the first window that sees the
//! queue grow closes the gate as far as its controller goes in a window. A gate whose settings are reloaded keeps its
//! cut, whichever controller takes over: [`WindowStats::cut`] is the state that matters.
//!
//! **No samples.** A window in which nothing left the queue and nothing waits is not overloaded. Nothing offered at all
//! is no evidence against opening either, so no controller may stand still on it: callers that refuse on their own what
//! the cut refused last would otherwise never learn that it was lifted.
//!
//! **Recovery.** The gate grows from its present cut while not overloaded, but only while it is the one that binds:
//! what another cut keeps away says nothing about this service, so growth stands still ([`WindowStats::frozen`]) and
//! goes on from the same point once the other cut is lifted.

use std::{fmt, time::Duration};

use super::{
    CapacityTracker, ControllerKind, Cut, DagorV3, cells::PRIORITIES, places::Backlog, share::MinimumShare,
    throughput::Throughput,
};

/// What happened in a window. The slices have one entry for each level.
#[derive(Clone, Copy, Debug)]
pub struct WindowStats<'a> {
    /// The gate's own cut during the window.
    pub cut: Cut,
    /// What arrived, by the index of the level.
    pub offered: &'a [u32],
    /// What was let through, by the index of the level.
    pub admitted: &'a [u32],
    /// How long the window was.
    pub elapsed: Duration,
    /// Mean age of what left the queue, with the oldest that waits.
    pub queuing: Duration,
    /// Whether that is above the target.
    pub overloaded: bool,
    /// What arrived, by cost and business priority.
    pub costs: &'a [f64],
    /// The mean queuing time above which the gate is overloaded.
    pub target: Duration,
    /// What waits now.
    pub backlog: Backlog,
    /// What was completed while all places were taken, learnt over many windows.
    pub throughput: Throughput,
    /// For how many seconds of the window all places were taken.
    pub limited_seconds: f64,
    /// What business priorities get in any case.
    pub shares: &'a [MinimumShare],
    /// Another cut is stricter than this gate's: do not grow.
    pub frozen: bool,
}

impl WindowStats<'_> {
    /// How many arrived.
    pub fn total_offered(&self) -> u64 {
        total(self.offered)
    }

    /// How many were let through.
    pub fn total_admitted(&self) -> u64 {
        total(self.admitted)
    }
}

fn total(counts: &[u32]) -> u64 {
    counts.iter().map(|&count| u64::from(count)).sum()
}

/// What a controller decides for the next window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// What is below it is let in.
    pub cut: Cut,
    /// Up to which value each business priority passes above the cut, by its minimum share; zero for none.
    pub floors: Floors,
}

/// One value for each business priority.
pub type Floors = [u32; PRIORITIES];

impl Decision {
    /// A cut for all that arrives and all that waits.
    pub const fn plain(cut: Cut) -> Self {
        Self { cut, floors: [0; PRIORITIES] }
    }
}

/// Moves a gate's cut.
pub trait Controller: fmt::Debug + Send {
    /// What holds in the next window.
    fn on_window(&mut self, stats: &WindowStats<'_>) -> Decision;
}

impl ControllerKind {
    /// A controller of this kind at its beginning.
    pub fn build(self) -> Box<dyn Controller> {
        match self {
            Self::Capacity => Box::new(CapacityTracker::default()),
            Self::DagorV3 => Box::new(DagorV3),
        }
    }
}
