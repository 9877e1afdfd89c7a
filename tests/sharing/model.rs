//! Gateways that share one service, on a virtual clock.
//!
//! **What is real.** The gates with their controllers, the queues with their patience, the meters that reports are made of,
//! the managers' core, and the split of the service's places are the code that runs in production.
//!
//! **What is modelled.** One service with so many workers, whose calls take as long as they are drawn; the engine's rounds,
//! the way of reports and directives (1 to 5 ms), the time-to-live; arrivals.
//!
//! **What is left out.** Sockets, the time on the way between gateway and service, several workers of a gateway, and Redis
//! but for the age of what managers see of each other's gateways.

mod fleet;
mod service;
mod traffic;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    time::Duration,
};

use dagor::{
    admission::{Cut, FlowMeter, Gate, GateSettings, PriorityKey, Value, places::Places},
    clock::Timestamp,
    manager::{
        core::{Core, Report},
        settings::Settings,
    },
};
use fastrand::Rng;

const INTERVAL: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
/// What workers of a gateway do regularly, and what looks for directives that have lapsed.
const TICK: Duration = Duration::from_millis(10);
const LAPSE_TICK: Duration = Duration::from_millis(100);
/// Rounds of a manager and its looks at the board, per report interval.
const ROUNDS: u32 = 5;
const LOOKS: u32 = 2;
/// The shortest time between two splits of the service's places.
const RESPLIT_EVERY: Duration = Duration::from_millis(5);
/// The one worker of a gate.
const SHARD: usize = 0;
const QUEUE: usize = 10_000;
/// Priorities of the businesses, most important first, and what part of the requests is theirs.
pub(crate) const BUSINESSES: [(u8, f64); 3] = [(10, 0.1), (20, 0.65), (30, 0.25)];

/// How long calls take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Work {
    Even,
    Exponential,
}

/// What is simulated.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Requests per second that the service can serve, with so many workers.
    pub(crate) capacity: f64,
    pub(crate) workers: usize,
    pub(crate) work: Work,
    /// The gateways' shares of the load.
    pub(crate) shares: Vec<f64>,
    /// The load from a second on, in capacities.
    pub(crate) load: Vec<(f64, f64)>,
    /// The workers that are left from a second on.
    pub(crate) workers_left: Vec<(f64, usize)>,
    pub(crate) users: usize,
    pub(crate) timeout: Duration,
    pub(crate) managers: usize,
    /// When all managers die.
    pub(crate) managers_die: Option<f64>,
    pub(crate) ttl: Duration,
    pub(crate) fleet_cuts: bool,
    pub(crate) seconds: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            capacity: 1000.0,
            workers: 20,
            work: Work::Exponential,
            shares: vec![0.9, 0.1],
            load: vec![(0.0, 2.0)],
            workers_left: Vec::new(),
            users: 2000,
            timeout: Duration::from_secs(2),
            managers: 1,
            managers_die: None,
            ttl: Duration::from_secs(10),
            fleet_cuts: true,
            seconds: 30,
        }
    }
}

/// What happened in a second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Second {
    /// Requests, and how many of them another gateway's cut would have decided otherwise.
    pub(crate) offered: f64,
    pub(crate) cut_differs: f64,
    /// Requests that came at two gateways in the same moment, and how many of those ended differently.
    pub(crate) twins: f64,
    pub(crate) twins_differ: f64,
    /// Seconds of work on calls that were answered in time, of those that there were.
    pub(crate) worked: f64,
    pub(crate) workers: f64,
    /// Per business.
    pub(crate) arrived: [f64; 3],
    pub(crate) served: [f64; 3],
    /// The longest wait of what was dispatched.
    pub(crate) longest_wait: f64,
    /// Gateways whose cut was stricter than the fleet's at a tick, and ticks with a fleet cut.
    pub(crate) braked: f64,
    pub(crate) under_fleet: f64,
    /// Fleet cuts that came and were another one.
    pub(crate) moves: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive(usize),
    Done(u32),
    Tick(usize),
    Lapse(usize),
    Report(usize),
    Heard { manager: usize, report: usize },
    Round(usize),
    Look(usize),
    Directive { gateway: usize, cut: u32 },
    Workers(usize),
}

#[derive(Clone, Copy, Debug)]
struct Request {
    gateway: usize,
    value: Value,
    business: usize,
    arrived: Timestamp,
    placed: Timestamp,
    deadline: Timestamp,
    twin: Option<u32>,
    served: Option<bool>,
}

struct Gateway {
    gate: Gate,
    places: Places<u32>,
    meter: FlowMeter,
    reported: Timestamp,
    /// The last directive's cut, and until when it holds.
    in_force: (Cut, Timestamp),
    /// Of the stream at the service.
    unanswered: usize,
    waiting: usize,
    peak: usize,
    granted: usize,
}

impl Gateway {
    fn demand(&self) -> usize {
        self.unanswered + self.waiting
    }
}

struct Manager {
    core: Core,
    board: BTreeMap<usize, (Report, Timestamp)>,
    told: Vec<Option<(Cut, Timestamp)>>,
}

pub(crate) struct World {
    setup: Setup,
    now: Timestamp,
    events: BinaryHeap<Reverse<(Timestamp, u64, Event)>>,
    number: u64,
    random: Rng,
    key: PriorityKey,
    requests: Vec<Request>,
    gateways: Vec<Gateway>,
    managers: Vec<Manager>,
    reports: Vec<(Report, Timestamp, usize)>,
    workers: usize,
    busy: usize,
    inside: VecDeque<u32>,
    split_again: Timestamp,
    pub(crate) seconds: Vec<Second>,
}

const START: Timestamp = Timestamp::from_nanos(1_000_000_000_000);

impl World {
    pub(crate) fn new(setup: Setup, seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let gateway = |_: &f64| {
            let gate = Gate::new(GateSettings::default(), 1);
            Gateway {
                meter: FlowMeter::new(&gate),
                gate,
                places: Places::new(QUEUE, 1),
                reported: START,
                in_force: (Cut::OPEN, START),
                unanswered: 0,
                waiting: 0,
                peak: 0,
                granted: 1,
            }
        };
        let settings = Settings { ttl: setup.ttl, fleet_cuts: setup.fleet_cuts, ..Settings::default() };
        let count = setup.shares.len();
        let manager = |_| Manager { core: Core::new(settings), board: BTreeMap::new(), told: vec![None; count] };
        let mut world = Self {
            now: START,
            events: BinaryHeap::new(),
            number: 0,
            key: PriorityKey(std::array::from_fn(|_| random.u8(..))),
            requests: Vec::new(),
            gateways: setup.shares.iter().map(gateway).collect(),
            managers: (0..setup.managers).map(manager).collect(),
            reports: Vec::new(),
            workers: setup.workers,
            busy: 0,
            inside: VecDeque::new(),
            split_again: START,
            seconds: vec![Second::default(); setup.seconds + 1],
            random,
            setup,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for gateway in 0..self.gateways.len() {
            self.await_arrival(gateway);
            let (tick, lapse) = (TICK.mul_f64(self.random.f64()), LAPSE_TICK.mul_f64(self.random.f64()));
            let report = Duration::from_secs(1).mul_f64(self.random.f64());
            self.put(tick, Event::Tick(gateway));
            self.put(lapse, Event::Lapse(gateway));
            self.put(report, Event::Report(gateway));
        }
        for manager in 0..self.managers.len() {
            let (round, look) = (MS.mul_f64(200.0 * self.random.f64()), MS.mul_f64(500.0 * self.random.f64()));
            self.put(round, Event::Round(manager));
            self.put(look, Event::Look(manager));
        }
        for (at, workers) in self.setup.workers_left.clone() {
            self.put(Duration::from_secs_f64(at), Event::Workers(workers));
        }
        self.split();
    }

    fn put(&mut self, after: Duration, event: Event) {
        self.number += 1;
        self.events.push(Reverse((self.now + after, self.number, event)));
    }

    fn elapsed(&self) -> f64 {
        self.now.since(START).as_secs_f64()
    }

    fn second(&mut self) -> &mut Second {
        let at = self.elapsed() as usize;
        let last = self.seconds.len() - 1;
        &mut self.seconds[at.min(last)]
    }

    fn second_of(&mut self, at: Timestamp) -> &mut Second {
        let last = self.seconds.len() - 1;
        &mut self.seconds[(at.since(START).as_secs_f64() as usize).min(last)]
    }

    /// Runs to the end; returns what happened in each second.
    pub(crate) fn run(mut self) -> Vec<Second> {
        let end = START + Duration::from_secs(self.setup.seconds as u64);
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            if at >= end {
                break;
            }
            self.now = at;
            self.step(event);
        }
        self.compare_twins();
        self.seconds.pop();
        self.seconds
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Arrive(gateway) => {
                self.arrive_at(gateway);
                self.await_arrival(gateway);
            }
            Event::Done(request) => self.done(request),
            Event::Tick(gateway) => self.tick(gateway),
            Event::Lapse(gateway) => {
                self.enforce(gateway);
                self.put(LAPSE_TICK, Event::Lapse(gateway));
            }
            Event::Report(gateway) => self.report(gateway),
            Event::Heard { manager, report } => {
                let (report, at, gateway) = self.reports[report].clone();
                self.managers[manager].board.insert(gateway, (report.clone(), at));
                self.managers[manager].core.hear(report, at);
            }
            Event::Round(manager) => self.round(manager),
            Event::Look(manager) => {
                let all: Vec<_> = self.managers.iter().flat_map(|one| one.board.values().cloned()).collect();
                all.into_iter().for_each(|(report, at)| self.managers[manager].core.hear(report, at));
                self.put(Duration::from_secs(1) / LOOKS, Event::Look(manager));
            }
            Event::Directive { gateway, cut } => {
                let until = self.now + self.setup.ttl;
                if self.gateways[gateway].in_force.0.bits() != cut {
                    self.second().moves += 1.0;
                }
                self.gateways[gateway].in_force = (Cut::from_bits(cut), until);
                self.enforce(gateway);
            }
            Event::Workers(workers) => {
                self.workers = workers;
                self.split_now();
                self.start_inside();
            }
        }
    }
}
