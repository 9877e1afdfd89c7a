//! The gateway's own gRPC service: logic services push to users who are connected here.

use std::{fmt, pin::Pin, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use super::{
    Gateway,
    connection::{Connection, PendingPush, PushLimits, PushRefused},
    roster::SHARDS,
    routes,
};
use crate::{
    id::{BusinessCode, Epoch},
    pb::{
        client,
        service::{
            CloseRequest, CloseResponse, Mark, PushMessage, PushOutcome, PushResult, PushResults, Pushes,
            gateway_server, push_message::Target,
        },
    },
    policy::table::Policy,
};

/// The most pushes in one batch.
const MAX_BATCH: usize = 4096;

/// Pushes of a batch that are handed on before others have their turn on the same thread.
const PUSHES_PER_TURN: usize = 64;

/// Serves `dagor.service.v1.Gateway`.
#[derive(Clone)]
pub struct PushService {
    gateway: Arc<Gateway>,
}

impl PushService {
    /// Pushes to this gateway's connections.
    pub const fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway }
    }

    async fn batch(&self, batch: Pushes) -> Result<PushResults, Status> {
        if batch.pushes.len() > MAX_BATCH {
            return Err(Status::invalid_argument(format!("a batch holds at most {MAX_BATCH} pushes")));
        }
        let policy = self.gateway.store.current();
        let mut results = Vec::with_capacity(batch.pushes.len());
        for push in batch.pushes {
            results.push(self.push(push, &policy).await);
            if results.len().is_multiple_of(PUSHES_PER_TURN) {
                tokio::task::yield_now().await;
            }
        }
        Ok(PushResults { results })
    }

    async fn push(&self, push: PushMessage, policy: &Policy) -> PushResult {
        let business = policy.business_named(&push.business).map(|business| business.code);
        let (Some(business), Some(target)) = (business, push.target) else { return invalid() };
        let mut body = BytesMut::new();
        let message = client::Push { dedupe_key: push.dedupe_key, payload: push.payload };
        if message.encoded_len() > policy.connections.max_body || message.encode(&mut body).is_err() {
            return invalid();
        }
        let delivery = Delivery {
            gateway: &self.gateway,
            business,
            body: body.freeze(),
            mark: push.mark.map(Arc::new),
            limits: PushLimits {
                bytes: policy.connections.outgoing_bytes,
                unacked: policy.connections.max_unacked_pushes,
            },
        };
        match target {
            Target::User(user) => {
                let result = delivery.to_user(&user, &push.device);
                if result.outcome == PushOutcome::NotConnected as i32 && push.route_epoch != 0 {
                    self.gateway.routes.doubt(user, push.device, Epoch(push.route_epoch), self.gateway.clock.now());
                }
                result
            }
            Target::Everyone(_) => delivery.to_everyone().await,
        }
    }
}

const fn invalid() -> PushResult {
    PushResult { outcome: PushOutcome::Invalid as i32, connections: 0 }
}

/// One push on its way to its connections; the body is shared by all of them.
struct Delivery<'a> {
    gateway: &'a Gateway,
    business: BusinessCode,
    body: Bytes,
    mark: Option<Arc<Mark>>,
    limits: PushLimits,
}

impl Delivery<'_> {
    fn to_user(&self, user: &str, device: &str) -> PushResult {
        let mut connections = Vec::new();
        if device.is_empty() {
            self.gateway.roster.for_user(user, |connection| connections.push(connection.clone()));
        } else {
            connections.extend(self.gateway.roster.get(user, device));
        }
        self.to(&connections).result()
    }

    /// A shard at a time, with others' turns between them.
    async fn to_everyone(&self) -> PushResult {
        let mut total = Tally::default();
        let mut connections = Vec::new();
        for shard in 0..SHARDS {
            connections.clear();
            self.gateway.roster.copy_shard(shard, &mut connections);
            total.add(&self.to(&connections));
            tokio::task::yield_now().await;
        }
        total.result()
    }

    fn to(&self, connections: &[Arc<Connection>]) -> Tally {
        let mut tally = Tally::default();
        for connection in connections {
            let push = PendingPush { business: self.business, body: self.body.clone(), mark: self.mark.clone() };
            match connection.push(push, self.limits, &self.gateway.budget) {
                Ok(()) => tally.written += 1,
                Err(PushRefused::Full) => tally.full += 1,
                Err(PushRefused::Closed) => {}
            }
        }
        tally
    }
}

#[derive(Debug, Default)]
struct Tally {
    written: u32,
    full: u32,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.written += other.written;
        self.full += other.full;
    }

    fn result(&self) -> PushResult {
        let outcome = match (self.written, self.full) {
            (0, 0) => PushOutcome::NotConnected,
            (0, _) => PushOutcome::SlowConsumer,
            (_, _) => PushOutcome::Written,
        };
        PushResult { outcome: outcome as i32, connections: self.written }
    }
}

#[tonic::async_trait]
impl gateway_server::Gateway for PushService {
    type PushStream = Pin<Box<dyn Stream<Item = Result<PushResults, Status>> + Send>>;

    async fn push(&self, request: Request<Streaming<Pushes>>) -> Result<Response<Self::PushStream>, Status> {
        let service = self.clone();
        // One batch in, one result out: the stream itself holds the sender back.
        let results = request.into_inner().then(move |batch| {
            let service = service.clone();
            async move { service.batch(batch?).await }
        });
        Ok(Response::new(Box::pin(results)))
    }

    async fn close(&self, request: Request<CloseRequest>) -> Result<Response<CloseResponse>, Status> {
        let superseded = request.into_inner().superseded;
        if superseded.len() > MAX_BATCH {
            return Err(Status::invalid_argument(format!("at most {MAX_BATCH} are closed at once")));
        }
        let closed = superseded.into_iter().map(|superseded| routes::close(&self.gateway, superseded));
        let closed = closed.filter(|&was_there| was_there).count();
        Ok(Response::new(CloseResponse { closed: u32::try_from(closed).unwrap_or(u32::MAX) }))
    }
}

impl fmt::Debug for PushService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushService").finish_non_exhaustive()
    }
}
