//! A gateway's load as it reports it: read from cells that others write anyway, so that reporting costs them nothing.

use std::time::Duration;

use super::{lock, vitals::Vitals};
use crate::{
    admission::{Backlog, Cost, Cut, Flow, FlowMeter, Gate, GateMode, Level},
    clock::{Timestamp, whole_millis},
    gateway::{Gateway, worker::Worker},
    histogram::{Cells, Histogram},
    pb::{attach::MAX_SENT, manager as pb},
};

/// Rates over a shorter time say nothing.
const SHORTEST: Duration = Duration::from_millis(50);

/// What is remembered from one report to the next.
#[derive(Debug)]
pub(super) struct Reporter {
    started: Timestamp,
    read: Timestamp,
    vitals: Vitals,
    /// Of the gateway's own gate, then of each service's.
    meters: Vec<FlowMeter>,
    latencies: Vec<Histogram>,
    own_share: Histogram,
    /// Of each worker, how late its timers were in all, and how often they were looked at.
    lateness: Vec<(u64, u64)>,
    last: Option<pb::LoadReport>,
}

impl Reporter {
    pub(super) fn new(gateway: &Gateway) -> Self {
        let now = gateway.clock.now();
        Self {
            started: now,
            read: now,
            vitals: Vitals::new(),
            meters: gates(gateway).map(FlowMeter::new).collect(),
            latencies: vec![Histogram::default(); gateway.gates.len()],
            own_share: Histogram::default(),
            lateness: Vec::new(),
            last: None,
        }
    }

    /// The report of this moment.
    pub(super) fn report(&mut self, gateway: &Gateway, addresses: &[String]) -> pb::LoadReport {
        let now = gateway.clock.now();
        let elapsed = now.since(self.read);
        let mut report = match self.last.take().filter(|_| elapsed < SHORTEST) {
            Some(last) => last,
            None => {
                self.read = now;
                self.measure(gateway, elapsed.max(SHORTEST))
            }
        };
        report.gateway = gateway.home.gateway.clone();
        report.incarnation = gateway.home.incarnation.0;
        report.addresses = addresses.to_vec();
        report.uptime_ms = whole_millis(now.since(self.started));
        report.connections = gateway.roster.len() as u64;
        report.leaving = gateway.is_draining();
        let policy = gateway.store.current();
        report.connection_limit = policy.connections.max as u64;
        report.login_limit = policy.connections.login_rate;
        report.policy_revision = policy.revision.0;
        self.tell_fleet(&mut report, gateway, now);
        self.last = Some(report.clone());
        report
    }

    /// What came of the last directive.
    #[expect(clippy::unused_self, reason = "a step of the report")]
    fn tell_fleet(&self, report: &mut pb::LoadReport, gateway: &Gateway, now: Timestamp) {
        let fleet = &gateway.fleet;
        report.standing = fleet.in_force(now).and_then(|in_force| {
            let passed = whole_millis(now.since(in_force.at));
            let mut standing = in_force.directive.standing.clone()?;
            standing.for_ms += passed;
            standing.over.iter_mut().for_each(|over| over.for_ms += passed);
            Some(standing)
        });
        let mut sent: Vec<_> = lock(&fleet.sent).sums(now).into_iter().collect();
        sent.sort_by(|a, b| b.1.total_cmp(&a.1));
        sent.truncate(MAX_SENT);
        report.sent_away = sent.into_iter().map(|(gateway, clients)| pb::SentAway { gateway, clients }).collect();
        report.arrived = lock(&fleet.arrived).sums(now).into_values().sum();
        report.refused_policy = fleet.refused_policy.load(super::Relaxed);
    }

    /// What was counted since the last time.
    fn measure(&mut self, gateway: &Gateway, elapsed: Duration) -> pb::LoadReport {
        let now = gateway.clock.now();
        let shares = self.vitals.read(elapsed);
        let flows: Vec<_> =
            gates(gateway).zip(&mut self.meters).map(|(gate, meter)| meter.read(gate, elapsed)).collect();
        let workers = gateway.worker_list();
        let own = flows.first().cloned().unwrap_or_default();
        let mut reports = vec![own_gate(gateway, &own)];
        for (service, (gate, flow)) in gateway.gates.iter().zip(&flows[1..]).enumerate() {
            let cells = workers.iter().map(|worker| &worker.latency.services[service]);
            let latency = news(cells, &mut self.latencies[service]);
            let backlogs = workers.iter().map(|worker| worker.backlog(service, now));
            let backlog = backlogs.fold(Backlog::default(), Backlog::join);
            let mut report = gate_report(gateway.services[service].name.clone(), gate, flow);
            (report.backlog, report.latency) = (backlog.wanted, Some(latency));
            reports.push(report);
        }
        pb::LoadReport {
            event_loop_delay_us: self.lateness(workers),
            gates: reports,
            cpu: shares.cpu.unwrap_or(-1.0),
            memory: shares.memory.unwrap_or(-1.0),
            own_share: Some(news(workers.iter().map(|worker| &worker.latency.own), &mut self.own_share)),
            logins: own.admitted / Cost::ONE.units(),
            ..pb::LoadReport::default()
        }
    }

    /// The mean lateness of the worst worker since the last time, in microseconds.
    fn lateness(&mut self, workers: &[std::sync::Arc<Worker>]) -> u64 {
        let now: Vec<_> = workers.iter().map(|worker| worker.lateness.sums()).collect();
        let before = std::mem::replace(&mut self.lateness, now);
        let mean = |(at, (nanos, ticks)): (usize, &(u64, u64))| {
            let (known, seen) = before.get(at).copied().unwrap_or_default();
            (nanos - known).checked_div(ticks - seen).unwrap_or(0) / 1000
        };
        self.lateness.iter().enumerate().map(mean).max().unwrap_or(0)
    }
}

fn gates(gateway: &Gateway) -> impl Iterator<Item = &Gate> {
    std::iter::once(&**gateway.own_gate.gate()).chain(gateway.gates.iter().map(|gate| &**gate))
}

/// Logins are counted in requests.
fn own_gate(gateway: &Gateway, flow: &Flow) -> pb::GateReport {
    gate_report(String::new(), gateway.own_gate.gate(), flow)
}

fn gate_report(service: String, gate: &Gate, flow: &Flow) -> pb::GateReport {
    let snapshot = gate.snapshot();
    let level = |&(level, per_second): &(Level, f64)| pb::LevelRate { level: level.index() as u32, per_second };
    let target = gate.target();
    pb::GateReport {
        service,
        queuing_us: micros(snapshot.queuing),
        cut: snapshot.own.bits(),
        capacity: flow.completed,
        mean_cost: flow.mean_cost,
        offered: flow.offered.iter().map(level).collect(),
        admitted: flow.admitted,
        limited: flow.limited,
        backlog: 0.0,
        fleet_cut: if snapshot.mode == GateMode::Enforce { gate.fleet_cut().bits() } else { Cut::OPEN.bits() },
        dry_run: snapshot.mode == GateMode::DryRun,
        target_us: micros(target),
        latency: None,
    }
}

/// What was counted since the last time.
fn news<'a>(cells: impl Iterator<Item = &'a Cells>, seen: &mut Histogram) -> pb::Histogram {
    let mut now = Histogram::default();
    cells.for_each(|cells| cells.add_to(&mut now));
    let before = std::mem::replace(seen, now);
    let (buckets, counts) = seen.since(&before).counts().map(|(bucket, count)| (bucket as u32, count)).unzip();
    pb::Histogram { buckets, counts }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
