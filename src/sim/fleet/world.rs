//! Moves time on, tick by tick: what happens to gateways, who tries to log in, who reports, who decides.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use fastrand::Rng;

use super::{
    TICK,
    clients::{Reason, Stage, Waiting},
    gateway::{Answer, Gateway, Life, service},
    ledger::{LOOKS, Ledger, ROUNDS},
    managers::Managers,
    report::{Measured, Report},
    scenario::{Loss, Restart, Scenario},
};
use crate::{
    client::backoff::hinted,
    clock::{Clock, Timestamp},
    gateway::fleet::{mover::WITHIN, rules::MOVE_PART},
    layer::limit::WAIT_FOR_A_PLACE,
    manager::core::GateReport,
};

/// Alternatives that a client has in its list; behind them is the name that it was configured with.
const LISTED: u8 = 3;
/// When a run begins: gateways have been up for an hour.
const START: Timestamp = Timestamp::from_nanos(3600 * 1_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

/// Runs a scenario. `clock` measures how long decisions take, and nothing else; `progress` is told the share that is done.
pub fn run(scenario: &Scenario, seed: u64, clock: &Clock, mut progress: impl FnMut(f64)) -> Report {
    let began = clock.now();
    let mut world = World::new(scenario, seed, clock);
    let all = ticks(scenario.warmup + scenario.duration);
    for tick in 0..all {
        world.step(tick);
        progress(tick as f64 / all as f64);
    }
    world.finish(seed, clock.now().since(began))
}

const fn ticks(time: Duration) -> u64 {
    (time.as_nanos() / TICK.as_nanos()) as u64
}

/// From the beginning of the run to this tick.
fn at(tick: u64) -> Duration {
    TICK * u32::try_from(tick).unwrap_or(u32::MAX)
}

/// Something that is going to happen to a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Start,
    /// It shuts down, and is there again so long after its end.
    Drain {
        takes: Duration,
    },
    Stop,
}

struct World<'s> {
    scenario: &'s Scenario,
    gateways: Vec<Gateway>,
    names: Vec<String>,
    index_of: BTreeMap<String, u16>,
    services: Vec<GateReport>,
    managers: Managers,
    waiting: Waiting,
    ledger: Ledger,
    random: Rng,
    agenda: BTreeSet<(u64, usize, Change)>,
    /// Gateways that a balancer finds alive.
    living: Vec<u16>,
}

impl<'s> World<'s> {
    fn new(scenario: &'s Scenario, seed: u64, clock: &Clock) -> Self {
        let names: Vec<_> = (0..scenario.gateways).map(|index| format!("gateway-{index:04}")).collect();
        let (each, rest) = (scenario.clients / names.len() as u64, scenario.clients % names.len() as u64);
        let new = |(index, name): (usize, &String)| {
            Gateway::new(name.clone(), each + u64::from((index as u64) < rest), scenario, START)
        };
        Self {
            scenario,
            gateways: names.iter().enumerate().map(new).collect(),
            index_of: names.iter().cloned().zip(0..).collect(),
            living: (0..).take(names.len()).collect(),
            names,
            services: vec![service("main", scenario.levels, scenario.overloaded)],
            managers: Managers::new(scenario.managers, scenario.settings, seed, clock.clone()),
            waiting: Waiting::default(),
            ledger: Ledger::new(scenario),
            random: Rng::with_seed(seed),
            agenda: scenario.restarts.iter().flat_map(|restart| drains(restart, scenario)).collect(),
        }
    }

    fn step(&mut self, tick: u64) {
        let now = START + at(tick);
        let since = at(tick).checked_sub(self.scenario.warmup);
        if let Some(since) = since {
            self.events(tick, since, now);
        }
        self.agenda(tick, now);
        self.come_and_go(tick);
        self.give_away(tick, now);
        self.logins(tick, now);
        if !self.managers.away {
            self.fleet(tick, now);
        }
        let homes = self.gateways.iter().filter(|gateway| gateway.life != Life::Up).count();
        self.ledger.end_tick(tick, since, self.waiting.lost, homes, &self.gateways);
        if (tick + 1).is_multiple_of(ticks(SECOND)) {
            self.ledger.end_second(&self.gateways, self.waiting.lost, since.is_some(), now);
            let event = self.scenario.first_event().unwrap_or_default();
            let counts = since.is_some_and(|since| since >= event);
            self.gateways.iter_mut().for_each(|gateway| gateway.end_second(counts));
        }
    }

    /// What the scenario says for this tick.
    fn events(&mut self, tick: u64, since: Duration, now: Timestamp) {
        let is_now = |at: Duration| ticks(at) == ticks(since);
        if self.scenario.first_event().is_some_and(is_now) {
            self.ledger.begin();
        }
        for loss in self.scenario.losses.iter().filter(|loss| is_now(loss.at)) {
            self.lose(loss, tick, since, now);
        }
        for absence in &self.scenario.absences {
            if is_now(absence.at) {
                self.managers.away = true;
                self.gateways.iter_mut().for_each(|gateway| gateway.attached = None);
            } else if is_now(absence.at + absence.lasts) {
                self.managers.restart();
            }
        }
    }

    /// Gateways are lost at once, and their clients with them.
    fn lose(&mut self, loss: &Loss, tick: u64, since: Duration, now: Timestamp) {
        let up = |index: &usize| self.gateways[*index].life == Life::Up;
        let mut lost: Vec<_> = (0..self.gateways.len()).filter(up).collect();
        self.random.shuffle(&mut lost);
        lost.truncate((lost.len() as f64 * loss.share).round() as usize);
        lost.sort_unstable();
        for &index in &lost {
            self.gateways[index].life = if loss.silent { Life::Silent } else { Life::Down };
            if let Some(after) = loss.back_after {
                self.agenda.insert((tick + ticks(after).max(1), index, Change::Start));
            }
        }
        self.count_living();
        for index in lost {
            self.scatter(index, loss.silent, tick, since, now);
        }
    }

    /// The clients of a gateway that is lost: each comes back within the spread that it was told, from when it notices.
    fn scatter(&mut self, index: usize, silent: bool, tick: u64, since: Duration, now: Timestamp) {
        let spread = self.gateways[index].spread(self.scenario.connections.login_rate, now);
        let clients = std::mem::take(&mut self.gateways[index].connected);
        self.ledger.lose(clients, spread, since);
        let connections = &self.scenario.connections;
        for _ in 0..clients {
            // What was received last came within a heartbeat.
            let notices = if silent {
                connections.heartbeat_tolerance.saturating_sub(connections.heartbeat.mul_f64(self.random.f64()))
            } else {
                Duration::ZERO
            };
            let wait = crate::client::backoff::Backoff::default().after_loss(Duration::MAX, spread, &mut self.random);
            let to = self.gateways[index].remembered(&mut self.random).unwrap_or_else(|| self.anyone());
            let stage = Stage { tried: 1, ..Stage::new(Reason::Back, true) };
            self.waiting.add(to, stage, at(tick) + notices + wait);
        }
    }

    fn agenda(&mut self, tick: u64, now: Timestamp) {
        while self.agenda.first().is_some_and(|(due, ..)| *due <= tick) {
            let Some((_, index, change)) = self.agenda.pop_first() else { return };
            match change {
                Change::Start => self.gateways[index].start(self.scenario, now),
                Change::Stop => {
                    self.gateways[index].life = Life::Down;
                    self.managers.forget(index);
                }
                Change::Drain { takes } if self.gateways[index].life == Life::Up => {
                    self.drain(index, tick, now);
                    let end = tick + ticks(self.scenario.connections.drain).max(1);
                    self.agenda.insert((end, index, Change::Stop));
                    self.agenda.insert((end + ticks(takes).max(1), index, Change::Start));
                }
                // Lost in the meantime.
                Change::Drain { .. } => {}
            }
            self.count_living();
        }
    }

    /// A gateway shuts down: its clients are told to move, and its managers that it goes.
    fn drain(&mut self, index: usize, tick: u64, now: Timestamp) {
        self.gateways[index].life = Life::Draining;
        self.count_living();
        let clients = std::mem::take(&mut self.gateways[index].connected);
        self.ledger.move_away(clients);
        self.ledger.log_out(clients);
        for _ in 0..clients {
            let within = self.scenario.connections.drain.mul_f64(MOVE_PART * self.random.f64());
            let to = self.gateways[index].destination(&self.names, now, &mut self.random);
            let to = to.unwrap_or_else(|| self.anyone());
            let stage = Stage { tried: 1, ..Stage::new(Reason::Redirected, false) };
            self.waiting.add(to, stage, at(tick) + within);
        }
    }

    fn count_living(&mut self) {
        let up = |(gateway, index): (&Gateway, u16)| (gateway.life == Life::Up).then_some(index);
        self.living = self.gateways.iter().zip(0..).filter_map(up).collect();
    }

    /// Where the name leads that clients were configured with.
    fn anyone(&mut self) -> u16 {
        self.random.choice(&self.living).copied().unwrap_or(0)
    }

    /// Clients that leave, and as many that come.
    fn come_and_go(&mut self, tick: u64) {
        let share = TICK.as_secs_f64() / self.scenario.session.as_secs_f64();
        for index in 0..self.gateways.len() {
            let gateway = &mut self.gateways[index];
            let leave = (gateway.connected as f64 * share + self.random.f64()) as u64;
            gateway.connected -= leave.min(gateway.connected);
            self.ledger.log_out(leave);
            for _ in 0..leave {
                let (to, wait) = (self.anyone(), TICK.mul_f64(1.0 + 9.0 * self.random.f64()));
                self.waiting.add(to, Stage { tried: LISTED, ..Stage::new(Reason::New, false) }, at(tick) + wait);
            }
        }
    }

    /// Clients that managers want elsewhere.
    fn give_away(&mut self, tick: u64, now: Timestamp) {
        for index in 0..self.gateways.len() {
            let told = self.gateways[index].give_away(&self.names, now, &mut self.random);
            self.ledger.give_away(told.len() as u64);
            self.ledger.log_out(told.len() as u64);
            for to in told {
                let stage = Stage { tried: 1, ..Stage::new(Reason::Redirected, false) };
                self.waiting.add(to, stage, at(tick) + WITHIN.mul_f64(self.random.f64()));
            }
        }
    }

    /// Everybody who is due tries, gateway by gateway, in any order.
    fn logins(&mut self, tick: u64, now: Timestamp) {
        let mut due = self.waiting.due(tick).into_iter().peekable();
        let mut stages = Vec::new();
        while let Some(((to, stage), count)) = due.next() {
            stages.extend(std::iter::repeat_n(stage, count as usize));
            if due.peek().is_some_and(|((next, _), _)| *next == to) {
                continue;
            }
            self.random.shuffle(&mut stages);
            let gap = TICK / u32::try_from(stages.len()).unwrap_or(u32::MAX);
            for (number, stage) in (0..).zip(stages.drain(..)) {
                self.login(to, stage, tick, now + gap * number);
            }
        }
    }

    fn login(&mut self, to: u16, mut stage: Stage, tick: u64, now: Timestamp) {
        self.ledger.try_login();
        let most = self.scenario.connections.max as u64;
        let answer = self.gateways[usize::from(to)].login(stage, most, &self.names, now, &mut self.random);
        let (logins, random) = (&mut self.ledger.logins, &mut self.random);
        match answer {
            Answer::Welcome => self.ledger.welcome(usize::from(to), stage.reason != Reason::New),
            Answer::Elsewhere(other, hint) => {
                logins.redirected += 1;
                let wait = stage.redirect(hint, random);
                self.waiting.add(other, stage, at(tick) + wait);
            }
            Answer::Limit(hint) => {
                logins.limited += 1;
                let wait = hinted(hint, random);
                self.waiting.add(to, stage, at(tick) + wait);
            }
            Answer::Later(hint) => {
                logins.cut += 1;
                let wait = hinted(hint, random);
                self.waiting.add(to, stage, at(tick) + wait);
            }
            Answer::Draining => {
                logins.in_vain += 1;
                let wait = hinted(WAIT_FOR_A_PLACE, random);
                self.go_on(to, stage, at(tick) + wait);
            }
            Answer::Gone => {
                logins.in_vain += 1;
                let wait = stage.fail(random);
                self.go_on(to, stage, at(tick) + wait);
            }
            Answer::Silence => {
                logins.in_vain += 1;
                let wait = stage.fail(random) + self.scenario.connect_timeout;
                self.go_on(to, stage, at(tick) + wait);
            }
        }
    }

    /// A gateway was not there: the next one that the client was told of, or the name that it was configured with.
    fn go_on(&mut self, from: u16, mut stage: Stage, due: Duration) {
        let next = if stage.tried < LISTED {
            stage.tried += 1;
            let other = self.random.usize(..self.gateways.len());
            self.gateways[other].remembered(&mut self.random).filter(|next| *next != from)
        } else {
            None
        };
        let next = next.unwrap_or_else(|| self.anyone());
        self.waiting.add(next, stage, due);
    }

    /// Reports, looks at the board, decisions, each when it is due.
    fn fleet(&mut self, tick: u64, now: Timestamp) {
        let interval = ticks(self.managers.settings().interval).max(1);
        let heartbeat = (self.scenario.connections.heartbeat.as_secs() as usize).max(1);
        for index in 0..self.gateways.len() {
            let gateway = &mut self.gateways[index];
            if !gateway.reports() {
                continue;
            }
            let attached = *gateway.attached.get_or_insert(index % self.scenario.managers);
            // Each at a moment of its own.
            if tick % interval == index as u64 % interval {
                let report = gateway.report(self.scenario, &self.services, now);
                self.managers.hear(index, attached, report, now);
                gateway.remember(heartbeat);
            }
        }
        if tick.is_multiple_of((interval / u64::from(LOOKS)).max(1)) {
            self.managers.look(&self.gateways, now);
        }
        if tick.is_multiple_of((interval / u64::from(ROUNDS)).max(1)) {
            self.managers.decide(&mut self.gateways, &self.index_of, now);
        }
    }

    fn finish(self, seed: u64, took: Duration) -> Report {
        let measured =
            Measured { run_s: took.as_secs_f64(), cells: self.waiting.most_cells, ..self.managers.measured() };
        let away = self.waiting.lost;
        self.ledger.finish(self.scenario, seed, &self.gateways, away, &self.managers, measured)
    }
}

/// When each gateway drains in a restart of all.
fn drains(restart: &Restart, scenario: &Scenario) -> Vec<(u64, usize, Change)> {
    let begins = |index: usize| {
        let group = u32::try_from(index / restart.together).unwrap_or(u32::MAX);
        ticks(scenario.warmup + restart.at + restart.every * group)
    };
    (0..scenario.gateways).map(|index| (begins(index), index, Change::Drain { takes: restart.takes })).collect()
}
