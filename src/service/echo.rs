//! The demo service: answers each request with its own payload, at a capacity that is exact.
//!
//! A payload that starts with `push:` also pushes what follows to the same user, through the gateway that the request
//! came from.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::net::TcpListener;

use super::{
    desk::lock,
    handler::{Handler, HandlerError, Reply, Request},
    pacer::Pacer,
    push::Push,
    server::{ServeError, Server},
};
use crate::clock::{Clock, Timestamp};

const PUSH_PREFIX: &[u8] = b"push:";

/// What the demo service can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoConfig {
    /// How many requests it works on at a time; 8 by default.
    pub workers: usize,
    /// How long each takes; 10 ms by default, which with 8 workers makes 800/s. Zero answers at once, without pacing.
    pub work: Duration,
}

impl Default for EchoConfig {
    fn default() -> Self {
        Self { workers: 8, work: Duration::from_millis(10) }
    }
}

/// The demo service's handler.
#[derive(Debug)]
pub struct Echo {
    config: EchoConfig,
    clock: Clock,
    /// `None` answers at once.
    pacer: Option<Mutex<Pacer>>,
    counters: EchoCounters,
}

impl Echo {
    /// A demo service on the system's clock.
    pub fn new(config: EchoConfig) -> Self {
        let pacer = (!config.work.is_zero()).then(|| Mutex::new(Pacer::new(config.workers, config.work)));
        Self { config, clock: Clock::system(), pacer, counters: EchoCounters::default() }
    }

    /// What it has served; keep it to print while the service runs.
    pub fn counters(&self) -> EchoCounters {
        self.counters.clone()
    }

    /// The instance around it, for further settings.
    pub fn into_server(self) -> Server<Self> {
        let (workers, clock) = (self.config.workers, self.clock.clone());
        Server::new(self).workers(workers).clock(clock)
    }

    async fn work(pacer: &Mutex<Pacer>, clock: &Clock, arrived: Timestamp) {
        let done = lock(pacer).assign(arrived);
        tokio::time::sleep_until(clock.instant_of(done).into()).await;
    }
}

impl Handler for Echo {
    async fn handle(&self, request: Request) -> Result<Reply, HandlerError> {
        if let Some(pacer) = &self.pacer {
            Self::work(pacer, &self.clock, request.arrived).await;
        }
        if request.payload.starts_with(PUSH_PREFIX) {
            push_back(&request);
        }
        self.counters.count(&request.business_name);
        Ok(Reply::new(request.payload))
    }
}

/// Pushes beside the reply, so that a slow gateway costs no capacity.
fn push_back(request: &Request) {
    if let Some(gateway) = request.gateway().cloned() {
        let payload = request.payload.slice(PUSH_PREFIX.len()..);
        let push = Push::to_user(&request.user, &request.business_name, payload);
        tokio::spawn(async move {
            if let Err(error) = gateway.push(push).await {
                tracing::debug!(gateway = gateway.name, %error, "a push was not written");
            }
        });
    }
}

/// How many requests of each business were answered. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct EchoCounters(Arc<Mutex<BTreeMap<String, u64>>>);

impl EchoCounters {
    /// The counts since the start, by the business's name.
    pub fn served(&self) -> BTreeMap<String, u64> {
        lock(&self.0).clone()
    }

    fn count(&self, business: &str) {
        let mut served = lock(&self.0);
        match served.get_mut(business) {
            Some(count) => *count += 1,
            None => drop(served.insert(business.to_owned(), 1)),
        }
    }
}

/// Runs the demo service on `listener` until `shutdown` completes.
///
/// # Errors
///
/// When the listener fails.
pub async fn serve_echo(
    config: EchoConfig,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    Echo::new(config).into_server().serve(listener, shutdown).await
}
