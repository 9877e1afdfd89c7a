//! One instance of a service: a guard, a queue, workers, and a speed that may change.

use std::{collections::VecDeque, time::Duration};

use super::{queue::Queue, table::Calls};
use crate::{
    clock::Timestamp,
    sim::{
        guard::{Discipline, Guard, Refused, Server},
        measure::Window,
        scenario::{Service, capacity::speed, profile::Profile},
    },
};

/// How long the finishing of a call is put off when its server never moves again.
const NEVER: Timestamp = Timestamp::MAX;

#[derive(Debug)]
pub(super) struct Instance {
    pub(super) service: usize,
    pub(super) guard: Box<dyn Guard>,
    pub(super) queue: Queue,
    /// Whether what has expired is worked on all the same.
    pub(super) process_expired: bool,
    /// Calls in flight that have no worker yet.
    inside: VecDeque<u32>,
    busy: usize,
    in_flight: usize,
    workers: usize,
    /// How much work a worker has done since the beginning, as a function of time.
    work: Profile,
    waiting_cost: f64,
    /// What the gate decided in the present window.
    pub(super) window: Window,
}

/// What became of a call that was taken from the queue.
#[derive(Debug)]
pub(super) enum Taken {
    /// It is in flight; `finish` tells when it is done, unless it still waits for a worker.
    Started { call: u32, finish: Option<Timestamp> },
    /// Its time had passed.
    Expired { call: u32 },
    /// The guard refused it at the last moment.
    Dropped { call: u32, refused: Refused },
}

impl Instance {
    pub(super) fn new(service: usize, number: usize, settings: &Service, guard: Box<dyn Guard>) -> Self {
        let discipline = guard.discipline();
        Self {
            service,
            queue: Queue::new(discipline, guard.queue_capacity()),
            guard,
            process_expired: settings.process_expired && discipline == Discipline::Fifo,
            inside: VecDeque::new(),
            busy: 0,
            in_flight: 0,
            workers: settings.workers,
            work: speed(settings, number),
            waiting_cost: 0.0,
            window: Window::default(),
        }
    }

    /// What the guard may know of the server.
    pub(super) fn view(&self, now: Timestamp) -> Server {
        Server {
            waiting: self.queue.len(),
            waiting_cost: self.waiting_cost.max(0.0),
            in_flight: self.in_flight,
            workers: self.workers,
            oldest: self.queue.oldest().map_or(Duration::ZERO, |arrived| now.since(arrived)),
        }
    }

    /// Calls waiting and in flight.
    pub(super) fn load(&self) -> usize {
        self.queue.len() + self.in_flight
    }

    pub(super) fn set_workers(&mut self, workers: usize) {
        self.workers = workers;
    }

    /// A call has joined the queue or left it.
    pub(super) fn waits(&mut self, cost: f64, joined: bool) {
        self.waiting_cost += if joined { cost } else { -cost };
        if self.queue.len() == 0 {
            // So that rounding never adds up.
            self.waiting_cost = 0.0;
        }
    }

    /// Whether a call that arrives need not wait.
    pub(super) fn is_free(&self) -> bool {
        self.queue.len() == 0 && self.in_flight < self.places()
    }

    fn places(&self) -> usize {
        self.guard.max_in_flight().unwrap_or(self.workers)
    }

    /// Takes the next call out of the queue, if there is a place for it.
    pub(super) fn take(&mut self, now: Timestamp, calls: &mut Calls) -> Option<Taken> {
        if self.in_flight >= self.places() {
            return None;
        }
        let key = self.queue.take()?;
        let call = calls[key].call;
        self.waits(call.cost, false);
        let queuing = now.since(call.arrived);
        if call.deadline <= now && !self.process_expired {
            self.guard.expired(now, &call, queuing);
            return Some(Taken::Expired { call: key });
        }
        if let Err(refused) = self.guard.dequeue(now, &call, queuing) {
            self.guard.dropped(now, &call, queuing);
            return Some(Taken::Dropped { call: key, refused });
        }
        self.queue.dispatched();
        let finish = self.start(now, key, calls);
        Some(Taken::Started { call: key, finish })
    }

    /// Puts a call in flight; returns when it will be done, if a worker is free for it.
    pub(super) fn start(&mut self, now: Timestamp, key: u32, calls: &mut Calls) -> Option<Timestamp> {
        let state = &mut calls[key];
        state.started = now;
        self.guard.started(now, &state.call, now.since(state.call.arrived));
        self.in_flight += 1;
        if self.busy < self.workers {
            return Some(self.work_on(now, state.service_time));
        }
        self.inside.push_back(key);
        None
    }

    fn work_on(&mut self, now: Timestamp, service_time: Duration) -> Timestamp {
        self.busy += 1;
        let begin = now.since(Timestamp::ZERO).as_secs_f64();
        let Some(end) = self.work.when(self.work.total(begin) + service_time.as_secs_f64()) else { return NEVER };
        Duration::try_from_secs_f64(end).map_or(NEVER, |end| (Timestamp::ZERO + end).max(now))
    }

    /// A worker is done with a call.
    pub(super) fn finish(&mut self) {
        self.busy -= 1;
        self.in_flight -= 1;
    }

    /// A call in flight that gets a worker now, and when it will be done.
    pub(super) fn next_inside(&mut self, now: Timestamp, calls: &Calls) -> Option<(u32, Timestamp)> {
        if self.busy >= self.workers {
            return None;
        }
        let key = self.inside.pop_front()?;
        Some((key, self.work_on(now, calls[key].service_time)))
    }
}
