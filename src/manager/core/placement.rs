//! Where clients go: each open gateway weighs what it has room for, and clients draw.
//!
//! A weight is the connections that still fit below the high-water mark, less those who were sent there and have not
//! arrived, times the headroom of whatever else is scarcest there. So the fullest gateway gets the fewest, none is overrun
//! by clients who are on their way already, and nobody has to be told to stop sending.
//!
//! A new gateway, and one that has opened again, gets a growing part of its weight for the ramp's time: its caches are cold,
//! and everybody sees at the same moment how empty it is.

use std::collections::HashMap;

use super::{
    random::{Random, Weights},
    report::Report,
    standing::{Standing, Wish},
};
use crate::manager::settings::{MarkKind, Settings};

/// Alternatives in one directive; of more, some are drawn.
pub const MAX_ALTERNATIVES: usize = 8;

/// Gateways that are lost at once are seldom one alone: a rack, a zone, a bad release. Their clients together must not overrun
/// the others, so each spreads as if this share of the fleet were lost with it.
const LOST_TOGETHER: f64 = 0.1;

/// Draws of one gateway's alternatives before each gateway gets a key.
const MOST_DRAWS: usize = 16 * MAX_ALTERNATIVES;

/// The weight of the emptiest gateway.
pub(super) const FULL_WEIGHT: f64 = 1000.0;
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
    /// What is wanted of it besides.
    pub wish: Wish,
    /// Clients who were sent there and have not arrived.
    pub placed: f64,
    /// How many more it has room for, weighed by whatever else is scarce; 0 if it is closed.
    pub headroom: f64,
}

/// Who was sent where of late, by gateway, over all reports.
pub(super) fn sent<'a>(reports: impl Iterator<Item = &'a Report>) -> HashMap<&'a str, f64> {
    let mut sums = HashMap::new();
    for (to, clients) in reports.flat_map(|report| &report.sent) {
        *sums.entry(to.as_str()).or_default() += clients;
    }
    sums
}

/// Who was sent to a gateway and has not arrived.
pub(super) fn placed(gateway: &Report, sent: &HashMap<&str, f64>) -> f64 {
    let sent = sent.get(&*gateway.gateway).copied().unwrap_or(0.0);
    if sent > gateway.arrived { sent - gateway.arrived } else { 0.0 }
}

/// How many more clients a gateway has room for.
pub(super) fn headroom(report: &Report, standing: &Standing, placed: f64, settings: &Settings) -> f64 {
    if !standing.accepting || report.addresses.is_empty() {
        return 0.0;
    }
    room(report, placed, settings) * ramp(standing, settings)
}

/// The same whether it is open or not, and once its ramp is over.
pub(super) fn room(report: &Report, placed: f64, settings: &Settings) -> f64 {
    let marks = &settings.marks;
    let room = report.limit as f64 * marks.of(MarkKind::Connections).high - report.connections as f64 - placed;
    let left = |kind| report.value(kind).map_or(1.0, |value| 1.0 - value / marks.of(kind).high);
    let others = MarkKind::ALL.into_iter().filter(|&kind| kind != MarkKind::Connections).map(left);
    let scarcest = others.fold(1.0, f64::min).max(0.0);
    room.max(0.0) * scarcest
}

/// The part that a gateway gets as long as it is new or has been open for a short time.
pub(super) fn ramp(standing: &Standing, settings: &Settings) -> f64 {
    let ramp = settings.placement.ramp;
    if ramp.is_zero() { 1.0 } else { (standing.age.as_secs_f64() / ramp.as_secs_f64()).clamp(RAMP_FLOOR, 1.0) }
}

/// What is the same for everybody, worked out once: a thousand gateways would look at a thousand each.
#[derive(Debug)]
pub(super) struct Field<'m> {
    /// How many live.
    members: usize,
    /// Those with room, in order.
    open: Vec<&'m Member<'m>>,
    /// Their headrooms.
    headrooms: Weights,
    /// Logins per second that all of them can take on top of what they take.
    spare_logins: f64,
    /// Clients who are on their way to anybody.
    on_the_way: f64,
}

impl<'m> Field<'m> {
    pub(super) fn new(members: &'m [Member<'m>]) -> Self {
        let open: Vec<_> = members.iter().filter(|member| member.headroom > 0.0).collect();
        Self {
            members: members.len(),
            headrooms: Weights::new(open.iter().map(|member| member.headroom)),
            // Not `sum`: that of nothing is a negative zero.
            spare_logins: open.iter().fold(0.0, |sum, member| sum + member.spare_logins()),
            on_the_way: members.iter().fold(0.0, |sum, member| sum + member.placed),
            open,
        }
    }

    /// The alternatives to one gateway, or all there are for nobody in particular.
    pub(super) fn alternatives(&self, to: Option<&Member<'_>>, seed: u64) -> Vec<Alternative> {
        let to = to.map(|member| &*member.report.gateway);
        let fits = |member: &Member<'_>| Some(&*member.report.gateway) != to;
        let drawn: Vec<&Member<'_>> = if self.open.len() > MAX_ALTERNATIVES + 1 {
            self.draw(fits, &mut Random::new(seed, to.unwrap_or_default()))
        } else {
            let all = self.open.iter().copied().filter(|member| fits(member)).collect();
            by_key(all, &mut Random::new(seed, to.unwrap_or_default()))
        };
        let most = drawn.iter().map(|member| member.headroom).fold(0.0, f64::max);
        let weigh = |member: &&Member<'_>| member.alternative(FULL_WEIGHT * member.headroom / most);
        drawn.iter().map(weigh).collect()
    }

    /// Draws one after the other, again where one comes twice: as likely as with a key for each, in far less time.
    fn draw(&self, fits: impl Fn(&Member<'_>) -> bool, random: &mut Random) -> Vec<&'m Member<'m>> {
        let mut drawn: Vec<usize> = Vec::with_capacity(MAX_ALTERNATIVES);
        for _ in 0..MOST_DRAWS {
            let index = self.headrooms.draw(random);
            if !drawn.contains(&index) && fits(self.open[index]) {
                drawn.push(index);
                if drawn.len() == MAX_ALTERNATIVES {
                    return drawn.into_iter().map(|index| self.open[index]).collect();
                }
            }
        }
        // A few have nearly all the room.
        by_key(self.open.iter().copied().filter(|member| fits(member)).collect(), random)
    }

    /// Logins per second that the other open gateways can take on top of what they take.
    pub(super) fn spare_logins(&self, besides: &Member<'_>) -> f64 {
        let own = if besides.headroom > 0.0 { besides.spare_logins() } else { 0.0 };
        (self.spare_logins - own).max(0.0)
    }

    /// The same for the clients of this gateway alone, if it is lost with others: what those take that are left, divided by
    /// those that are lost.
    pub(super) fn spare_if_lost(&self, gateway: &Member<'_>) -> f64 {
        let all = self.members as f64;
        let lost = (LOST_TOGETHER * all).max(1.0);
        let left = (all - lost) / (all - 1.0).max(1.0);
        self.spare_logins(gateway) * left.min(1.0) / lost
    }

    /// Clients who are on their way to other gateways.
    pub(super) fn on_the_way(&self, besides: &Member<'_>) -> f64 {
        (self.on_the_way - besides.placed).max(0.0)
    }
}

impl Member<'_> {
    /// As a place to go to.
    pub(super) fn alternative(&self, weight: f64) -> Alternative {
        Alternative {
            gateway: self.report.gateway.clone(),
            addresses: self.report.addresses.clone(),
            weight: weight.round().max(1.0) as u32,
        }
    }

    /// Logins per second that it can take on top of what it takes.
    pub(super) fn spare_logins(&self) -> f64 {
        (self.report.login_limit - self.report.logins).max(0.0)
    }
}

/// Draws without replacement by weight, if there are too many: a key of u^(1/w) each (Efraimidis and Spirakis 2006).
fn by_key<'m>(open: Vec<&'m Member<'m>>, random: &mut Random) -> Vec<&'m Member<'m>> {
    if open.len() <= MAX_ALTERNATIVES {
        return open;
    }
    let mut keyed: Vec<_> = open.into_iter().map(|member| (random.unit().ln() / member.headroom, member)).collect();
    keyed.sort_by(|a, b| b.0.total_cmp(&a.0));
    keyed.into_iter().take(MAX_ALTERNATIVES).map(|(_, member)| member).collect()
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
