//! What a gateway says of itself, checked: finite numbers, bounded lists.

use std::time::Duration;

use super::standing::Standing;
use crate::{
    admission::{Cut, Level},
    id::Incarnation,
    manager::settings::MarkKind,
};

/// A gateway's report.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Its name; no two gateways of a fleet have the same.
    pub gateway: String,
    /// Which run of it.
    pub incarnation: Incarnation,
    /// Where clients reach it.
    pub addresses: Vec<String>,
    /// For how long it has run.
    pub uptime: Duration,
    /// Connections that it holds.
    pub connections: u64,
    /// Connections that its policy allows.
    pub limit: u64,
    /// Share of the CPU that it may use, if known.
    pub cpu: Option<f64>,
    /// Share of the memory that it may use, if known.
    pub memory: Option<f64>,
    /// How late its workers' timers are.
    pub event_loop: Duration,
    /// What it adds to a reply's latency, 99th percentile, if there was any.
    pub own_share: Option<Duration>,
    /// Logins per second that its policy allows.
    pub login_limit: f64,
    /// Logins per second that it lets in.
    pub logins: f64,
    /// What the last directive said, with ages as of the report.
    pub standing: Option<Standing>,
    /// Clients that it sent to others of late, by gateway.
    pub sent: Vec<(String, f64)>,
    /// Clients that came from others in the same time.
    pub arrived: f64,
    /// It is shutting down.
    pub leaving: bool,
    /// The policy in force.
    pub policy: u64,
    /// A policy that it was given and refused; 0 for none.
    pub refused_policy: u64,
    /// Its gates; the one without a name decides on logins.
    pub gates: Vec<GateReport>,
}

/// What a gate of a gateway says.
#[derive(Clone, Debug, PartialEq)]
pub struct GateReport {
    /// The service; empty for logins.
    pub service: String,
    /// What the gate's own controller wants.
    pub own_cut: Cut,
    /// The fleet's cut in force.
    pub fleet_cut: Cut,
    /// Mean age of what left the queue.
    pub queuing: Duration,
    /// How long requests may wait in the mean.
    pub target: Duration,
    /// Cost per second that is completed.
    pub capacity: f64,
    /// Mean cost of a completed request; 0 while unknown.
    pub mean_cost: f64,
    /// Cost per second that is let through.
    pub admitted: f64,
    /// Share of the time in which all places are taken.
    pub limited: f64,
    /// Cost that waits.
    pub backlog: f64,
    /// It refuses nothing by itself, and takes no fleet cut.
    pub dry_run: bool,
    /// Cost per second that is offered, by level, in order.
    pub offered: Vec<(Level, f64)>,
    /// 99th percentile of the replies' latency, if there was any.
    pub latency: Option<Duration>,
}

impl Report {
    /// How much there is of what a mark measures; `None` if that is not known.
    pub fn value(&self, kind: MarkKind) -> Option<f64> {
        match kind {
            MarkKind::Connections => (self.limit > 0).then(|| self.connections as f64 / self.limit as f64),
            MarkKind::Cpu => self.cpu,
            MarkKind::Memory => self.memory,
            MarkKind::EventLoop => Some(self.event_loop.as_secs_f64()),
            MarkKind::OwnShare => self.own_share.map(|share| share.as_secs_f64()),
        }
    }

    /// The gate of a service, or of logins for an empty name.
    pub fn gate(&self, service: &str) -> Option<&GateReport> {
        self.gates.iter().find(|gate| gate.service == service)
    }
}
