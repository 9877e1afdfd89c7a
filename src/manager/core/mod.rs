//! Reports in, directives out. Decides from its arguments alone: no IO, no clock, no randomness of its own, so that what
//! a manager will do can be tested to the word.
//!
//! ```text
//!                    hear                             decide
//!  reports ──▶ seats, one per gateway ──▶ judge each ──▶ headrooms ──▶ alternatives ─┐
//!                        │                                  ├──▶ balance: moves ─────┤
//!                        │                                  │ nobody open?           ├─▶ one directive
//!                        │                                  └─▶ login cut ───────────┤    for each gateway
//!                        └──▶ sum the gates of each service ──▶ fleet cuts ──────────┘
//! ```
//!
//! **No leader.** Decisions are a function of the reports. What has to be remembered (since when a gateway is closed, for how
//! long a mark has been passed, which cuts are in force) goes down with each directive and comes back up with each report.
//! So all managers decide alike, up to the age of what they know of each other's gateways, and a fresh one needs nothing
//! but a round of reports. The one thing that a manager remembers by itself is how many gateways it has seen
//! ([`Quorum`]), because that is about its own sight.
//!
//! **Cold start.** A gateway is open until something closes it. A manager that has heard of nobody yet directs nobody.

mod balance;
mod fleet_cut;
mod login_cut;
pub mod orders;
mod placement;
mod quorum;
mod random;
pub mod report;
pub mod standing;
mod words;

use std::{collections::BTreeMap, time::Duration};

use self::{balance::Balance, placement::Field};
pub use self::{
    balance::{MAX_DESTINATIONS, Moves},
    fleet_cut::ServiceDecision,
    login_cut::LoginCut,
    orders::Orders,
    placement::{Alternative, MAX_ALTERNATIVES, Member},
    quorum::Quorum,
    report::{GateReport, Report},
    standing::{Standing, Wish},
};
use super::settings::{MarkKind, Settings};
use crate::{clock::Timestamp, id::Incarnation};

/// Gateways of one fleet; beyond that the fleet is misconfigured, and the least recently heard ones are not listened to.
pub const MAX_GATEWAYS: usize = 4096;

/// What is known of a gateway.
#[derive(Clone, Debug)]
struct Seat {
    report: Report,
    /// When the report was made, by this manager's clock.
    at: Timestamp,
    /// When the gateway is gone if nothing more is heard.
    until: Timestamp,
}

/// The decisions' memory: the last report of each gateway.
#[derive(Clone, Debug, Default)]
pub struct Core {
    settings: Settings,
    seats: BTreeMap<String, Seat>,
    quorum: Quorum,
}

/// What is decided for one gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Directive {
    /// Which run of it is meant.
    pub incarnation: Incarnation,
    /// Whether it may take logins, if only some.
    pub accept: bool,
    /// Its standing, to be sent back.
    pub standing: Standing,
    /// What it waits for while it is closed, for people.
    pub waits_for: Option<String>,
    /// Where its clients may go instead.
    pub alternatives: Vec<Alternative>,
    /// How many more clients it has room for.
    pub headroom: f64,
    /// Clients sent there who have not arrived.
    pub placed: f64,
    /// Logins per second of its clients that the others can take on top of what they take, if it is lost with a tenth of the
    /// fleet.
    pub spare_logins: f64,
    /// How fast connections are to move away, and until how many are left.
    pub moves: Option<Moves>,
    /// Its policy.
    pub policy: u64,
    /// A policy that it refused; 0 for none.
    pub refused_policy: u64,
    /// Connections that it holds, and may hold.
    pub connections: (u64, u64),
    /// What it measured.
    pub values: Vec<(MarkKind, f64)>,
    /// How old its report is.
    pub age: Duration,
}

/// What is decided at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decisions {
    /// For each gateway that lives.
    pub gateways: BTreeMap<String, Directive>,
    /// For each service.
    pub services: Vec<ServiceDecision>,
    /// For logins, while nobody is open.
    pub logins: Option<LoginCut>,
    /// Where new clients may go.
    pub open: Vec<Alternative>,
    /// Why nothing changes at present, for people.
    pub frozen: Option<String>,
    /// How many gateways count as the whole fleet.
    pub known: usize,
}

impl Decisions {
    /// Whether clients are moved for the sake of balance.
    pub fn is_balancing(&self) -> bool {
        // While nothing changes, what is known of it is kept, and nobody moves.
        self.frozen.is_none() && self.gateways.values().any(|directive| directive.standing.balancing)
    }
}

impl Core {
    /// With no gateway known.
    pub fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// What the decisions go by.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes in a report that was made at `at`. An older one than the last says nothing.
    pub fn hear(&mut self, report: Report, at: Timestamp) {
        let known = self.seats.get(&report.gateway);
        if known.is_some_and(|seat| seat.at > at) || (known.is_none() && self.seats.len() >= MAX_GATEWAYS) {
            return;
        }
        let until = at + self.settings.lease;
        self.seats.insert(report.gateway.clone(), Seat { report, at, until });
    }

    /// This run of a gateway has said that it is gone.
    pub fn forget(&mut self, gateway: &str, incarnation: Incarnation) {
        if self.seats.get(gateway).is_some_and(|seat| seat.report.incarnation == incarnation) {
            self.seats.remove(gateway);
        }
    }

    /// The board cannot be read: whom only other managers hear stays in its seat until then.
    pub fn keep(&mut self, until: Timestamp, is_heard_here: impl Fn(&str) -> bool) {
        for (_, seat) in self.seats.iter_mut().filter(|(name, _)| !is_heard_here(name)) {
            seat.until = seat.until.max(until);
        }
    }

    /// Which run of a gateway is known.
    pub fn incarnation(&self, gateway: &str) -> Option<Incarnation> {
        self.seats.get(gateway).map(|seat| seat.report.incarnation)
    }

    /// What holds now for everybody who lives. `seed` draws among alternatives where there are many.
    pub fn decide(&mut self, orders: &Orders, now: Timestamp, seed: u64) -> Decisions {
        self.seats.retain(|_, seat| seat.until > now);
        let settings = self.settings;
        let lost_since = self.quorum.look(self.seats.len(), now, settings.hold);
        let members = members(&self.seats, orders, now, &settings, lost_since.is_some());
        let nobody_open = !members.is_empty() && members.iter().all(|member| !member.standing.accepting);
        let logins = nobody_open.then(|| login_cut::decide(&members, &settings));
        let field = Field::new(&members);
        let balance = Balance::new(&members, &settings, lost_since.is_some());
        let direct = |member: &Member<'_>| {
            let seat = &self.seats[&member.report.gateway];
            let directive = direct(member, &field, &balance, logins.as_ref(), orders, &settings, seed);
            (member.report.gateway.clone(), Directive { age: now.since(seat.at), ..directive })
        };
        Decisions {
            gateways: members.iter().map(direct).collect(),
            services: fleet_cut::decide(&members, settings.fleet_cuts, lost_since.is_some()),
            logins,
            open: field.alternatives(None, seed),
            frozen: lost_since.map(|since| {
                let (seen, known) = (members.len(), self.quorum.known());
                let left = settings.hold.saturating_sub(now.since(since));
                format!("{seen} of {known} gateways are seen: nothing changes for {} more", words::time(left))
            }),
            known: self.quorum.known(),
        }
    }
}

/// Judges everybody, then weighs everybody.
fn members<'a>(
    seats: &'a BTreeMap<String, Seat>,
    orders: &Orders,
    now: Timestamp,
    settings: &Settings,
    frozen: bool,
) -> Vec<Member<'a>> {
    let sent = placement::sent(seats.values().map(|seat| &seat.report));
    let member = |seat: &'a Seat| {
        let (report, elapsed) = (&seat.report, now.since(seat.at));
        let wish = orders.wish(report);
        let standing = match wish {
            Wish::None if frozen => Standing::reported(report, elapsed),
            wish => standing::judge(report, elapsed, &settings.marks, wish),
        };
        let placed = placement::placed(report, &sent);
        let headroom = placement::headroom(report, &standing, placed, settings);
        Member { report, standing, wish, placed, headroom }
    };
    seats.values().map(member).collect()
}

fn direct(
    member: &Member<'_>,
    field: &Field<'_>,
    balance: &Balance<'_>,
    logins: Option<&LoginCut>,
    orders: &Orders,
    settings: &Settings,
    seed: u64,
) -> Directive {
    let Member { report, standing, wish, placed, headroom } = member;
    let alternatives = field.alternatives(Some(member), seed);
    let spare_logins = field.spare_logins(member);
    // Where nobody is open, all take those that the login cut lets through; but for those who are told to take nobody.
    let accept = standing.accepting || (logins.is_some() && *wish == Wish::None);
    let drain = |per_second| Moves { per_second, down_to: 0, to: Vec::new() };
    let drains = orders.drain(report).filter(|_| !alternatives.is_empty()).map(drain);
    Directive {
        incarnation: report.incarnation,
        accept,
        standing: Standing {
            wait: wait(member, field, logins, spare_logins),
            balancing: balance.is_sought,
            ..standing.clone()
        },
        waits_for: match wish {
            Wish::None => standing::waits_for(report, standing, &settings.marks),
            Wish::Drained => Some("the drain to be undone, or another start".to_owned()),
            Wish::Leaving => None,
        },
        moves: drains.or_else(|| balance.moves(member, seed)),
        alternatives,
        headroom: *headroom,
        placed: *placed,
        spare_logins: field.spare_if_lost(member),
        policy: report.policy,
        refused_policy: report.refused_policy,
        connections: (report.connections, report.limit),
        values: MarkKind::ALL.into_iter().filter_map(|kind| Some((kind, report.value(kind)?))).collect(),
        age: Duration::ZERO,
    }
}

/// The longest time over which clients who are sent elsewhere are spread.
const LONGEST_WAY: Duration = Duration::from_secs(30);

/// Over which time refused clients come back, or arrive elsewhere: as long as it takes to let in who is on the way there.
fn wait(member: &Member<'_>, field: &Field<'_>, logins: Option<&LoginCut>, spare: f64) -> Duration {
    match logins {
        Some(logins) => logins.wait,
        None if member.standing.accepting => Duration::ZERO,
        None => Duration::try_from_secs_f64(field.on_the_way(member) / spare).unwrap_or(LONGEST_WAY).min(LONGEST_WAY),
    }
}

#[cfg(test)]
mod tests;
