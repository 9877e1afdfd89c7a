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
    /// Clients are moved for the sake of balance.
    balancing: bool,
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
    /// No more once so many are left.
    moves_down_to: Option<u64>,
    /// Where they go, each with its weight; empty for the alternatives.
    moves_to: Option<BTreeMap<String, u32>>,
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
            balancing: decisions.is_balancing(),
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
            moves_per_second: directive.moves.as_ref().map(|moves| moves.per_second),
            moves_down_to: directive.moves.as_ref().map(|moves| moves.down_to),
            moves_to: directive
                .moves
                .as_ref()
                .map(|moves| moves.to.iter().map(|one| (one.gateway.clone(), one.weight)).collect()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        manager::{
            core::{Core, Orders, Report},
            settings::Settings,
            wire,
        },
        pb::manager as pb,
    };

    fn report(name: &str, connections: u64) -> Report {
        let report = pb::LoadReport {
            gateway: name.to_owned(),
            addresses: vec![format!("{name}:7400")],
            uptime_ms: 3_600_000,
            connections,
            connection_limit: 10_000,
            login_limit: 100.0,
            ..pb::LoadReport::default()
        };
        wire::report(&report).unwrap()
    }

    #[test]
    fn the_fleet_shows_whom_a_gateway_gives_away_and_to_whom() {
        let mut core = Core::new(Settings::default());
        [report("a", 480), report("b", 180), report("c", 240)]
            .into_iter()
            .for_each(|report| core.hear(report, Timestamp::ZERO));
        let decisions = core.decide(&Orders::default(), Timestamp::ZERO, 1);
        let shown = |name| serde_json::to_value(Gateway::of(name, &decisions.gateways[name])).unwrap();
        let giver = shown("a");
        assert!(giver["moves_per_second"].as_f64().unwrap() > 0.0, "{giver}");
        assert_eq!(giver["moves_down_to"], 300);
        assert_eq!(giver["moves_to"], serde_json::json!({ "b": 1000, "c": 500 }));
        assert!(shown("b")["moves_to"].is_null());
    }
}
