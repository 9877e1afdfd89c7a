//! One cut per service for the whole fleet, so that the same user is treated alike at every gateway: the point at which
//! what all of them are offered reaches what all of them get done.
//!
//! **Signal.** Each gateway reports the rates at its levels, what is completed, what waits and is wanted, and for which share of
//! the time its places are taken. Places are the service's grants, which it splits by the work that waits for each gateway;
//! so what one gateway completes is no capacity of anybody's, but the sum is.
//!
//! **Begin** when most work meets taken places, more is offered than completed, and some gate sheds.
//!
//! **Follow**: what is completed, and what it takes to bring the backlog to where it belongs. It belongs where chance hardly
//! empties it from one report to the next, since an empty one costs capacity. As places are taken for less of the time, up
//! to a quarter more is tried.
//!
//! **Steadiness.** Whoever meets the old cut here meets the new one there, for as long as a directive is under way. And what a
//! cut has left behind is refused in the queues, which are not equally far. So a cut stays where it is while what it lets in
//! differs from what is wanted by no more than chance can explain, and moves no further than into these bounds. They are
//! the narrower, the more of the time places are free.
//!
//! **Probe**: while places are free, never less than the cut in force: that little is let in may be the doing of another cut.
//! **Standstill**: while most work is offered where places are taken and nothing is completed, nobody knows what fits: a cut
//! stays as it is, and none begins.
//!
//! **End** when all that is offered fits.
//!
//! **One owner.** A gateway's own gate is stricter only while far more waits there than this cut can have meant; it does not
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
/// The part that is tried on top while places are free, and the less of it the more of the time they are taken.
const PROBE: f64 = 0.25;
/// In how many seconds a backlog that is too long or too short is to be where it belongs.
const DRAIN_SECONDS: f64 = 3.0;
/// However long the backlog, this part of the capacity is let in.
const LEAST: f64 = 0.5;
/// The backlog that belongs there: so many seconds of work, because no rate is known exactly, and so many standard
/// deviations of what chance piles up within the time in which it is corrected.
const ROOM_SECONDS: f64 = 0.06;
const ROOM_DEVIATIONS: f64 = 1.2;
/// The cut stays while it lets in what is wanted up to this part of the capacity, and so many standard deviations.
const BAND: f64 = 0.03;
const BAND_DEVIATIONS: f64 = 0.8;

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
    /// Cost per second that is completed.
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
        offered: sum(offered),
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
    } else if stands_still(gates) {
        (in_force, "unchanged while places are taken and nothing is completed".to_owned())
    } else {
        cut(&decision, gates, in_force)
    };
    decision
}

fn offered(gate: &GateReport) -> f64 {
    gate.offered.iter().fold(0.0, |sum, (_, rate)| sum + rate)
}

/// Whether most work is offered where all places are taken and nothing is completed.
fn stands_still(gates: &[&GateReport]) -> bool {
    let stands = |gate: &GateReport| gate.capacity <= 0.0 && gate.limited >= LIMITED;
    let (standing, others) = gates.iter().fold((0.0, 0.0), |(standing, others), gate| {
        let offered = offered(gate);
        if stands(gate) { (standing + offered, others) } else { (standing, others + offered) }
    });
    standing > others
}

fn cut(now: &ServiceDecision, gates: &[&GateReport], in_force: Cut) -> (Cut, String) {
    let (offered, capacity) = (words::rate(now.offered), words::rate(now.capacity));
    let sheds = gates.iter().any(|gate| gate.own_cut != Cut::OPEN);
    let is_limited = now.limited >= LIMITED;
    if in_force == Cut::OPEN && !(is_limited && sheds && now.offered > EXCESS * now.capacity) {
        return (Cut::OPEN, format!("open: {offered} offered, no sign that they do not fit"));
    }
    let let_in = below(gates, in_force);
    let chance = deviation(now.capacity, gates);
    let (fits, why) = if is_limited {
        (now.capacity, format!("{capacity} are completed while places are taken"))
    } else {
        (let_in.max(now.capacity), "places are free, so more is tried".to_owned())
    };
    let wanted = best(fits, now, gates, chance);
    // Where places are free, less comes than the rates say: nothing is gained by waiting.
    let band = (BAND * now.capacity + BAND_DEVIATIONS * chance / DRAIN_SECONDS) * (1.0 - free(now));
    let is_steady = in_force != Cut::OPEN && is_limited;
    if is_steady && (wanted - let_in).abs() <= band {
        let let_in = words::rate(let_in);
        return (in_force, format!("cut at {in_force}: {offered} offered, {let_in} let in, which is about what fits"));
    }
    // Unlike `clamp` this never panics, whatever numbers come in.
    let next = if is_steady { let_in.max(wanted - band).min(wanted + band) } else { wanted };
    let cut = cut_at(gates.iter().copied(), next);
    let next = words::rate(next);
    match if is_limited { cut } else { Ord::max(cut, in_force) } {
        Cut::OPEN => (Cut::OPEN, format!("open again: {offered} offered, {next} fit")),
        cut => (cut, format!("cut at {cut}: {offered} offered, {next} let in, because {why}")),
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

/// What is to be let in where so much can be done, so that the backlog comes to where it belongs, and places are taken.
/// `chance` is the [`deviation`] of the backlog.
fn best(fits: f64, now: &ServiceDecision, gates: &[&GateReport], chance: f64) -> f64 {
    let backlog: f64 = gates.iter().map(|gate| gate.backlog).sum();
    let room = ROOM_SECONDS * now.capacity + ROOM_DEVIATIONS * chance;
    (fits * (1.0 + PROBE * free(now)) + (room - backlog) / DRAIN_SECONDS).max(LEAST * fits)
}

/// From 0, where all work meets taken places, to 1, where what is completed says nothing of the capacity.
fn free(now: &ServiceDecision) -> f64 {
    ((1.0 - now.limited) / (1.0 - LIMITED)).min(1.0)
}

/// The standard deviation of the cost that independent arrivals and completions pile up while it is worked off within
/// [`DRAIN_SECONDS`] (an Ornstein-Uhlenbeck process).
fn deviation(capacity: f64, gates: &[&GateReport]) -> f64 {
    let known = gates.iter().filter(|gate| gate.mean_cost > 0.0);
    let requests: f64 = known.map(|gate| gate.capacity / gate.mean_cost).sum();
    if requests > 0.0 { capacity / requests * (requests * DRAIN_SECONDS).sqrt() } else { 0.0 }
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
