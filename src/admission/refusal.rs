//! Why a request was refused, with everything that its sender, a log line and a metric need to know.

use std::time::Duration;

use super::level::{Cut, Value};

/// What refused a request. Every cause means "certainly not run".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Not below the gateway's own cut.
    GatewayCut,
    /// Not below the cut of its service's gate.
    ServiceCut,
    /// Not below the cut that the chosen instance sent.
    InstanceCut,
    /// Not below the manager's cap.
    ManagerCap,
    /// The queue is full of requests at least as important.
    QueueFull,
    /// A more important request took its place in the full queue.
    PushedOut,
    /// Its timeout passed while it waited.
    Expired,
    /// It could not have been dispatched within its timeout behind the present backlog.
    TooLate,
    /// No instance of its service is connected.
    NoInstance,
    /// A rate or total is used up (logins per second, connections, requests in flight on a connection).
    Limit,
    /// This process is shutting down.
    Draining,
}

impl Cause {
    /// Every cause, for tables and metrics.
    pub const ALL: [Self; 11] = [
        Self::GatewayCut,
        Self::ServiceCut,
        Self::InstanceCut,
        Self::ManagerCap,
        Self::QueueFull,
        Self::PushedOut,
        Self::Expired,
        Self::TooLate,
        Self::NoInstance,
        Self::Limit,
        Self::Draining,
    ];

    /// The label in metrics, logs and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GatewayCut => "gateway_cut",
            Self::ServiceCut => "service_cut",
            Self::InstanceCut => "instance_cut",
            Self::ManagerCap => "manager_cap",
            Self::QueueFull => "queue_full",
            Self::PushedOut => "pushed_out",
            Self::Expired => "expired",
            Self::TooLate => "too_late",
            Self::NoInstance => "no_instance",
            Self::Limit => "limit",
            Self::Draining => "draining",
        }
    }
}

/// A request that was refused before it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("refused: {}", .cause.name())]
pub struct Refusal {
    /// What refused it.
    pub cause: Cause,
    /// The request's value.
    pub value: Value,
    /// The cut that was in force.
    pub cut: Cut,
    /// When it makes sense to try again.
    pub retry_after: Duration,
}
