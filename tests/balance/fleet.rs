//! A fleet of which only balance matters: the managers' own core, the gateways' own mover, and clients that do as they are
//! told, each a number. Time is moved by hand.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use dagor::{
    clock::Timestamp,
    gateway::{
        fleet::{
            Lately,
            mover::{Mover, TICK, WITHIN, Wanted},
            rules,
        },
        roster::SHARDS,
    },
    id::Incarnation,
    manager::{
        core::{Alternative, Core, Directive, Orders, Report},
        settings::Settings,
    },
};
use fastrand::Rng;

/// How long a login takes at most.
const LOGIN: Duration = Duration::from_millis(200);
/// Ticks from one report to the next, from one look at the board, and from one decision.
const REPORT: u64 = 10;
const LOOK: u64 = 5;
const DECISION: u64 = 2;

/// How a fleet begins.
pub(crate) struct Setup {
    /// Connections of each gateway.
    pub(crate) connections: Vec<u64>,
    pub(crate) max: u64,
    pub(crate) login_rate: f64,
    /// For how long each has run.
    pub(crate) uptime: Vec<Duration>,
    pub(crate) settings: Settings,
    pub(crate) managers: usize,
    /// How long clients stay in the mean before they come anew, anywhere; `None` for all the time.
    pub(crate) session: Option<Duration>,
    pub(crate) seed: u64,
}

impl Setup {
    pub(crate) fn new(connections: Vec<u64>, seed: u64) -> Self {
        let mean = connections.iter().sum::<u64>() / connections.len() as u64;
        Self {
            max: mean * 8,
            login_rate: mean as f64,
            uptime: vec![Duration::from_secs(3600); connections.len()],
            settings: Settings::default(),
            managers: 2,
            session: None,
            connections,
            seed,
        }
    }
}

/// Which client, and its how many-eth connection.
type Seen = (u32, u32);

struct Gateway {
    name: String,
    roster: Vec<Vec<u32>>,
    connections: usize,
    mover: Mover<Seen>,
    directive: Option<(Directive, Timestamp)>,
    sent: Lately,
    arrived: Lately,
    logins: f64,
    /// Clients told, and clients logged in, in each second.
    told: Vec<u64>,
    took: Vec<u64>,
}

/// Somebody who was told to move.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Move {
    at: Timestamp,
    client: u32,
    to: usize,
}

pub(crate) struct Fleet {
    setup: Setup,
    gateways: Vec<Gateway>,
    index: BTreeMap<String, usize>,
    /// Of each client: where it is, and its how many-eth connection that is.
    clients: Vec<(usize, u32)>,
    managers: Vec<Core>,
    /// What each gateway reported last.
    board: BTreeMap<usize, (Report, Timestamp)>,
    moves: BTreeSet<Move>,
    random: Rng,
    tick: u64,
    /// Clients told in all.
    pub(crate) told: u64,
    /// The most that gateways were told to tell in this second together, and what the others had of logins to spare.
    allowed: Vec<(f64, f64)>,
}

impl Fleet {
    pub(crate) fn new(setup: Setup) -> Self {
        let gateway = |number| Gateway {
            name: format!("g{number:04}"),
            roster: vec![Vec::new(); SHARDS],
            connections: 0,
            mover: Mover::default(),
            directive: None,
            sent: Lately::default(),
            arrived: Lately::default(),
            logins: 0.0,
            told: Vec::new(),
            took: Vec::new(),
        };
        let mut gateways: Vec<_> = (0..setup.connections.len()).map(gateway).collect();
        let mut clients = Vec::new();
        for (number, &connections) in setup.connections.iter().enumerate() {
            for _ in 0..connections {
                let client = clients.len();
                gateways[number].roster[client % SHARDS].push(client as u32);
                gateways[number].connections += 1;
                clients.push((number, 0));
            }
        }
        Self {
            index: gateways.iter().enumerate().map(|(number, one)| (one.name.clone(), number)).collect(),
            managers: vec![Core::new(setup.settings); setup.managers],
            random: Rng::with_seed(setup.seed),
            gateways,
            clients,
            board: BTreeMap::new(),
            moves: BTreeSet::new(),
            tick: 0,
            told: 0,
            allowed: Vec::new(),
            setup,
        }
    }

    fn now(&self) -> Timestamp {
        // Leases and ages begin at some time, not at zero.
        Timestamp::from_nanos(1_000_000_000_000) + TICK * self.tick as u32
    }

    /// A second passes.
    pub(crate) fn second(&mut self) {
        for gateway in &mut self.gateways {
            gateway.told.push(0);
            gateway.took.push(0);
        }
        self.allowed.push((0.0, 0.0));
        for _ in 0..REPORT {
            self.logins();
            self.report();
            self.decide();
            self.tell();
            self.tick += 1;
        }
        self.come_and_go();
    }

    /// Those who were told log in where they were told to, and leave then.
    fn logins(&mut self) {
        let now = self.now();
        while let Some(&next) = self.moves.first().filter(|next| next.at <= now) {
            self.moves.pop_first();
            self.go(next.client, next.to);
            self.gateways[next.to].arrived.add("", 1.0, now);
        }
    }

    fn go(&mut self, client: u32, to: usize) {
        let (from, connection) = self.clients[client as usize];
        let shard = client as usize % SHARDS;
        let roster = &mut self.gateways[from].roster[shard];
        let place = roster.iter().position(|one| *one == client).unwrap();
        roster.swap_remove(place);
        self.gateways[from].connections -= 1;
        self.gateways[to].connections += 1;
        self.gateways[to].roster[shard].push(client);
        self.clients[client as usize] = (to, connection + 1);
        self.gateways[to].logins += 1.0;
        *self.gateways[to].took.last_mut().unwrap() += 1;
    }

    /// Whoever leaves comes anew, anywhere.
    fn come_and_go(&mut self) {
        let Some(session) = self.setup.session else { return };
        let many = self.clients.len() as f64 / session.as_secs_f64() + self.random.f64();
        for _ in 0..many as u64 {
            let (client, to) = (self.random.u32(..self.clients.len() as u32), self.random.usize(..self.gateways.len()));
            self.go(client, to);
        }
    }

    /// Each reports at a moment of its own to its manager, and the others read it from the board.
    fn report(&mut self) {
        let (now, tick) = (self.now(), self.tick);
        for number in (0..self.gateways.len()).filter(|number| *number as u64 % REPORT == tick % REPORT) {
            let report = self.report_of(number, now);
            let manager = number % self.managers.len();
            self.managers[manager].hear(report.clone(), now);
            self.board.insert(number, (report, now));
        }
        if tick.is_multiple_of(LOOK) {
            let count = self.managers.len();
            for (index, manager) in self.managers.iter_mut().enumerate() {
                for (_, (report, at)) in self.board.iter().filter(|(number, _)| **number % count != index) {
                    manager.hear(report.clone(), *at);
                }
            }
        }
    }

    fn report_of(&mut self, number: usize, now: Timestamp) -> Report {
        let gateway = &mut self.gateways[number];
        Report {
            gateway: gateway.name.clone(),
            incarnation: Incarnation(1),
            addresses: vec![gateway.name.clone()],
            uptime: self.setup.uptime[number] + TICK * self.tick as u32,
            connections: gateway.connections as u64,
            limit: self.setup.max,
            cpu: Some(0.0),
            memory: Some(0.0),
            event_loop: Duration::ZERO,
            own_share: None,
            login_limit: self.setup.login_rate,
            logins: std::mem::take(&mut gateway.logins),
            standing: gateway.directive.as_ref().map(|(directive, at)| {
                let mut standing = directive.standing.clone();
                standing.age += now.since(*at);
                standing
            }),
            sent: gateway.sent.sums(now).into_iter().collect(),
            arrived: gateway.arrived.sums(now).into_values().sum(),
            leaving: false,
            policy: 1,
            refused_policy: 0,
            gates: Vec::new(),
        }
    }

    fn decide(&mut self) {
        let every = if self.gateways.len() > 500 { REPORT } else { DECISION };
        // Not before everybody has been heard of.
        if self.tick < REPORT || !self.tick.is_multiple_of(every) {
            return;
        }
        let (now, count) = (self.now(), self.managers.len());
        for (index, manager) in self.managers.iter_mut().enumerate() {
            let seed = self.setup.seed + self.tick / REPORT + ((index as u64) << 48);
            let decisions = manager.decide(&Orders::default(), now, seed);
            let per_second = |one: &Directive| one.moves.as_ref().map_or(0.0, |moves| moves.per_second);
            let wanted: f64 = decisions.gateways.values().map(per_second).sum();
            let takes = |one: &&Directive| one.moves.is_none() && one.standing.accepting;
            let takers = decisions.gateways.values().filter(takes).count();
            let allowed = self.allowed.last_mut().unwrap();
            *allowed = (allowed.0.max(wanted), takers as f64 * self.setup.login_rate);
            for (name, directive) in decisions.gateways {
                let number = self.index[&name];
                if number % count == index {
                    self.gateways[number].directive = Some((directive, now));
                }
            }
        }
    }

    /// Each gateway tells those whose turn it is, and they choose one of those they are told of.
    fn tell(&mut self) {
        let now = self.now();
        for (number, gateway) in self.gateways.iter_mut().enumerate() {
            let (clients, connections) = (&self.clients, gateway.connections);
            let is_here = |(client, connection): &Seen| clients[*client as usize] == (number, *connection);
            let moves = gateway.directive.as_ref().and_then(|(directive, _)| directive.moves.as_ref());
            let Some(moves) = moves else {
                gateway.mover.rest(now, is_here);
                continue;
            };
            let wanted = Wanted { per_second: moves.per_second, down_to: moves.down_to };
            let roster = &gateway.roster;
            let told = gateway.mover.tell(wanted, connections, now, is_here, |shard, members| {
                members.extend(roster[shard].iter().map(|&client| (client, clients[client as usize].1)));
            });
            self.told += told.len() as u64;
            *gateway.told.last_mut().unwrap() += told.len() as u64;
            for (client, _) in told {
                let to = choose(&moves.to, &mut gateway.sent, now, &mut self.random);
                let at = now + (WITHIN + LOGIN).mul_f64(self.random.f64());
                self.moves.insert(Move { at, client, to: self.index[&to.gateway] });
            }
        }
    }

    /// All managers start anew, and know of nobody until they report.
    pub(crate) fn restart_managers(&mut self) {
        self.managers.iter_mut().for_each(|manager| *manager = Core::new(self.setup.settings));
    }

    /// Whether a fleet's every manager has nothing left to do.
    pub(crate) fn rests(&self) -> bool {
        self.gateways.iter().all(|one| one.directive.as_ref().is_some_and(|(said, _)| !said.standing.balancing))
    }

    pub(crate) fn connections(&self) -> Vec<usize> {
        self.gateways.iter().map(|gateway| gateway.connections).collect()
    }

    /// How far the farthest is from the mean, as a share of it.
    pub(crate) fn deviation(&self) -> f64 {
        let mean = self.clients.len() as f64 / self.gateways.len() as f64;
        self.connections().iter().map(|&one| (one as f64 / mean - 1.0).abs()).fold(0.0, f64::max)
    }

    /// Nobody told more clients in a second than its share, all together no more than what the takers can log in, and no taker
    /// had more logins than it allows.
    #[track_caller]
    pub(crate) fn check_rates(&self) {
        let share = self.setup.settings.placement.rebalance_share;
        let most = self.setup.connections.iter().max().unwrap().max(&1);
        for gateway in &self.gateways {
            let told = gateway.told.iter().max().unwrap();
            assert!(*told as f64 <= *most as f64 * share + 1.0, "{} told {told} in a second", gateway.name);
            let took = gateway.took.iter().max().unwrap();
            assert!(*took as f64 <= self.setup.login_rate, "{} took {took} in a second", gateway.name);
        }
        for (second, (wanted, spare)) in self.allowed.iter().enumerate() {
            assert!(wanted <= spare, "{wanted} wanted of {spare} in second {second}");
            let told: u64 = self.gateways.iter().map(|gateway| gateway.told[second]).sum();
            assert!(told as f64 <= spare + self.gateways.len() as f64, "{told} told of {spare} in second {second}");
        }
    }
}

/// As a gateway draws, and the SDK chooses.
fn choose<'a>(to: &'a [Alternative], sent: &mut Lately, now: Timestamp, random: &mut Rng) -> &'a Alternative {
    let drawn: Vec<_> = rules::draw(to.iter().map(|one| one.weight), || random.f64()).map(|index| &to[index]).collect();
    let total: u32 = drawn.iter().map(|one| one.weight).sum();
    for one in &drawn {
        sent.add(&one.gateway, f64::from(one.weight) / f64::from(total), now);
    }
    let mut ticket = random.u32(..total);
    drawn
        .into_iter()
        .find(|one| match ticket.checked_sub(one.weight) {
            Some(rest) => {
                ticket = rest;
                false
            }
            None => true,
        })
        .unwrap()
}
