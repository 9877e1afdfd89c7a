//! The life of a gateway process: bind, start the workers, serve, drain.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, atomic::Ordering, mpsc},
    thread,
    time::Duration,
};

use tokio::task::{JoinHandle, JoinSet};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

use super::{
    Gateway,
    config::{GatewayConfig, RouteStore, StartError},
    connection::Ending,
    fleet::{self, rules::MOVE_PART},
    herald, porch,
    push::PushService,
    routes,
    sample::{MAX_TRACE_BYTES, Sample, SampleLog},
    windows,
    worker::{TICK, Worker},
};
use crate::{
    admin,
    clock::unix_millis,
    id::Incarnation,
    pb::service::gateway_server::GatewayServer,
    policy,
    registry::{Home, MemoryRegistry, Registry},
    service::batch::MAX_MESSAGE_BYTES,
    trace::Recorder,
    wire::Reason,
};

/// Connections that the kernel holds for a worker that is busy.
const BACKLOG: i32 = 4096;

/// Where a gateway really listens: ports that were given as 0 are filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// For clients.
    pub clients: SocketAddr,
    /// For people and monitors.
    pub admin: SocketAddr,
    /// For logic services.
    pub push: SocketAddr,
}

/// A gateway that serves. Dropping it does not stop it; [`Running::shutdown`] does.
#[derive(Debug)]
pub struct Running {
    /// What its workers share.
    pub gateway: Arc<Gateway>,
    /// Where it listens.
    pub addresses: Addresses,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    workers: Vec<thread::JoinHandle<()>>,
    recorder: Option<Recorder>,
}

/// Starts a gateway. Returns when it serves.
///
/// # Errors
///
/// If the policy has faults or names a service without an address, or an address cannot be listened on or told to others.
pub async fn start(config: GatewayConfig) -> Result<Running, StartError> {
    config.check_addresses()?;
    let store = config.policy.open(unix_millis()).map_err(StartError::Policy)?;
    check_services(&config, &store.current())?;
    let (clients, addresses, admin_listener, push_listener) = bind(&config).await?;
    let home = Home {
        gateway: config.name.clone(),
        incarnation: Incarnation(fastrand::u64(..)),
        address: config.push_advertised.clone().unwrap_or_else(|| addresses.push.to_string()),
    };
    let gateway = Gateway::new(&config, store, open_routes(&config.routes)?, home)?;
    routes::begin(&gateway).await;
    let recorder = config.sample.as_ref().map(|sample| begin_sample(sample, &gateway)).transpose()?;
    let stop = CancellationToken::new();
    // Until everything runs, whatever fails ends what runs already.
    let unfinished = stop.clone().drop_guard();
    let (workers, mut threads) = start_workers(&gateway, clients, &stop)?;
    assert!(gateway.running.set(workers).is_ok(), "workers are started once");
    threads.push(windows::spawn(gateway.clone(), stop.clone()).map_err(StartError::Worker)?);
    let mut tasks = vec![
        until(&stop, follow_policy(gateway.clone())),
        until(&stop, follow_keys(gateway.clone())),
        until(&stop, routes::keep(gateway.clone())),
        until(&stop, herald::run(gateway.clone())),
        until(&stop, herald::watch(gateway.clone())),
        until(&stop, admin::serve(admin_listener, gateway.clone())),
        until(&stop, serve_pushes(push_listener, gateway.clone())),
    ];
    if let Some(managers) = config.managers {
        tasks.push(until(&stop, fleet::follow(gateway.clone(), managers, addresses.clients)));
        tasks.push(until(&stop, fleet::move_clients(gateway.clone())));
    }
    unfinished.disarm();
    Ok(Running { gateway, addresses, stop, tasks, workers: threads, recorder })
}

fn open_routes(store: &RouteStore) -> Result<Arc<dyn Registry>, StartError> {
    match store {
        RouteStore::Memory => Ok(Arc::new(MemoryRegistry::new())),
        #[cfg(feature = "redis")]
        RouteStore::Redis(settings) => {
            let registry = crate::registry::redis::RedisRegistry::open(settings.clone());
            Ok(Arc::new(registry.map_err(StartError::Routes)?))
        }
    }
}

/// The workers take their parts of the sample from the gateway when they start.
fn begin_sample(log: &SampleLog, gateway: &Gateway) -> Result<Recorder, StartError> {
    let failed = |source| StartError::Sample { file: log.file.clone(), source };
    let recorder = Recorder::create(&log.file, MAX_TRACE_BYTES).map_err(failed)?;
    let _ = gateway.sample.set(Sample::new(recorder.sink(), log.one_in, gateway.clock.now()));
    Ok(recorder)
}

/// A policy whose requests could never be answered is not started with.
fn check_services(config: &GatewayConfig, policy: &policy::Policy) -> Result<(), StartError> {
    let known = |name: &str| config.services.iter().any(|service| service.name == name);
    match policy.services.iter().find(|service| !known(&service.name)) {
        Some(service) => Err(StartError::NoAddress(service.name.clone())),
        None => Ok(()),
    }
}

type Bound = (Vec<TcpListener>, Addresses, tokio::net::TcpListener, tokio::net::TcpListener);

async fn bind(config: &GatewayConfig) -> Result<Bound, StartError> {
    let listen = |address: SocketAddr| move |source: io::Error| StartError::Listen { address, source };
    // Workers share a port, so another process could as well, unnoticed: a first listener that does not share finds out.
    drop(client_listener(config.clients, false).map_err(listen(config.clients))?);
    let first = client_listener(config.clients, true).map_err(listen(config.clients))?;
    let clients = first.local_addr().map_err(listen(config.clients))?;
    let mut listeners = vec![first];
    for _ in 1..config.workers {
        listeners.push(client_listener(clients, true).map_err(listen(clients))?);
    }
    let admin = tokio::net::TcpListener::bind(config.admin).await.map_err(listen(config.admin))?;
    let push = tokio::net::TcpListener::bind(config.push).await.map_err(listen(config.push))?;
    let addresses = Addresses {
        clients,
        admin: admin.local_addr().map_err(listen(config.admin))?,
        push: push.local_addr().map_err(listen(config.push))?,
    };
    Ok((listeners, addresses, admin, push))
}

/// With `shared`, one of several listeners on the same port: the kernel spreads connections over the workers, and no
/// socket changes its thread.
fn client_listener(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

type Started = (Vec<Arc<Worker>>, Vec<thread::JoinHandle<()>>);

fn start_workers(
    gateway: &Arc<Gateway>,
    listeners: Vec<TcpListener>,
    stop: &CancellationToken,
) -> Result<Started, StartError> {
    let (mut workers, mut threads) = (Vec::new(), Vec::new());
    for (index, listener) in listeners.into_iter().enumerate() {
        let (ready, is_ready) = mpsc::sync_channel(1);
        let (gateway, stop) = (gateway.clone(), stop.clone());
        let work = move || work(index, gateway, listener, &ready, &stop);
        let thread = thread::Builder::new().name(format!("worker-{index}")).spawn(work).map_err(StartError::Worker)?;
        threads.push(thread);
        let started = is_ready.recv().map_err(|_| StartError::Worker(io::ErrorKind::BrokenPipe.into()))?;
        workers.push(started.map_err(StartError::Worker)?);
    }
    Ok((workers, threads))
}

/// The whole life of a worker's thread.
fn work(
    index: usize,
    gateway: Arc<Gateway>,
    listener: TcpListener,
    ready: &mpsc::SyncSender<io::Result<Arc<Worker>>>,
    stop: &CancellationToken,
) {
    let started = tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(|runtime| {
        let listener = runtime.block_on(async { tokio::net::TcpListener::from_std(listener) })?;
        Ok((runtime, listener))
    });
    let (runtime, listener) = match started {
        Ok(started) => started,
        Err(error) => return drop(ready.send(Err(error))),
    };
    // However the thread ends, a gateway with a part of its workers is worth less than one that is started again.
    let _stops_all = stop.clone().drop_guard();
    runtime.block_on(async {
        let worker = Worker::new(index, gateway);
        worker.connect();
        let mut tasks = JoinSet::new();
        tasks.spawn(worker.clone().tick_forever());
        tasks.spawn(porch::open(worker.clone(), listener));
        drop(ready.send(Ok(worker)));
        tokio::select! {
            () = stop.cancelled() => {}
            Some(ended) = tasks.join_next() => tracing::error!(worker = index, ?ended, "a task that serves ended"),
        }
    });
}

fn until(stop: &CancellationToken, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let stop = stop.clone();
    tokio::spawn(async move {
        stop.run_until_cancelled(task).await;
    })
}

async fn follow_policy(gateway: Arc<Gateway>) {
    let mut changes = gateway.store.subscribe();
    let follow = policy::follow(gateway.store.clone());
    let apply = async {
        while changes.changed().await.is_ok() {
            let policy = changes.borrow_and_update().clone();
            gateway.apply(&policy);
        }
    };
    tokio::join!(follow, apply);
}

async fn follow_keys(gateway: Arc<Gateway>) {
    gateway.tickets.follow(&gateway.store).await;
}

async fn serve_pushes(listener: tokio::net::TcpListener, gateway: Arc<Gateway>) {
    let service = GatewayServer::new(PushService::new(gateway)).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let incoming = TcpListenerStream::new(listener);
    if let Err(error) = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await {
        tracing::error!(%error, "the push service ended");
    }
}

impl Running {
    /// Completes if a thread of the gateway ends although nobody called [`Running::shutdown`]; all of them end then, and
    /// only a new start helps.
    pub async fn failed(&self) {
        self.stop.cancelled().await;
    }

    /// Drains and stops: not ready any more, clients are told to move, what is in flight is finished, routes are
    /// removed. Takes at most the policy's `drain` and a moment.
    pub async fn shutdown(self) {
        let drain = self.gateway.store.current().connections.drain;
        self.gateway.draining.store(true, Ordering::Relaxed);
        self.gateway.fleet.leave();
        self.tell_everyone(|| {
            let within = drain.mul_f64(MOVE_PART * fastrand::f64());
            Ending::Goaway(Reason::Draining, within)
        });
        self.wait_until(drain.mul_f64(MOVE_PART), |gateway| gateway.roster.is_empty()).await;
        self.tell_everyone(|| Ending::Close(Reason::Draining));
        self.wait_until(drain.mul_f64(1.0 - MOVE_PART), |gateway| gateway.limits.open() == 0).await;
        herald::flush(&self.gateway.herald).await;
        self.gateway.fleet.left().await;
        self.stop.cancel();
        for task in self.tasks {
            // A task that panicked has said so on standard error.
            let _ = task.await;
        }
        let (workers, gateway) = (self.workers, self.gateway.clone());
        let join = move || {
            workers.into_iter().for_each(|worker| drop(worker.join()));
            // Nobody tells anything any more.
            gateway.worker_list().iter().filter_map(|worker| worker.sample.as_ref()).for_each(Sample::flush);
            self.recorder.map(Recorder::finish)
        };
        if let Ok(Some(Err(error))) = tokio::task::spawn_blocking(join).await {
            tracing::error!(%error, "the sample of requests is incomplete");
        }
        routes::end(&self.gateway).await;
    }

    fn tell_everyone(&self, ending: impl Fn() -> Ending) {
        self.gateway.roster.for_each(|connection| connection.end(ending()));
    }

    /// Waits for something that others do; what is left after `limit` is dealt with by the next step.
    async fn wait_until(&self, limit: Duration, done: impl Fn(&Gateway) -> bool) {
        let poll = async {
            while !done(&self.gateway) {
                tokio::time::sleep(TICK).await;
            }
        };
        let _ = tokio::time::timeout(limit, poll).await;
    }
}
