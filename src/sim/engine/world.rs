//! The world's tables and its life: one event after the other until all tasks have ended.

use std::time::Duration;

use slab::Slab;

use super::{
    agenda::{Agenda, Event},
    callers::Callers,
    instance::Instance,
    random::{Purpose, Times, number},
    table::{Calls, Task},
    traffic::{Population, Stream, streams},
};
use crate::{
    admission::MinimumShare,
    clock::Timestamp,
    sim::{
        controllers::Contender,
        front::Setup,
        guard::UserLevels,
        measure::{Recorder, Run},
        scenario::Scenario,
    },
};

/// Guards are ticked as the gateway's gates are.
const TICK: Duration = Duration::from_millis(10);
/// Tasks that have not ended so long after the last arrival have missed their time.
const LONGEST_DRAIN: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(super) struct World<'s> {
    pub(super) scenario: &'s Scenario,
    pub(super) seed: u64,
    pub(super) agenda: Agenda,
    pub(super) streams: Vec<Stream<'s>>,
    pub(super) users: Population,
    pub(super) levels: UserLevels,
    /// Whether later calls of a task stand first in their business.
    pub(super) finishes_begun: bool,
    pub(super) tasks: Slab<Task>,
    pub(super) task_number: u64,
    /// Tasks that have not ended.
    pub(super) tasks_open: usize,
    pub(super) calls: Calls,
    pub(super) instances: Vec<Instance>,
    /// Key of the first instance of each service.
    pub(super) first_instance: Vec<usize>,
    /// Where each service's turn is, for round robin.
    pub(super) turns: Vec<usize>,
    pub(super) times: Vec<Times>,
    pub(super) callers: Callers,
    pub(super) recorder: Recorder,
    end: Timestamp,
}

impl<'s> World<'s> {
    pub(super) fn new(scenario: &'s Scenario, contender: &Contender, load: f64, seed: u64) -> Self {
        let arrangement = &contender.arrangement;
        let (mut instances, mut first_instance) = (Vec::new(), Vec::new());
        let shared = scenario.businesses.iter().filter(|business| business.min_share > 0.0);
        let shares = shared.map(|business| MinimumShare { priority: business.priority, share: business.min_share });
        let shares: Vec<_> = shares.collect();
        for (index, service) in scenario.services.iter().enumerate() {
            first_instance.push(instances.len());
            let setup = Setup {
                workers: service.threads.unwrap_or(service.workers),
                process_expired: service.process_expired,
                businesses: scenario.businesses.len(),
                shares: shares.clone(),
            };
            for instance in 0..service.instances {
                let front = arrangement.front(&setup, number(seed, Purpose::Guard, instances.len() as u64));
                instances.push(Instance::new(index, instance, service, front));
            }
        }
        let mut world = Self {
            scenario,
            seed,
            agenda: Agenda::default(),
            streams: streams(scenario, load, seed),
            users: Population::new(scenario, seed),
            levels: arrangement.user_levels(),
            finishes_begun: arrangement.finishes_begun(),
            tasks: Slab::new(),
            task_number: 0,
            tasks_open: 0,
            calls: Calls::default(),
            instances,
            first_instance,
            turns: vec![0; scenario.services.len()],
            times: scenario.services.iter().map(|service| Times::new(service.spread)).collect(),
            callers: Callers::new(scenario, arrangement.as_ref(), seed),
            recorder: Recorder::new(scenario, load),
            end: Timestamp::ZERO + scenario.duration,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for source in 0..self.streams.len() {
            self.await_arrival(source);
        }
        for (service, settings) in self.scenario.services.iter().enumerate() {
            for (change, settings) in settings.changes.iter().enumerate() {
                self.agenda.put(Timestamp::ZERO + settings.at, Event::Change { service, change });
            }
        }
        self.agenda.put(Timestamp::ZERO + TICK, Event::Tick);
    }

    pub(super) fn await_arrival(&mut self, source: usize) {
        if let Some(at) = self.streams[source].next_arrival().filter(|at| *at < self.end) {
            self.agenda.put(at, Event::Arrive { source });
        }
    }

    /// Lives until all tasks have ended.
    pub(super) fn run(mut self) -> Run {
        while let Some(event) = self.agenda.next() {
            let now = self.agenda.now();
            match event {
                Event::Arrive { source } => self.arrive(now, source),
                Event::Send { task } => self.send_task(now, task),
                Event::Deadline { task, attempt } => self.time_is_up(now, task, attempt),
                Event::Land { call } => self.land(now, call),
                Event::Done { call } => self.done(now, call),
                Event::Back { call } => self.back(now, call),
                Event::Heard { note } => self.callers.heard(now, note),
                Event::Change { service, change } => self.change(now, service, change),
                Event::Tick if self.tick(now) => break,
                Event::Tick => self.agenda.put(now + TICK, Event::Tick),
            }
        }
        self.recorder.finish(self.tasks_open)
    }

    /// The regular look; whether it was the last one.
    fn tick(&mut self, now: Timestamp) -> bool {
        for key in 0..self.instances.len() {
            self.tick_instance(now, key);
        }
        let cut = self.instances.iter().filter_map(|instance| instance.front.cut()).min();
        self.recorder.tick(now, cut);
        now >= self.end && (self.tasks_open == 0 || now >= self.end + LONGEST_DRAIN)
    }

    fn change(&mut self, now: Timestamp, service: usize, change: usize) {
        let settings = &self.scenario.services[service];
        let change = settings.changes[change];
        let Some(workers) = change.workers else { return };
        for number in 0..settings.instances {
            if change.instance.is_none_or(|instance| instance == number) {
                let key = self.first_instance[service] + number;
                self.instances[key].set_workers(workers);
                self.serve(now, key);
            }
        }
    }
}
