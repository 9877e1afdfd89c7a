//! What stands between the calls that arrive at a server and its workers: who is let in, who waits, who goes next. A
//! [`Guard`] with a queue behind it is one; the gateway's own gate, line and places are another.

use std::{fmt, time::Duration};

use super::{
    guard::{Call, Discipline, Feedback, Guard, Refused, Server},
    queue::{Queue, Waiting},
};
use crate::{
    admission::{Cause, Cut, MinimumShare},
    clock::Timestamp,
};

/// What a front is made for.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How many calls the server works on at the same time, at the beginning.
    pub workers: usize,
    /// Whether calls whose time has passed are worked on all the same, if they are served first in, first out.
    pub process_expired: bool,
    /// How many businesses there are.
    pub businesses: usize,
    /// What some of them get in any case.
    pub shares: Vec<MinimumShare>,
}

/// The server behind a front, at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Behind {
    /// Calls in flight.
    pub in_flight: usize,
    /// How many it works on at the same time.
    pub workers: usize,
}

/// What becomes of a call that arrives.
#[derive(Debug)]
pub enum Entered {
    /// It goes to a worker.
    Goes,
    /// It waits; another one may have had to leave for it.
    Waits(Option<Out>),
    /// Not let in.
    RefusedAtTheGate(Refused),
    /// Let in, but the queue is full of what is at least as important.
    Full(Refused),
    /// Let in, but its answer would come too late, or a worker did not take it.
    TooLate(Refused),
}

/// A call that left the queue without being worked on.
#[derive(Debug)]
pub struct Out {
    /// Its key in the world's table.
    pub key: u32,
    /// Its time had passed; otherwise it was pushed out or refused.
    pub expired: bool,
    /// What its caller is told.
    pub refused: Refused,
}

/// What stands in front of one instance of a service.
pub trait Front: fmt::Debug + Send {
    /// What the caller of the next call wants ([`Guard::heard`]).
    fn heard(&mut self, _now: Timestamp, _caller: usize, _callers: usize, _wanted: u32) {}

    /// A call arrives.
    fn arrive(&mut self, now: Timestamp, key: u32, call: &Call, behind: Behind) -> Entered;

    /// The next call that leaves the queue because there is a place: it goes to a worker, or it is out.
    fn next(&mut self, now: Timestamp, behind: Behind) -> Option<Result<u32, Out>>;

    /// Every 10 ms: takes out what must not wait any longer, and moves whatever moves with time.
    fn tick(&mut self, now: Timestamp, behind: Behind) -> Vec<Out>;

    /// A worker has finished a call that waited for `queuing` and was in flight for `service`.
    fn completed(&mut self, now: Timestamp, call: &Call, queuing: Duration, service: Duration, in_time: bool);

    /// The server works on so many calls at the same time from now on.
    fn set_workers(&mut self, workers: usize);

    /// What to tell the caller with this number (`callers` in all) beside an answer.
    fn feedback(&mut self, now: Timestamp, caller: usize, callers: usize) -> Feedback;

    /// How many wait.
    fn waiting(&self) -> usize;

    /// The cut in force; `None` where there is no such thing.
    fn cut(&self) -> Option<Cut>;
}

/// A guard with the queue that it asks for.
#[derive(Debug)]
pub struct Guarded {
    guard: Box<dyn Guard>,
    queue: Queue,
    process_expired: bool,
}

impl Guarded {
    /// A guard with an empty queue.
    pub fn new(guard: Box<dyn Guard>, setup: &Setup) -> Self {
        let discipline = guard.discipline();
        Self {
            queue: Queue::new(discipline, guard.queue_capacity()),
            guard,
            process_expired: setup.process_expired && discipline == Discipline::Fifo,
        }
    }

    fn view(&self, now: Timestamp, behind: Behind) -> Server {
        Server {
            waiting: self.queue.len(),
            waiting_cost: self.queue.cost(),
            in_flight: behind.in_flight,
            workers: behind.workers,
            oldest: self.queue.oldest().map_or(Duration::ZERO, |arrived| now.since(arrived)),
        }
    }

    fn has_place(&self, behind: Behind) -> bool {
        behind.in_flight < self.guard.max_in_flight().unwrap_or(behind.workers)
    }

    /// The guard's last word on a call for which there is a place.
    fn go(&mut self, now: Timestamp, call: &Call) -> Result<(), Refused> {
        let queuing = now.since(call.arrived);
        match self.guard.dequeue(now, call, queuing) {
            Ok(()) => self.guard.started(now, call, queuing),
            Err(refused) => {
                self.guard.dropped(now, call, queuing);
                return Err(refused);
            }
        }
        Ok(())
    }

    fn out(&mut self, now: Timestamp, Waiting { key, call }: Waiting, expired: bool) -> Out {
        let queuing = now.since(call.arrived);
        if expired {
            self.guard.expired(now, &call, queuing);
        } else {
            self.guard.dropped(now, &call, queuing);
        }
        Out { key, expired, refused: Refused { retry_after: self.guard.hint(now, &call) } }
    }
}

impl Front for Guarded {
    fn heard(&mut self, now: Timestamp, caller: usize, callers: usize, wanted: u32) {
        self.guard.heard(now, caller, callers, wanted);
    }

    fn arrive(&mut self, now: Timestamp, key: u32, call: &Call, behind: Behind) -> Entered {
        let view = self.view(now, behind);
        if let Err(refused) = self.guard.arrive(now, call, &view) {
            return Entered::RefusedAtTheGate(refused);
        }
        let in_time = now < call.deadline || self.process_expired;
        if self.queue.len() == 0 && self.has_place(behind) && in_time {
            return match self.go(now, call) {
                Ok(()) => {
                    self.queue.passed_by();
                    Entered::Goes
                }
                Err(refused) => Entered::TooLate(refused),
            };
        }
        match self.queue.join(now, Waiting { key, call: *call }) {
            Ok(pushed_out) => Entered::Waits(pushed_out.map(|worst| self.out(now, worst, false))),
            Err(cause) => {
                self.guard.dropped(now, call, Duration::ZERO);
                let refused = Refused { retry_after: self.guard.hint(now, call) };
                if cause == Cause::QueueFull { Entered::Full(refused) } else { Entered::TooLate(refused) }
            }
        }
    }

    fn next(&mut self, now: Timestamp, behind: Behind) -> Option<Result<u32, Out>> {
        if !self.has_place(behind) {
            return None;
        }
        let Some(waiting) = self.queue.take(now) else {
            self.queue.observe(now);
            return None;
        };
        if waiting.call.deadline <= now && !self.process_expired {
            return Some(Err(self.out(now, waiting, true)));
        }
        if let Err(refused) = self.go(now, &waiting.call) {
            return Some(Err(Out { key: waiting.key, expired: false, refused }));
        }
        self.queue.dispatched();
        Some(Ok(waiting.key))
    }

    fn tick(&mut self, now: Timestamp, behind: Behind) -> Vec<Out> {
        let expired = if self.process_expired { Vec::new() } else { self.queue.take_expired(now) };
        let out = expired.into_iter().map(|call| self.out(now, call, true)).collect();
        self.queue.observe(now);
        let view = self.view(now, behind);
        self.guard.tick(now, &view);
        out
    }

    fn completed(&mut self, now: Timestamp, call: &Call, queuing: Duration, service: Duration, in_time: bool) {
        self.guard.completed(now, call, queuing, service, in_time);
    }

    fn set_workers(&mut self, _workers: usize) {
        // The guard sees it in its next view.
    }

    fn feedback(&mut self, now: Timestamp, caller: usize, callers: usize) -> Feedback {
        self.guard.feedback(now, caller, callers)
    }

    fn waiting(&self) -> usize {
        self.queue.len()
    }

    fn cut(&self) -> Option<Cut> {
        self.guard.cut()
    }
}
