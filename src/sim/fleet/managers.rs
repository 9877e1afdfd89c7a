//! The managers: each has a core of its own, hears the gateways that are attached to it at once and the others by way of the
//! board, and decides several times per interval. The decisions are the managers' own code; how long they take on this
//! machine is measured, and nothing else depends on it.

use std::{collections::BTreeMap, time::Duration};

use super::{gateway::Gateway, ledger::ROUNDS, report::Measured};
use crate::{
    admission::Cut,
    clock::{Clock, Timestamp},
    manager::{
        core::{Alternative, Core, Decisions, Orders, Report},
        settings::Settings,
    },
};

/// One of them.
#[derive(Debug)]
struct Manager {
    core: Core,
}

/// How long things took on this machine, in nanoseconds.
#[derive(Clone, Debug, Default)]
struct Durations {
    /// Each decision.
    decisions: Vec<u64>,
    /// Reports that were taken in.
    heard: u64,
    /// How long all of them took.
    hearing: u64,
}

/// All managers of a fleet.
#[derive(Debug)]
pub(super) struct Managers {
    managers: Vec<Manager>,
    pub(super) away: bool,
    settings: Settings,
    /// The last report of each gateway, and when it was made: what is on the board.
    board: BTreeMap<usize, (Report, Timestamp)>,
    seed: u64,
    clock: Clock,
    durations: Durations,
}

impl Managers {
    pub(super) fn new(count: usize, settings: Settings, seed: u64, clock: Clock) -> Self {
        let managers = (0..count).map(|_| Manager { core: Core::new(settings) }).collect();
        let (board, durations) = (BTreeMap::new(), Durations::default());
        Self { managers, away: false, settings, board, seed, clock, durations }
    }

    pub(super) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How long things took, but for the run as a whole.
    pub(super) fn measured(&self) -> Measured {
        const MICROS: f64 = 1e3;
        let Durations { decisions, heard, hearing } = &self.durations;
        let mut sorted = decisions.clone();
        sorted.sort_unstable();
        let quantile = |share: f64| {
            sorted
                .get(((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1)))
                .copied()
                .unwrap_or(0)
        };
        let mean = sorted.iter().sum::<u64>() as f64 / sorted.len().max(1) as f64;
        let report = *hearing as f64 / (*heard).max(1) as f64;
        // Each manager hears everybody, be it by way of the board.
        let rounds = f64::from(ROUNDS) / self.settings.interval.as_secs_f64();
        let seconds = sorted.len() as f64 / self.managers.len().max(1) as f64 / rounds;
        Measured {
            decision_us: mean / MICROS,
            decision_p99_us: quantile(0.99) as f64 / MICROS,
            decision_max_us: quantile(1.0) as f64 / MICROS,
            report_us: report / MICROS,
            manager_cpu: (mean * sorted.len() as f64 + *hearing as f64)
                / self.managers.len().max(1) as f64
                / (seconds.max(1e-9) * 1e9),
            ..Measured::default()
        }
    }

    /// All of them start anew, with nothing but what is on the board.
    pub(super) fn restart(&mut self) {
        self.managers.iter_mut().for_each(|manager| manager.core = Core::new(self.settings));
        self.away = false;
    }

    /// A gateway reports to the manager that it is attached to.
    pub(super) fn hear(&mut self, gateway: usize, attached: usize, report: Report, now: Timestamp) {
        self.board.insert(gateway, (report.clone(), now));
        let began = self.clock.now();
        self.managers[attached].core.hear(report, now);
        self.durations.hearing += self.clock.now().since(began).as_nanos() as u64;
        self.durations.heard += 1;
    }

    /// A gateway has said that it is gone.
    pub(super) fn forget(&mut self, gateway: usize) {
        if let Some((report, _)) = self.board.remove(&gateway) {
            for manager in &mut self.managers {
                manager.core.forget(&report.gateway, report.incarnation);
            }
        }
    }

    /// Every manager looks at the board for the gateways that are attached to others.
    pub(super) fn look(&mut self, gateways: &[Gateway], now: Timestamp) {
        self.board.retain(|_, (_, at)| now.since(*at) < self.settings.lease);
        for (index, manager) in self.managers.iter_mut().enumerate() {
            let others = self.board.iter().filter(|(gateway, _)| gateways[**gateway].attached != Some(index));
            let others: Vec<_> = others.map(|(_, (report, at))| (report.clone(), *at)).collect();
            let (began, count) = (self.clock.now(), others.len());
            others.into_iter().for_each(|(report, at)| manager.core.hear(report, at));
            self.durations.hearing += self.clock.now().since(began).as_nanos() as u64;
            self.durations.heard += count as u64;
        }
    }

    /// Every manager decides, and tells the gateways that are attached to it.
    pub(super) fn decide(&mut self, gateways: &mut [Gateway], index_of: &BTreeMap<String, u16>, now: Timestamp) {
        for index in 0..self.managers.len() {
            // Managers draw alternatives anew in each interval, and each for itself.
            let interval = now.as_nanos() / self.settings.interval.as_nanos() as u64;
            let seed = self.seed.wrapping_add(interval).wrapping_add((index as u64) << 48);
            let began = self.clock.now();
            let decisions = self.managers[index].core.decide(&Orders::default(), now, seed);
            self.durations.decisions.push(self.clock.now().since(began).as_nanos() as u64);
            tell(index, &decisions, gateways, index_of, self.settings.ttl, now);
        }
    }
}

fn tell(
    manager: usize,
    decisions: &Decisions,
    gateways: &mut [Gateway],
    index_of: &BTreeMap<String, u16>,
    ttl: Duration,
    now: Timestamp,
) {
    let cut = decisions.logins.map_or(Cut::OPEN, |logins| logins.cut);
    for (name, directive) in &decisions.gateways {
        let Some(gateway) = index_of.get(name).map(|index| &mut gateways[usize::from(*index)]) else { continue };
        if gateway.attached == Some(manager) && gateway.reports() {
            let known = |one: &Alternative| Some((*index_of.get(&one.gateway)?, one.weight));
            gateway.obey(directive, |list| list.iter().filter_map(known).collect(), cut, ttl, now);
        }
    }
}
