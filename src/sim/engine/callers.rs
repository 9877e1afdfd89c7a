//! The side of those who call: gateways and instances of services, each with what it has heard of each service it calls.

use slab::Slab;

use super::random::{Purpose, number};
use crate::{
    clock::Timestamp,
    sim::{
        guard::{Arrangement, Call, Caller, Ended, Feedback, Refused},
        scenario::Scenario,
    },
};

/// Who calls which service, and what they have heard.
#[derive(Debug)]
pub(super) struct Callers {
    services: Vec<Service>,
    /// Feedback that is still on its way.
    notes: Slab<Note>,
}

/// The callers of one service: gateways first, then the instances of each service that calls it.
#[derive(Debug)]
struct Service {
    /// Number of the first instance of each service that calls it.
    first: Vec<Option<usize>>,
    count: usize,
    /// Empty if callers send whatever they have.
    callers: Vec<Box<dyn Caller>>,
}

#[derive(Debug)]
struct Note {
    service: usize,
    caller: usize,
    call: Call,
    ended: Ended,
    feedback: Option<Feedback>,
}

impl Callers {
    pub(super) fn new(scenario: &Scenario, arrangement: &dyn Arrangement, seed: u64) -> Self {
        let mut made = 0;
        let mut services: Vec<_> = (0..scenario.services.len()).map(|index| Service::new(scenario, index)).collect();
        for service in services.iter_mut().filter(|_| scenario.entry.collaboration) {
            for _ in 0..service.count {
                service.callers.extend(arrangement.caller(number(seed, Purpose::Caller, made)));
                made += 1;
            }
        }
        Self { services, notes: Slab::new() }
    }

    /// The number of this instance among the callers of `service`.
    pub(super) fn number(&self, service: usize, by: usize, instance: usize) -> usize {
        self.services[service].first[by].expect("a service calls what it says it calls") + instance
    }

    /// How many call this service.
    pub(super) fn count(&self, service: usize) -> usize {
        self.services[service].count
    }

    /// Whether a caller lets a call go.
    pub(super) fn may_send(
        &mut self,
        now: Timestamp,
        service: usize,
        caller: usize,
        call: &Call,
    ) -> Result<(), Refused> {
        match self.services[service].callers.get_mut(caller) {
            Some(caller) => caller.may_send(now, call),
            None => Ok(()),
        }
    }

    /// How much a caller wants to send; nothing of callers who send whatever they have.
    pub(super) fn wanted(&self, service: usize, caller: usize) -> Option<u32> {
        self.services[service].callers.get(caller).map(|caller| caller.wanted())
    }

    /// Whether anybody listens.
    pub(super) fn listen(&self, service: usize) -> bool {
        !self.services[service].callers.is_empty()
    }

    /// A call ended, and its caller hears of it at once.
    pub(super) fn ended(
        &mut self,
        now: Timestamp,
        service: usize,
        caller: usize,
        call: &Call,
        ended: Ended,
        feedback: Option<Feedback>,
    ) {
        if let Some(caller) = self.services[service].callers.get_mut(caller) {
            caller.ended(now, call, ended, feedback);
        }
    }

    /// Keeps what a caller will hear later.
    pub(super) fn keep(
        &mut self,
        service: usize,
        caller: usize,
        call: Call,
        ended: Ended,
        feedback: Option<Feedback>,
    ) -> u32 {
        self.notes.insert(Note { service, caller, call, ended, feedback }) as u32
    }

    /// What was kept arrives.
    pub(super) fn heard(&mut self, now: Timestamp, note: u32) {
        let Note { service, caller, call, ended, feedback } = self.notes.remove(note as usize);
        self.ended(now, service, caller, &call, ended, feedback);
    }
}

impl Service {
    fn new(scenario: &Scenario, index: usize) -> Self {
        let calls_it = |calls: &[crate::sim::scenario::Calls]| calls.iter().any(|calls| calls.service == index);
        let entered = scenario.businesses.iter().any(|business| calls_it(&business.calls));
        let mut count = if entered { scenario.entry.gateways } else { 0 };
        let first = scenario.services.iter().map(|service| {
            calls_it(&service.calls).then(|| {
                count += service.instances;
                count - service.instances
            })
        });
        let first = first.collect();
        Self { first, count, callers: Vec::new() }
    }
}
