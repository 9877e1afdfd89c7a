//! Moves clients elsewhere that have been connected for as long as the policy wants: a few with each scan of the signs of
//! life, so that none of them costs a timer. They are told where to go and served until they are there.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    Gateway,
    connection::{Connection, Ending},
    fleet::mover::WITHIN,
};
use crate::{
    admission::{Level, Value},
    clock::Timestamp,
    id::BusinessCode,
    layer::heartbeat::{Aged, Heartbeats, MaxAge},
    policy::table::Policy,
    wire::Reason,
};

/// The rule by which one worker moves its clients.
#[derive(Debug, Default)]
pub struct Ages(Mutex<Option<MaxAge>>);

impl Ages {
    /// Tells those to move who have come to their end, and ends the connections of those who were told and stay.
    pub(super) fn scan(
        &self,
        heartbeats: &Heartbeats<Arc<Connection>>,
        gateway: &Gateway,
        policy: &Policy,
        now: Timestamp,
    ) {
        let age = policy.connections.max_age;
        let pauses = age.is_some() && !finds_a_place(gateway, policy, now);
        let Some(rule) = self.follow(age, pauses, now).filter(|_| !pauses) else { return };
        heartbeats.scan_ages(&rule, |connection, aged| match aged {
            // It is about to end, and its client is elsewhere.
            _ if connection.is_replaced() => {}
            Aged::Ends => {
                gateway.count_aged();
                connection.end(Ending::Goaway(Reason::Aged, WITHIN.mul_f64(fastrand::f64())));
            }
            Aged::Stays => connection.end(Ending::Close(Reason::Aged)),
        });
    }

    fn follow(&self, age: Option<Duration>, pauses: bool, now: Timestamp) -> Option<MaxAge> {
        let mut rule = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *rule = MaxAge::follow(*rule, age, pauses, now);
        *rule
    }
}

/// Whether who leaves now is let in again: elsewhere, as far as managers say, or else here. A client that is served and then
/// stands before closed doors was not moved but lost.
fn finds_a_place(gateway: &Gateway, policy: &Policy, now: Timestamp) -> bool {
    let priority = policy.business(BusinessCode::LOGIN).map_or(0, |login| login.priority);
    let last_login = Value::new(Level::new(priority, u8::MAX), u32::MAX);
    let is_open_here = || gateway.fleet.accepts(now) && gateway.limits.open() < policy.connections.max;
    // On shutdown everybody is told anyway. Logins that are cut are so in the whole fleet, or because this process is late.
    !gateway.is_draining()
        && gateway.own_gate.gate().admits(last_login)
        && (gateway.fleet.names_others(now) || is_open_here())
}
