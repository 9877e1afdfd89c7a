//! One instance of a service: a front, workers, and a speed that may change.

use std::{collections::VecDeque, time::Duration};

use crate::{
    clock::Timestamp,
    sim::{
        front::{Behind, Front},
        measure::Window,
        scenario::{Service, capacity::speed, profile::Profile},
    },
};

/// When a call is finished whose server never moves again.
const NEVER: Timestamp = Timestamp::MAX;

#[derive(Debug)]
pub(super) struct Instance {
    pub(super) service: usize,
    pub(super) front: Box<dyn Front>,
    /// Calls in flight that have no worker yet, with the work that they need.
    inside: VecDeque<(u32, Duration)>,
    busy: usize,
    in_flight: usize,
    workers: usize,
    threads: Option<usize>,
    /// How much work a worker has done since the beginning, as a function of time.
    work: Profile,
    /// What the gate decided in the present window.
    pub(super) window: Window,
}

impl Instance {
    pub(super) fn new(service: usize, number: usize, settings: &Service, front: Box<dyn Front>) -> Self {
        Self {
            service,
            front,
            inside: VecDeque::new(),
            busy: 0,
            in_flight: 0,
            workers: settings.workers,
            threads: settings.threads,
            work: speed(settings, number),
            window: Window::default(),
        }
    }

    pub(super) fn behind(&self) -> Behind {
        Behind { in_flight: self.in_flight, workers: self.places() }
    }

    /// Calls waiting and in flight.
    pub(super) fn load(&self) -> usize {
        self.front.waiting() + self.in_flight
    }

    pub(super) fn set_workers(&mut self, workers: usize) {
        self.workers = workers;
        self.front.set_workers(self.places());
    }

    /// How many calls may be in flight, as far as a front can see.
    fn places(&self) -> usize {
        self.threads.unwrap_or(self.workers)
    }

    /// Puts a call in flight; returns when it will be done, if a worker is free for it.
    pub(super) fn start(&mut self, now: Timestamp, key: u32, work: Duration) -> Option<Timestamp> {
        self.in_flight += 1;
        if self.busy < self.workers {
            return Some(self.work_on(now, work));
        }
        self.inside.push_back((key, work));
        None
    }

    fn work_on(&mut self, now: Timestamp, work: Duration) -> Timestamp {
        self.busy += 1;
        let begin = now.since(Timestamp::ZERO).as_secs_f64();
        let Some(end) = self.work.when(self.work.total(begin) + work.as_secs_f64()) else { return NEVER };
        Duration::try_from_secs_f64(end).map_or(NEVER, |end| (Timestamp::ZERO + end).max(now))
    }

    /// A worker is done with a call.
    pub(super) fn finish(&mut self) {
        self.busy -= 1;
        self.in_flight -= 1;
    }

    /// A call in flight that gets a worker now, and when it will be done.
    pub(super) fn next_inside(&mut self, now: Timestamp) -> Option<(u32, Timestamp)> {
        if self.busy >= self.workers {
            return None;
        }
        let (key, work) = self.inside.pop_front()?;
        Some((key, self.work_on(now, work)))
    }
}
