//! The gateway: sockets in, the two stacks, links to the logic services.
//!
//! ```text
//!             connection stack                                  request stack
//!  socket ─▶ limit ─▶ greet ─▶ rate ─▶ tag ─▶ shed ─▶ login ─▶ route ─▶ heartbeat ─▶ session
//!                                                                              │
//!                  logic service ◀─ link ◀─ queue ◀─ instance ◀─ shed ◀─ tag ◀─┘
//! ```
//!
//! Read [`stack`] first: both stacks are assembled there, one line per layer. [`worker`] is where they run, [`session`]
//! where a connection lives, [`link`] the way to a logic service.

pub mod age;
pub mod answers;
pub mod balance;
pub mod config;
pub mod connection;
pub mod costs;
pub mod counters;
pub mod cuts;
pub mod deadline;
pub mod dispatch;
pub mod establish;
pub mod fleet;
pub mod greet;
pub mod herald;
pub mod latency;
pub mod link;
pub mod login;
pub mod marks;
mod porch;
pub mod presence;
pub mod push;
pub mod request;
pub mod roster;
pub mod routes;
mod run;
pub mod sample;
pub mod scratch;
pub mod session;
pub mod settlement;
pub mod stack;
pub mod tickets;
pub mod transport;
pub mod usage;
mod windows;
pub mod worker;

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

pub use self::{
    config::{Announced, GatewayConfig, PolicySource, RouteStore, StartError, is_everywhere},
    run::{Addresses, Running, start},
};
use self::{
    connection::{ByteBudget, Connection, Ending},
    counters::Outcome,
    fleet::{
        Fleet,
        rules::{self, Turns},
    },
    herald::Herald,
    marks::Marks,
    request::Table,
    roster::Roster,
    routes::Routes,
    sample::Sample,
    tickets::Tickets,
    worker::Worker,
};
use crate::{
    admission::{Gate, OwnGate, PriorityKey},
    clock::{Clock, whole_millis_u32},
    id::BusinessCode,
    layer::{
        limit::{LimitHandle, Limits},
        rate::TokenBucket,
    },
    policy::{
        PolicyStore,
        table::{Connections, Policy, ServiceAddresses},
    },
    registry::{Home, Registry},
    wire::Reason,
};

/// What the workers of a process share.
pub struct Gateway {
    /// Who this is.
    pub home: Arc<Home>,
    /// The process's clock.
    pub clock: Clock,
    /// The policy in force.
    pub store: Arc<PolicyStore>,
    /// Where users stand.
    pub priority_key: PriorityKey,
    /// Who is connected here.
    pub roster: Roster<Arc<Connection>>,
    /// Where everyone is connected.
    pub registry: Arc<dyn Registry>,
    /// What is to be told to the registry and to the gateways it names.
    pub routes: Routes,
    /// What clients carry from login to login.
    pub tickets: Tickets,
    /// Where logic services have put clients.
    pub marks: Marks,
    /// Who is to be told of those who come and go.
    pub herald: Herald,
    /// Bytes that wait to be written.
    pub budget: ByteBudget,
    /// Bounds on connections.
    pub limits: LimitHandle,
    /// Bounds the rate of logins.
    pub logins: Arc<TokenBucket>,
    /// When those come back that it refuses.
    pub turns: Turns,
    /// The services that can be reached.
    pub services: Vec<ServiceAddresses>,
    /// The gate of each service.
    pub gates: Vec<Arc<Gate>>,
    /// The gate of this process.
    pub own_gate: OwnGate,
    /// What managers said.
    pub fleet: Fleet,
    /// How many workers there are.
    pub workers: usize,
    /// What the workers' samples are made from, if there is to be a sample.
    pub sample: OnceLock<Sample>,
    running: OnceLock<Vec<Arc<Worker>>>,
    draining: AtomicBool,
    spread_ms: AtomicU32,
    /// Connections that were told to move because of their age.
    aged: AtomicU64,
    /// Connections that the gateway ended or did not let in, by [`Reason::index`].
    closed: Vec<AtomicU64>,
}

impl Gateway {
    /// A gateway that no worker serves yet.
    ///
    /// # Errors
    ///
    /// If there are no keys for tickets.
    pub fn new(
        config: &GatewayConfig,
        store: PolicyStore,
        registry: Arc<dyn Registry>,
        home: Home,
    ) -> Result<Arc<Self>, StartError> {
        let tickets = Tickets::open(&store).map_err(StartError::Tickets)?;
        let policy = store.current();
        let gates: Vec<_> = config
            .services
            .iter()
            .map(|service| {
                let rules = policy.services.iter().find(|rules| rules.name == service.name);
                Arc::new(Gate::new(rules.map(|rules| rules.gate.clone()).unwrap_or_default(), config.workers))
            })
            .collect();
        let own_gate = OwnGate::new(policy.gateway_gate.clone(), config.workers, gates.clone());
        Ok(Arc::new(Self {
            home: Arc::new(home),
            clock: Clock::system(),
            store: Arc::new(store),
            priority_key: PriorityKey(config.priority_key),
            roster: Roster::default(),
            registry,
            routes: Routes::default(),
            tickets,
            marks: Marks::default(),
            herald: Herald::new(&config.services, &policy),
            budget: ByteBudget::new(policy.connections.outgoing_bytes_total),
            limits: LimitHandle::new(limits(&policy.connections)),
            logins: Arc::new(TokenBucket::new(policy.connections.login_rate, policy.connections.login_burst)),
            turns: Turns::default(),
            services: config.services.clone(),
            gates,
            own_gate,
            fleet: Fleet::default(),
            workers: config.workers,
            sample: OnceLock::new(),
            running: OnceLock::new(),
            draining: AtomicBool::new(false),
            spread_ms: AtomicU32::new(whole_millis_u32(rules::SHORTEST_SPREAD)),
            aged: AtomicU64::new(0),
            closed: Reason::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
        }))
    }

    /// Puts the policy in force everywhere that keeps something of it.
    fn apply(&self, policy: &Arc<Policy>) {
        self.limits.set(limits(&policy.connections));
        self.logins.set(policy.connections.login_rate, policy.connections.login_burst);
        self.budget.set_limit(policy.connections.outgoing_bytes_total);
        self.own_gate.reconfigure(policy.gateway_gate.clone());
        self.herald.apply(&self.services, policy);
        for service in policy.services.iter().filter(|rules| !self.services.iter().any(|has| has.name == rules.name)) {
            let service = &service.name;
            tracing::warn!(service, "the policy names a service without an address: its requests end as no_instance");
        }
        for (service, gate) in self.services.iter().zip(&self.gates) {
            if let Some(rules) = policy.services.iter().find(|rules| rules.name == service.name) {
                gate.reconfigure(rules.gate.clone());
            }
        }
        self.worker_list().iter().for_each(|worker| worker.set_table(self.table()));
    }

    /// The policy in force with what this gateway makes of it.
    pub fn table(&self) -> Table {
        let reachable: Vec<_> = self.services.iter().map(|service| service.name.clone()).collect();
        Table::new(self.store.current(), &reachable)
    }

    /// The workers, once they run.
    pub fn worker_list(&self) -> &[Arc<Worker>] {
        self.running.get().map_or(&[], Vec::as_slice)
    }

    /// Whether this process takes logins.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Counts a connection that was ended or not let in.
    pub fn count_closed(&self, reason: Reason) {
        self.closed[reason.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// How many connections were ended or not let in for this reason.
    pub fn closed_total(&self, reason: Reason) -> u64 {
        self.closed[reason.index()].load(Ordering::Relaxed)
    }

    fn count_aged(&self) {
        self.aged.fetch_add(1, Ordering::Relaxed);
    }

    /// How many connections were told to move because of their age.
    pub fn aged_total(&self) -> u64 {
        self.aged.load(Ordering::Relaxed)
    }

    /// How many requests of a business ended this way.
    pub fn ended_total(&self, business: BusinessCode, outcome: Outcome) -> u64 {
        self.worker_list().iter().map(|worker| worker.counters.get(business, outcome)).sum()
    }

    /// How many requests of businesses that no policy knew ended this way.
    pub fn ended_unknown_total(&self, outcome: Outcome) -> u64 {
        self.worker_list().iter().map(|worker| worker.counters.get_unknown(outcome)).sum()
    }

    /// How long clients spread their return over if this gateway is lost, in milliseconds.
    pub fn spread_ms(&self) -> u32 {
        self.spread_ms.load(Ordering::Relaxed)
    }

    /// While the bytes that may wait for all run short, ends the connections that took nothing since the last call. The
    /// others would pay for them.
    fn end_who_is_stuck(&self) {
        if self.budget.is_scarce() {
            self.roster.for_each(|connection| {
                if connection.is_stuck() {
                    connection.end(Ending::Close(Reason::SlowConsumer));
                }
            });
        }
    }

    /// Works the spread out anew: the connections at the rate at which the other gateways can take them, or at the rate of
    /// logins here if nobody knows of others. Too dear for every pong.
    fn update_spread(&self) {
        let spare = self.fleet.spare_logins(self.clock.now());
        let rate = spare.unwrap_or_else(|| self.store.current().connections.login_rate);
        self.spread_ms.store(whole_millis_u32(rules::spread(self.roster.len() as u64, rate)), Ordering::Relaxed);
    }
}

fn limits(connections: &Connections) -> Limits {
    Limits {
        connections: connections.max,
        connections_per_ip: connections.max_per_ip.map(|max| u32::try_from(max).unwrap_or(u32::MAX)),
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("home", &self.home).finish_non_exhaustive()
    }
}
