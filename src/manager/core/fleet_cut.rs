//! One cut per service for the whole fleet, so that the same user is treated alike at every gateway: the point at which
//! what all of them are offered reaches what all of them get done.
//!
//! **Signal.** Each gateway reports the rates at its levels and what is completed there while its places are taken. Places
//! are the service's grants, which it splits by the work that waits for each gateway; so what one gateway completes is no
//! capacity of anybody's, but the sum is.
//!
//! **Begin** when most work meets taken places, more is offered than completed, and some gate sheds. **Follow**: what is
//! completed, less what it takes to work the backlog off. **Probe**: while places are free, a quarter more than the cut in
//! force lets in, with each report, and never less: that little is let in may be the doing of another cut. **End** when all
//! that is offered fits.
//!
//! **One owner.** The fleet's cut is the base. A gateway's own gate may be stricter while its queue is too long; it does not
//! grow beyond the fleet's cut, and goes on from where it is when that is lifted.
//!
//! A service behind one gateway needs none of this: its gate there knows all that there is to know, ten times as often.

use std::collections::BTreeMap;

use super::{placement::Member, report::GateReport, words};
use crate::admission::{Cut, GRAIN_BITS, Level, level::LEVELS};

/// Above this share of the time with all places taken, what is completed is a capacity.
const LIMITED: f64 = 0.5;
/// So many times what is completed must be offered before a cut begins.
const EXCESS: f64 = 1.05;
/// So many times what the cut in force lets in is tried while places are free.
const PROBE: f64 = 1.25;
/// In how many seconds a backlog is to be worked off.
const DRAIN_SECONDS: f64 = 2.0;
/// However long the backlog, this part of the capacity is let in.
const LEAST: f64 = 0.5;

/// A service over the whole fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceDecision {
    /// Its name.
    pub service: String,
    /// The fleet's cut.
    pub cut: Cut,
    /// Cost per second that is offered.
    pub offered: f64,
    /// Cost per second that is let through.
    pub admitted: f64,
    /// Cost per second that is completed while places are taken.
    pub capacity: f64,
    /// Share of the work that met taken places.
    pub limited: f64,
    /// Gateways that report it.
    pub gateways: usize,
    /// Why, for people.
    pub reason: String,
}

/// The services of the fleet, in order. While `frozen`, every cut stays as it is in force.
pub(super) fn decide(members: &[Member<'_>], enabled: bool, frozen: bool) -> Vec<ServiceDecision> {
    let mut services: BTreeMap<&str, Vec<&GateReport>> = BTreeMap::new();
    for gate in members.iter().flat_map(|member| &member.report.gates).filter(|gate| !gate.service.is_empty()) {
        services.entry(&gate.service).or_default().push(gate);
    }
    services.into_iter().map(|(service, gates)| of_service(service, &gates, enabled, frozen)).collect()
}

fn of_service(service: &str, gates: &[&GateReport], enabled: bool, frozen: bool) -> ServiceDecision {
    let sum = |of: fn(&GateReport) -> f64| gates.iter().map(|gate| of(gate)).fold(0.0, |sum, more| sum + more);
    let capacity = sum(|gate| gate.capacity);
    let met = sum(|gate| gate.capacity * gate.limited);
    let mut decision = ServiceDecision {
        service: service.to_owned(),
        cut: Cut::OPEN,
        offered: sum(|gate| gate.offered.iter().fold(0.0, |sum, (_, rate)| sum + rate)),
        admitted: sum(|gate| gate.admitted),
        capacity,
        limited: if capacity > 0.0 { met / capacity } else { 0.0 },
        gateways: gates.len(),
        reason: String::new(),
    };
    let in_force = gates.iter().map(|gate| gate.fleet_cut).min().unwrap_or(Cut::OPEN);
    (decision.cut, decision.reason) = if !enabled {
        (Cut::OPEN, "no fleet cuts by configuration".to_owned())
    } else if frozen {
        (in_force, "unchanged while half of the fleet is out of sight".to_owned())
    } else if gates.len() < 2 {
        (Cut::OPEN, "behind one gateway, whose own gate knows best".to_owned())
    } else if gates.iter().any(|gate| gate.dry_run) {
        (Cut::OPEN, "a gate is in a dry run".to_owned())
    } else {
        cut(&decision, gates, in_force)
    };
    decision
}

fn cut(now: &ServiceDecision, gates: &[&GateReport], in_force: Cut) -> (Cut, String) {
    let (offered, capacity) = (words::rate(now.offered), words::rate(now.capacity));
    let sheds = gates.iter().any(|gate| gate.own_cut != Cut::OPEN);
    let is_limited = now.limited >= LIMITED;
    if in_force == Cut::OPEN && !(is_limited && sheds && now.offered > EXCESS * now.capacity) {
        return (Cut::OPEN, format!("open: {offered} offered, no sign that they do not fit"));
    }
    let (wanted, why) = if is_limited {
        (with_backlog(now.capacity, gates), format!("{capacity} are completed while places are taken"))
    } else {
        let wanted = PROBE * below(gates, in_force);
        (wanted.max(now.capacity), "places are free, so more is tried".to_owned())
    };
    let cut = cut_at(gates.iter().copied(), wanted);
    match if is_limited { cut } else { Ord::max(cut, in_force) } {
        Cut::OPEN => (Cut::OPEN, format!("open again: {offered} offered, {} fit", words::rate(wanted))),
        cut => (cut, format!("cut at {cut}: {offered} offered, {} let in, because {why}", words::rate(wanted))),
    }
}

/// Cost per second that this cut lets in.
fn below(gates: &[&GateReport], cut: Cut) -> f64 {
    let edge = cut.whole_levels();
    let width = f64::from(1_u32 << GRAIN_BITS);
    let part = |level: Level| match level.index() {
        index if index < edge => 1.0,
        index if index == edge => f64::from(cut.bits() - Cut::below_index(edge).bits()) / width,
        _ => 0.0,
    };
    gates.iter().flat_map(|gate| &gate.offered).map(|&(level, rate)| rate * part(level)).sum()
}

/// What may be let in so that the part of the backlog that is too much goes in time.
fn with_backlog(capacity: f64, gates: &[&GateReport]) -> f64 {
    let backlog: f64 = gates.iter().map(|gate| gate.backlog).sum();
    let allowed: f64 = gates.iter().map(|gate| gate.capacity * gate.target.as_secs_f64()).sum();
    (capacity - (backlog - allowed).max(0.0) / DRAIN_SECONDS).max(LEAST * capacity)
}

/// The cut that lets `wanted` of the summed rates through, down to a point inside the level at its edge.
pub(super) fn cut_at<'a>(gates: impl Iterator<Item = &'a GateReport>, wanted: f64) -> Cut {
    // A table, and no map: a thousand gateways name a thousand levels each.
    let mut rates = vec![0.0; LEVELS];
    for &(level, rate) in gates.flat_map(|gate| &gate.offered) {
        rates[level.index()] += rate;
    }
    let mut room = wanted;
    for (index, rate) in rates.into_iter().enumerate() {
        if rate > room {
            let part = (room / rate).clamp(0.0, 1.0);
            let width = f64::from(1_u32 << GRAIN_BITS);
            return Cut::from_bits(Cut::below_index(index).bits() + (part * width) as u32);
        }
        room -= rate;
    }
    Cut::OPEN
}

#[cfg(test)]
#[path = "fleet_cut_tests.rs"]
mod tests;
