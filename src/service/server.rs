//! An instance of a logic service: built, served, and left gracefully.

use std::{sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tonic::{Response, Status, Streaming, transport::server::TcpIncoming};

use super::{
    batch::MAX_MESSAGE_BYTES,
    desk::{Desk, DeskParts},
    guard::Guard,
    handler::Handler,
    memory::Memory,
    presence::{self, PresenceReceiver},
    push::Gateways,
    store::IdempotencyStore,
    stream::Serve,
    window::WindowSettings,
};
use crate::{
    admission::GateSettings,
    clock::Clock,
    pb::service::{
        self as pb,
        logic_server::{Logic, LogicServer},
    },
};

/// HTTP/2 windows: larger than what a stream has in flight, so that they never hold up an answer.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// A gateway that is silent for this long is probed, and given up if it stays silent as long again.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How often the guard looks at its window.
const TICK: Duration = Duration::from_millis(10);
/// After it withdrew its grants a leaving instance stays this long, so that what is under way arrives and is refused
/// rather than lost.
const LINGER: Duration = Duration::from_millis(200);
/// How long the streams' last answers may take to be written.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// Why serving ended early.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener could not be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address that was asked for.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The listener failed.
    #[error("the transport failed")]
    Transport(#[from] tonic::transport::Error),
}

/// Builds and runs an instance of a logic service.
#[derive(Debug)]
pub struct Server<H> {
    handler: H,
    workers: usize,
    buffer: Option<usize>,
    queue: usize,
    gate: GateSettings,
    leave_within: Duration,
    clock: Clock,
    gateways: Gateways,
    memory: Memory,
    store: Option<Arc<dyn IdempotencyStore>>,
    presence: Option<Arc<dyn PresenceReceiver>>,
}

impl<H: Handler> Server<H> {
    /// An instance with eight workers.
    pub fn new(handler: H) -> Self {
        Self {
            handler,
            workers: 8,
            buffer: None,
            queue: 1024,
            gate: GateSettings::default(),
            leave_within: Duration::from_secs(10),
            clock: Clock::system(),
            gateways: Gateways::default(),
            memory: Memory::new(WindowSettings::default()),
            store: None,
            presence: None,
        }
    }

    /// Who hears of clients that come and go; nobody by default. Gateways tell of them where their policy says so.
    #[must_use]
    pub fn presence(mut self, receiver: impl PresenceReceiver) -> Self {
        self.presence = Some(Arc::new(receiver));
        self
    }

    /// How many handlers run at a time, at least one; 8 by default. This is the instance's capacity: set it to what the
    /// handlers can do at once (connections to a database, cores) without slowing each other down.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// How many calls beyond the workers are granted to the gateways; half the workers and at least 2 by default. They
    /// keep a worker from idling between its answer and the next call. More adds waiting that no gate can see; 0 makes
    /// workers idle for a round trip per call.
    #[must_use]
    pub fn buffer(mut self, calls: usize) -> Self {
        self.buffer = Some(calls);
        self
    }

    /// How many calls may wait here for a worker; 1024 by default. Only gateways that ignore their grants fill it. A
    /// full queue refuses the least important call; with 0 every call that finds no free worker is refused.
    #[must_use]
    pub fn queue(mut self, calls: usize) -> Self {
        self.queue = calls;
        self
    }

    /// The guard, with the default gate's settings by default: while more wait here than were granted it refuses the least
    /// important calls, as its gate decides, and tells the gateways its cut. In a dry run only the queue's bound holds.
    #[must_use]
    pub fn gate(mut self, settings: GateSettings) -> Self {
        self.gate = settings;
        self
    }

    /// How long a leaving instance finishes what it has accepted before it ends anyway; 10 s by default.
    #[must_use]
    pub fn leave_within(mut self, limit: Duration) -> Self {
        self.leave_within = limit;
        self
    }

    /// The clock that requests are stamped with; the system's by default.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// How much this instance remembers of the messages that it ran, and for how long. Has no effect with a
    /// [store](Server::store), which has settings of its own.
    #[must_use]
    pub fn windows(mut self, settings: WindowSettings) -> Self {
        if self.store.is_none() {
            self.memory = Memory::new(settings);
        }
        self
    }

    /// Where several instances remember together which messages were run; by default each remembers its own.
    #[must_use]
    pub fn store(mut self, store: impl IdempotencyStore) -> Self {
        self.memory = Memory::of_running();
        self.store = Some(Arc::new(store));
        self
    }

    /// What is remembered here; keep it to read its counts while the instance serves.
    pub fn memory(&self) -> Memory {
        self.memory.clone()
    }

    /// The gateways that are connected, for pushes on the service's own account.
    pub fn gateways(&self) -> Gateways {
        self.gateways.clone()
    }

    /// Binds `address` and serves there. See [`Server::serve`].
    ///
    /// # Errors
    ///
    /// When the address cannot be bound or the listener fails.
    pub async fn serve_at(self, address: &str, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| ServeError::Listen { address: address.to_owned(), source })?;
        self.serve(listener, shutdown).await
    }

    /// Serves on `listener` until `shutdown` completes; then refuses new calls as "leaving", finishes what was accepted,
    /// and ends the streams.
    ///
    /// # Errors
    ///
    /// When the listener fails.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let guard = Guard::new(self.gate);
        let places = self.workers + self.buffer.unwrap_or((self.workers / 2).max(2));
        let desk = Arc::new(Desk::new(DeskParts {
            clock: self.clock,
            guard,
            workers: self.workers,
            waiting: self.queue,
            places,
            memory: self.memory,
            store: self.store,
        }));
        let service = Instance { handler: Arc::new(self.handler), desk: Arc::clone(&desk), gateways: self.gateways };
        let left = tokio::sync::Notify::new();
        let served = transport()
            .add_service(logic(service))
            .add_optional_service(self.presence.map(presence::service))
            .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), left.notified());
        let leave = async {
            shutdown.await;
            // Done or not: who is late has had its time.
            let _ = tokio::time::timeout(self.leave_within, leave(&desk)).await;
            left.notify_one();
            tokio::time::sleep(FLUSH_WITHIN).await;
        };
        tokio::select! {
            served = served => Ok(served?),
            () = leave => Ok(()),
            () = tick(&desk) => Ok(()),
        }
    }
}

/// Leaves as far as this side can: the streams end when their last answer is sent.
async fn leave(desk: &Desk) {
    desk.leave();
    tokio::time::sleep(LINGER).await;
    desk.wait_until_idle().await;
    desk.end_streams();
}

/// Moves the guard's time on, forever.
async fn tick(desk: &Desk) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        desk.tick();
    }
}

fn transport() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
}

fn logic<H: Handler>(instance: Instance<H>) -> LogicServer<Instance<H>> {
    LogicServer::new(instance).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

struct Instance<H> {
    handler: Arc<H>,
    desk: Arc<Desk>,
    gateways: Gateways,
}

#[tonic::async_trait]
impl<H: Handler> Logic for Instance<H> {
    type ServeStream = Serve<H>;

    async fn serve(
        &self,
        request: tonic::Request<Streaming<pb::Calls>>,
    ) -> Result<Response<Self::ServeStream>, Status> {
        let (handler, desk) = (Arc::clone(&self.handler), Arc::clone(&self.desk));
        Ok(Response::new(Serve::new(handler, desk, self.gateways.clone(), request.into_inner())))
    }
}
