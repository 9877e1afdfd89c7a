//! A gateway in a fleet: reports its load to one of the managers, and does what the manager says until that lapses.
//!
//! ```text
//!  report ──▶ attach ══▶ any one manager
//!                ║
//!  login ◀─┐     ▼ directive
//!  welcome ◀┼─ in force ──▶ gates: login cut, fleet cuts, caps
//!  goaway ◀─┘     │
//!                 └──▶ moves, kicks, policy
//! ```
//!
//! Managers are away? The last directive holds for its time-to-live, then the gateway's own limits alone. Nothing on the way
//! of a request knows of any of this: cuts reach the gates as numbers, and the rest concerns logins.

mod alternatives;
mod attach;
mod lately;
pub mod mover;
mod moves;
mod report;
pub mod rules;
mod vitals;

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use self::alternatives::draw;
pub use self::{attach::ManagersConfig, lately::Lately};
pub(super) use self::{attach::follow, moves::move_clients};
use super::{
    Gateway,
    connection::Ending,
    greet::{Elsewhere, RETRY_AFTER, Rejection},
    roster::Member,
};
use crate::{
    admission::{Cut, GateMode},
    clock::Timestamp,
    pb::{client, manager as pb},
    wire::Reason,
};

/// Kicks that are remembered as done.
const KICKS: usize = 1024;
/// How long a shutdown waits for its manager.
const LEFT_WITHIN: Duration = Duration::from_secs(1);
/// No directive holds for longer, whatever it says.
const LONGEST_TTL: Duration = Duration::from_secs(120);

/// What a manager said last, and what became of it.
pub struct Fleet {
    in_force: ArcSwapOption<InForce>,
    sent: Mutex<Lately>,
    arrived: Mutex<Lately>,
    kicked: Mutex<VecDeque<u64>>,
    refused_policy: AtomicU64,
    attached: AtomicBool,
    /// This gateway is shutting down, and its manager is to know at once.
    leaving: Notify,
    /// The manager knows.
    left: Notify,
    sent_total: AtomicU64,
    arrived_total: AtomicU64,
    moved_total: AtomicU64,
    directives_total: AtomicU64,
}

/// A directive and until when it holds.
#[derive(Debug)]
pub(super) struct InForce {
    pub(super) directive: pb::Directive,
    /// When it came.
    pub(super) at: Timestamp,
    until: Timestamp,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            in_force: ArcSwapOption::empty(),
            sent: Mutex::default(),
            arrived: Mutex::default(),
            kicked: Mutex::default(),
            refused_policy: AtomicU64::new(0),
            attached: AtomicBool::new(false),
            leaving: Notify::new(),
            left: Notify::new(),
            sent_total: AtomicU64::new(0),
            arrived_total: AtomicU64::new(0),
            moved_total: AtomicU64::new(0),
            directives_total: AtomicU64::new(0),
        }
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("in_force", &*self.in_force.load()).finish_non_exhaustive()
    }
}

/// Counts for metrics.
#[derive(Clone, Copy, Debug)]
pub struct FleetCounts {
    /// A manager speaks to this gateway.
    pub attached: bool,
    /// Logins are taken, as far as managers are concerned.
    pub accepting: bool,
    /// How old the directive in force is; `None` if there is none.
    pub directive_age: Option<Duration>,
    /// Directives that came.
    pub directives: u64,
    /// Clients that were told to go elsewhere at their login.
    pub sent: u64,
    /// Clients that came from another gateway.
    pub arrived: u64,
    /// Connected clients that were told to move.
    pub moved: u64,
}

impl Fleet {
    /// What holds now.
    pub(super) fn in_force(&self, now: Timestamp) -> Option<Arc<InForce>> {
        self.in_force.load_full().filter(|in_force| now < in_force.until)
    }

    /// For metrics.
    pub fn counts(&self, now: Timestamp) -> FleetCounts {
        let in_force = self.in_force(now);
        FleetCounts {
            attached: self.attached.load(Relaxed),
            accepting: self.accepts(now),
            directive_age: in_force.map(|in_force| now.since(in_force.at)),
            directives: self.directives_total.load(Relaxed),
            sent: self.sent_total.load(Relaxed),
            arrived: self.arrived_total.load(Relaxed),
            moved: self.moved_total.load(Relaxed),
        }
    }

    /// Whether managers want logins here, or there is none to say so.
    pub fn accepts(&self, now: Timestamp) -> bool {
        self.in_force(now).is_none_or(|in_force| in_force.directive.accept)
    }

    /// Whether managers name other gateways that take clients.
    pub fn names_others(&self, now: Timestamp) -> bool {
        self.in_force(now).is_some_and(|in_force| !in_force.directive.alternatives.is_empty())
    }

    /// Whether a login has to go elsewhere, or to come back later.
    ///
    /// # Errors
    ///
    /// What the client is told.
    pub fn admit(&self, hello: &client::Hello, now: Timestamp) -> Result<(), Rejection> {
        match self.in_force(now).filter(|in_force| !in_force.directive.accept) {
            None => Ok(()),
            Some(in_force) => Err(Rejection::Elsewhere(self.turn_away(&in_force.directive, hello, now))),
        }
    }

    fn turn_away(&self, directive: &pb::Directive, hello: &client::Hello, now: Timestamp) -> Elsewhere {
        let wait = wait(directive);
        let alternatives = draw(&directive.alternatives, fastrand::f64);
        if alternatives.is_empty() || hello.gateways_tried >= rules::MAX_TRIED {
            return Elsewhere {
                reason: Reason::ManagerCap,
                retry_after: rules::later(wait, fastrand::f64()),
                alternatives: Vec::new(),
            };
        }
        self.count_sent(&directive.alternatives, &alternatives, now);
        self.sent_total.fetch_add(1, Relaxed);
        Elsewhere { reason: Reason::GatewayClosed, retry_after: wait.mul_f64(fastrand::f64()), alternatives }
    }

    /// The fleet's login cut, or a cap, has refused a login: when that client comes back.
    pub fn come_back(&self, now: Timestamp) -> Elsewhere {
        let wait = self.in_force(now).map_or(Duration::ZERO, |in_force| wait(&in_force.directive));
        Elsewhere {
            reason: Reason::ManagerCap,
            retry_after: rules::later(wait, fastrand::f64()),
            alternatives: Vec::new(),
        }
    }

    /// Where a client may go if it loses this gateway, drawn for it.
    pub fn alternatives(&self, now: Timestamp) -> Vec<client::Alternative> {
        self.in_force(now).map_or_else(Vec::new, |in_force| draw(&in_force.directive.alternatives, fastrand::f64))
    }

    /// Where a client is to move that is told to now; it counts as on its way there. Whoever moves because this gateway is
    /// `leaving` goes wherever there is room, others where a manager wants them.
    pub fn destinations(&self, leaving: bool, now: Timestamp) -> Vec<client::Alternative> {
        let Some(in_force) = self.in_force(now) else { return Vec::new() };
        let pb::Directive { alternatives, moves, .. } = &in_force.directive;
        let wanted = moves.as_ref().map(|moves| &moves.to).filter(|to| !leaving && !to.is_empty());
        let among = wanted.unwrap_or(alternatives);
        let drawn = draw(among, fastrand::f64);
        self.count_sent(among, &drawn, now);
        drawn
    }

    /// This gateway is leaving, and a login has come all the same: where it goes at once, or when it comes back if nobody
    /// says where to.
    pub fn leaving(&self, now: Timestamp) -> Elsewhere {
        let alternatives = self.destinations(true, now);
        let retry_after = if alternatives.is_empty() { RETRY_AFTER } else { Duration::ZERO };
        Elsewhere { reason: Reason::Draining, retry_after, alternatives }
    }

    /// Each of those drawn is as likely as its weight says.
    fn count_sent(&self, among: &[pb::AlternativeGateway], drawn: &[client::Alternative], now: Timestamp) {
        let total: f64 = drawn.iter().map(|one| f64::from(one.weight)).sum();
        let mut sent = lock(&self.sent);
        for one in drawn {
            let is_it = |known: &&pb::AlternativeGateway| known.addresses == one.addresses;
            if let Some(known) = among.iter().find(is_it) {
                sent.add(&known.gateway, f64::from(one.weight) / total, now);
            }
        }
    }

    /// A client has logged in that another gateway sent here.
    pub fn count_arrived(&self, now: Timestamp) {
        self.arrived_total.fetch_add(1, Relaxed);
        lock(&self.arrived).add("", 1.0, now);
    }

    /// Logins per second that other gateways can take on top of what they take, if a manager says so.
    pub fn spare_logins(&self, now: Timestamp) -> Option<f64> {
        self.in_force(now).map(|in_force| in_force.directive.spare_logins).filter(|spare| *spare > 0.0)
    }

    /// Tells the manager at once that this gateway is shutting down.
    pub(super) fn leave(&self) {
        self.leaving.notify_one();
    }

    /// Completes when the manager sends nobody here any more, or soon if there is none.
    pub(super) async fn left(&self) {
        if self.attached.load(Relaxed) {
            let _ = tokio::time::timeout(LEFT_WITHIN, self.left.notified()).await;
        }
    }

    /// Puts a directive in force.
    fn obey(&self, directive: pb::Directive, gateway: &Gateway, now: Timestamp) {
        self.directives_total.fetch_add(1, Relaxed);
        if gateway.is_draining() && !directive.accept {
            self.left.notify_one();
        }
        let ttl = Duration::from_millis(directive.ttl_ms.into()).min(LONGEST_TTL);
        let in_force = Arc::new(InForce { directive, at: now, until: now + ttl });
        self.kick(&in_force.directive.kicks, gateway);
        self.in_force.store(Some(in_force));
        self.enforce(gateway, now);
    }

    /// Gives the gates the cuts that hold now. Called with each directive, and often enough that what lapses does.
    fn enforce(&self, gateway: &Gateway, now: Timestamp) {
        let in_force = self.in_force(now);
        let fleet = |service: &str| {
            let cuts = in_force.iter().flat_map(|in_force| &in_force.directive.cuts);
            cuts.filter(|cut| cut.service == service).map(|cut| Cut::from_bits(cut.cut)).min().unwrap_or(Cut::OPEN)
        };
        let cap = |service: &str| {
            let caps = in_force.iter().flat_map(|in_force| {
                let living = |cap: &&pb::Cap| now < in_force.at + Duration::from_millis(cap.left_ms);
                in_force.directive.caps.iter().filter(living)
            });
            caps.filter(|cap| cap.service == service).map(|cap| Cut::from_bits(cap.cut)).min().unwrap_or(Cut::OPEN)
        };
        for (service, gate) in gateway.services.iter().zip(&gateway.gates) {
            let enforces = gate.mode() == GateMode::Enforce;
            gate.set_fleet_cut(if enforces { fleet(&service.name) } else { Cut::OPEN });
            gate.set_manager_cap(cap(&service.name));
        }
        gateway.own_gate.set_login_cap(fleet("").min(cap("")));
    }

    /// Each kick once.
    fn kick(&self, kicks: &[pb::Kick], gateway: &Gateway) {
        let mut done = lock(&self.kicked);
        for kick in kicks {
            if done.contains(&kick.id) {
                continue;
            }
            if done.len() >= KICKS {
                done.pop_front();
            }
            done.push_back(kick.id);
            gateway.roster.for_user(&kick.user, |connection| {
                if kick.device.is_empty() || connection.device() == kick.device {
                    connection.end(Ending::Kick(Reason::Kicked));
                }
            });
        }
    }
}

fn wait(directive: &pb::Directive) -> Duration {
    directive.standing.as_ref().map_or(Duration::ZERO, |standing| Duration::from_millis(standing.wait_ms.into()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counts stay usable whatever a panicking owner left behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(to: &[&str]) -> Fleet {
        let gateway = |name: &str| pb::AlternativeGateway {
            gateway: name.to_owned(),
            addresses: vec![format!("{name}:1")],
            weight: 1000,
        };
        let to = to.iter().map(|name| gateway(name)).collect();
        let moves = Some(pb::Moves { per_second: 1.0, down_to: 0, to });
        let directive = pb::Directive { alternatives: vec![gateway("anybody")], moves, ..pb::Directive::default() };
        let (fleet, at) = (Fleet::default(), Timestamp::ZERO);
        fleet.in_force.store(Some(Arc::new(InForce { directive, at, until: at + LONGEST_TTL })));
        fleet
    }

    #[test]
    fn who_moves_goes_where_a_manager_wants_it_and_who_has_to_go_wherever_there_is_room() {
        let goes = |fleet: &Fleet, leaving| {
            let named = fleet.destinations(leaving, Timestamp::ZERO);
            named.into_iter().flat_map(|one| one.addresses).collect::<Vec<_>>()
        };
        let (wanted, anywhere) = (told(&["empty"]), told(&[]));
        assert_eq!((goes(&wanted, false), goes(&wanted, true)), (vec!["empty:1".into()], vec!["anybody:1".into()]));
        assert_eq!(goes(&anywhere, false), ["anybody:1"], "a drain names nobody");
        let sent: Vec<_> = lock(&wanted.sent).sums(Timestamp::ZERO).into_iter().collect();
        assert_eq!(sent, [("anybody".to_owned(), 1.0), ("empty".to_owned(), 1.0)], "each is on its way there");
    }
}
