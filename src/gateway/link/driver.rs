//! A link's task: dials, reads answers, and dials again, for as long as the link is wanted. Every wait ends: connecting
//! by a timeout, a silent connection by HTTP/2 pings, a pause by its length.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use tonic::{Streaming, transport::Endpoint};

use super::{LinkConfig, LinkEvent, backoff::Backoff, pending::Guard, shared::Shared};
use crate::{
    pb::service::{self as pb, logic_client::LogicClient},
    service::batch::MAX_MESSAGE_BYTES,
};

/// The longest wait for a connection and for the stream on it.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// An instance that is silent for this long is pinged, and given up when it stays silent as long again.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// HTTP/2 windows: larger than what a link has in flight, so that they never hold up a call.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// A connection that held this long was a good one: the next failure is dialed again soon.
const STEADY: Duration = Duration::from_secs(1);

type ConnectError = Box<dyn std::error::Error + Send + Sync>;

/// Keeps a stream to the instance until `stop`, or until the link ends by itself. `tried` learns when the first attempt has
/// come to a stream or to nothing.
pub(super) async fn drive<G: Guard>(
    config: LinkConfig,
    shared: Arc<Shared<G>>,
    mut events: impl FnMut(LinkEvent) + Send + 'static,
    stop: CancellationToken,
    tried: CancellationToken,
) {
    let mut backoff = Backoff::new(fastrand::u64(..));
    while !shared.is_ending() {
        let dialed = shared.now();
        if let Some(Err(error)) = stop.run_until_cancelled(serve(&config, &shared, &mut events, &tried)).await {
            tracing::debug!(instance = config.address, error, "the link broke");
        }
        tried.cancel();
        if shared.lost() {
            events(LinkEvent::Lost);
        }
        if shared.now().since(dialed) >= STEADY {
            backoff.reset();
        }
        let pause = tokio::time::sleep(backoff.delay());
        if shared.is_ending() || stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

/// Dials once and reads answers until the stream ends.
async fn serve<G: Guard>(
    config: &LinkConfig,
    shared: &Arc<Shared<G>>,
    events: &mut impl FnMut(LinkEvent),
    tried: &CancellationToken,
) -> Result<(), ConnectError> {
    let mut answers = tokio::time::timeout(CONNECT_WITHIN, open(config, shared)).await??;
    if !shared.connected() {
        return Ok(());
    }
    events(LinkEvent::Connected);
    tried.cancel();
    while let Some(batch) = answers.message().await? {
        if let Some(grants) = shared.receive(batch) {
            events(LinkEvent::Grants(grants));
        }
    }
    Ok(())
}

/// Connects and opens the stream.
async fn open<G: Guard>(config: &LinkConfig, shared: &Arc<Shared<G>>) -> Result<Streaming<pb::Answers>, ConnectError> {
    let endpoint = Endpoint::from_shared(format!("http://{}", config.address))?
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    let mut client = LogicClient::new(endpoint.connect().await?).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let calls = shared.begin_stream(pb::Caller {
        gateway: config.gateway.clone(),
        incarnation: config.incarnation.0,
        push_address: config.push_address.clone(),
    });
    Ok(client.serve(calls).await?.into_inner())
}
