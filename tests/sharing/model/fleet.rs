//! Reports, managers and directives.

use std::time::Duration;

use dagor::{
    admission::Cut,
    id::Incarnation,
    manager::core::{GateReport, Orders, Report},
};

use super::{Event, INTERVAL, MS, ROUNDS, World};

impl World {
    /// Gives the gate what holds now.
    pub(super) fn enforce(&mut self, at: usize) {
        let gateway = &self.gateways[at];
        let (cut, until) = gateway.in_force;
        gateway.gate.set_fleet_cut(if self.now < until { cut } else { Cut::OPEN });
    }

    pub(super) fn managers_live(&self) -> bool {
        self.setup.managers_die.is_none_or(|at| self.elapsed() < at)
    }

    pub(super) fn report(&mut self, at: usize) {
        let now = self.now;
        let gateway = &mut self.gateways[at];
        let elapsed = now.since(gateway.reported).max(MS * 50);
        gateway.reported = now;
        let flow = gateway.meter.read(&gateway.gate, elapsed);
        let snapshot = gateway.gate.snapshot();
        let gate = GateReport {
            service: "main".to_owned(),
            own_cut: snapshot.own,
            fleet_cut: gateway.gate.fleet_cut(),
            queuing: snapshot.queuing,
            target: gateway.gate.target(),
            capacity: flow.completed,
            mean_cost: flow.mean_cost,
            admitted: flow.admitted,
            limited: flow.limited,
            backlog: gateway.places.backlog(now).wanted,
            dry_run: false,
            offered: flow.offered,
            latency: None,
        };
        let report = report_of(at, gate);
        if self.managers_live() && !self.managers.is_empty() {
            self.reports.push((report, now, at));
            let (manager, report) = (at % self.managers.len(), self.reports.len() - 1);
            let way = MS.mul_f64(1.0 + 4.0 * self.random.f64());
            self.put(way, Event::Heard { manager, report });
        }
        // A timer is never quite even.
        let next = INTERVAL + MS.mul_f64(2.0 * self.random.f64());
        self.put(next, Event::Report(at));
    }

    pub(super) fn round(&mut self, manager: usize) {
        if !self.managers_live() {
            return;
        }
        let now = self.now;
        let decisions = self.managers[manager].core.decide(&Orders::default(), now, 1);
        let cut = decisions.services.first().map_or(Cut::OPEN, |service| service.cut);
        let managers = self.managers.len();
        for gateway in (0..self.gateways.len()).filter(|gateway| gateway % managers == manager) {
            let told = self.managers[manager].told[gateway];
            let is_due = told.is_none_or(|(last, at)| last != cut || now.since(at) >= INTERVAL);
            if is_due && self.managers[manager].board.contains_key(&gateway) {
                self.managers[manager].told[gateway] = Some((cut, now));
                let way = MS.mul_f64(1.0 + 4.0 * self.random.f64());
                self.put(way, Event::Directive { gateway, cut: cut.bits() });
            }
        }
        self.put(INTERVAL / ROUNDS, Event::Round(manager));
    }
}

fn report_of(at: usize, gate: GateReport) -> Report {
    Report {
        gateway: format!("gateway-{at}"),
        incarnation: Incarnation(1),
        addresses: vec![format!("gateway-{at}:7400")],
        uptime: Duration::from_secs(3600),
        connections: 0,
        limit: 1000,
        cpu: None,
        memory: None,
        event_loop: Duration::ZERO,
        own_share: None,
        login_limit: 100.0,
        logins: 0.0,
        standing: None,
        sent: Vec::new(),
        arrived: 0.0,
        leaving: false,
        policy: 7,
        refused_policy: 0,
        gates: vec![gate],
    }
}
