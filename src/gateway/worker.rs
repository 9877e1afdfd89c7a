//! One worker: a thread with a runtime, a listener, its sessions, and its own queues and links to every instance. A
//! request never leaves its worker, so nothing on its way is contended.

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tower_service::Service;

use super::{
    Gateway,
    age::Ages,
    connection::{Connection, Ending},
    costs::Costs,
    counters::Counters,
    deadline::Deadlines,
    dispatch::{Dispatch, InstanceHandle},
    latency::{Latency, Lateness},
    link::{Link, LinkConfig, LinkEvent, LinkHandle},
    request::{ClientRequest, Table},
    sample::Sample,
    stack::{self, RequestFuture, RequestStack, ServiceStack},
    usage::Usage,
};
use crate::{
    admission::Backlog,
    clock::{Clock, Timestamp},
    id::BusinessCode,
    layer::{self, heartbeat::Heartbeats},
    policy::table::ServiceAddresses,
    wire::Reason,
};

/// How often a worker looks at its queues and links; its lateness is the gateway's own queuing time (the paper measures
/// the queue of a process; here it is the run queue of a worker).
pub const TICK: Duration = Duration::from_millis(10);
/// Clients refused at the door whose sockets are held until they have read why; those beyond are closed at once.
const MAX_FAREWELLS: usize = 256;
/// Ticks between two scans of the heartbeats.
const HEARTBEAT_TICKS: u64 = 100;

/// A worker, shared by everything that runs on it.
pub struct Worker {
    /// Which of the gateway's workers; also its shard in every gate.
    pub index: usize,
    /// The process it belongs to.
    pub gateway: Arc<Gateway>,
    /// The process's clock.
    pub clock: Clock,
    /// Coarse deadlines of handshakes and farewells.
    pub deadlines: Deadlines,
    /// Signs of life of the connections.
    pub heartbeats: Heartbeats<Arc<Connection>>,
    /// How long connections may last.
    pub ages: Ages,
    /// How requests ended.
    pub counters: Counters,
    /// What its clients were served.
    pub usage: Usage,
    /// What requests cost.
    pub costs: Costs,
    /// How long replies took.
    pub latency: Latency,
    /// How late its timers were.
    pub lateness: Lateness,
    /// Where requests are told that are in the sample, if there is one.
    pub sample: Option<Sample>,
    /// Clients refused at the door that still read why.
    pub farewells: Arc<Semaphore>,
    table: ArcSwap<Table>,
    /// The queues do not have the sizes of the table yet.
    table_is_new: AtomicBool,
    lanes: OnceLock<Lanes>,
}

/// The request stack with the handles of its parts.
struct Lanes {
    stack: Mutex<RequestStack>,
    /// Per service, per instance.
    instances: Vec<Vec<InstanceHandle>>,
}

impl Worker {
    /// A worker that has not been connected to the services yet.
    pub fn new(index: usize, gateway: Arc<Gateway>) -> Arc<Self> {
        let table = gateway.table();
        let counters = Counters::default();
        counters.know(codes(&table));
        let costs = Costs::default();
        costs.know(codes(&table));
        let sample = gateway.sample.get().map(Sample::another);
        let latency = Latency::new(gateway.services.len());
        Arc::new(Self {
            index,
            clock: gateway.clock.clone(),
            gateway,
            deadlines: Deadlines::default(),
            heartbeats: Heartbeats::seeded(fastrand::u64(..)),
            ages: Ages::default(),
            counters,
            costs,
            usage: Usage::default(),
            latency,
            lateness: Lateness::default(),
            sample,
            farewells: Arc::new(Semaphore::new(MAX_FAREWELLS)),
            table: ArcSwap::from_pointee(table),
            table_is_new: AtomicBool::new(false),
            lanes: OnceLock::new(),
        })
    }

    /// Opens the links and assembles the request stack. To be called once, on the worker's own runtime.
    pub fn connect(self: &Arc<Self>) {
        let services = self.gateway.services.iter().enumerate();
        let (stacks, instances) = services.map(|(at, service)| self.service(at, service)).unzip();
        let lanes = Lanes { stack: Mutex::new(stack::request_stack(stacks)), instances };
        assert!(self.lanes.set(lanes).is_ok(), "a worker is connected once");
    }

    fn service(self: &Arc<Self>, at: usize, service: &ServiceAddresses) -> (ServiceStack, Vec<InstanceHandle>) {
        let lanes: Vec<_> = service.instances.iter().map(|address| self.instance(at, &address.to_string())).collect();
        let handles = lanes.iter().map(|(handle, _)| handle.clone()).collect();
        (stack::service_stack(self.gateway.gates[at].clone(), self.index, lanes), handles)
    }

    fn instance(self: &Arc<Self>, service: usize, address: &str) -> (InstanceHandle, layer::Queue<Dispatch>) {
        let gateway = self.gateway.clone();
        let (capacity, max_in_flight) = queue_settings(&gateway, service);
        let settings = layer::QueueSettings { capacity, max_in_flight: max_in_flight.unwrap_or(1) };
        let (queue_layer, queue) =
            layer::PlacedQueueLayer::pair(settings, gateway.gates[service].clone(), self.index, self.clock.clone());
        let config = LinkConfig {
            address: address.to_owned(),
            gateway: gateway.home.gateway.clone(),
            incarnation: gateway.home.incarnation,
            push_address: gateway.home.address.clone(),
        };
        set_places(&queue, max_in_flight);
        let events = queue.clone();
        let link: LinkHandle<layer::Place> = Link::spawn(config, self.clock.clone(), move |event| match event {
            LinkEvent::Connected => set_places(&events, queue_settings(&gateway, service).1),
            LinkEvent::Grants(grants) => events.set_places(grants),
            LinkEvent::Lost => events.refuse_all(crate::admission::Cause::NoInstance),
        });
        let service = tower::Layer::layer(&queue_layer, Dispatch::new(link.clone()));
        (InstanceHandle::new(address, link, queue), service)
    }

    /// Waits until each instance has been dialed once, but not longer than `within`: clients that are taken before have
    /// their first requests refused for nothing.
    pub async fn links_tried(&self, within: Duration) {
        let all = async {
            for instance in self.instances().iter().flatten() {
                instance.link().tried().await;
            }
        };
        let _ = tokio::time::timeout(within, all).await;
    }

    /// Sends a request on its way.
    ///
    /// # Panics
    ///
    /// If the worker has not been connected.
    pub fn call(&self, request: ClientRequest) -> RequestFuture {
        let lanes = self.lanes.get().expect("sessions begin after the worker is connected");
        lanes.stack.lock().unwrap_or_else(PoisonError::into_inner).call(request)
    }

    /// The policy in force, as this worker uses it.
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Puts another policy in force. The queues follow within a [`TICK`], on the worker's own thread, so that nothing
    /// comes between a look at a link's grants and the places.
    pub fn set_table(&self, table: Table) {
        self.counters.know(codes(&table));
        self.costs.know(codes(&table));
        self.table.store(Arc::new(table));
        self.table_is_new.store(true, Ordering::Release);
    }

    /// Gives the queues the sizes of the policy in force. Places that an instance granted are its own to change.
    fn resize(&self) {
        for (at, instances) in self.instances().iter().enumerate() {
            let (capacity, max_in_flight) = queue_settings(&self.gateway, at);
            for instance in instances {
                instance.queue().set_capacity(capacity);
                if instance.link().grants().is_none() {
                    set_places(instance.queue(), max_in_flight);
                }
            }
        }
    }

    /// Everything that waits or is in flight, of all services.
    pub fn instances(&self) -> &[Vec<InstanceHandle>] {
        self.lanes.get().map_or(&[], |lanes| &lanes.instances)
    }

    /// What waits for a service.
    pub fn backlog(&self, service: usize, now: Timestamp) -> Backlog {
        let instances = self.instances().get(service).map_or(&[][..], Vec::as_slice);
        instances.iter().map(|instance| instance.queue().backlog(now)).fold(Backlog::default(), Backlog::join)
    }

    /// Looks after queues, links, deadlines and heartbeats, every [`TICK`] for as long as the worker lives.
    pub async fn tick_forever(self: Arc<Self>) {
        let mut due = self.clock.now();
        for count in 0_u64.. {
            due = due + TICK;
            tokio::time::sleep_until(self.clock.instant_of(due).into()).await;
            let now = self.clock.now();
            self.gateway.own_gate.lateness(self.index, now.since(due));
            self.lateness.record(now.since(due));
            // After a long stall the missed ticks are not made up for.
            due = due.max(now - TICK);
            self.tick(now, count);
        }
    }

    fn tick(&self, now: Timestamp, count: u64) {
        if self.table_is_new.swap(false, Ordering::Acquire) {
            self.resize();
        }
        for instance in self.instances().iter().flatten() {
            instance.queue().expire(now);
            instance.link().set_waiting(instance.queue().waiting());
            instance.link().sweep(now);
        }
        self.deadlines.sweep(now);
        if count.is_multiple_of(HEARTBEAT_TICKS) {
            self.sample.iter().for_each(Sample::flush);
            // Each worker does it, because each may be the only one.
            self.gateway.update_spread();
            if self.index == 0 {
                self.gateway.end_who_is_stuck();
            }
            let table = self.table();
            let tolerance = table.policy.connections.heartbeat_tolerance;
            self.heartbeats.scan(now, tolerance, |silent| silent.end(Ending::Close(Reason::HeartbeatLost)));
            self.ages.scan(&self.heartbeats, &self.gateway, &table.policy, now);
        }
    }
}

/// The codes of all businesses, in order.
fn codes(table: &Table) -> impl Iterator<Item = BusinessCode> {
    table.policy.businesses.iter().map(|business| business.code)
}

/// The part of one instance's queue on one worker in what the policy allows a service: how many may wait, and how many may
/// be in flight unless that is to be found out.
fn queue_settings(gateway: &Gateway, service: usize) -> (usize, Option<usize>) {
    let service = &gateway.services[service];
    let part = |total: usize| total.div_ceil((gateway.workers * service.instances.len()).max(1));
    let policy = gateway.store.current();
    let rules = policy.services.iter().find(|rules| rules.name == service.name);
    rules.map_or((0, Some(1)), |rules| (part(rules.queue.capacity), rules.queue.max_in_flight.map(part)))
}

fn set_places(queue: &layer::QueueHandle, max_in_flight: Option<usize>) {
    match max_in_flight {
        Some(places) => queue.set_places(places),
        None => queue.find_places(),
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("index", &self.index).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Ipv4Addr, SocketAddr},
        task::Waker,
    };

    use super::*;
    use crate::{
        admission::{Cut, PriorityKey},
        gateway::{GatewayConfig, PolicySource, RouteStore},
        id::{Epoch, Incarnation, OutboxId},
        policy::{self, table::Balance},
        registry::{Home, MemoryRegistry},
    };

    const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

    fn gateway() -> Arc<Gateway> {
        let config = GatewayConfig {
            name: "test".to_owned(),
            clients: NOBODY,
            admin: NOBODY,
            push: NOBODY,
            push_advertised: None,
            workers: 2,
            services: vec![ServiceAddresses { name: "main".to_owned(), instances: vec![NOBODY, NOBODY] }],
            policy: PolicySource::BuiltInDefault,
            priority_key: [0; 16],
            sample: None,
            managers: None,
            routes: RouteStore::Memory,
        };
        let store = config.policy.open(0).unwrap();
        let home = Home { gateway: config.name.clone(), incarnation: Incarnation(1), address: String::new() };
        Gateway::new(&config, store, Arc::new(MemoryRegistry::new()), home).unwrap()
    }

    #[tokio::test]
    async fn a_changed_policy_changes_the_places_of_each_instance_and_how_one_is_chosen() {
        let gateway = gateway();
        let worker = Worker::new(0, gateway.clone());
        worker.connect();
        let places = || worker.instances()[0].iter().map(|instance| instance.queue().places()).collect::<Vec<_>>();
        assert_eq!((places(), worker.table().balance_of(0)), (vec![16; 2], Balance::UserHash));
        let text = policy::DEFAULT_TOML
            .replace("\nmax_in_flight = \"adaptive\"\n", "\nmax_in_flight = 80\n")
            .replace("\nbalance = \"user-hash\"\n", "\nbalance = \"least-loaded\"\n");
        gateway.store.apply_text("changed.toml", &text, 1).unwrap();
        worker.set_table(gateway.table());
        worker.tick(worker.clock.now(), 1);
        assert_eq!((places(), worker.table().balance_of(0)), (vec![20; 2], Balance::LeastLoaded));
    }

    #[tokio::test]
    async fn a_client_of_age_is_told_and_then_ended_but_not_while_there_is_no_place_for_it() {
        const MINUTE: Duration = Duration::from_secs(60);
        let gateway = gateway();
        let worker = Worker::new(0, gateway.clone());
        let text = policy::DEFAULT_TOML.replace("\nmax_age = \"unlimited\"\n", "\nmax_age = \"1h\"\n");
        gateway.store.apply_text("changed.toml", &text, 1).unwrap();
        worker.set_table(gateway.table());
        let begun = worker.clock.now();
        let ann = Connection::new("ann", "phone", 0, PriorityKey([0; 16]).user(b"ann"), Epoch(1), OutboxId(1));
        let pulse = worker.heartbeats.insert(ann.clone(), begun);
        let said_after = |minutes: u32| {
            let now = begun + MINUTE * minutes;
            pulse.touch(now);
            worker.tick(now, 0);
            ann.take_outgoing(Waker::noop(), &gateway.budget).1
        };
        assert_eq!((said_after(0), said_after(53)), (None, None), "too young");
        gateway.own_gate.set_login_cap(Cut::CLOSED);
        assert_eq!((said_after(70), said_after(200)), (None, None), "who leaves would not be let in again");
        gateway.own_gate.set_login_cap(Cut::OPEN);
        assert_eq!(said_after(201), None, "not all at once when logins pass again");
        let Some(Ending::Goaway(Reason::Aged, within)) = said_after(214) else { panic!("it was not told") };
        assert!(within <= Duration::from_secs(1), "{within:?}");
        gateway.draining.store(true, Ordering::Relaxed);
        assert_eq!(said_after(220), None, "a shutdown has an end of its own");
        gateway.draining.store(false, Ordering::Relaxed);
        assert_eq!((said_after(221), said_after(222)), (None, Some(Ending::Close(Reason::Aged))));
        assert_eq!((said_after(300), gateway.aged_total()), (None, 1), "each once");
    }
}
