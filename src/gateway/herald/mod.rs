//! Tells logic services who comes and who goes. Nothing waits for that: an event is put into a bounded log, and a task for
//! each service carries the logs there, a batch after the other, each as often as it takes.
//!
//! ```text
//! Presence ─ enter ─▶ online  ─┐
//!          ─ drop  ─▶ offline ─┴▶ Log of each service that the policy names ─▶ report ─▶ one of its instances
//! ```
//!
//! An offline is not told of a connection whose place a newer login has taken: who still has both compares their epochs. A
//! gateway that is lost says nothing any more; one of the others does, once its lease has ended, and should it be alive, it
//! says of each of its clients that it is online, as it writes their routes again.

mod log;
mod lost;
mod report;

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use tokio::sync::Notify;

use self::log::Log;
pub(super) use self::{
    lost::watch,
    report::{flush, run},
};
use super::{connection::Connection, roster::Member};
use crate::{
    clock::unix_millis,
    pb::service::{PresenceEvent, PresenceKind},
    policy::table::{Policy, ServiceAddresses},
};

/// Events that wait for one service. One more is counted as dropped: memory for a service that takes nothing must end
/// somewhere, and this is a minute of 1,000 logins per second.
const MOST_WAITING: usize = 1 << 16;

/// What is to be told, for each of the gateway's services.
#[derive(Debug)]
pub struct Herald {
    desks: Vec<Desk>,
}

/// What one service is to be told.
#[derive(Debug)]
struct Desk {
    /// The policy wants it.
    wanted: AtomicBool,
    log: Mutex<Log>,
    news: Notify,
    told: AtomicU64,
    dropped: AtomicU64,
    failures: AtomicU64,
}

/// What came of all this so far, for one service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeraldStats {
    /// Events that wait.
    pub waiting: usize,
    /// Events that the service has taken.
    pub told_total: u64,
    /// Events that found no room.
    pub dropped_total: u64,
    /// Reports that no instance took.
    pub failures_total: u64,
}

impl Herald {
    /// For these services, as this policy wants it.
    pub(super) fn new(services: &[ServiceAddresses], policy: &Policy) -> Self {
        let herald = Self { desks: services.iter().map(|_| Desk::new()).collect() };
        herald.apply(services, policy);
        herald
    }

    /// The policy may want others to be told. Who is told from now on hears of those who come and go from now on.
    pub(super) fn apply(&self, services: &[ServiceAddresses], policy: &Policy) {
        for (desk, service) in self.desks.iter().zip(services) {
            let wanted = policy.service_named(&service.name).is_some_and(|service| service.presence);
            if desk.wanted.swap(wanted, Relaxed) && !wanted {
                desk.log().clear();
            }
        }
    }

    /// A client is there, or still is.
    pub fn online(&self, connection: &Connection) {
        self.tell(connection, PresenceKind::Online);
    }

    /// A client is gone.
    pub(super) fn offline(&self, connection: &Connection) {
        self.tell(connection, PresenceKind::Offline);
    }

    /// What came of it so far, by the order of the gateway's services.
    pub fn stats(&self) -> impl Iterator<Item = HeraldStats> {
        self.desks.iter().map(|desk| HeraldStats {
            waiting: desk.log().len(),
            told_total: desk.told.load(Relaxed),
            dropped_total: desk.dropped.load(Relaxed),
            failures_total: desk.failures.load(Relaxed),
        })
    }

    fn tell(&self, connection: &Connection, kind: PresenceKind) {
        for desk in self.desks.iter().filter(|desk| desk.wanted.load(Relaxed)) {
            desk.push(PresenceEvent {
                kind: kind.into(),
                user: connection.user().to_owned(),
                device: connection.device().to_owned(),
                epoch: connection.epoch.0,
                at_unix_ms: unix_millis(),
                ..PresenceEvent::default()
            });
        }
    }

    fn is_waiting(&self) -> bool {
        self.desks.iter().any(|desk| desk.log().len() > 0)
    }
}

impl Desk {
    fn new() -> Self {
        let zero = || AtomicU64::new(0);
        let (wanted, log, news) = (AtomicBool::new(false), Mutex::new(Log::new(MOST_WAITING)), Notify::new());
        Self { wanted, log, news, told: zero(), dropped: zero(), failures: zero() }
    }

    /// The event's number; `None` if there was no room.
    fn push(&self, event: PresenceEvent) -> Option<u64> {
        let sequence = self.log().push(event);
        match sequence {
            Some(_) => self.news.notify_one(),
            None => drop(self.dropped.fetch_add(1, Relaxed)),
        }
        sequence
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
