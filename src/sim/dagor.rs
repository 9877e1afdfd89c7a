//! The gateway's own admission in front of a simulated server: the real [`Gate`], told of everything that the gateway
//! tells it. With the line and the places of the gateway it is a front; with the plain queue of the paper, a guard.

use std::time::Duration;

use super::{
    front::{Behind, Entered, Front, Guarded, Out, Setup},
    guard::{Arrangement, Call, Caller, Discipline, Ended, Feedback, Guard, Refused, Server, UserLevels},
};
use crate::{
    admission::{
        Admission, Backlog, Cause, Cost, CostBook, Cut, Gate, GateSettings, Refusal, Upstream,
        places::{Answered, Arrival, Places},
        queue::Ticket,
        retry_after,
    },
    clock::Timestamp,
};

/// Which time tells overload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// In the queue, until the call goes to a worker.
    Queuing,
    /// Until the call is done: what the paper shows to be misleading (§4.1).
    Response,
}

/// Gates in front of every server.
#[derive(Clone, Debug)]
pub struct Dagor {
    /// What the gates are told.
    pub settings: GateSettings,
    /// The order of the queues.
    pub discipline: Discipline,
    /// How many calls may wait.
    pub queue_capacity: usize,
    /// How users' levels change.
    pub levels: UserLevels,
    /// What is overload's sign; by response time only in a queue that is first in, first out.
    pub signal: Signal,
    /// Whether callers refuse on their own what they know to be above the cut.
    pub callers: bool,
}

impl Arrangement for Dagor {
    fn guard(&self, _workers: usize, _seed: u64) -> Box<dyn Guard> {
        let gate = Gate::new(self.settings.clone(), 1);
        Box::new(GateGuard { gate, queue_capacity: self.queue_capacity, signal: self.signal })
    }

    fn front(&self, setup: &Setup, seed: u64) -> Box<dyn Front> {
        match self.discipline {
            Discipline::Fifo => Box::new(Guarded::new(self.guard(setup.workers, seed), setup)),
            Discipline::ByLevel => Box::new(GateFront {
                gate: Gate::new(GateSettings { shares: setup.shares.clone(), ..self.settings.clone() }, 1),
                places: Places::new(self.queue_capacity, setup.workers),
                costs: CostBook::new(setup.businesses),
            }),
        }
    }

    fn user_levels(&self) -> UserLevels {
        self.levels
    }

    fn finishes_begun(&self) -> bool {
        self.discipline == Discipline::ByLevel
    }

    fn caller(&self, _seed: u64) -> Option<Box<dyn Caller>> {
        let caller = || -> Box<dyn Caller> {
            match self.discipline {
                Discipline::ByLevel => Box::new(UpstreamCaller::default()),
                Discipline::Fifo => Box::new(CutCaller { cut: Cut::OPEN }),
            }
        };
        self.callers.then(caller)
    }
}

/// The one worker of a simulated gate.
const SHARD: usize = 0;

/// A gate with the gateway's line and places, and costs learnt from the work.
#[derive(Debug)]
struct GateFront {
    gate: Gate,
    places: Places<(u32, Call)>,
    costs: CostBook,
}

impl GateFront {
    fn out(&self, now: Timestamp, (key, call): (u32, Call), cause: Cause) -> Out {
        Out {
            key,
            expired: matches!(cause, Cause::Expired | Cause::TooLate),
            refused: refused(self.gate.refusal(cause, now, call.value)),
        }
    }

    fn ticket(&self, call: &Call, admission: Admission, cost: Cost) -> Ticket {
        Ticket { level: admission.standing(call.value), cost, ..Ticket::new(call.value, call.arrived, call.deadline) }
    }
}

impl Front for GateFront {
    fn arrive(&mut self, now: Timestamp, key: u32, call: &Call, _behind: Behind) -> Entered {
        let cost = self.costs.cost(call.business);
        let admission = match self.gate.decide(SHARD, now, call.value, cost) {
            Ok(admission) => admission,
            Err(refusal) => return Entered::RefusedAtTheGate(refused(refusal)),
        };
        let ticket = self.ticket(call, admission, cost);
        match self.places.enter(now, ticket, (key, *call), &self.gate, SHARD) {
            Arrival::Goes => Entered::Goes,
            Arrival::Waits(_, pushed_out) => {
                Entered::Waits(pushed_out.map(|left| self.out(now, left.item, Cause::PushedOut)))
            }
            Arrival::Refused(cause) => {
                let refused = refused(self.gate.refusal(cause, now, call.value));
                if cause == Cause::QueueFull { Entered::Full(refused) } else { Entered::TooLate(refused) }
            }
        }
    }

    fn next(&mut self, now: Timestamp, _behind: Behind) -> Option<Result<u32, Out>> {
        let (left, fate) = self.places.grant(now, &self.gate, SHARD)?;
        Some(match fate {
            Ok(()) => Ok(left.item.0),
            Err(cause) => Err(self.out(now, left.item, cause)),
        })
    }

    fn tick(&mut self, now: Timestamp, _behind: Behind) -> Vec<Out> {
        let expired = self.places.expire(now, &self.gate, SHARD);
        let out = expired.into_iter().map(|(left, cause)| self.out(now, left.item, cause)).collect();
        self.gate.tick(now, Some(self.places.backlog(now)));
        out
    }

    fn completed(&mut self, now: Timestamp, call: &Call, queuing: Duration, service: Duration, _in_time: bool) {
        let answered = Answered { cost: self.costs.cost(call.business), placed: call.arrived + queuing };
        self.costs.observe(call.business, service);
        self.places.release(Some(answered), || now, &self.gate, SHARD);
    }

    fn set_workers(&mut self, workers: usize) {
        self.places.set_places(workers);
    }

    fn feedback(&mut self, _now: Timestamp, _caller: usize, _callers: usize) -> Feedback {
        feedback(&self.gate)
    }

    fn waiting(&self) -> usize {
        self.places.waiting()
    }

    fn cut(&self) -> Option<Cut> {
        Some(self.gate.effective_cut())
    }
}

/// A gate before the paper's queue.
#[derive(Debug)]
struct GateGuard {
    gate: Gate,
    queue_capacity: usize,
    signal: Signal,
}

impl Guard for GateGuard {
    fn queue_capacity(&self) -> usize {
        self.queue_capacity
    }

    fn arrive(&mut self, now: Timestamp, call: &Call, _server: &Server) -> Result<(), Refused> {
        self.gate.decide(SHARD, now, call.value, Cost::ONE).map_err(refused)?;
        Ok(())
    }

    fn started(&mut self, _now: Timestamp, _call: &Call, queuing: Duration) {
        if self.signal == Signal::Queuing {
            self.gate.sample(SHARD, queuing);
        }
    }

    fn expired(&mut self, _now: Timestamp, _call: &Call, queuing: Duration) {
        self.gate.sample(SHARD, queuing);
    }

    fn dropped(&mut self, _now: Timestamp, _call: &Call, queuing: Duration) {
        // What the queue refused on arrival was never in it.
        if !queuing.is_zero() {
            self.gate.sample(SHARD, queuing);
        }
    }

    fn completed(&mut self, _now: Timestamp, _call: &Call, queuing: Duration, service: Duration, _in_time: bool) {
        // The paper's controller does not ask for the capacity, so that it does not matter when all places were taken.
        self.gate.completed(SHARD, Cost::ONE, false);
        if self.signal == Signal::Response {
            self.gate.sample(SHARD, queuing + service);
        }
    }

    fn tick(&mut self, now: Timestamp, server: &Server) {
        let Server { oldest, waiting_cost, .. } = *server;
        self.gate.tick(now, Some(Backlog { oldest, cost: waiting_cost, wanted: waiting_cost }));
    }

    fn feedback(&mut self, _now: Timestamp, _caller: usize, _callers: usize) -> Feedback {
        feedback(&self.gate)
    }

    fn hint(&self, now: Timestamp, call: &Call) -> Option<Duration> {
        Some(self.gate.refusal(Cause::QueueFull, now, call.value).retry_after)
    }

    fn cut(&self) -> Option<Cut> {
        Some(self.gate.effective_cut())
    }
}

fn refused(refusal: Refusal) -> Refused {
    Refused { retry_after: Some(refusal.retry_after) }
}

fn feedback(gate: &Gate) -> Feedback {
    Feedback { cut: Some(gate.effective_cut()), ..Feedback::default() }
}

/// A caller as the gateway is one: the cut that it heard lapses, and a few calls above it pass to find out whether it still
/// stands.
#[derive(Debug, Default)]
struct UpstreamCaller {
    upstream: Upstream,
}

impl Caller for UpstreamCaller {
    fn may_send(&mut self, now: Timestamp, call: &Call) -> Result<(), Refused> {
        let decision = self.upstream.decide(now, call.value);
        decision.map(|_| ()).map_err(|cut| Refused { retry_after: Some(retry_after(call.value, cut)) })
    }

    fn ended(&mut self, now: Timestamp, _call: &Call, _ended: Ended, feedback: Option<Feedback>) {
        if let Some(cut) = feedback.and_then(|feedback| feedback.cut) {
            self.upstream.hear(cut, now);
        }
    }
}

/// A caller of the paper: it refuses what the service would refuse by the cut that it heard last.
#[derive(Debug)]
struct CutCaller {
    cut: Cut,
}

impl Caller for CutCaller {
    fn may_send(&mut self, _now: Timestamp, call: &Call) -> Result<(), Refused> {
        if self.cut.admits(call.value) {
            return Ok(());
        }
        Err(Refused { retry_after: Some(retry_after(call.value, self.cut)) })
    }

    fn ended(&mut self, _now: Timestamp, _call: &Call, _ended: Ended, feedback: Option<Feedback>) {
        self.cut = feedback.and_then(|feedback| feedback.cut).unwrap_or(self.cut);
    }
}
