//! Moves connected clients elsewhere, as fast as a manager says and no faster: each is told where it may go and when, and is
//! served until then. Shard by shard through the roster, so that nobody is told twice in a round.

use std::sync::Arc;

use tokio::time::{MissedTickBehavior, interval};

use super::mover::{Mover, TICK, WITHIN, Wanted};
use crate::{
    clock::Timestamp,
    gateway::{
        Gateway,
        connection::{Connection, Ending},
    },
    wire::Reason,
};

/// Moves clients for as long as it is polled.
pub(in crate::gateway) async fn move_clients(gateway: Arc<Gateway>) {
    let mut mover = Mover::default();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = gateway.clock.now();
        for connection in whom(&gateway, &mut mover, now) {
            gateway.fleet.moved_total.fetch_add(1, super::Relaxed);
            connection.end(Ending::Goaway(Reason::Draining, WITHIN.mul_f64(fastrand::f64())));
        }
    }
}

fn whom(gateway: &Gateway, mover: &mut Mover<Arc<Connection>>, now: Timestamp) -> Vec<Arc<Connection>> {
    let is_here = |connection: &Arc<Connection>| !connection.is_closed();
    let wanted = gateway.fleet.in_force(now).and_then(|in_force| {
        let moves = in_force.directive.moves.as_ref()?;
        let elsewhere = !(moves.to.is_empty() && in_force.directive.alternatives.is_empty());
        elsewhere.then_some(Wanted { per_second: moves.per_second, down_to: moves.down_to })
    });
    // On shutdown everybody is told anyway.
    if let Some(wanted) = wanted.filter(|_| !gateway.is_draining()) {
        mover.tell(wanted, gateway.roster.len(), now, is_here, |shard, members| {
            gateway.roster.copy_shard(shard, members);
        })
    } else {
        mover.rest(now, is_here);
        Vec::new()
    }
}
