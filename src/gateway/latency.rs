//! How long replies take, counted by one worker in cells of its own, and how late its timers are: what managers look at.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::histogram::Cells;

/// One worker's latencies. Only that worker's thread may record.
#[derive(Debug)]
pub struct Latency {
    /// From a request's arrival to its reply, for each of the gateway's services.
    pub services: Vec<Cells>,
    /// The gateway's own share: from the answer's arrival from the service until it is written. Until a request is handed on
    /// it waits for the service's places, which is the service's share.
    pub own: Cells,
}

impl Latency {
    /// For so many services.
    pub fn new(services: usize) -> Self {
        Self { services: (0..services).map(|_| Cells::default()).collect(), own: Cells::default() }
    }
}

/// How late one worker's timer is, as sums that only grow.
#[derive(Debug, Default)]
pub struct Lateness {
    nanos: AtomicU64,
    ticks: AtomicU64,
}

impl Lateness {
    /// The timer was so late.
    pub fn record(&self, late: Duration) {
        let nanos = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.store(self.nanos.load(Relaxed).saturating_add(nanos), Relaxed);
        self.ticks.store(self.ticks.load(Relaxed) + 1, Relaxed);
    }

    /// Nanoseconds in all, and how many ticks.
    pub fn sums(&self) -> (u64, u64) {
        (self.nanos.load(Relaxed), self.ticks.load(Relaxed))
    }
}
