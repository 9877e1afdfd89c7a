//! A gateway as its fleet sees it: how many clients it holds, who may log in, what it reports and what it was told. The token
//! bucket, the login cut, what clients are told, and the report are the gateway's own code and types.

use std::{collections::VecDeque, time::Duration};

use fastrand::Rng;

use super::{clients::Stage, scenario::Scenario};
use crate::{
    admission::{Cut, Level, Value, level::GRAIN_BITS},
    clock::Timestamp,
    gateway::{
        fleet::{
            Lately,
            mover::{Mover, Wanted},
            rules::{self, Turns},
        },
        roster::SHARDS,
    },
    id::Incarnation,
    layer::{limit::WAIT_FOR_A_PLACE, rate::TokenBucket},
    manager::core::{Alternative, Directive, GateReport, Moves, Report, Standing, report},
    ticket::{Class, Coming},
};

/// Whether a gateway is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It serves.
    Up,
    /// It shuts down, and takes nobody.
    Draining,
    /// It is gone, and whoever tries it is told so at once.
    Down,
    /// It is gone, and whoever tries it hears nothing.
    Silent,
}

/// What a manager told it last.
#[derive(Clone, Debug)]
struct InForce {
    at: Timestamp,
    until: Timestamp,
    accept: bool,
    standing: Standing,
    spare_logins: f64,
    login_cut: Cut,
    moves: Option<(Wanted, Pool)>,
}

/// Gateways that clients may go to instead, each with its weight.
pub(super) type Pool = Vec<(u16, u32)>;

/// What becomes of a login.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Welcome,
    /// It may go to this gateway, after this time.
    Elsewhere(u16, Duration),
    /// It is to come back after this time, because logins are at their limit.
    Limit(Duration),
    /// It is to come back after this time, because nobody else takes clients either.
    Later(Duration),
    /// The gateway shuts down.
    Draining,
    /// Nobody answers.
    Gone,
    /// Nothing answers at all.
    Silence,
}

/// A gateway of the fleet.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) name: String,
    pub(super) life: Life,
    pub(super) connected: u64,
    /// The manager that it is attached to.
    pub(super) attached: Option<usize>,
    incarnation: Incarnation,
    started: Timestamp,
    bucket: TokenBucket,
    login_rate: f64,
    turns: Turns,
    in_force: Option<InForce>,
    /// What its clients have been told of alternatives within a heartbeat, the newest at the end.
    told: VecDeque<Pool>,
    sent: Lately,
    arrived: Lately,
    /// Clients have no names here: each that may be told gets the next number.
    mover: Mover<u64>,
    numbered: u64,
    /// All up to this number have been told to move, and are gone at once.
    gone: u64,
    /// Logins by user level since the last report.
    offered: Vec<u32>,
    admitted: u32,
    reported: Timestamp,
    /// Logins in the present second, and in the fullest one since the first event.
    pub(super) second: u32,
    pub(super) tried_second: u32,
    pub(super) peak: u32,
    pub(super) tried_peak: u32,
}

impl Gateway {
    /// One that has served for an hour.
    pub(super) fn new(name: String, connected: u64, scenario: &Scenario, now: Timestamp) -> Self {
        let mut gateway = Self {
            name,
            life: Life::Up,
            connected,
            attached: None,
            incarnation: Incarnation(0),
            started: Timestamp::ZERO,
            bucket: TokenBucket::new(scenario.connections.login_rate, scenario.connections.login_burst),
            login_rate: scenario.connections.login_rate,
            turns: Turns::default(),
            in_force: None,
            told: VecDeque::new(),
            sent: Lately::default(),
            arrived: Lately::default(),
            mover: Mover::default(),
            numbered: 0,
            gone: 0,
            offered: Vec::new(),
            admitted: 0,
            reported: now,
            second: 0,
            tried_second: 0,
            peak: 0,
            tried_peak: 0,
        };
        gateway.start(scenario, now);
        (gateway.connected, gateway.started) = (connected, Timestamp::ZERO);
        gateway
    }

    /// A new run of it, with nobody connected.
    pub(super) fn start(&mut self, scenario: &Scenario, now: Timestamp) {
        self.life = Life::Up;
        self.connected = 0;
        self.attached = None;
        self.incarnation = Incarnation(self.incarnation.0 + 1);
        self.started = now;
        self.bucket = TokenBucket::new(scenario.connections.login_rate, scenario.connections.login_burst);
        self.turns = Turns::default();
        self.in_force = None;
        self.told.clear();
        (self.sent, self.arrived, self.mover) = (Lately::default(), Lately::default(), Mover::default());
        self.offered = vec![0; usize::from(crate::admission::level::USER_LEVELS)];
        self.admitted = 0;
        self.reported = now;
    }

    /// Whether it was there all the time.
    pub(super) fn is_first_run(&self) -> bool {
        self.incarnation == Incarnation(1)
    }

    /// Whether it reports to managers.
    pub(super) fn reports(&self) -> bool {
        matches!(self.life, Life::Up | Life::Draining)
    }

    fn in_force(&self, now: Timestamp) -> Option<&InForce> {
        self.in_force.as_ref().filter(|in_force| now < in_force.until)
    }

    /// Whether it takes logins, as far as managers are concerned.
    pub(super) fn accepts(&self, now: Timestamp) -> bool {
        self.life == Life::Up && self.in_force(now).is_none_or(|in_force| in_force.accept)
    }

    /// A login comes.
    pub(super) fn login(
        &mut self,
        stage: Stage,
        most: u64,
        fleet: &[String],
        now: Timestamp,
        random: &mut Rng,
    ) -> Answer {
        match self.life {
            Life::Down => return Answer::Gone,
            Life::Silent => return Answer::Silence,
            Life::Draining => return Answer::Draining,
            Life::Up => {}
        }
        self.tried_second += 1;
        if self.connected >= most {
            return Answer::Limit(rules::scattered(WAIT_FOR_A_PLACE, random.f64()));
        }
        if let Some(in_force) = self.in_force(now)
            && !in_force.accept
        {
            return self.turn_away(stage, fleet, now, random);
        }
        if self.bucket.try_take(now).is_err() {
            return Answer::Limit(self.turns.take(now, self.login_rate, random.f64()));
        }
        let value = value(stage.coming(), random);
        self.offered[usize::from(value.level().user())] += 1;
        if let Some(in_force) = self.in_force(now)
            && !in_force.login_cut.admits(value)
        {
            return Answer::Later(rules::later(in_force.standing.wait, random.f64()));
        }
        self.admitted += 1;
        self.second += 1;
        self.connected += 1;
        if stage.coming() == Coming::Redirected {
            self.arrived.add("", 1.0, now);
        }
        Answer::Welcome
    }

    fn turn_away(&mut self, stage: Stage, fleet: &[String], now: Timestamp, random: &mut Rng) -> Answer {
        let wait = self.in_force(now).map_or(Duration::ZERO, |in_force| in_force.standing.wait);
        match self.destination(fleet, now, random) {
            Some(to) if u32::from(stage.redirects) < rules::MAX_TRIED => {
                Answer::Elsewhere(to, wait.mul_f64(random.f64()))
            }
            _ => Answer::Later(rules::later(wait, random.f64())),
        }
    }

    /// Where a client goes that is sent on now. It counts as on its way to each of those that it was told, as far as it is
    /// likely to go there.
    pub(super) fn destination(&mut self, fleet: &[String], now: Timestamp, random: &mut Rng) -> Option<u16> {
        let drawn = draw(self.told.back()?, random);
        self.count_sent(&drawn, fleet, now);
        one_of(&drawn, random)
    }

    fn count_sent(&mut self, drawn: &Pool, fleet: &[String], now: Timestamp) {
        let total: f64 = drawn.iter().map(|&(_, weight)| f64::from(weight)).sum();
        for &(to, weight) in drawn {
            self.sent.add(&fleet[usize::from(to)], f64::from(weight) / total, now);
        }
    }

    /// Clients that are told to move in this tick, each with where it goes. They are gone from here.
    pub(super) fn give_away(&mut self, fleet: &[String], now: Timestamp, random: &mut Rng) -> Vec<u16> {
        let moves = self.in_force(now).and_then(|in_force| in_force.moves.clone());
        let Some((wanted, pool)) = moves.filter(|_| self.life == Life::Up) else {
            self.mover.rest(now, |_| false);
            return Vec::new();
        };
        let connected = usize::try_from(self.connected).unwrap_or(usize::MAX);
        let (numbered, gone) = (&mut self.numbered, self.gone);
        let shard = |_, members: &mut Vec<u64>| {
            let first = *numbered + 1;
            *numbered += connected.div_ceil(SHARDS) as u64;
            members.extend(first..=*numbered);
        };
        // They are told in the order of their numbers.
        let told = self.mover.tell(wanted, connected, now, |&number| number > gone, shard);
        self.gone = told.last().copied().unwrap_or(gone);
        let mut to = Vec::with_capacity(told.len());
        for _ in told {
            let drawn = draw(&pool, random);
            self.count_sent(&drawn, fleet, now);
            to.extend(one_of(&drawn, random));
        }
        self.connected -= to.len() as u64;
        to
    }

    /// Where a client goes that has lost this gateway: by what it was told at its last heartbeat.
    pub(super) fn remembered(&self, random: &mut Rng) -> Option<u16> {
        if self.told.is_empty() {
            return None;
        }
        one_of(&draw(&self.told[random.usize(..self.told.len())], random), random)
    }

    /// Over which time its clients spread their return.
    pub(super) fn spread(&self, limit: f64, now: Timestamp) -> Duration {
        let spare = self.in_force(now).map(|in_force| in_force.spare_logins).filter(|spare| *spare > 0.0);
        rules::spread(self.connected, spare.unwrap_or(limit))
    }

    /// Takes in what a manager decided about it.
    pub(super) fn obey(
        &mut self,
        directive: &Directive,
        pool_of: impl Fn(&[Alternative]) -> Pool,
        login_cut: Cut,
        ttl: Duration,
        now: Timestamp,
    ) {
        if directive.incarnation != self.incarnation {
            return;
        }
        self.in_force = Some(InForce {
            at: now,
            until: now + ttl,
            accept: directive.accept,
            standing: directive.standing.clone(),
            spare_logins: directive.spare_logins,
            login_cut,
            moves: directive.moves.as_ref().map(|moves| {
                let Moves { per_second, down_to, to } = moves;
                (Wanted { per_second: *per_second, down_to: *down_to }, pool_of(to))
            }),
        });
        let pool = pool_of(&directive.alternatives);
        if let Some(last) = self.told.back_mut() {
            *last = pool;
        } else {
            self.told.push_back(pool);
        }
    }

    /// A report interval has passed: what clients are told from now on is remembered beside what they were told before.
    pub(super) fn remember(&mut self, most: usize) {
        let Some(last) = self.told.back() else { return };
        let last = last.clone();
        self.told.push_back(last);
        while self.told.len() > most {
            self.told.pop_front();
        }
    }

    /// What it reports at this moment.
    pub(super) fn report(&mut self, scenario: &Scenario, services: &[GateReport], now: Timestamp) -> Report {
        let elapsed = now.since(self.reported).as_secs_f64().max(0.05);
        self.reported = now;
        let logins = f64::from(std::mem::take(&mut self.admitted)) / elapsed;
        let mut gates = vec![self.login_gate(elapsed, logins)];
        gates.extend_from_slice(services);
        Report {
            gateway: self.name.clone(),
            incarnation: self.incarnation,
            addresses: vec![format!("{}:7400", self.name)],
            uptime: now.since(self.started),
            connections: self.connected,
            limit: scenario.connections.max as u64,
            cpu: Some(logins * scenario.login_cpu.as_secs_f64() / scenario.cores),
            memory: None,
            event_loop: Duration::ZERO,
            own_share: None,
            login_limit: scenario.connections.login_rate,
            logins,
            standing: self.in_force(now).map(|in_force| {
                let passed = now.since(in_force.at);
                let mut standing = in_force.standing.clone();
                standing.age += passed;
                standing.over.iter_mut().for_each(|(_, lasted)| *lasted += passed);
                standing
            }),
            sent: self.sent.sums(now).into_iter().collect(),
            arrived: self.arrived.sums(now).into_values().sum(),
            leaving: self.life == Life::Draining,
            policy: 1,
            refused_policy: 0,
            gates,
        }
    }

    fn login_gate(&mut self, elapsed: f64, admitted: f64) -> report::GateReport {
        let rate = |(level, count): (usize, &mut u32)| {
            let count = std::mem::take(count);
            (count > 0).then(|| (Level::new(0, level as u8), f64::from(count) / elapsed))
        };
        GateReport {
            service: String::new(),
            admitted,
            offered: self.offered.iter_mut().enumerate().filter_map(rate).collect(),
            ..service("", 0, false)
        }
    }

    /// A second has passed.
    pub(super) fn end_second(&mut self, counts: bool) {
        let (logins, tries) = (std::mem::take(&mut self.second), std::mem::take(&mut self.tried_second));
        if counts {
            (self.peak, self.tried_peak) = (self.peak.max(logins), self.tried_peak.max(tries));
        }
    }
}

/// What a gate reports that is offered the same at so many levels.
pub(super) fn service(name: &str, levels: usize, overloaded: bool) -> GateReport {
    let each = 10.0;
    let offered = levels as f64 * each;
    GateReport {
        service: name.to_owned(),
        own_cut: if overloaded { Cut::through(Level::from_index(levels / 2)) } else { Cut::OPEN },
        fleet_cut: Cut::OPEN,
        queuing: Duration::ZERO,
        target: Duration::from_millis(20),
        capacity: if overloaded { offered / 2.0 } else { offered },
        mean_cost: 1.0,
        admitted: offered,
        limited: if overloaded { 1.0 } else { 0.0 },
        backlog: 0.0,
        dry_run: false,
        offered: (0..levels).map(|level| (Level::from_index(level), each)).collect(),
        latency: None,
    }
}

/// A login's value: a level of its class, a grain. Every client has a ticket of the first tier.
fn value(coming: Coming, random: &mut Rng) -> Value {
    let class = match coming {
        Coming::New => Class::Known,
        Coming::Back => Class::Resuming,
        Coming::Redirected => Class::Redirected,
    };
    let (first, last) = class.levels((0, 127));
    Value::new(Level::new(0, random.u8(first..=last)), random.u32(..1 << GRAIN_BITS))
}

/// What one client is told.
fn draw(pool: &Pool, random: &mut Rng) -> Pool {
    rules::draw(pool.iter().map(|&(_, weight)| weight), || random.f64()).map(|index| pool[index]).collect()
}

/// Where a client goes of what it was told.
fn one_of(told: &[(u16, u32)], random: &mut Rng) -> Option<u16> {
    let total: u64 = told.iter().map(|&(_, weight)| u64::from(weight)).sum();
    let mut ticket = if total == 0 { return None } else { random.u64(..total) };
    told.iter().find_map(|&(to, weight)| match ticket.checked_sub(weight.into()) {
        Some(rest) => {
            ticket = rest;
            None
        }
        None => Some(to),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::fleet::mover::TICK;

    #[test]
    fn who_was_told_to_move_is_gone_and_counts_as_told_no_more() {
        let scenario = Scenario::parse("two.toml", "gateways = 2\nclients = 2_000\n").unwrap();
        let names = ["g0".to_owned(), "g1".to_owned()];
        let mut gateway = Gateway::new(names[0].clone(), 1_000, &scenario, Timestamp::ZERO);
        let (reason, wait) = ("open".to_owned(), Duration::ZERO);
        let standing =
            Standing { accepting: true, age: Duration::ZERO, over: Vec::new(), reason, wait, balancing: true };
        gateway.in_force = Some(InForce {
            at: Timestamp::ZERO,
            until: Timestamp::ZERO + Duration::from_secs(60),
            accept: true,
            standing,
            spare_logins: 100.0,
            login_cut: Cut::OPEN,
            moves: Some((Wanted { per_second: 200.0, down_to: 500 }, vec![(1, 1_000)])),
        });
        let mut random = Rng::with_seed(1);
        for tick in 0..100 {
            let told = gateway.give_away(&names, Timestamp::ZERO + TICK * tick, &mut random);
            assert!(told.iter().all(|to| *to == 1), "{told:?}");
        }
        assert_eq!(gateway.connected, 500, "all that were too many, without waiting for anybody");
    }
}
