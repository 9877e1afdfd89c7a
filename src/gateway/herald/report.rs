//! Carries the logs to the services: one report at a time for each, so that events arrive in order, and the same one again
//! until an instance has taken it. Every wait ends.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tonic::transport::{Channel, Endpoint};

use super::{Desk, Herald, Relaxed};
use crate::{
    gateway::{Gateway, link::Backoff, worker::TICK},
    pb::service::{PresenceEvents, presence_client::PresenceClient},
};

/// Events that are told at once.
const BATCH: usize = 512;
/// How long an instance may take for its answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
/// How long a gateway that leaves waits for what is still to be told.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// Tells every service what it is to be told, for as long as the gateway serves.
pub(in crate::gateway) async fn run(gateway: Arc<Gateway>) {
    let services = gateway.services.iter().zip(&gateway.herald.desks);
    join_all(services.map(|(service, desk)| serve(&gateway, &service.instances, desk))).await;
}

/// Waits a moment for what is still to be told.
pub(in crate::gateway) async fn flush(herald: &Herald) {
    let told = async {
        while herald.is_waiting() {
            tokio::time::sleep(TICK).await;
        }
    };
    if tokio::time::timeout(FLUSH_WITHIN, told).await.is_err() {
        tracing::warn!("a service was not told of everybody who left with this gateway");
    }
}

async fn serve(gateway: &Gateway, instances: &[SocketAddr], desk: &Desk) {
    let mut clients: Vec<_> = instances.iter().filter_map(|&instance| client(instance)).collect();
    let mut backoff = Backoff::new(fastrand::u64(..));
    while !clients.is_empty() {
        let events = desk.first().await;
        let through = events.last().map_or(0, |event| event.sequence);
        let incarnation = gateway.home.incarnation.0;
        let report = PresenceEvents { gateway: gateway.home.gateway.clone(), incarnation, events };
        let answer = tokio::time::timeout(ANSWERS_WITHIN, clients[0].report(report)).await;
        if matches!(answer, Ok(Ok(_))) {
            let taken = desk.log().taken(through);
            desk.told.fetch_add(taken as u64, Relaxed);
            backoff.reset();
        } else {
            desk.failures.fetch_add(1, Relaxed);
            tracing::debug!(?answer, "a report of who came and went was not taken");
            clients.rotate_left(1);
            tokio::time::sleep(backoff.delay()).await;
        }
    }
}

fn client(instance: SocketAddr) -> Option<PresenceClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{instance}")).ok()?;
    let endpoint = endpoint.connect_timeout(ANSWERS_WITHIN).timeout(ANSWERS_WITHIN).tcp_nodelay(true);
    Some(PresenceClient::new(endpoint.connect_lazy()))
}

impl Desk {
    /// The next events, once there are any.
    async fn first(&self) -> Vec<crate::pb::service::PresenceEvent> {
        loop {
            let events = self.log().first(BATCH);
            if !events.is_empty() {
                return events;
            }
            self.news.notified().await;
        }
    }
}
