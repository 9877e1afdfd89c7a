//! The end of the connection stack: enters the roster and writes the `Welcome`.

use std::{
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tower_service::Service;

use super::{
    Gateway,
    greet::{Established, Rejection},
    presence::Present,
    session::Terms,
    worker::Worker,
};
use crate::{
    clock::{unix_millis, whole_millis_u32},
    id::MessageId,
    layer::heartbeat::Monitored,
    pb::client as pb,
    policy::table::{Ordering, Policy},
    wire::VERSION,
};

/// The shortest heartbeat interval that a client may ask for.
const SHORTEST_HEARTBEAT: Duration = Duration::from_secs(1);

/// Makes a login a connection.
#[derive(Clone, Debug)]
pub struct Establish {
    /// Where the connection will run.
    pub worker: Arc<Worker>,
}

impl Service<Monitored<Present>> for Establish {
    type Response = Established;
    type Error = Rejection;
    type Future = Ready<Result<Established, Rejection>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, monitored: Monitored<Present>) -> Self::Future {
        let Monitored { request: present, pulse } = monitored;
        let presence = present.output;
        let hello = &present.request.request.request.hello;
        let wanted = Duration::from_millis(u64::from(hello.heartbeat_ms));
        let oldest_unsettled = MessageId(hello.oldest_unsettled);
        let terms = Terms { oldest_unsettled, reads_refusals: hello.reads_refusals };
        let came_from_elsewhere = hello.reason() == pb::ConnectReason::Redirected;
        ready(presence.enter().map(|()| {
            let (fleet, now) = (&self.worker.gateway.fleet, self.worker.clock.now());
            if came_from_elsewhere {
                fleet.count_arrived(now);
            }
            let table = self.worker.table();
            let mut welcome = welcome(&self.worker.gateway, &table.policy, wanted);
            let levels = table.levels_for(&presence.connection);
            welcome.connection_epoch = presence.connection.epoch.0;
            welcome.ticket = self.worker.gateway.tickets.issue(&presence.connection, &table.policy, unix_millis());
            welcome.cuts = self.worker.gateway.resolved_cuts(&presence.connection, levels, &table, None);
            welcome.alternatives = fleet.alternatives(now);
            Established { presence, pulse, welcome, terms }
        }))
    }
}

fn welcome(gateway: &Gateway, policy: &Policy, wanted_heartbeat: Duration) -> pb::Welcome {
    let connections = &policy.connections;
    let heartbeat = if wanted_heartbeat.is_zero() { connections.heartbeat } else { wanted_heartbeat };
    let heartbeat = heartbeat.clamp(SHORTEST_HEARTBEAT.min(connections.heartbeat), connections.heartbeat);
    pb::Welcome {
        version: VERSION,
        gateway: gateway.home.gateway.clone(),
        incarnation: gateway.home.incarnation.0,
        heartbeat_ms: whole_millis_u32(heartbeat),
        tolerance_ms: whole_millis_u32(connections.heartbeat_tolerance),
        limits: Some(pb::Limits {
            max_body_bytes: u32::try_from(connections.max_body).unwrap_or(u32::MAX),
            max_in_flight: u32::try_from(connections.max_in_flight).unwrap_or(u32::MAX),
            keep_for_ms: whole_millis_u32(connections.keep_for),
        }),
        businesses: policy
            .businesses
            .iter()
            .map(|business| pb::Business {
                code: u32::from(business.code.0),
                name: business.name.clone(),
                timeout_ms: whole_millis_u32(business.timeout),
                ordering: match business.ordering {
                    Ordering::None => pb::Ordering::None,
                    Ordering::Outbox => pb::Ordering::Outbox,
                }
                .into(),
            })
            .collect(),
        spread_ms: gateway.spread_ms(),
        ..pb::Welcome::default()
    }
}
