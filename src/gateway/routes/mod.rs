//! What the gateway tells the registry of routes, and the other gateways that it names. The roster is the truth: a route
//! that was not written, or that the registry has lost, is written from it, and nothing is queued for that.
//!
//! The registry has *lives*: one ends when it says that it may have lost routes. A connection remembers in which life its
//! route was written. Whenever a connection of another life may be there, all shards of the roster are looked through,
//! and the routes of such connections are written, some at a time; who is then found to have logged in elsewhere is
//! closed. Beside that, all routes are written again now and then, a shard at a time, because a registry keeps none for
//! ever.

mod early;
mod peers;
mod restore;
mod waiting;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use self::{early::Early, peers::Peers, waiting::Waiting};
use super::{Gateway, connection::Connection, presence::ending_of, roster::Member};
use crate::{
    clock::Timestamp,
    id::{Epoch, OutboxId},
    pb::service::Superseded,
    registry::{Held, Home, RENEW_EVERY, Renewed, Route},
};

/// How soon a renewal that failed is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// How long after a push that found nobody the route is deleted if there is still nobody: longer than a login takes from
/// its route to its place in the roster.
const DOUBT: Duration = Duration::from_secs(1);

/// Routes in doubt; one more stays until the next push to it.
const MOST_DOUBTS: usize = 4096;

/// What is to be told to the registry and to the gateways it names.
#[derive(Debug)]
pub struct Routes {
    /// The life of the registry, from 1.
    life: AtomicU8,
    /// Somebody may be connected whose route was not written in this life.
    behind: AtomicBool,
    away: AtomicBool,
    doubts: Waiting<Doubt>,
    peers: Peers,
    early: Early,
    restored: AtomicU64,
    outdated: AtomicU64,
}

#[derive(Debug)]
struct Doubt {
    user: String,
    device: String,
    epoch: Epoch,
    since: Timestamp,
}

/// What came of all this so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteStats {
    /// The lease cannot be renewed at the moment.
    pub away: bool,
    /// The routes of some connections may be missing.
    pub behind: bool,
    /// Routes that were written again.
    pub restored_total: u64,
    /// Connections that were closed because a later login was known.
    pub outdated_total: u64,
    /// Logins elsewhere that this gateway told of.
    pub closes_told_total: u64,
    /// Logins elsewhere that it could not tell of: the other gateway did not answer, or too much waited.
    pub closes_lost_total: u64,
}

impl Default for Routes {
    fn default() -> Self {
        Self {
            life: AtomicU8::new(1),
            behind: AtomicBool::new(false),
            away: AtomicBool::new(false),
            doubts: Waiting::new(MOST_DOUBTS),
            peers: Peers::default(),
            early: Early::default(),
            restored: AtomicU64::new(0),
            outdated: AtomicU64::new(0),
        }
    }
}

impl Routes {
    /// The life of the registry.
    pub fn life(&self) -> u8 {
        self.life.load(Ordering::Acquire)
    }

    /// Has the route of a connection in the roster written, if that was not done.
    fn check(&self, connection: &Connection) {
        if connection.routed_in() != self.life() {
            self.behind.store(true, Ordering::Release);
        }
    }

    /// Has the gateway of an earlier login close it, unless that is this one, whose roster has done so.
    pub fn supersede(&self, own: &Home, user: &str, previous: &Route, outbox: OutboxId) {
        if previous.home.incarnation != own.incarnation {
            let superseded = Superseded {
                user: user.to_owned(),
                device: previous.device.to_string(),
                through_epoch: previous.epoch.0,
                outbox: outbox.0,
            };
            self.peers.tell(previous.home.address.clone(), superseded);
        }
    }

    /// A push that followed this route found nobody. The route is deleted if it is so in a moment.
    pub fn doubt(&self, user: String, device: String, epoch: Epoch, since: Timestamp) {
        // With too many of them it stays, and the next push comes here again.
        let _ = self.doubts.push(Doubt { user, device, epoch, since });
    }

    /// What came of all this so far.
    pub fn stats(&self) -> RouteStats {
        let (closes_told_total, closes_lost_total) = self.peers.totals();
        RouteStats {
            away: self.away.load(Ordering::Relaxed),
            behind: self.behind.load(Ordering::Relaxed),
            restored_total: self.restored.load(Ordering::Relaxed),
            outdated_total: self.outdated.load(Ordering::Relaxed),
            closes_told_total,
            closes_lost_total,
        }
    }

    /// The registry may have lost every route.
    fn begin_life(&self) {
        let next = self.life().checked_add(1).unwrap_or(1);
        self.life.store(next, Ordering::Release);
        self.behind.store(true, Ordering::Release);
    }
}

/// Closes what a later login at another gateway has taken the place of, and says whether it was there.
pub(super) fn close(gateway: &Gateway, superseded: Superseded) -> bool {
    match gateway.roster.get(&superseded.user, &superseded.device) {
        Some(connection) if connection.epoch().0 <= superseded.through_epoch => {
            connection.end(ending_of(&connection, OutboxId(superseded.outbox)));
            true
        }
        Some(_) => false,
        None => {
            gateway.routes.early.remember(superseded, gateway.clock.now());
            false
        }
    }
}

/// The last step of a login into the roster: has its route written if that was not done, and closes it if its successor
/// was faster.
pub(super) fn entered(gateway: &Gateway, connection: &Connection) {
    gateway.routes.check(connection);
    if let Some(superseded) = gateway.routes.early.find(connection, gateway.clock.now()) {
        connection.end(ending_of(connection, OutboxId(superseded.outbox)));
    }
}

/// Takes the lease, so that the first routes have a home. Without a registry the gateway serves all the same.
pub(super) async fn begin(gateway: &Gateway) {
    renew(gateway).await;
}

/// Keeps the lease and the routes for as long as the gateway serves.
pub(super) async fn keep(gateway: Arc<Gateway>) {
    tokio::join!(
        renew_forever(&gateway),
        restore::forever(&gateway),
        settle_doubts(&gateway),
        gateway.routes.peers.run()
    );
}

/// Gives the lease back: with it all routes end that are still there.
pub(super) async fn end(gateway: &Gateway) {
    if let Err(error) = gateway.registry.release(&gateway.home).await {
        tracing::warn!(%error, "the lease of this gateway was not given back; its routes end with it in some seconds");
    }
}

async fn renew_forever(gateway: &Gateway) {
    loop {
        let is_away = gateway.routes.away.load(Ordering::Relaxed);
        tokio::time::sleep(if is_away { RETRY } else { RENEW_EVERY }).await;
        renew(gateway).await;
    }
}

async fn renew(gateway: &Gateway) {
    let routes = &gateway.routes;
    let renewed = gateway.registry.renew(&gateway.home, gateway.clock.now()).await;
    let was_away = routes.away.swap(renewed.is_err(), Ordering::Relaxed);
    match renewed {
        Ok(renewed) => {
            if was_away {
                tracing::info!("the registry of routes is back");
            }
            if renewed == Renewed::New {
                routes.begin_life();
            }
        }
        Err(error) if !was_away => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::warn!(cause, "the registry of routes is away; clients are served, but not found by pushes");
        }
        Err(_) => {}
    }
}

async fn settle_doubts(gateway: &Gateway) {
    loop {
        let doubt = gateway.routes.doubts.next().await;
        let age = gateway.clock.now().since(doubt.since);
        tokio::time::sleep(DOUBT.saturating_sub(age)).await;
        let Doubt { user, device, epoch, .. } = doubt;
        let is_there = gateway.roster.get(&user, &device).is_some_and(|connection| connection.epoch() >= epoch);
        if !is_there {
            // If the registry does not answer, the next push comes here again.
            let held = Held { user: &user, device: &device, home: &gateway.home, epoch };
            let _ = gateway.registry.unregister(held, gateway.clock.now()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{admission::PriorityKey, id::Incarnation};

    fn connection() -> Arc<Connection> {
        Connection::new("ann", "phone", 0, PriorityKey([0; 16]).user(b"ann"), Epoch(1), OutboxId(1))
    }

    #[test]
    fn a_connection_of_another_life_is_to_be_restored() {
        let (routes, connection) = (Routes::default(), connection());
        connection.set_routed_in(routes.life());
        routes.check(&connection);
        assert!(!routes.stats().behind);
        connection.set_routed_in(0);
        routes.check(&connection);
        assert!(routes.stats().behind);
    }

    #[test]
    fn no_life_is_numbered_like_none() {
        let routes = Routes::default();
        for _ in 0..1000 {
            let before = routes.life();
            routes.begin_life();
            assert!(routes.life() != 0 && routes.life() != before);
        }
    }

    #[test]
    fn the_gateway_of_an_earlier_login_is_told_unless_it_is_this_one() {
        let routes = Routes::default();
        let home = |number| Home { gateway: "g".into(), incarnation: Incarnation(number), address: "there:1".into() };
        let route = |number| Route { device: "phone".into(), home: Arc::new(home(number)), epoch: Epoch(9) };
        routes.supersede(&home(1), "ann", &route(1), OutboxId(5));
        routes.supersede(&home(1), "ann", &route(2), OutboxId(5));
        let told = Superseded { user: "ann".into(), device: "phone".into(), through_epoch: 9, outbox: 5 };
        assert_eq!(routes.peers.waiting(), [("there:1".to_owned(), told)]);
    }
}
