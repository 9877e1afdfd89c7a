//! A gateway's state as JSON, `GET /v1/status`. Fields are only ever added.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    admission::{Cut, GateSnapshot},
    gateway::{Gateway, marks::MarkFault},
};

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    gateway: String,
    incarnation: String,
    draining: bool,
    connections: usize,
    policy: PolicyState,
    marks: MarksState,
    gates: Vec<GateState>,
}

#[derive(Debug, Serialize)]
struct MarksState {
    taken_total: u64,
    /// By why they were refused.
    refused_total: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
struct PolicyState {
    revision: String,
    since_unix_ms: u64,
    path: Option<String>,
    /// The rendered faults of the newest policy on disk, if it is refused.
    last_failure: Option<String>,
}

#[derive(Debug, Serialize)]
struct GateState {
    /// The service, or `gateway` for the process itself.
    gate: String,
    mode: &'static str,
    /// Business priority and user level from which on requests are refused, `open` or `closed`.
    cut: String,
    /// What the gate's own controller wants; another cut may be stricter.
    own_cut: String,
    /// What no instance of the service takes, as far as the instances have said so of late.
    instance_cut: Option<String>,
    overloaded: bool,
    queuing_ms: f64,
    capacity_per_second: Option<f64>,
    admitted_total: u64,
    refused_total: u64,
    would_refuse_total: u64,
    shared_total: u64,
}

impl Status {
    /// The state of this moment.
    pub(super) fn of(gateway: &Gateway) -> Self {
        let own = std::iter::once(GateState::of("gateway", &gateway.own_gate.snapshot(), None));
        let now = gateway.clock.now();
        let services = gateway.services.iter().zip(&gateway.gates).enumerate().map(|(at, (service, gate))| {
            GateState::of(&service.name, &gate.snapshot(), Some(gateway.instance_cut(at, now)))
        });
        let gates = own.chain(services).collect();
        let policy = gateway.store.status();
        Self {
            gateway: gateway.home.gateway.clone(),
            incarnation: format!("{:016x}", gateway.home.incarnation.0),
            draining: gateway.is_draining(),
            connections: gateway.roster.len(),
            policy: PolicyState {
                revision: policy.revision.to_string(),
                since_unix_ms: policy.since_unix_millis,
                path: policy.path.map(|path| path.display().to_string()),
                last_failure: policy.last_failure.map(|failure| failure.rendered),
            },
            marks: MarksState {
                taken_total: gateway.marks.taken_total(),
                refused_total: MarkFault::ALL
                    .iter()
                    .map(|&fault| (fault.name(), gateway.marks.refused_total(fault)))
                    .collect(),
            },
            gates,
        }
    }
}

impl GateState {
    fn of(gate: &str, snapshot: &GateSnapshot, instances: Option<Cut>) -> Self {
        Self {
            gate: gate.to_owned(),
            mode: match snapshot.mode {
                crate::admission::GateMode::Enforce => "enforce",
                crate::admission::GateMode::DryRun => "dry-run",
            },
            cut: snapshot.effective.to_string(),
            own_cut: snapshot.own.to_string(),
            instance_cut: instances.map(|cut| cut.to_string()),
            overloaded: snapshot.overloaded,
            queuing_ms: snapshot.queuing.as_secs_f64() * 1e3,
            capacity_per_second: snapshot.capacity_per_second,
            admitted_total: snapshot.admitted_total,
            refused_total: snapshot.refused_total,
            would_refuse_total: snapshot.would_refuse_total,
            shared_total: snapshot.shared_total,
        }
    }
}
