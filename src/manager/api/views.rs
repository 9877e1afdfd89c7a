//! A manager's answers as JSON. Fields are only ever added.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::{
    clock::whole_millis,
    manager::{core::Alternative, engine::Round},
};

/// `GET /v1/gateways`: where clients may connect.
#[derive(Debug, Serialize)]
pub(super) struct Gateways {
    gateways: Vec<Open>,
    /// When to ask again if there is none, in milliseconds.
    retry_after_ms: u64,
}

#[derive(Debug, Serialize)]
struct Open {
    gateway: String,
    addresses: Vec<String>,
    /// For a random choice.
    weight: u32,
}

impl Gateways {
    pub(super) fn of(round: &Round, tried: &str) -> Self {
        let tried: Vec<_> = tried.split(',').map(str::trim).collect();
        let is_tried = |one: &Alternative| {
            tried.contains(&one.gateway.as_str()) || one.addresses.iter().any(|at| tried.contains(&at.as_str()))
        };
        let open = |one: &Alternative| Open {
            gateway: one.gateway.clone(),
            addresses: one.addresses.clone(),
            weight: one.weight,
        };
        let wait = round.decisions.logins.map_or(Duration::ZERO, |logins| logins.wait);
        Self {
            gateways: round.decisions.open.iter().filter(|one| !is_tried(one)).map(open).collect(),
            retry_after_ms: whole_millis(wait),
        }
    }
}

/// `GET /v1/fleet`: everything, and why it is so.
#[derive(Debug, Serialize)]
pub(super) struct Fleet {
    gateways: Vec<Gateway>,
    services: Vec<Service>,
    /// While every gateway is closed: which logins pass.
    logins: Option<Logins>,
    caps: Vec<Cap>,
    /// Why nothing changes at present.
    frozen: Option<String>,
    /// Why the board that managers share cannot be read.
    board_failure: Option<String>,
}

#[derive(Debug, Serialize)]
struct Gateway {
    gateway: String,
    incarnation: String,
    /// `open` or `closed`.
    state: &'static str,
    /// Why.
    reason: String,
    for_seconds: f64,
    /// What a closed gateway waits for.
    waits_for: Option<String>,
    connections: u64,
    connection_limit: u64,
    /// Clients who were sent here and have not arrived.
    placed: f64,
    /// More clients that it has room for, weighed by whatever else is scarce.
    headroom: f64,
    /// What it measured: shares, and times in seconds.
    values: BTreeMap<&'static str, f64>,
    /// Clients told to move away per second.
    moves_per_second: Option<f64>,
    policy_revision: String,
    /// The revision that it was given and refused.
    refused_policy: Option<String>,
    report_age_seconds: f64,
}

#[derive(Debug, Serialize)]
struct Service {
    service: String,
    /// Business priority, user level and grain from which on requests are refused everywhere, or `open`.
    fleet_cut: String,
    reason: String,
    offered_per_second: f64,
    admitted_per_second: f64,
    capacity_per_second: f64,
    limited: f64,
    gateways: usize,
}

#[derive(Debug, Serialize)]
struct Logins {
    cut: String,
    allowed_per_second: f64,
    wait_seconds: f64,
}

#[derive(Debug, Serialize)]
struct Cap {
    /// `login` for logins.
    service: String,
    cut: String,
    left_seconds: f64,
}

impl Fleet {
    pub(super) fn of(round: &Round) -> Self {
        let decisions = &round.decisions;
        Self {
            gateways: decisions.gateways.iter().map(|(name, directive)| Gateway::of(name, directive)).collect(),
            services: decisions.services.iter().map(Service::of).collect(),
            logins: decisions.logins.map(|logins| Logins {
                cut: logins.cut.to_string(),
                allowed_per_second: logins.allowed,
                wait_seconds: logins.wait.as_secs_f64(),
            }),
            caps: round
                .orders
                .caps
                .iter()
                .map(|cap| Cap {
                    service: if cap.service.is_empty() { "login".to_owned() } else { cap.service.clone() },
                    cut: cap.cut.to_string(),
                    left_seconds: cap.left.as_secs_f64(),
                })
                .collect(),
            frozen: decisions.frozen.clone(),
            board_failure: round.board.clone(),
        }
    }
}

impl Gateway {
    fn of(name: &str, directive: &crate::manager::core::Directive) -> Self {
        let standing = &directive.standing;
        Self {
            gateway: name.to_owned(),
            incarnation: format!("{:016x}", directive.incarnation.0),
            state: if standing.accepting { "open" } else { "closed" },
            reason: standing.reason.clone(),
            for_seconds: standing.age.as_secs_f64(),
            waits_for: directive.waits_for.clone(),
            connections: directive.connections.0,
            connection_limit: directive.connections.1,
            placed: directive.placed,
            headroom: directive.headroom,
            values: directive.values.iter().map(|&(kind, value)| (kind.name(), value)).collect(),
            moves_per_second: directive.moves.map(|moves| moves.per_second),
            policy_revision: format!("{:016x}", directive.policy),
            refused_policy: (directive.refused_policy != 0).then(|| format!("{:016x}", directive.refused_policy)),
            report_age_seconds: directive.age.as_secs_f64(),
        }
    }
}

impl Service {
    fn of(decision: &crate::manager::core::ServiceDecision) -> Self {
        Self {
            service: decision.service.clone(),
            fleet_cut: decision.cut.to_string(),
            reason: decision.reason.clone(),
            offered_per_second: decision.offered,
            admitted_per_second: decision.admitted,
            capacity_per_second: decision.capacity,
            limited: decision.limited,
            gateways: decision.gateways,
        }
    }
}
