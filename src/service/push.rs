//! Pushes to users through the gateways that they are connected to: each push gets one result, and none waits for a
//! gateway that is gone.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use bytes::Bytes;
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Endpoint};

use super::{
    batch::{MAX_PAYLOAD_BYTES, take_batch},
    desk::lock,
    mark::Mark,
};
use crate::{
    id::{Epoch, Incarnation},
    pb::service::{self as pb, gateway_client::GatewayClient},
};

/// Pushes that wait for the link to a gateway; more wait in their callers.
const WAITING_PUSHES: usize = 1024;
/// Pushes that are taken at once; those that are large in sum travel in several batches.
const BATCH_PUSHES: usize = 256;
/// Batches without a result; more wait.
const BATCHES_IN_FLIGHT: usize = 16;
/// The longest wait for a connection to a gateway.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// The longest wait for a push's result.
const RESULT_WITHIN: Duration = Duration::from_secs(10);
/// After a failed dial pushes fail at once for this long.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(200);

/// One message to push.
#[derive(Clone, Debug)]
pub struct Push(pb::PushMessage);

impl Push {
    /// To all devices of one user.
    pub fn to_user(user: impl Into<String>, business: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self::to(pb::push_message::Target::User(user.into()), business.into(), payload.into())
    }

    /// To everyone who is connected to the gateway.
    pub fn to_everyone(business: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self::to(pb::push_message::Target::Everyone(true), business.into(), payload.into())
    }

    /// Only to this device of the user.
    #[must_use]
    pub fn device(mut self, device: impl Into<String>) -> Self {
        self.0.device = device.into();
        self
    }

    /// What the client recognises a repeated push by.
    #[must_use]
    pub fn dedupe_key(mut self, key: impl Into<Bytes>) -> Self {
        self.0.dedupe_key = key.into();
        self
    }

    /// Those whom it reaches stand elsewhere from now on: a mark of the service that answers the push's business.
    #[must_use]
    pub const fn mark(mut self, mark: Mark) -> Self {
        self.0.mark = Some(mark.0);
        self
    }

    /// Who it is for.
    pub(super) fn target(&self) -> Target<'_> {
        match &self.0.target {
            Some(pb::push_message::Target::User(user)) => Target::User { user, device: &self.0.device },
            Some(pb::push_message::Target::Everyone(_)) | None => Target::Everyone,
        }
    }

    /// The same to one device, by a route that was looked up.
    pub(super) fn along(&self, device: &str, epoch: Epoch) -> Self {
        Self(pb::PushMessage { device: device.to_owned(), route_epoch: epoch.0, ..self.0.clone() })
    }

    fn to(target: pb::push_message::Target, business: String, payload: Bytes) -> Self {
        Self(pb::PushMessage { target: Some(target), business, payload, ..pb::PushMessage::default() })
    }
}

/// A push that a gateway has written to the queue of at least one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// How many connections it was written to.
    pub connections: u32,
}

/// Who a push is for.
pub(super) enum Target<'a> {
    /// One device of a user, or all if it has no name.
    User {
        user: &'a str,
        device: &'a str,
    },
    Everyone,
}

/// Why a push was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// Nobody that it is meant for is connected to this gateway.
    #[error("not connected to this gateway")]
    NotConnected,
    /// The client's outgoing queue is full.
    #[error("the client is too slow")]
    SlowConsumer,
    /// The gateway knows no such business or target, or the payload is too large.
    #[error("not a valid push")]
    Invalid,
    /// The gateway cannot be reached: certainly not written.
    #[error("the gateway cannot be reached")]
    Unreachable,
    /// The registry of routes did not answer: certainly not written.
    #[error("the routes cannot be looked up")]
    NoRoutes,
    /// The link was lost, or no result came in time: it may have been written.
    #[error("no result from the gateway")]
    Unknown,
}

/// A link to one gateway's `Gateway.Push`, dialed by the first push. Clones share it.
#[derive(Clone)]
pub struct PushClient {
    outgoing: mpsc::Sender<Outgoing>,
}

impl fmt::Debug for PushClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushClient").finish_non_exhaustive()
    }
}

struct Outgoing {
    message: pb::PushMessage,
    result: oneshot::Sender<Result<Pushed, PushError>>,
}

impl PushClient {
    /// A client for the gateway whose `Gateway` service listens at `address` (host:port).
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(address: impl Into<String>) -> Self {
        let (outgoing, waiting) = mpsc::channel(WAITING_PUSHES);
        tokio::spawn(drive(address.into(), waiting));
        Self { outgoing }
    }

    /// Pushes one message and waits for its result.
    ///
    /// # Errors
    ///
    /// When it was not written, or nobody knows.
    pub async fn push(&self, push: Push) -> Result<Pushed, PushError> {
        if push.0.encoded_len() > MAX_PAYLOAD_BYTES {
            return Err(PushError::Invalid);
        }
        let (result, outcome) = oneshot::channel();
        let sent = async {
            self.outgoing.send(Outgoing { message: push.0, result }).await.map_err(|_| PushError::Unreachable)?;
            outcome.await.unwrap_or(Err(PushError::Unknown))
        };
        tokio::time::timeout(RESULT_WITHIN, sent).await.unwrap_or(Err(PushError::Unknown))
    }
}

/// Serves a client until its last clone is gone.
async fn drive(address: String, mut waiting: mpsc::Receiver<Outgoing>) {
    while let Some(first) = waiting.recv().await {
        match tokio::time::timeout(CONNECT_WITHIN, dial(&address)).await {
            Ok(Ok(link)) => link.run(first, &mut waiting).await,
            Ok(Err(_)) | Err(_) => {
                fail(first);
                let _ = tokio::time::timeout(REST_AFTER_FAILURE, fail_all(&mut waiting)).await;
            }
        }
    }
}

fn fail(outgoing: Outgoing) {
    let _ = outgoing.result.send(Err(PushError::Unreachable));
}

async fn fail_all(waiting: &mut mpsc::Receiver<Outgoing>) {
    while let Some(outgoing) = waiting.recv().await {
        fail(outgoing);
    }
}

struct PushLink {
    batches: mpsc::Sender<pb::Pushes>,
    results: Streaming<pb::PushResults>,
    in_flight: VecDeque<Vec<oneshot::Sender<Result<Pushed, PushError>>>>,
}

async fn dial(address: &str) -> Result<PushLink, Box<dyn std::error::Error + Send + Sync>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .tcp_nodelay(true)
        .http2_keep_alive_interval(RESULT_WITHIN / 2)
        .keep_alive_timeout(RESULT_WITHIN / 2);
    let (batches, outgoing) = mpsc::channel(BATCHES_IN_FLIGHT);
    let mut client = GatewayClient::new(endpoint.connect().await?);
    let results = client.push(ReceiverStream::new(outgoing)).await?.into_inner();
    Ok(PushLink { batches, results, in_flight: VecDeque::new() })
}

impl PushLink {
    /// Sends batches and hands out results until the stream or the client is gone. What has no result then is unknown:
    /// its sender is dropped.
    async fn run(mut self, first: Outgoing, waiting: &mut mpsc::Receiver<Outgoing>) {
        let mut ready = VecDeque::from([first]);
        let mut received = Vec::new();
        loop {
            let may_send = self.in_flight.len() < BATCHES_IN_FLIGHT;
            if may_send && !ready.is_empty() {
                if self.send(take_batch(&mut ready, |outgoing| outgoing.message.encoded_len())).await.is_err() {
                    return;
                }
                continue;
            }
            tokio::select! {
                count = waiting.recv_many(&mut received, BATCH_PUSHES), if may_send => {
                    if count == 0 { return self.finish().await }
                    ready.extend(received.drain(..));
                }
                results = self.results.message() => match results {
                    Ok(Some(results)) => self.settle(results),
                    Ok(None) | Err(_) => return,
                },
            }
        }
    }

    async fn send(&mut self, batch: Vec<Outgoing>) -> Result<(), mpsc::error::SendError<pb::Pushes>> {
        let (pushes, results) = batch.into_iter().map(|outgoing| (outgoing.message, outgoing.result)).unzip();
        self.in_flight.push_back(results);
        self.batches.send(pb::Pushes { pushes }).await
    }

    /// Nobody waits any more; lets the last batches reach the gateway.
    async fn finish(self) {
        let Self { batches, mut results, in_flight } = self;
        drop(batches);
        for _ in in_flight {
            let result = tokio::time::timeout(RESULT_WITHIN, results.message()).await;
            if !matches!(result, Ok(Ok(Some(_)))) {
                return;
            }
        }
    }

    fn settle(&mut self, results: pb::PushResults) {
        let waiting = self.in_flight.pop_front().unwrap_or_default();
        for (waiting, result) in waiting.into_iter().zip(results.results) {
            let _ = waiting.send(outcome(result));
        }
    }
}

fn outcome(result: pb::PushResult) -> Result<Pushed, PushError> {
    match pb::PushOutcome::try_from(result.outcome) {
        Ok(pb::PushOutcome::Written) => Ok(Pushed { connections: result.connections }),
        Ok(pb::PushOutcome::NotConnected) => Err(PushError::NotConnected),
        Ok(pb::PushOutcome::SlowConsumer) => Err(PushError::SlowConsumer),
        Ok(pb::PushOutcome::Invalid) => Err(PushError::Invalid),
        // A newer gateway says something that this side has no word for.
        Err(_) => Err(PushError::Unknown),
    }
}

/// A gateway that has a stream to this instance.
#[derive(Debug)]
pub struct Gateway {
    /// What it calls itself.
    pub name: String,
    /// This run of it.
    pub incarnation: Incarnation,
    /// Where its `Gateway` service listens; empty if it takes no pushes.
    pub push_address: String,
    pushes: PushClient,
}

impl Gateway {
    /// Pushes through this gateway.
    ///
    /// # Errors
    ///
    /// When the push was not written, or nobody knows.
    pub async fn push(&self, push: Push) -> Result<Pushed, PushError> {
        self.pushes.push(push).await
    }
}

/// The gateways that have a stream to this instance. Clones share the list.
#[derive(Clone, Debug, Default)]
pub struct Gateways(Arc<Mutex<Vec<Weak<Gateway>>>>);

impl Gateways {
    /// All of them.
    pub fn all(&self) -> Vec<Arc<Gateway>> {
        lock(&self.0).iter().filter_map(Weak::upgrade).collect()
    }

    /// The gateway that introduces itself on a stream: the same one for all of its streams.
    pub(super) fn introduce(&self, caller: pb::Caller) -> Arc<Gateway> {
        let mut known = lock(&self.0);
        known.retain(|gateway| gateway.strong_count() > 0);
        let incarnation = Incarnation(caller.incarnation);
        let same =
            |gateway: &Arc<Gateway>| gateway.incarnation == incarnation && gateway.push_address == caller.push_address;
        if let Some(gateway) = known.iter().filter_map(Weak::upgrade).find(same) {
            return gateway;
        }
        let pushes = PushClient::new(caller.push_address.clone());
        let pb::Caller { gateway: name, push_address, .. } = caller;
        let gateway = Arc::new(Gateway { name, incarnation, push_address, pushes });
        known.push(Arc::downgrade(&gateway));
        gateway
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_push_that_no_gateway_would_take_is_not_even_sent() {
        let client = PushClient::new("127.0.0.1:1");
        let push = Push::to_user("mia", "notice", vec![0; MAX_PAYLOAD_BYTES]);
        assert_eq!(client.push(push).await, Err(PushError::Invalid));
    }
}
