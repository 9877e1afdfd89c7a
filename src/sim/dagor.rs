//! The gateway's own admission in front of a simulated server: the real [`Gate`] with its settings, told of everything
//! that the gateway's queue tells it.

use std::time::Duration;

use super::guard::{Arrangement, Call, Caller, Discipline, Ended, Feedback, Guard, Refused, Server, UserLevels};
use crate::{
    admission::{Cause, ControllerKind, Cut, Gate, GateSettings, retry_after},
    clock::Timestamp,
    policy::{reader::Table, validate::checker::Checker},
};

/// Which time tells overload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// In the queue, until the call goes to a worker.
    Queuing,
    /// Until the call is done: what the paper shows to be misleading (§4.1).
    Response,
}

/// Gates in front of every server, and callers that know their cuts.
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
    /// What is overload's sign.
    pub signal: Signal,
}

/// The queue of a policy's service holds as many by default.
const QUEUE_CAPACITY: usize = 10_000;

/// DAGOR as its paper has it: first in, first out; users' levels drawn anew each hour; a caller's knowledge of a cut never
/// expires. Beside the settings of a gate, `queue = "by-level"`, `levels = "shifting"` and `signal = "response"` change that.
pub(super) fn dagor_v3(table: &mut Table<'_>) -> Dagor {
    let default = GateSettings { controller: ControllerKind::DagorV3, ..GateSettings::default() };
    let (target, window) = (table.duration("target"), table.duration("window"));
    let (requests, capacity) = (table.whole("window_requests"), table.whole("queue_capacity"));
    let (queue, levels, signal) = (table.text("queue"), table.text("levels"), table.text("signal"));
    let faults = &mut table.notes.faults.borrow_mut();
    let mut check = Checker { faults };
    let long = Duration::from_millis(1)..=Duration::from_secs(60);
    Dagor {
        settings: GateSettings {
            target: check.duration(&target, long.clone(), default.target),
            window: check.duration(&window, long, default.window),
            window_requests: check.whole(&requests, 1..=1 << 24, default.window_requests.into()) as u32,
            ..default
        },
        discipline: check.word(
            &queue,
            "queue",
            &[("fifo", Discipline::Fifo), ("by-level", Discipline::ByLevel)],
            Discipline::Fifo,
        ),
        queue_capacity: check.count(&capacity, 0..=10_000_000, QUEUE_CAPACITY),
        levels: check.word(
            &levels,
            "kind of levels",
            &[("hourly", UserLevels::Hourly), ("shifting", UserLevels::Shifting)],
            UserLevels::Hourly,
        ),
        signal: check.word(
            &signal,
            "signal",
            &[("queuing", Signal::Queuing), ("response", Signal::Response)],
            Signal::Queuing,
        ),
    }
}

impl Arrangement for Dagor {
    fn guard(&self, _workers: usize, _seed: u64) -> Box<dyn Guard> {
        let gate = Gate::new(self.settings.clone(), 1);
        Box::new(GateGuard {
            gate,
            discipline: self.discipline,
            queue_capacity: self.queue_capacity,
            signal: self.signal,
        })
    }

    fn user_levels(&self) -> UserLevels {
        self.levels
    }

    fn caller(&self, _seed: u64) -> Option<Box<dyn Caller>> {
        Some(Box::new(CutCaller { cut: Cut::OPEN }))
    }
}

/// The one worker of a simulated gate.
const SHARD: usize = 0;

#[derive(Debug)]
struct GateGuard {
    gate: Gate,
    discipline: Discipline,
    queue_capacity: usize,
    signal: Signal,
}

impl GateGuard {
    /// Something left the queue without being worked on.
    fn left(&self, queuing: Duration) {
        self.gate.sample(SHARD, queuing);
    }
}

impl Guard for GateGuard {
    fn discipline(&self) -> Discipline {
        self.discipline
    }

    fn queue_capacity(&self) -> usize {
        self.queue_capacity
    }

    fn arrive(&mut self, now: Timestamp, call: &Call, _server: &Server) -> Result<(), Refused> {
        let refuse = |refusal: crate::admission::Refusal| Refused { retry_after: Some(refusal.retry_after) };
        self.gate.decide(SHARD, now, call.value).map_err(refuse)
    }

    fn started(&mut self, _now: Timestamp, _call: &Call, queuing: Duration) {
        if self.signal == Signal::Queuing {
            self.gate.sample(SHARD, queuing);
        }
    }

    fn expired(&mut self, _now: Timestamp, _call: &Call, queuing: Duration) {
        self.left(queuing);
    }

    fn dropped(&mut self, _now: Timestamp, _call: &Call, queuing: Duration) {
        // What the queue refused on arrival was never in it.
        if !queuing.is_zero() {
            self.left(queuing);
        }
    }

    fn completed(&mut self, _now: Timestamp, _call: &Call, queuing: Duration, service: Duration, _in_time: bool) {
        self.gate.completed(SHARD);
        if self.signal == Signal::Response {
            self.gate.sample(SHARD, queuing + service);
        }
    }

    fn tick(&mut self, now: Timestamp, server: &Server) {
        self.gate.observe_limit(SHARD, server.in_flight >= server.workers);
        self.gate.tick(now, server.oldest);
    }

    fn feedback(&mut self, _now: Timestamp, _caller: usize, _callers: usize) -> Feedback {
        Feedback { cut: Some(self.gate.effective_cut()), ..Feedback::default() }
    }

    fn hint(&self, now: Timestamp, call: &Call) -> Option<Duration> {
        Some(self.gate.refusal(Cause::QueueFull, now, call.value).retry_after)
    }

    fn cut(&self) -> Option<Cut> {
        Some(self.gate.effective_cut())
    }
}

/// A caller that refuses what the service would refuse by the cut that it heard last.
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
