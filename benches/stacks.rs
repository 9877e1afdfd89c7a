//! What both stacks of `src/gateway/stack.rs` cost over services that answer at once, polled by hand, with the
//! allocations of one call beside the time.
//!
//! The login stack is the gateway's own. The request stack ends in a link, which dials; here the same layers, with the
//! gateway's own tag, stand over a service that answers in its place.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark fails by panicking")]

use std::{
    future::{Future, Ready, ready},
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use allocation_counter::measure;
use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use dagor::{
    admission::{Cost, Cut, Gate, GateSettings, Level, Passage, PriorityKey, Value},
    clock::{Clock, Timestamp, unix_millis},
    gateway::{
        Gateway, GatewayConfig, PolicySource,
        balance::{Balance, Instance},
        connection::Connection,
        dispatch::PerService,
        greet::Greeting,
        link::Answer,
        request::{ClientRequest, Table},
        stack,
        worker::Worker,
    },
    id::{Epoch, Incarnation, MessageId, OutboxId},
    layer::{Placed, PlacedQueueLayer, QueueHandle, QueueSettings, ShedLayer, TagLayer},
    pb::client::Hello,
    policy::{Policy, table::Balance as Choice},
    registry::{Home, MemoryRegistry},
    request::Failure,
};
use tower::{Layer, Service};

/// The only logic service of the default policy.
const SERVICE: usize = 0;
/// The worker's shard in every gate.
const SHARD: usize = 0;

/// Stands in for the link: answers at once, and is done with the place.
#[derive(Clone)]
struct Answering;

impl Service<Placed<ClientRequest>> for Answering {
    type Response = Answer;
    type Error = Failure;
    type Future = Ready<Result<Answer, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, placed: Placed<ClientRequest>) -> Self::Future {
        let Placed { place, request, .. } = placed;
        place.complete();
        ready(Ok(Answer { payload: request.payload, handler_us: 0, received: request.arrived, mark: None }))
    }
}

/// An instance that is always there and takes everything.
#[derive(Clone)]
struct Present {
    key: u64,
    queue: QueueHandle,
}

impl Instance for Present {
    fn key(&self) -> u64 {
        self.key
    }

    fn is_connected(&self) -> bool {
        true
    }

    fn decide(&self, _: Timestamp, _: Value) -> Result<Passage, Cut> {
        Ok(Passage::Below)
    }

    fn load(&self) -> usize {
        self.queue.waiting() + self.queue.in_flight()
    }
}

fn poll_once<S: Service<R>, R>(service: &mut S, request: R) -> Result<S::Response, S::Error> {
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(service.poll_ready(cx).is_ready());
    match pin!(service.call(request)).poll(cx) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("nothing in these stacks waits"),
    }
}

/// Measures calls with what `prepare` makes; making it, and dropping what comes back, is not measured.
///
/// A name that ends in "refused" says what must come back.
fn bench<S: Service<R>, R>(c: &mut Criterion, name: &str, service: &mut S, mut prepare: impl FnMut() -> R) {
    c.bench_function(name, |b| {
        b.iter_batched(&mut prepare, |request| poll_once(service, request), BatchSize::SmallInput)
    });
    let request = prepare();
    let mut result = None;
    let allocated = measure(|| result = Some(poll_once(service, black_box(request))));
    assert_eq!(result.is_some_and(|result| result.is_err()), name.ends_with("refused"), "{name}");
    eprintln!("{:24}allocations: {}, {} bytes", "", allocated.count_total, allocated.bytes_total);
}

fn request(policy: &Arc<Policy>, clock: &Clock) -> ClientRequest {
    let hash = PriorityKey([7; 16]).user(b"user-00001234");
    let table = Arc::new(Table::new(policy.clone(), &["main".into()]));
    let business = policy.business_named("request").unwrap();
    ClientRequest {
        connection: Connection::new("user-00001234", "phone", 0, hash, Epoch(1), OutboxId(1)),
        business: business.code,
        priority: business.priority,
        levels: policy.tiers[0].levels,
        service: SERVICE,
        id: MessageId(1),
        resent: false,
        no_reply_wanted: false,
        arrived: clock.now(),
        unix_ms: unix_millis(),
        // As long as the benchmark may take.
        deadline: clock.now() + Duration::from_secs(3600),
        oldest_unsettled_of_business: 1,
        cost: Cost::ONE,
        payload: Bytes::from_static(&[7; 64]),
        table,
    }
}

/// The layers of `request_stack` and `service_stack`, in their order.
fn request_stack(
    gate: &Arc<Gate>,
    instances: u64,
    clock: &Clock,
) -> impl Service<ClientRequest, Response = Answer, Error = Failure> {
    let settings = QueueSettings { capacity: 10_000, max_in_flight: 1024 };
    let instances = (0..instances).map(|key| {
        let (layer, queue) = PlacedQueueLayer::pair(settings, gate.clone(), SHARD, clock.clone());
        (Present { key, queue }, layer.layer(Answering))
    });
    let service = ShedLayer::new(gate.clone(), SHARD).layer(Balance::new(instances.collect()));
    TagLayer::new(stack::value as fn(&ClientRequest) -> _).layer(PerService::new(vec![service]))
}

fn policy(choice: Choice) -> Arc<Policy> {
    let mut policy = Policy::built_in_default();
    policy.services.iter_mut().for_each(|service| service.balance = choice);
    Arc::new(policy)
}

fn requests(c: &mut Criterion) {
    let clock = Clock::system();
    let gate = Arc::new(Gate::new(GateSettings::default(), 1));
    for (choice, name) in [(Choice::UserHash, "user hash"), (Choice::LeastLoaded, "least loaded")] {
        let request = request(&policy(choice), &clock);
        for instances in [1, 8] {
            let mut stack = request_stack(&gate, instances, &clock);
            bench(c, &format!("request, {name} of {instances}"), &mut stack, || request.clone());
        }
    }
    let request = request(&policy(Choice::UserHash), &clock);
    gate.set_manager_cap(Cut::through(Level::new(request.priority - 1, 127)));
    let mut stack = request_stack(&gate, 1, &clock);
    bench(c, "request, refused", &mut stack, || request.clone());
}

/// A worker of a gateway that listens nowhere.
fn worker() -> Arc<Worker> {
    let nowhere = "127.0.0.1:0".parse().unwrap();
    let config = GatewayConfig {
        name: "bench".into(),
        clients: nowhere,
        admin: nowhere,
        push: nowhere,
        push_advertised: None,
        workers: 1,
        services: Vec::new(),
        policy: PolicySource::BuiltInDefault,
        priority_key: [7; 16],
        sample: None,
        managers: None,
        routes: dagor::gateway::RouteStore::Memory,
    };
    let home = Home { gateway: "bench".into(), incarnation: Incarnation(1), address: String::new() };
    let store = config.policy.open(unix_millis()).unwrap();
    Worker::new(SHARD, Gateway::new(&config, store, Arc::new(MemoryRegistry::new()), home).expect("a random key"))
}

fn greeting(user: &str, clock: &Clock) -> Greeting {
    let hello = Hello { user: user.into(), device: "phone".into(), outbox: 1, ..Hello::default() };
    let now = clock.now();
    let (peer, deadline) = ("127.0.0.1:9".parse().unwrap(), now + Duration::from_secs(60));
    Greeting { hello, ticket: None, peer, arrived: now, deadline }
}

fn logins(c: &mut Criterion) {
    let worker = worker();
    // A bench logs in faster than anybody may.
    worker.gateway.logins.set(f64::INFINITY, u32::MAX);
    let mut stack = stack::login_stack(&worker);
    let mut users = 0_u64;
    let mut another = || {
        users += 1;
        greeting(&format!("user-{users:08}"), &worker.clock)
    };
    bench(c, "login, of a new user", &mut stack, &mut another);
    let first = poll_once(&mut stack, another()).unwrap();
    let user = format!("user-{users:08}");
    bench(c, "login, replacing another", &mut stack, || greeting(&user, &worker.clock));
    drop(first);
    // Nothing is more important than a login, so only a closed gate refuses one.
    worker.gateway.own_gate.gate().set_manager_cap(Cut::CLOSED);
    bench(c, "login, refused", &mut stack, || greeting(&user, &worker.clock));
}

criterion_group!(benches, requests, logins);
criterion_main!(benches);
