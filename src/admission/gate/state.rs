//! What only the owner of a gate's ticks, its set-up and its reports touch: the window, its judgement, and what was learnt.

use std::{sync::Arc, time::Duration};

use super::{Gate, all, brake::Brake};
use crate::{
    admission::{
        Backlog, Controller, GateMode, GateSettings, Tally, WindowStats,
        cells::{Decided, Period, Seen, Shard},
        controller::Decision,
        detector::{Detector, Verdict},
        dry_run::VirtualQueue,
        throughput::Throughput,
        window::Window,
    },
    clock::Timestamp,
};

/// What only the owner of the ticks, set-up and reports touch.
#[derive(Debug)]
pub(super) struct State {
    pub(super) settings: GateSettings,
    pub(super) controller: Box<dyn Controller>,
    pub(super) window: Window,
    /// The sums at the window's beginning.
    pub(super) seen: Seen,
    pub(super) tally: Tally,
    pub(super) throughput: Throughput,
    /// What waited at the last window's end.
    pub(super) backlog: Backlog,
    pub(super) virtual_queue: VirtualQueue,
    /// How many of the window's requests the virtual queue has received.
    pub(super) virtually_admitted: u64,
    /// Gates whose decisions are this gate's load as well.
    pub(super) watched: Vec<Arc<Gate>>,
    pub(super) verdict: Verdict,
    /// What makes the own cut stricter than the fleet's.
    pub(super) brake: Brake,
    pub(super) totals: Totals,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) decided: Decided,
    pub(super) completed: u64,
    pub(super) shared: u64,
    pub(super) windows: u64,
}

impl State {
    pub(super) fn new(settings: GateSettings, shards: usize) -> Self {
        Self {
            controller: settings.controller.build(),
            settings,
            window: Window::default(),
            seen: Seen::new(shards),
            tally: Tally::new(),
            throughput: Throughput::default(),
            backlog: Backlog::default(),
            virtual_queue: VirtualQueue::default(),
            virtually_admitted: 0,
            watched: Vec::new(),
            verdict: Verdict::default(),
            brake: Brake::default(),
            totals: Totals::default(),
        }
    }

    /// Ends the period of the tally and the sums, and adds them to the totals.
    pub(super) fn count(&mut self, shards: &[Shard], elapsed: Duration) -> (Decided, Period) {
        let decided = self.tally.read_shards(all(shards, &self.watched));
        let period = self.seen.period(shards, elapsed);
        self.totals.decided = self.totals.decided + decided;
        self.totals.completed += u64::from(period.completed);
        self.totals.shared += u64::from(period.shared);
        self.seen.remember(shards);
        self.virtually_admitted = 0;
        (decided, period)
    }

    pub(super) fn step_virtual_queue(&mut self, now: Timestamp, shards: &[Shard]) {
        if self.settings.mode == GateMode::DryRun {
            let admitted = self.tally.pending(all(shards, &self.watched)).admitted;
            let arrivals = u32::try_from(admitted - self.virtually_admitted.min(admitted)).unwrap_or(u32::MAX);
            self.virtually_admitted = admitted;
            self.virtual_queue.step(now, arrivals, self.requests_per_second());
        }
    }

    pub(super) fn requests_per_second(&self) -> Option<f64> {
        Some(self.throughput.per_second()? / self.throughput.mean_cost()?)
    }

    /// Judges the window that ends now. Returns what holds in the next one.
    pub(super) fn close_window(&mut self, elapsed: Duration, backlog: Option<Backlog>, gate: &Gate) -> Decision {
        let (decided, mut period) = self.count(&gate.shards, elapsed);
        if !self.watched.is_empty() {
            // What the watched gates let through was served by this process in the same window.
            let admitted = decided.admitted as f64;
            period.limited_cost = admitted * (period.limited_seconds / elapsed.as_secs_f64()).min(1.0);
        }
        let completed = period.limited_cost / period.mean_cost().unwrap_or(1.0);
        self.throughput.observe(period.limited_seconds, period.limited_cost, completed);
        self.judge(&period, backlog);
        self.totals.windows += 1;
        let cut = gate.own_cut();
        self.controller.on_window(&WindowStats {
            cut,
            offered: self.tally.offered(),
            admitted: self.tally.admitted(),
            costs: self.tally.costs(),
            elapsed,
            queuing: self.verdict.queuing,
            overloaded: self.verdict.overloaded,
            target: self.settings.target,
            backlog: self.backlog,
            throughput: self.throughput,
            limited_seconds: period.limited_seconds,
            shares: &self.settings.shares,
            frozen: gate.is_bound(),
        })
    }

    /// How long requests waited in the period, and what waits now; in a dry run, in the virtual queue.
    fn judge(&mut self, period: &Period, backlog: Option<Backlog>) {
        let detector = Detector::new(self.settings.target);
        (self.verdict, self.backlog) = match self.settings.mode {
            GateMode::Enforce => {
                let oldest = backlog.map_or(Duration::ZERO, |backlog| backlog.oldest);
                let verdict = detector.judge(period.samples, period.queuing, oldest);
                (verdict, backlog.unwrap_or_else(|| self.backlog_of(verdict.queuing)))
            }
            GateMode::DryRun => {
                let (left, total, present) = self.virtual_queue.close_window();
                (detector.judge(left, total, present), self.backlog_of(present))
            }
        };
    }

    fn backlog_of(&self, delay: Duration) -> Backlog {
        let cost = delay.as_secs_f64() * self.throughput.per_second().unwrap_or(0.0);
        Backlog { oldest: delay, cost, wanted: cost }
    }
}
