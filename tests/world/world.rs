//! One world: three clients, three gateways, two services of two instances each, a registry and a store, joined by queues,
//! on one clock that jumps from event to event. Everything that happens follows from the seed.
//!
//! What the model leaves out: threads and locks (each process does one thing at a time), bytes of WebSocket and gRPC, real
//! files and real Redis. `tests/kill` runs those.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use dagor::{
    client::LinkId,
    clock::Timestamp,
    gateway::{scratch::Scratch, tickets::Tickets},
    id::{Epoch, OutboxId},
    mac::SigningKey,
    policy::table::Policy,
    registry::Home,
    service::bench::RunId,
    ticket::Keys,
};
use fastrand::Rng;

use crate::{
    bugs::Bug,
    client::Client,
    gateway::Gateway,
    ledger::Ledger,
    net::Link,
    routes::{Op, Routes},
    service::{Instance, Stream},
    store::Store,
    trace::{Count, Trace},
};

pub(crate) const CLIENTS: usize = 3;
pub(crate) const GATEWAYS: usize = 3;
pub(crate) const INSTANCES: usize = 4;
/// How long the store keeps a message for an instance that says nothing.
pub(crate) const LEASE: Duration = Duration::from_secs(3);
/// Everything has ended this long after the last fault.
const SETTLES_WITHIN: Duration = Duration::from_secs(15 * 60);
/// No seed needs as many steps to come to rest.
const MOST_STEPS: u64 = 100_000;
const TICK: Duration = Duration::from_millis(700);
/// Midnight of some day, in milliseconds since the Unix epoch.
const UNIX_MS: i64 = 1_700_000_000_000;

/// What is due.
#[derive(Debug)]
pub(crate) enum Event {
    Wake { client: usize, run: u32 },
    Kept { client: usize, run: u32 },
    Submit { client: usize },
    StartClient { client: usize },
    Reopen { client: usize, run: u32 },
    Connect { client: usize, run: u32, link: LinkId, gateway: usize },
    Arrive { link: usize, up: bool },
    Tick { gateway: usize, run: u32 },
    StartGateway { gateway: usize },
    StopGateway { gateway: usize, run: u32 },
    Registered { gateway: usize, run: u32, link: usize, epoch: Epoch },
    Route { gateway: usize, run: u32, home: Arc<Home>, op: Op },
    Restore { gateway: usize, run: u32 },
    Outdated { gateway: usize, run: u32, device: usize, epoch: Epoch },
    Supersede { gateway: usize, run: u32, device: usize, epoch: Epoch, outbox: OutboxId },
    Push { device: usize },
    Call { stream: usize },
    Answers { stream: usize },
    StreamLost { stream: usize, gateway: bool },
    Claim { instance: usize, instance_run: u32, run: RunId },
    Ends { instance: usize, instance_run: u32, run: RunId },
    InstanceTick { instance: usize, run: u32 },
    StartInstance { instance: usize },
}

#[derive(Debug)]
struct Due {
    at: Timestamp,
    /// Of two at the same time, the one that was planned first.
    number: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Everything there is.
pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) random: Rng,
    pub(crate) bug: Option<Bug>,
    /// No fault happens any more.
    pub(crate) calm: bool,
    /// One step of so many is a fault.
    pub(crate) fault_every: u32,
    queue: BinaryHeap<Reverse<Due>>,
    planned: u64,
    pub(crate) clients: Vec<Client>,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) instances: Vec<Instance>,
    pub(crate) links: Vec<Link>,
    pub(crate) streams: Vec<Stream>,
    /// Until when nothing passes from a client to a gateway and back: down, up.
    pub(crate) partitions: [[[Timestamp; 2]; GATEWAYS]; CLIENTS],
    pub(crate) client_skew: [i64; CLIENTS],
    pub(crate) routes: Routes,
    pub(crate) store: Store,
    pub(crate) store_away_until: Timestamp,
    pub(crate) ledger: Ledger,
    pub(crate) trace: Trace,
    pub(crate) tickets: Tickets,
    pub(crate) policy: Arc<Policy>,
    pub(crate) scratch: Scratch,
}

fn policy() -> Arc<Policy> {
    static POLICY: OnceLock<Arc<Policy>> = OnceLock::new();
    Arc::clone(POLICY.get_or_init(Arc::default))
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut random = Rng::with_seed(seed);
        let clients = (0..CLIENTS).map(|_| Client::new(random.u32(0..4) > 0, random.u64(1..))).collect();
        let mut world = Self {
            now: Timestamp::from_nanos(1_000_000_000),
            fault_every: *random.choice(&[8, 20, 60]).unwrap(),
            client_skew: [0; CLIENTS].map(|_| random.i64(-60_000..60_000)),
            random,
            bug,
            calm: false,
            queue: BinaryHeap::new(),
            planned: 0,
            clients,
            gateways: (0..GATEWAYS).map(Gateway::new).collect(),
            instances: (0..INSTANCES).map(Instance::new).collect(),
            links: Vec::new(),
            streams: Vec::new(),
            partitions: [[[Timestamp::ZERO; 2]; GATEWAYS]; CLIENTS],
            routes: Routes::new(),
            store: Store::default(),
            store_away_until: Timestamp::ZERO,
            ledger: Ledger::default(),
            trace: Trace::default(),
            tickets: Tickets::new(Keys::one(SigningKey::new([7; 16]))),
            policy: policy(),
            scratch: Scratch::default(),
        };
        world.begin_all();
        world
    }

    fn begin_all(&mut self) {
        for instance in 0..INSTANCES {
            self.start_instance(instance);
        }
        for gateway in 0..GATEWAYS {
            self.gateways[gateway].skew = self.random.i64(-2_000..2_000);
            self.start_gateway(gateway);
        }
        for client in 0..CLIENTS {
            self.start_client(client);
            self.schedule(self.now, Event::Submit { client });
            self.schedule(self.now, Event::Push { device: client });
        }
    }

    pub(crate) fn schedule(&mut self, at: Timestamp, event: Event) {
        self.planned += 1;
        self.queue.push(Reverse(Due { at: at.max(self.now), number: self.planned, event }));
    }

    /// What a process takes for the time of day.
    pub(crate) fn unix_millis(&self, skew: i64) -> u64 {
        (UNIX_MS + (self.now.as_nanos() / 1_000_000) as i64 + skew) as u64
    }

    /// One step: the next thing that is due, or a fault. `false` if an invariant is broken.
    pub(crate) fn step(&mut self) -> bool {
        self.trace.step += 1;
        if !self.calm && self.random.u32(0..self.fault_every) == 0 {
            self.fault();
        } else if let Some(Reverse(Due { at, event, .. })) = self.queue.pop() {
            self.now = at;
            self.happen(event);
        }
        self.trace.violation.is_none()
    }

    /// The instance that an event is for, if it stands still, and until when.
    fn stands_still(&self, event: &Event) -> Option<Timestamp> {
        let instance = match *event {
            Event::Claim { instance, .. } | Event::Ends { instance, .. } | Event::InstanceTick { instance, .. } => {
                instance
            }
            Event::Call { stream } | Event::StreamLost { stream, gateway: false } => self.streams[stream].instance,
            _ => return None,
        };
        Some(self.instances[instance].still_until).filter(|&until| until > self.now)
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        if let Some(until) = self.stands_still(&event) {
            return self.schedule(until, event);
        }
        match event {
            Event::Wake { client, run } => {
                self.trace.note(now, "wake", [client as u64, run.into(), 0]);
                self.wake_client(client, run);
            }
            Event::Kept { client, run } => {
                self.trace.note(now, "kept", [client as u64, run.into(), 0]);
                self.kept(client, run);
            }
            Event::Submit { .. } | Event::Push { .. } if self.calm => {}
            Event::Submit { client } => {
                self.submit(client);
                let next = now + self.millis(20, 600);
                self.schedule(next, Event::Submit { client });
            }
            Event::StartClient { client } => {
                self.trace.note(now, "client starts", [client as u64, 0, 0]);
                self.start_client(client);
            }
            Event::Reopen { client, run } => {
                self.trace.note(now, "client opens again", [client as u64, run.into(), 0]);
                self.reopen(client, run);
            }
            Event::Connect { client, run, link, gateway } => {
                self.trace.note(now, "connect", [client as u64, link.0, gateway as u64]);
                self.connect(client, run, link, gateway);
            }
            Event::Arrive { link, up } => {
                self.trace.note(now, "arrive", [link as u64, u64::from(up), self.links[link].client as u64]);
                self.arrive(link, up);
            }
            Event::Tick { gateway, run } => {
                if self.gateways[gateway].run == run && self.gateways[gateway].is_up() {
                    self.tick(gateway);
                    self.schedule(now + TICK, Event::Tick { gateway, run });
                }
            }
            Event::StartGateway { gateway } => {
                self.trace.note(now, "gateway starts", [gateway as u64, 0, 0]);
                self.start_gateway(gateway);
            }
            Event::StopGateway { gateway, run } => {
                if self.gateways[gateway].run == run && self.gateways[gateway].is_up() {
                    self.trace.note(now, "gateway ends", [gateway as u64, run.into(), 0]);
                    self.ask_registry(gateway, Op::Release);
                    self.stop_gateway(gateway, false);
                }
            }
            Event::Registered { gateway, run, link, epoch } => {
                self.trace.note(now, "epoch", [link as u64, epoch.0, 0]);
                self.registered(gateway, run, link, epoch);
            }
            Event::Route { gateway, run, home, op } => self.route(gateway, run, &home, op),
            Event::Push { device } => {
                self.push_to(device);
                let next = now + self.millis(200, 2_000);
                self.schedule(next, Event::Push { device });
            }
            Event::Restore { gateway, run } => {
                self.trace.note(now, "restore", [gateway as u64, run.into(), 0]);
                self.restore_routes(gateway, run);
            }
            Event::Outdated { gateway, run, device, epoch } => {
                self.trace.note(now, "outdated", [gateway as u64, device as u64, epoch.0]);
                self.outdated(gateway, run, device, epoch);
            }
            Event::Supersede { gateway, run, device, epoch, outbox } => {
                self.trace.note(now, "supersede", [gateway as u64, device as u64, epoch.0]);
                self.supersede(gateway, run, device, epoch, outbox);
            }
            Event::Call { stream } => {
                self.trace.note(now, "call", [stream as u64, self.streams[stream].instance as u64, 0]);
                self.call(stream);
            }
            Event::Answers { stream } => {
                self.trace.note(now, "answers", [stream as u64, self.streams[stream].gateway as u64, 0]);
                self.answers(stream);
            }
            Event::StreamLost { stream, gateway } => {
                self.trace.note(now, "stream lost", [stream as u64, u64::from(gateway), 0]);
                self.stream_ends(stream, gateway);
            }
            Event::Claim { instance, instance_run, run } => {
                self.trace.note(now, "claim", [instance as u64, run.0, 0]);
                self.claim(instance, instance_run, run);
            }
            Event::Ends { instance, instance_run, run } => {
                self.trace.note(now, "handler ends", [instance as u64, run.0, 0]);
                self.ends(instance, instance_run, run);
            }
            Event::InstanceTick { instance, run } => {
                if self.instances[instance].run == run && self.instances[instance].up {
                    self.instance_tick(instance);
                    self.schedule(now + TICK, Event::InstanceTick { instance, run });
                }
            }
            Event::StartInstance { instance } => {
                self.trace.note(now, "instance starts", [instance as u64, 0, 0]);
                self.start_instance(instance);
            }
        }
    }

    fn start_gateway(&mut self, g: usize) {
        let is_silent = self.random.u32(0..3) == 0;
        self.gateways[g].start(g, is_silent);
        let run = self.gateways[g].run;
        self.schedule(self.now, Event::Tick { gateway: g, run });
    }

    fn start_instance(&mut self, i: usize) {
        self.instances[i].start();
        let run = self.instances[i].run;
        self.schedule(self.now + TICK, Event::InstanceTick { instance: i, run });
    }

    /// A gateway's process is gone; with `silent` its machine too, so that nobody is told.
    pub(crate) fn stop_gateway(&mut self, g: usize, silent: bool) {
        let (run, incarnation) = (self.gateways[g].run, self.gateways[g].home.incarnation);
        self.routes.dead.insert(incarnation, self.now);
        self.gateways[g].stop();
        let links: Vec<_> = (0..self.links.len())
            .filter(|&at| self.links[at].open && self.links[at].gateway == g && self.links[at].gateway_run == run)
            .collect();
        for link in links {
            self.cut(link, [!silent, false]);
        }
        self.break_streams(|stream| stream.gateway == g && stream.gateway_run == run);
        let at = self.now + self.millis(50, 8_000);
        self.schedule(at, Event::StartGateway { gateway: g });
    }

    /// An instance's process is gone.
    pub(crate) fn stop_instance(&mut self, i: usize) {
        self.count_memory(i);
        self.instances[i].up = false;
        self.break_streams(|stream| stream.instance == i);
        let at = self.now + self.millis(50, 6_000);
        self.schedule(at, Event::StartInstance { instance: i });
    }

    /// No fault happens any more, and everything comes to rest. `false` if an invariant is broken.
    pub(crate) fn rest(&mut self) -> bool {
        self.calm = true;
        self.partitions = [[[Timestamp::ZERO; 2]; GATEWAYS]; CLIENTS];
        self.routes.away_until = self.now;
        self.store_away_until = self.now;
        for at in 0..self.links.len() {
            for up in [false, true] {
                self.links[at].pipe(up).blocked_until = self.now;
            }
        }
        for gateway in &mut self.gateways {
            gateway.sheds_until = self.now;
        }
        for instance in &mut self.instances {
            instance.still_until = self.now;
        }
        let (limit, most) = (self.now + SETTLES_WITHIN, self.trace.step + MOST_STEPS);
        while !(0..CLIENTS).all(|client| self.is_settled(client)) {
            if self.now > limit || self.trace.step > most {
                let open = self.ledger.open();
                let open = open.unwrap_or_else(|| "a client does not come to rest".into());
                self.trace.violated(format!("{:?} after the last fault: {open}", SETTLES_WITHIN));
                return false;
            }
            if !self.step() {
                return false;
            }
        }
        if let Some(open) = self.ledger.open() {
            self.trace.violated(format!("it never ended: {open}"));
        }
        let (ids, bytes) = self.store.largest();
        if ids > 1_024 || bytes > 10_000 {
            self.trace.violated(format!("a window in the store holds {ids} ids of {bytes} bytes"));
        }
        for instance in 0..INSTANCES {
            self.count_memory(instance);
        }
        self.trace.violation.is_none()
    }

    pub(crate) fn count(&mut self, count: Count) {
        self.trace.count(count);
    }
}
