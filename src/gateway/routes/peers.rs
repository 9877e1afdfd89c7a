//! Tells other gateways of logins that have taken the place of theirs. What cannot be told is lost: the connection is
//! found when its route is written again, if its link lives that long.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinSet};
use tonic::transport::{Channel, Endpoint};

use super::waiting::Waiting;
use crate::pb::service::{CloseRequest, Superseded, gateway_client::GatewayClient};

/// What waits for the task that knows the other gateways, and for each of them.
const MOST_WAITING: usize = 16384;
const MOST_WAITING_FOR_ONE: usize = 4096;
/// Gateways that are told at the same time.
const MOST_PEERS: usize = 1024;
/// Logins that are told at once.
const BATCH: usize = 256;
/// How long a gateway may take for its answer, and how often it is asked.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
const TRIES: usize = 2;
/// A connection that is not used is given up.
const IDLE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Peers {
    waiting: Waiting<(String, Superseded)>,
    totals: Arc<Totals>,
}

#[derive(Debug, Default)]
struct Totals {
    told: AtomicU64,
    lost: AtomicU64,
}

impl Default for Peers {
    fn default() -> Self {
        Self { waiting: Waiting::new(MOST_WAITING), totals: Arc::default() }
    }
}

impl Peers {
    /// Has the gateway at this address told.
    pub(super) fn tell(&self, address: String, superseded: Superseded) {
        if !self.waiting.push((address, superseded)) {
            self.totals.lose(1);
        }
    }

    /// How much was told, and how much was lost.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.totals.told.load(Ordering::Relaxed), self.totals.lost.load(Ordering::Relaxed))
    }

    /// Tells whoever is to be told, for as long as the gateway serves.
    pub(super) async fn run(&self) {
        let mut peers: HashMap<String, mpsc::Sender<Superseded>> = HashMap::new();
        let mut tasks = JoinSet::new();
        loop {
            let (address, superseded) = tokio::select! {
                next = self.waiting.next() => next,
                Some(_) = tasks.join_next() => {
                    peers.retain(|_, peer| !peer.is_closed());
                    continue;
                }
            };
            if peers.get(&address).is_none_or(mpsc::Sender::is_closed) && peers.len() < MOST_PEERS {
                let (sender, orders) = mpsc::channel(MOST_WAITING_FOR_ONE);
                tasks.spawn(tell_one(address.clone(), orders, self.totals.clone()));
                peers.insert(address.clone(), sender);
            }
            if peers.get(&address).is_none_or(|peer| peer.try_send(superseded).is_err()) {
                self.totals.lose(1);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> Vec<(String, Superseded)> {
        self.waiting.lock().iter().cloned().collect()
    }
}

impl Totals {
    fn lose(&self, count: usize) {
        self.lost.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// Tells one gateway until there is nothing to tell for a while.
async fn tell_one(address: String, mut orders: mpsc::Receiver<Superseded>, totals: Arc<Totals>) {
    let Ok(endpoint) = Endpoint::from_shared(format!("http://{address}")) else { return };
    let endpoint = endpoint.connect_timeout(ANSWERS_WITHIN).timeout(ANSWERS_WITHIN).tcp_nodelay(true);
    let mut client = GatewayClient::new(endpoint.connect_lazy());
    let mut batch = Vec::with_capacity(BATCH);
    while let Ok(count @ 1..) = tokio::time::timeout(IDLE, orders.recv_many(&mut batch, BATCH)).await {
        if close(&mut client, std::mem::take(&mut batch)).await {
            totals.told.fetch_add(count as u64, Ordering::Relaxed);
        } else {
            totals.lose(count);
        }
    }
}

async fn close(client: &mut GatewayClient<Channel>, superseded: Vec<Superseded>) -> bool {
    let request = CloseRequest { superseded };
    for _ in 0..TRIES {
        let answer = tokio::time::timeout(ANSWERS_WITHIN, client.close(request.clone())).await;
        if matches!(answer, Ok(Ok(_))) {
            return true;
        }
    }
    false
}
