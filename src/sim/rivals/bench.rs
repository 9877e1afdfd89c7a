//! A server small enough to be checked by eye, which drives a guard by hand: calls arrive at even distances, every call
//! takes the same time, and values are spread evenly over all levels. Time goes in steps of a millisecond.

use std::{collections::VecDeque, time::Duration};

use crate::{
    admission::Value,
    clock::Timestamp,
    sim::guard::{Arrangement, Call, Caller, Discipline, Ended, Feedback, Guard, Server},
};

/// How many calls are worked on at the same time.
pub(super) const WORKERS: usize = 8;
/// How long each is worked on: 800 calls per second are the saturation.
pub(super) const SERVICE: Duration = Duration::from_millis(10);
/// How old an answer may be.
pub(super) const TIMEOUT: Duration = Duration::from_millis(500);
const SATURATION: f64 = 800.0;
const STEP: Duration = Duration::from_millis(1);
/// Spreads consecutive numbers over 32 bits (2³² over the golden ratio).
const SPREAD: u32 = 2_654_435_769;

#[derive(Debug)]
pub(super) struct Bench {
    pub(super) guard: Box<dyn Guard>,
    pub(super) caller: Option<Box<dyn Caller>>,
    /// How long a call is worked on.
    pub(super) service: Duration,
    now: Timestamp,
    due: f64,
    tasks: u64,
    queue: VecDeque<Call>,
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    until: Timestamp,
    call: Call,
    queuing: Duration,
}

/// What happened in a part of the run.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) offered: u32,
    pub(super) offered_important: u32,
    /// Refused by the caller, before they reached the server.
    pub(super) held_back: u32,
    pub(super) refused: u32,
    pub(super) expired: u32,
    /// Answered in time.
    pub(super) good: u32,
    /// The same of the more important half.
    pub(super) good_important: u32,
    pub(super) longest_queuing: Duration,
    /// What can be answered in this time.
    pub(super) capacity: f64,
}

impl Bench {
    pub(super) fn new(arrangement: &dyn Arrangement) -> Self {
        Self {
            guard: arrangement.guard(WORKERS, 1),
            caller: arrangement.caller(2),
            service: SERVICE,
            now: Timestamp::ZERO,
            due: 0.0,
            tasks: 0,
            queue: VecDeque::new(),
            running: Vec::new(),
        }
    }

    /// Offers `load` times the saturation for so many seconds.
    pub(super) fn run(&mut self, load: f64, seconds: u64) -> Seen {
        let mut seen = Seen { capacity: SATURATION * seconds as f64, ..Seen::default() };
        for step in 0..seconds * 1000 {
            self.now = self.now + STEP;
            self.finish(&mut seen);
            if step % 10 == 0 {
                let server = self.server();
                self.guard.tick(self.now, &server);
            }
            self.start(&mut seen);
            self.due += load * SATURATION * STEP.as_secs_f64();
            while self.due >= 1.0 {
                self.due -= 1.0;
                self.offer(&mut seen);
                self.start(&mut seen);
            }
        }
        seen
    }

    fn server(&self) -> Server {
        Server {
            waiting: self.queue.len(),
            waiting_cost: self.queue.len() as f64,
            in_flight: self.running.len(),
            workers: WORKERS,
            // Whatever the order of service, the queue is kept in the order of arrival.
            oldest: self.queue.front().map(|call| self.now.since(call.arrived)).unwrap_or_default(),
        }
    }

    fn offer(&mut self, seen: &mut Seen) {
        self.tasks += 1;
        let call = call(self.tasks, self.now);
        seen.offered += 1;
        seen.offered_important += u32::from(important(&call));
        if let Some(caller) = &mut self.caller {
            if caller.may_send(self.now, &call).is_err() {
                seen.held_back += 1;
                return;
            }
            self.guard.heard(self.now, 0, 1, caller.wanted());
        }
        let server = self.server();
        if self.guard.arrive(self.now, &call, &server).is_err() {
            seen.refused += 1;
            self.tell(&call, Ended::Refused);
        } else if self.queue.len() >= self.guard.queue_capacity() {
            seen.refused += 1;
            self.guard.dropped(self.now, &call, Duration::ZERO);
            self.tell(&call, Ended::Refused);
        } else {
            self.queue.push_back(call);
        }
    }

    fn start(&mut self, seen: &mut Seen) {
        while self.running.len() < WORKERS.min(self.guard.max_in_flight().unwrap_or(WORKERS)) {
            let Some(call) = self.next() else { return };
            let queuing = self.now.since(call.arrived);
            if self.now >= call.deadline {
                seen.expired += 1;
                self.guard.expired(self.now, &call, queuing);
                self.tell(&call, Ended::Refused);
            } else if self.guard.dequeue(self.now, &call, queuing).is_err() {
                seen.refused += 1;
                self.guard.dropped(self.now, &call, queuing);
                self.tell(&call, Ended::Refused);
            } else {
                seen.longest_queuing = seen.longest_queuing.max(queuing);
                self.guard.started(self.now, &call, queuing);
                self.running.push(Running { until: self.now + self.service, call, queuing });
            }
        }
    }

    fn next(&mut self) -> Option<Call> {
        let best = match self.guard.discipline() {
            Discipline::Fifo => 0,
            Discipline::ByLevel => (0..self.queue.len()).min_by_key(|&place| self.queue[place].value.level())?,
        };
        self.queue.remove(best)
    }

    fn finish(&mut self, seen: &mut Seen) {
        let now = self.now;
        let (done, running): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.running).into_iter().partition(|work| work.until <= now);
        self.running = running;
        for Running { call, queuing, .. } in done {
            let in_time = now <= call.deadline;
            self.guard.completed(now, &call, queuing, self.service, in_time);
            seen.good += u32::from(in_time);
            seen.good_important += u32::from(in_time && important(&call));
            self.tell(&call, if in_time { Ended::Replied } else { Ended::TimedOut });
        }
    }

    fn tell(&mut self, call: &Call, ended: Ended) {
        if let Some(caller) = &mut self.caller {
            let feedback: Feedback = self.guard.feedback(self.now, 0, 1);
            caller.ended(self.now, call, ended, (ended != Ended::TimedOut).then_some(feedback));
        }
    }
}

/// The only call of the task with this number.
pub(super) fn call(task: u64, arrived: Timestamp) -> Call {
    Call {
        value: Value::from_bits((task as u32).wrapping_mul(SPREAD)),
        business: 0,
        user: task as u32 % 1000,
        task,
        served_before: 0,
        resend: 0,
        arrived,
        deadline: arrived + TIMEOUT,
        cost: 1.0,
    }
}

fn important(call: &Call) -> bool {
    call.value.bits() < u32::MAX / 2
}
