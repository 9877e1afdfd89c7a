//! Writes the routes of connections that are there: at once, but at a bounded rate, for those that the registry does not
//! have; and of all now and then.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::MissedTickBehavior;

use crate::{
    clock::Timestamp,
    gateway::{
        Gateway,
        connection::{Connection, Ending},
        roster::{Member, SHARDS},
    },
    registry::{Held, KEEP, Restored},
    wire::Reason,
};

/// How often is looked whether there is something to do.
const LOOK: Duration = Duration::from_millis(250);

/// Routes that are written at the same time. The next ones wait for the answers, so that many gateways that write at
/// once slow each other down and not the logins.
const CHUNK: usize = 256;

/// With this pause from one full chunk to the next, a gateway writes at most 20,480 routes per second.
const PAUSE: Duration = Duration::from_micros(12_500);

/// From one shard that is written anew to the next, so that each comes at a third of the time that a route is kept.
const SHARD_EVERY: Duration = Duration::from_secs(KEEP.as_secs() / 3 / SHARDS as u64);

/// For as long as the gateway serves.
pub(super) async fn forever(gateway: &Gateway) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut refresh = Refresh::new(gateway.clock.now(), fastrand::usize(..SHARDS), fastrand::f64());
    loop {
        look.tick().await;
        let routes = &gateway.routes;
        if routes.behind.swap(false, Ordering::AcqRel) && !catch_up(gateway).await {
            routes.behind.store(true, Ordering::Release);
        }
        if let Some(shard) = refresh.due(gateway.clock.now(), fastrand::f64()) {
            let mut connections = Vec::new();
            gateway.roster.copy_shard(shard, &mut connections);
            // What fails now has two more thirds of its time.
            write_all(gateway, &connections).await;
        }
    }
}

/// Writes what is missing. `false` if the registry failed, and it must be tried again.
async fn catch_up(gateway: &Gateway) -> bool {
    let life = gateway.routes.life();
    let mut missing = Vec::new();
    for shard in 0..SHARDS {
        gateway.roster.copy_shard(shard, &mut missing);
        missing.retain(|connection| connection.routed_in() != life);
        if missing.len() >= CHUNK && !write_all(gateway, &std::mem::take(&mut missing)).await {
            return false;
        }
        // Others have their turn on this thread, too, when there is nothing to write.
        tokio::task::yield_now().await;
    }
    write_all(gateway, &missing).await
}

/// Writes these at a bounded rate. `false` if the registry failed.
async fn write_all(gateway: &Gateway, connections: &[Arc<Connection>]) -> bool {
    for chunk in connections.chunks(CHUNK) {
        let pause = tokio::time::sleep(PAUSE.mul_f64(chunk.len() as f64 / CHUNK as f64));
        let written = join_all(chunk.iter().map(|connection| write(gateway, connection))).await;
        if written.contains(&false) {
            return false;
        }
        pause.await;
    }
    true
}

async fn write(gateway: &Gateway, connection: &Arc<Connection>) -> bool {
    let (routes, life) = (&gateway.routes, gateway.routes.life());
    let (user, device, epoch) = (connection.user(), connection.device(), connection.epoch());
    let held = Held { user, device, home: &gateway.home, epoch };
    match gateway.registry.restore(held, gateway.clock.now()).await {
        Ok(Restored::Written { previous }) => {
            connection.set_routed_in(life);
            routes.restored.fetch_add(1, Ordering::Relaxed);
            if let Some(previous) = previous {
                routes.supersede(&gateway.home, user, &previous, connection.outbox);
            }
            // It may have gone meanwhile, and its deletion may have come first.
            let is_there = gateway.roster.get(user, device).is_some_and(|there| there.epoch() == epoch);
            if is_there {
                // Its gateway may have been taken for lost.
                gateway.herald.online(connection);
            }
            is_there || gateway.registry.unregister(held, gateway.clock.now()).await.is_ok()
        }
        Ok(Restored::Newer) => {
            connection.set_routed_in(life);
            routes.outdated.fetch_add(1, Ordering::Relaxed);
            connection.end(Ending::Close(Reason::Superseded));
            true
        }
        Err(error) => {
            tracing::debug!(%error, "a route was not restored");
            false
        }
    }
}

/// When which shard is written anew: one after the other, at times that gateways which started together do not share.
#[derive(Debug)]
struct Refresh {
    shard: usize,
    next: Timestamp,
}

impl Refresh {
    fn new(now: Timestamp, first: usize, random: f64) -> Self {
        Self { shard: first, next: now + SHARD_EVERY.mul_f64(random) }
    }

    /// The shard whose time has come; `random` is from 0 to 1.
    fn due(&mut self, now: Timestamp, random: f64) -> Option<usize> {
        if now < self.next {
            return None;
        }
        let shard = self.shard;
        self.shard = (shard + 1) % SHARDS;
        self.next = now + SHARD_EVERY.mul_f64(0.5 + random);
        Some(shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_is_refreshed_within_half_of_the_time_that_a_route_is_kept() {
        let mut refresh = Refresh::new(Timestamp::ZERO, 7, 0.9);
        let mut last = [Timestamp::ZERO; SHARDS];
        let mut now = Timestamp::ZERO;
        let mut random = fastrand::Rng::with_seed(3);
        while now < Timestamp::ZERO + 3 * KEEP {
            now = now + Duration::from_secs(1);
            if let Some(shard) = refresh.due(now, random.f64()) {
                assert!(now.since(last[shard]) < KEEP / 2, "shard {shard} at {now}");
                last[shard] = now;
            }
        }
        assert!(last.iter().all(|&last| now.since(last) < KEEP / 2));
    }
}
