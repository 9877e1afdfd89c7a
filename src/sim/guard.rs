//! What a simulated server asks before it works: dagor's own admission or a rival's, behind one trait. The world drives
//! the server's queue and workers; a guard only decides and observes.

use std::{fmt, time::Duration};

use super::front::{Front, Guarded, Setup};
use crate::{
    admission::{Cut, Value},
    clock::Timestamp,
};

/// A call as a guard sees it. A task makes one call or more; all calls of a try, and all their resends, have one value.
/// When the client tries the task again, the grain stays and the user's level is that of the moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Call {
    /// Importance of the task, at this try.
    pub value: Value,
    /// Index of the business in the scenario.
    pub business: usize,
    /// Number of the user in the population.
    pub user: u32,
    /// Number of the task in the run.
    pub task: u64,
    /// How many calls of this task were answered well before this one.
    pub served_before: u32,
    /// 0 for the first try, then counted up.
    pub resend: u32,
    /// When it arrived at this server.
    pub arrived: Timestamp,
    /// When its answer is of no use any more.
    pub deadline: Timestamp,
    /// What it is expected to cost, 1 being a request of mean cost. The true service time is not known to anybody.
    pub cost: f64,
}

/// The server that a guard stands in front of, at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Server {
    /// Calls that wait in its queue.
    pub waiting: usize,
    /// The sum of their expected costs.
    pub waiting_cost: f64,
    /// Calls that are being worked on.
    pub in_flight: usize,
    /// How many it works on at the same time.
    pub workers: usize,
    /// How long the oldest waiting call has waited.
    pub oldest: Duration,
}

/// In which order a server takes calls from its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// First in, first out.
    Fifo,
    /// By level, then by arrival; work that cannot be done in time is refused on arrival, and when the queue is full a better
    /// call pushes out the worst ([`Line`](crate::admission::queue::Line)).
    ByLevel,
}

/// A refusal: certainly not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When the guard suggests to come again, if it suggests anything.
    pub retry_after: Option<Duration>,
}

/// What goes back to the caller with every reply and every refusal.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Feedback {
    /// The server's admission threshold.
    pub cut: Option<Cut>,
    /// Credits granted to this caller (Breakwater).
    pub credits: Option<f64>,
    /// What a call costs at present (Rajomon).
    pub price: Option<f64>,
}

/// How a call ended for its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Answered in time.
    Replied,
    /// Refused by the server or expired in its queue, and so not run; or run until a server behind it refused.
    Refused,
    /// No answer in time.
    TimedOut,
}

/// Stands in front of one instance of a service. Every call that was admitted ends in exactly one of `started`,
/// `expired` and `dropped`; every call that was started ends in `completed`.
pub trait Guard: fmt::Debug + Send {
    /// The order of the queue behind this guard.
    fn discipline(&self) -> Discipline {
        Discipline::Fifo
    }

    /// How many calls may wait in the queue; further ones are refused (or push out worse ones, by discipline).
    fn queue_capacity(&self) -> usize {
        10_000
    }

    /// How many calls may be in flight at the same time, where the guard limits that; the server's workers otherwise. What
    /// goes beyond the workers waits inside the server, first in, first out, where no guard sees it.
    fn max_in_flight(&self) -> Option<usize> {
        None
    }

    /// The next call to arrive comes from the caller with this number (`callers` in all), who told
    /// [`wanted`](Caller::wanted) with it. Not called for callers without such a side.
    fn heard(&mut self, _now: Timestamp, _caller: usize, _callers: usize, _wanted: u32) {}

    /// A call arrives.
    ///
    /// # Errors
    ///
    /// Refuses it.
    fn arrive(&mut self, now: Timestamp, call: &Call, server: &Server) -> Result<(), Refused>;

    /// A worker is free for this call, which waited for `queuing`. The last chance to refuse it.
    ///
    /// # Errors
    ///
    /// Refuses it; the worker takes the next one.
    fn dequeue(&mut self, _now: Timestamp, _call: &Call, _queuing: Duration) -> Result<(), Refused> {
        Ok(())
    }

    /// A call goes to a worker.
    fn started(&mut self, _now: Timestamp, _call: &Call, _queuing: Duration) {}

    /// A call's deadline passed in the queue.
    fn expired(&mut self, _now: Timestamp, _call: &Call, _queuing: Duration) {}

    /// A call left the queue for another reason: pushed out, refused at the dequeue, or refused by the queue on arrival
    /// (then `queuing` is zero).
    fn dropped(&mut self, _now: Timestamp, _call: &Call, _queuing: Duration) {}

    /// A worker has finished a call that waited for `queuing` and was in flight for `service` (with what it waited inside
    /// the server); `in_time` tells whether anybody still waited for the answer.
    fn completed(&mut self, _now: Timestamp, _call: &Call, _queuing: Duration, _service: Duration, _in_time: bool) {}

    /// Called every 10 ms of virtual time.
    fn tick(&mut self, _now: Timestamp, _server: &Server) {}

    /// What to tell the caller with this number (`callers` in all) beside an answer.
    fn feedback(&mut self, _now: Timestamp, _caller: usize, _callers: usize) -> Feedback {
        Feedback::default()
    }

    /// When a call that was admitted and left unserved (queue full, pushed out, expired) should come again.
    fn hint(&self, _now: Timestamp, _call: &Call) -> Option<Duration> {
        None
    }

    /// The cut in force, for plots and for counting inversions; `None` where there is no such thing.
    fn cut(&self) -> Option<Cut> {
        None
    }
}

/// The caller's side: one for each pair of an upstream instance and a downstream service.
pub trait Caller: fmt::Debug + Send {
    /// Whether a call may be sent. One that may not is refused on the spot and costs the server nothing.
    ///
    /// # Errors
    ///
    /// Refuses it.
    fn may_send(&mut self, now: Timestamp, call: &Call) -> Result<(), Refused>;

    /// How many calls it has on their way or would like to send; told to the server with each call
    /// ([`heard`](Guard::heard)).
    fn wanted(&self) -> u32 {
        0
    }

    /// A call ended, with what the server said beside it (nothing if feedback was lost, or on a timeout).
    fn ended(&mut self, now: Timestamp, call: &Call, ended: Ended, feedback: Option<Feedback>);
}

/// How the level of a user within its business changes with time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserLevels {
    /// Through all levels of its tier in [`SHIFT_CYCLE`](crate::admission::priority::SHIFT_CYCLE).
    Shifting,
    /// Drawn anew each hour (the DAGOR paper, §4.2.2).
    Hourly,
}

/// Makes the guards and callers of one run; `seed` is for those that decide by chance.
pub trait Arrangement: fmt::Debug + Send + Sync {
    /// A guard for one server with this many workers.
    fn guard(&self, workers: usize, seed: u64) -> Box<dyn Guard>;

    /// Everything that stands in front of one server: a guard with the queue that it asks for, if nothing else is made.
    fn front(&self, setup: &Setup, seed: u64) -> Box<dyn Front> {
        Box::new(Guarded::new(self.guard(setup.workers, seed), setup))
    }

    /// How users' levels change.
    fn user_levels(&self) -> UserLevels {
        UserLevels::Shifting
    }

    /// Whether a task's later calls stand first in their business once one was served ([`Value::begun`]).
    fn finishes_begun(&self) -> bool {
        false
    }

    /// What each caller asks before it sends, if this arrangement has such a side.
    fn caller(&self, _seed: u64) -> Option<Box<dyn Caller>> {
        None
    }
}
