//! Balance: who gives clients away, how fast, and to whom.
//!
//! Clients stay where they are for as long as they like it there, so the gateway that was restarted last stays empty and
//! one that was alone for a while stays full. Here those above the mean give down to it, and those below take up to it.
//!
//! **Signal.** The connections of each open gateway against its part of those of all: the mean where all may have the same, and
//! otherwise by the limits, so that all are as full as each other. One that a mark has closed is counted, and gives, as long as it
//! is above the mean. One that is drained or shuts down is left out: its clients go as fast as that wants it.
//!
//! **Begins** when anybody is farther from the mean than the band and than chance. An empty gateway among others that are
//! all a little above the mean counts like a full one among others that are a little below. **Ends** when everybody is
//! [`BALANCED`], far inside the band: so it does not begin again at once, whatever the last few clients do. What nobody can take
//! counts for neither. That it has begun comes back with the reports ([`super::Standing::balancing`]), and no manager has to
//! remember it: what most of them say is so, and not what the last one says that has not heard yet.
//!
//! **How fast** is up to those who take: what each lacks, less those who are on their way, over a time that is longer than it
//! takes for a move to show in the reports; and of the logins that it can take on top of what it takes, at most half. What
//! all of them take is shared by those who give, as what each has too much; and none gives more than its share per second.
//! So nobody becomes full by clients that several gateways sent to the same empty one, and nothing has to be taken back.
//!
//! **To whom.** Each who takes gets as much of it as it takes. A gateway in its ramp takes up to the ramp's part of the mean, and
//! nobody so much that little more would close it.

use std::time::Duration;

use super::{
    placement::{Alternative, FULL_WEIGHT, Member, ramp, room},
    random::{Random, Weights},
    standing::Wish,
};
use crate::{
    manager::settings::{MarkKind, Settings},
    pb::attach::MOVE_WITHIN,
};

/// Destinations in one directive; of more, some are drawn.
pub const MAX_DESTINATIONS: usize = 16;

/// Below so many connections nobody is worth the logins that it takes to move some away.
const WORTH_MOVING: f64 = 100.0;
/// How far from the mean everybody may be in the end: half of the narrowest band, and a client or two by which small counts
/// cannot be the same.
const BALANCED: f64 = 0.025;
const BALANCED_CLIENTS: f64 = 2.0;
/// In how many report intervals, and a second in which clients move, a taker gets what it lacks. A move shows after about two:
/// corrected in much less, everybody would be told again to go where others go already.
const CORRECTED_IN_INTERVALS: u32 = 5;
/// Of the logins that a taker can take on top of what it takes, the part that moves may use. What moves is a part of what it
/// takes already: with all of it the one would chase the other.
const PART_OF_SPARE_LOGINS: f64 = 0.5;

/// Of the high mark of connections, the part up to which moves fill a taker. The rest is for logins, and for clients of a gateway
/// that is lost.
const FILLED_TO: f64 = 0.9;

/// Connections that are to move away.
#[derive(Clone, Debug, PartialEq)]
pub struct Moves {
    /// Clients told per second.
    pub per_second: f64,
    /// No more once so many are left, without those who were told.
    pub down_to: u64,
    /// Where they go; empty for the alternatives.
    pub to: Vec<Alternative>,
}

/// Somebody below the mean.
#[derive(Debug)]
struct Taker<'m> {
    member: &'m Member<'m>,
    /// Clients that it still lacks, as far as its ramp is.
    lacks: f64,
    /// Clients that it takes per second.
    takes: f64,
}

/// What is the same for everybody.
#[derive(Debug)]
pub(super) struct Balance<'m> {
    /// Clients are being moved.
    pub(super) is_sought: bool,
    mean: Mean,
    /// Somebody is farther above the mean than is near enough, and whoever is near gives nothing.
    near_keep: bool,
    /// What all who give have above the mean.
    surplus: f64,
    takers: Vec<Taker<'m>>,
    /// What they take per second.
    takes: Weights,
    /// Of its connections, what a gateway gives per second at most.
    share: f64,
    interval: Duration,
}

impl<'m> Balance<'m> {
    /// Looks at everybody. While `frozen`, what a manager sees is no fleet to be balanced.
    pub(super) fn new(members: &'m [Member<'m>], settings: &Settings, frozen: bool) -> Self {
        let was_sought = was_sought(members);
        let mean = Mean::of(members);
        let is_sought = if frozen { was_sought } else { is_sought(members, &mean, was_sought, settings) };
        let within = (settings.interval * CORRECTED_IN_INTERVALS + MOVE_WITHIN).as_secs_f64();
        let taker = |member: &'m Member<'m>| {
            let lacks = lacks(member, mean.at(member) * ramp(&member.standing, settings), member.placed, settings);
            let takes = (lacks / within).min(member.spare_logins() * PART_OF_SPARE_LOGINS);
            (takes > 0.0).then_some(Taker { member, lacks, takes })
        };
        let is_at_work = is_sought && !frozen;
        let takers: Vec<_> = members.iter().filter(|one| is_at_work && one.is_open()).filter_map(taker).collect();
        // Who is near enough to the mean gives only if nobody else does: chance has sent it a client or two more than it lacked.
        let near_keep = members.iter().any(|member| mean.surplus(member) > near(mean.at(member)));
        Self {
            is_sought,
            near_keep,
            surplus: members.iter().filter_map(|member| mean.gives(member, near_keep)).sum(),
            mean,
            takes: Weights::new(takers.iter().map(|taker| taker.takes)),
            takers,
            share: settings.placement.rebalance_share,
            interval: settings.interval,
        }
    }

    /// What this gateway gives away, and to whom.
    pub(super) fn moves(&self, member: &Member<'_>, seed: u64) -> Option<Moves> {
        let own = self.mean.gives(member, self.near_keep)?;
        if self.takers.is_empty() {
            return None;
        }
        let (to, lacking) = self.destinations(&member.report.gateway, seed);
        let most = (connections(member) * self.share).min(lacking / self.interval.as_secs_f64());
        let per_second = most.min(self.takes.total() * own / self.surplus);
        (per_second > 0.0).then_some(Moves { per_second, down_to: self.mean.at(member) as u64, to })
    }

    /// Those who take, as likely as they take, and what these lack together.
    fn destinations(&self, giver: &str, seed: u64) -> (Vec<Alternative>, f64) {
        let weights: Vec<(&Taker<'_>, f64)> = if self.takers.len() <= MAX_DESTINATIONS {
            self.takers.iter().map(|taker| (taker, taker.takes)).collect()
        } else {
            self.draw(&mut Random::new(seed, giver))
        };
        let most = weights.iter().map(|(_, weight)| *weight).fold(0.0, f64::max);
        let weigh = |(taker, weight): &(&Taker<'_>, f64)| taker.member.alternative(FULL_WEIGHT * weight / most);
        (weights.iter().map(weigh).collect(), weights.iter().map(|(taker, _)| taker.lacks).sum())
    }

    /// So many draws; who is drawn twice counts twice. So each is as likely as it takes, and no more likely for being weighed again.
    fn draw(&self, random: &mut Random) -> Vec<(&Taker<'m>, f64)> {
        let mut drawn: Vec<(usize, f64)> = Vec::with_capacity(MAX_DESTINATIONS);
        for _ in 0..MAX_DESTINATIONS {
            let index = self.takes.draw(random);
            match drawn.iter_mut().find(|(known, _)| *known == index) {
                Some((_, times)) => *times += 1.0,
                None => drawn.push((index, 1.0)),
            }
        }
        drawn.into_iter().map(|(index, times)| (&self.takers[index], times)).collect()
    }
}

/// Connections of all who are open, and of those who are closed with more than their part, against what all of them may have.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    connections: f64,
    limit: f64,
}

impl Mean {
    fn of(members: &[Member<'_>]) -> Self {
        let mut all = Self::default();
        members.iter().filter(|member| member.is_open()).for_each(|member| all.add(member));
        let mut closed: Vec<_> = members.iter().filter(|one| one.gives() && !one.is_open()).collect();
        let share = |member: &Member<'_>| connections(member) / limit(member);
        closed.sort_by(|a, b| share(b).total_cmp(&share(a)));
        for member in closed {
            if connections(member) * all.limit > all.connections * limit(member) {
                all.add(member);
            }
        }
        all
    }

    fn add(&mut self, member: &Member<'_>) {
        self.connections += connections(member);
        self.limit += limit(member);
    }

    /// What this one has when all are as full as each other: the mean, where all may have the same.
    fn at(&self, member: &Member<'_>) -> f64 {
        if self.limit > 0.0 { self.connections * limit(member) / self.limit } else { 0.0 }
    }

    /// What a gateway that may give has above the mean.
    fn surplus(&self, member: &Member<'_>) -> f64 {
        if member.gives() { (connections(member) - self.at(member)).max(0.0) } else { 0.0 }
    }

    /// What it gives of that, if whoever is near enough keeps it.
    fn gives(&self, member: &Member<'_>, near_keep: bool) -> Option<f64> {
        let keeps = if near_keep { near(self.at(member)) } else { 0.0 };
        Some(self.surplus(member)).filter(|surplus| *surplus > keeps)
    }
}

/// What a gateway lacks of so many connections, as far as it has room for them.
fn lacks(member: &Member<'_>, of: f64, placed: f64, settings: &Settings) -> f64 {
    let filled = limit(member) * settings.marks.of(MarkKind::Connections).high * FILLED_TO;
    let part = of.min(filled) - connections(member) - placed;
    part.min(room(member.report, placed, settings)).max(0.0)
}

/// Whether clients have been moved until now: as most of those say who were told of it.
fn was_sought(members: &[Member<'_>]) -> bool {
    let told = members.iter().filter(|member| member.report.standing.is_some()).count();
    let say_so = members.iter().filter(|member| member.standing.balancing).count();
    2 * say_so > told
}

/// Whether clients are to be moved.
fn is_sought(members: &[Member<'_>], mean: &Mean, was_sought: bool, settings: &Settings) -> bool {
    let above = settings.placement.rebalance_above;
    if above <= 0.0 {
        return false;
    }
    let lacks = |member: &Member<'_>| {
        // Whoever has no room lacks nothing.
        if member.is_open() { lacks(member, mean.at(member), 0.0, settings) } else { 0.0 }
    };
    let takeable: f64 = members.iter().map(lacks).sum();
    let is_off = |member: &Member<'_>| {
        let at = mean.at(member);
        // Chance alone spreads clients by the root of their number: what is moved against it comes back soon.
        let bearable = if was_sought { near(at) } else { (at * (above - 1.0)).max(at.sqrt()) };
        mean.surplus(member).max(lacks(member)).min(takeable) > bearable
    };
    let fullest = members.iter().filter(|member| member.gives()).map(connections).fold(0.0, f64::max);
    (was_sought || fullest >= WORTH_MOVING) && members.iter().any(is_off)
}

/// How far from the mean is near enough.
fn near(mean: f64) -> f64 {
    (mean * BALANCED).max(BALANCED_CLIENTS)
}

fn connections(member: &Member<'_>) -> f64 {
    member.report.connections as f64
}

fn limit(member: &Member<'_>) -> f64 {
    member.report.limit as f64
}

impl Member<'_> {
    /// Whether clients may be sent here.
    fn is_open(&self) -> bool {
        self.standing.accepting && self.gives() && !self.report.addresses.is_empty()
    }

    /// Whether nothing else than balance is wanted of it, and it says what its part is.
    fn gives(&self) -> bool {
        self.wish == Wish::None && self.report.limit > 0
    }
}

#[cfg(test)]
#[path = "balance_tests.rs"]
mod tests;
