//! Where clients go: each open gateway weighs what it has room for, and clients draw.
//!
//! A weight is the connections that still fit below the high-water mark, less those who were sent there and have not
//! arrived, times the headroom of whatever else is scarcest there. So the fullest gateway gets the fewest, none is overrun
//! by clients who are on their way already, and nobody has to be told to stop sending.
//!
//! A new gateway, and one that has opened again, gets a growing part of its weight for the ramp's time: its caches are cold,
//! and everybody sees at the same moment how empty it is.

use super::{random::Random, report::Report, standing::Standing};
use crate::manager::settings::{MarkKind, Settings};

/// Alternatives in one directive; of more, some are drawn.
pub const MAX_ALTERNATIVES: usize = 8;

/// The weight of the emptiest gateway.
const FULL_WEIGHT: f64 = 1000.0;
/// What a gateway gets of its weight at the beginning of its ramp.
const RAMP_FLOOR: f64 = 0.1;

/// A gateway with room for more clients.
#[derive(Clone, Debug, PartialEq)]
pub struct Alternative {
    /// Its name.
    pub gateway: String,
    /// Where clients reach it.
    pub addresses: Vec<String>,
    /// Relative to the others', 1 to 1000.
    pub weight: u32,
}

/// A living gateway.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// What it reports.
    pub report: &'a Report,
    /// Whether it takes logins.
    pub standing: Standing,
    /// Clients who were sent there and have not arrived.
    pub placed: f64,
    /// How many more it has room for, weighed by whatever else is scarce; 0 if it is closed.
    pub headroom: f64,
}

/// Who was sent to a gateway and has not arrived.
pub(super) fn placed(gateway: &Report, fleet: &[&Report]) -> f64 {
    let sent = |report: &&Report| -> f64 {
        report.sent.iter().filter(|(to, _)| *to == gateway.gateway).map(|(_, clients)| clients).sum()
    };
    let sent = fleet.iter().map(sent).fold(0.0, |sum, more| sum + more);
    if sent > gateway.arrived { sent - gateway.arrived } else { 0.0 }
}

/// How many more clients a gateway has room for.
pub(super) fn headroom(report: &Report, standing: &Standing, placed: f64, settings: &Settings) -> f64 {
    if !standing.accepting || report.addresses.is_empty() {
        return 0.0;
    }
    let marks = &settings.marks;
    let room = report.limit as f64 * marks.of(MarkKind::Connections).high - report.connections as f64 - placed;
    let left = |kind| report.value(kind).map_or(1.0, |value| 1.0 - value / marks.of(kind).high);
    let others = MarkKind::ALL.into_iter().filter(|&kind| kind != MarkKind::Connections).map(left);
    let scarcest = others.fold(1.0, f64::min).max(0.0);
    room.max(0.0) * scarcest * ramp(standing, settings)
}

fn ramp(standing: &Standing, settings: &Settings) -> f64 {
    let ramp = settings.placement.ramp;
    if ramp.is_zero() { 1.0 } else { (standing.age.as_secs_f64() / ramp.as_secs_f64()).clamp(RAMP_FLOOR, 1.0) }
}

/// The alternatives to one gateway, or all there are for nobody in particular.
pub(super) fn alternatives(members: &[Member<'_>], to: Option<&str>, seed: u64) -> Vec<Alternative> {
    let open = members.iter().filter(|member| member.headroom > 0.0 && Some(&*member.report.gateway) != to);
    let mut open: Vec<_> = open.collect();
    if open.len() > MAX_ALTERNATIVES {
        // A key of u^(1/w) for each draws without replacement by weight (Efraimidis and Spirakis 2006).
        let mut random = Random::new(seed, to.unwrap_or_default());
        let mut keyed: Vec<_> = open.into_iter().map(|member| (random.unit().ln() / member.headroom, member)).collect();
        keyed.sort_by(|a, b| b.0.total_cmp(&a.0));
        open = keyed.into_iter().take(MAX_ALTERNATIVES).map(|(_, member)| member).collect();
    }
    let most = open.iter().map(|member| member.headroom).fold(0.0, f64::max);
    let weigh = |member: &&Member<'_>| Alternative {
        gateway: member.report.gateway.clone(),
        addresses: member.report.addresses.clone(),
        weight: (FULL_WEIGHT * member.headroom / most).round().max(1.0) as u32,
    };
    open.iter().map(weigh).collect()
}

/// Logins per second that the other open gateways can take on top of what they take.
pub(super) fn spare_logins(members: &[Member<'_>], besides: &str) -> f64 {
    let open = members.iter().filter(|member| member.headroom > 0.0 && member.report.gateway != besides);
    open.map(|member| (member.report.login_limit - member.report.logins).max(0.0)).sum()
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
