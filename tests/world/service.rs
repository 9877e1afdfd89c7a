//! Instances of two logic services: the real desk, queue and memory on a bench. One service remembers within each instance,
//! the other commits its effects with their replies into the shared store. What is modelled is the way to them, and
//! handlers that take any time and end in any way.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use dagor::{
    clock::{Clock, Timestamp},
    pb::service as pb,
    service::{
        CallKey, WindowSettings,
        bench::{Bench, RunId, StreamId},
        store::Standing,
    },
};
use prost::Message as _;

use crate::{
    bugs::Bug,
    ledger::{self, IN_ORDER},
    store::Committed,
    trace::Count,
    world::{Event, GATEWAYS, INSTANCES, World},
};

const WORKERS: usize = 3;
const WAITING: usize = 5;
/// Small, so that windows get full.
pub(crate) const WINDOWS: WindowSettings =
    WindowSettings { keep: Duration::from_secs(2 * 3_600), reply_bytes: 350, windows: 100, total_bytes: 100_000 };

/// One instance, over all runs of its process.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) run: u32,
    pub(crate) up: bool,
    /// The process stands still: its machine is paused.
    pub(crate) still_until: Timestamp,
    /// Commits into the store.
    stored: bool,
    bench: Bench,
    clock: Clock,
    shown: Timestamp,
    streams: Vec<(StreamId, usize)>,
    /// Messages that this instance holds in the store.
    held: BTreeMap<RunId, CallKey>,
    /// The highest ids, for the bug.
    highest: BTreeMap<(u64, u32), u64>,
}

/// A stream from one run of a gateway to one of an instance.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) gateway: usize,
    pub(crate) gateway_run: u32,
    pub(crate) instance: usize,
    instance_run: u32,
    id: StreamId,
    calls: VecDeque<(Timestamp, pb::Call)>,
    answers: VecDeque<(Timestamp, pb::Answer)>,
    last: [Timestamp; 2],
    pub(crate) broken: bool,
}

impl Instance {
    pub(crate) fn new(i: usize) -> Self {
        let (stored, clock) = (i >= 2, Clock::manual(Timestamp::ZERO));
        Self {
            run: 0,
            up: false,
            still_until: Timestamp::ZERO,
            stored,
            bench: bench(&clock, stored),
            clock,
            shown: Timestamp::ZERO,
            streams: Vec::new(),
            held: BTreeMap::new(),
            highest: BTreeMap::new(),
        }
    }

    /// A new run, which remembers nothing.
    pub(crate) fn start(&mut self) {
        self.run += 1;
        self.up = true;
        self.still_until = Timestamp::ZERO;
        self.bench = bench(&self.clock, self.stored);
        self.streams.clear();
        self.held.clear();
        self.highest.clear();
    }

    fn owner(&self, i: usize) -> u64 {
        1_000 * i as u64 + u64::from(self.run)
    }

    fn show(&mut self, now: Timestamp) {
        self.clock.advance(now.since(self.shown));
        self.shown = now;
    }
}

fn bench(clock: &Clock, stored: bool) -> Bench {
    Bench::new(clock.clone(), WORKERS, WAITING, (!stored).then_some(WINDOWS))
}

fn said(outcome: pb::AnswerOutcome) -> pb::Answer {
    pb::Answer { outcome: outcome.into(), ..pb::Answer::default() }
}

fn refused() -> pb::Answer {
    pb::Answer { retry_after_ms: 100, ..said(pb::AnswerOutcome::Refused) }
}

fn encode(answer: &pb::Answer) -> Bytes {
    answer.encode_to_vec().into()
}

fn decode(answer: Bytes) -> pb::Answer {
    pb::Answer::decode(answer).unwrap()
}

impl World {
    /// The stream to an instance of this service: the user's own, or the other one.
    pub(crate) fn stream_for(&self, g: usize, service: usize, user: usize) -> Option<usize> {
        let streams = &self.gateways[g].streams;
        [user % 2, 1 - user % 2].into_iter().find_map(|which| streams[2 * service + which])
    }

    /// Opens the streams that are missing.
    pub(crate) fn open_streams(&mut self, g: usize) {
        for i in 0..INSTANCES {
            let serves = self.instances[i].up && self.instances[i].still_until <= self.now;
            if self.gateways[g].streams[i].is_some() || !serves {
                continue;
            }
            let (gateway_run, instance_run) = (self.gateways[g].run, self.instances[i].run);
            let (index, id) = (self.streams.len(), self.instances[i].bench.open());
            self.instances[i].streams.push((id, index));
            self.gateways[g].streams[i] = Some(index);
            self.streams.push(Stream {
                gateway: g,
                gateway_run,
                instance: i,
                instance_run,
                id,
                calls: VecDeque::new(),
                answers: VecDeque::new(),
                last: [Timestamp::ZERO; 2],
                broken: false,
            });
        }
    }

    pub(crate) fn dispatch(&mut self, stream: usize, call: pb::Call) {
        let at = self.now + self.delay();
        let way = &mut self.streams[stream];
        if !way.broken {
            way.last[0] = way.last[0].max(at);
            let at = way.last[0];
            way.calls.push_back((at, call));
            self.schedule(at, Event::Call { stream });
        }
    }

    /// A call may have arrived at an instance.
    pub(crate) fn call(&mut self, stream: usize) {
        let now = self.now;
        let way = &mut self.streams[stream];
        let Some((_, call)) = way.calls.pop_front_if(|(at, _)| *at <= now) else { return };
        let (i, id) = (way.instance, way.id);
        if self.instances[i].run != way.instance_run || !self.instances[i].up {
            return;
        }
        self.instances[i].show(now);
        if self.bug == Some(Bug::HighWaterDedupe) && self.below_high_water(i, stream, &call) {
            return;
        }
        let run = self.instances[i].bench.receive(id, call);
        self.begin(i, run);
        self.flush_answers(i);
        self.check_instance(i);
    }

    /// The bug: whatever is not above the highest id is taken for a copy.
    fn below_high_water(&mut self, i: usize, stream: usize, call: &pb::Call) -> bool {
        let highest = self.instances[i].highest.entry((call.outbox, call.business)).or_default();
        if call.message_id > *highest {
            *highest = call.message_id;
            return false;
        }
        let payload = ledger::reply_to(&call.payload).into();
        self.answer(stream, pb::Answer { id: call.id, payload, ..pb::Answer::default() });
        true
    }

    /// A call has a worker.
    fn begin(&mut self, i: usize, run: Option<RunId>) {
        let Some(run) = run else { return };
        let instance_run = self.instances[i].run;
        if self.instances[i].stored {
            let at = self.now + self.millis(0, 5);
            return self.schedule(at, Event::Claim { instance: i, instance_run, run });
        }
        self.work(i, run);
    }

    fn work(&mut self, i: usize, run: RunId) {
        let slow = !self.calm && self.random.u32(0..25) == 0;
        let takes = if slow { self.millis(500, 6_000) } else { self.millis(1, 40) };
        let instance_run = self.instances[i].run;
        self.schedule(self.now + takes, Event::Ends { instance: i, instance_run, run });
    }

    /// An instance asks the store for a message.
    pub(crate) fn claim(&mut self, i: usize, instance_run: u32, run: RunId) {
        let now = self.now;
        let instance = &mut self.instances[i];
        if instance.run != instance_run || !instance.up {
            return;
        }
        instance.show(now);
        let owner = instance.owner(i);
        let Some(request) = instance.bench.request(run) else { return };
        let fingerprint = dagor::service::window::Fingerprint::of(&request.payload);
        let (key, oldest, deadline) = (request.key().clone(), request.oldest_unsettled.0, request.deadline);
        let away = now < self.store_away_until;
        if away && self.random.u32(0..4) > 0 {
            return self.finish(i, run, refused());
        }
        let standing = self.store.claim(now, owner, &key, oldest, fingerprint);
        if away {
            // It was done, and nobody knows.
            return self.finish(i, run, refused());
        }
        match standing {
            Standing::Free => {
                self.instances[i].held.insert(run, key);
                self.work(i, run);
            }
            Standing::Held if now < deadline => {
                self.trace.count(Count::StoreHeld);
                let at = now + self.millis(20, 200);
                self.schedule(at, Event::Claim { instance: i, instance_run, run });
            }
            Standing::Held => self.finish(i, run, said(pb::AnswerOutcome::Expired)),
            Standing::Settled(answer) => {
                self.trace.count(Count::StoreReplays);
                self.finish(i, run, decode(answer));
            }
            Standing::Stale => self.finish(i, run, said(pb::AnswerOutcome::Stale)),
            Standing::Conflict => self.finish(i, run, said(pb::AnswerOutcome::Conflict)),
            Standing::Full => self.finish(i, run, refused()),
        }
    }

    /// A handler comes to its end.
    pub(crate) fn ends(&mut self, i: usize, instance_run: u32, run: RunId) {
        let instance = &mut self.instances[i];
        if instance.run != instance_run || !instance.up {
            return;
        }
        instance.show(self.now);
        let Some(request) = instance.bench.request(run) else { return };
        let (payload, key) = (request.payload.clone(), request.key().clone());
        let answer = match self.random.u32(0..20) {
            _ if self.calm => None,
            0 => Some(said(pb::AnswerOutcome::Failed)),
            1 => Some(refused()),
            2 => Some(said(pb::AnswerOutcome::Unknown)),
            _ => None,
        };
        let done = pb::Answer { payload: ledger::reply_to(&payload).into(), ..pb::Answer::default() };
        let answer = if self.instances[i].stored {
            self.settle(i, run, &key, &payload, answer, done)
        } else {
            match answer {
                None => {
                    self.effect(&key, &payload, Some((i, instance_run)));
                    done
                }
                Some(answer) => {
                    self.note_failure(&payload, &answer);
                    answer
                }
            }
        };
        self.finish(i, run, answer);
    }

    fn effect(&mut self, key: &CallKey, payload: &[u8], lives: Option<(usize, u32)>) {
        let name = (key.window.outbox.0, key.message.0);
        self.ledger.effect(payload, name, lives, &mut self.trace);
        let client = self.clients.iter().find(|client| client.outbox == name.0);
        if let Some(agent) = client.and_then(|client| client.agent.as_ref())
            && key.window.business.0 == IN_ORDER
        {
            self.ledger.in_order(name, agent.unsettled_ids().map(|id| id.0), &mut self.trace);
        }
    }

    fn note_failure(&mut self, payload: &[u8], answer: &pb::Answer) {
        if answer.outcome() == pb::AnswerOutcome::Failed {
            self.ledger.failed(payload);
        }
    }

    /// Brings a handler's end into the store; what the client is told.
    fn settle(
        &mut self,
        i: usize,
        run: RunId,
        key: &CallKey,
        payload: &[u8],
        answer: Option<pb::Answer>,
        done: pb::Answer,
    ) -> pb::Answer {
        let owner = self.instances[i].owner(i);
        self.instances[i].held.remove(&run);
        let away = self.now < self.store_away_until;
        if away && self.random.bool() {
            return said(pb::AnswerOutcome::Unknown);
        }
        let has_effect = answer.is_none();
        let answer = answer.unwrap_or(done);
        let counts = match answer.outcome() {
            pb::AnswerOutcome::Replied | pb::AnswerOutcome::Failed => self.store.commit(owner, key, encode(&answer)),
            _ => {
                self.store.release(owner, key);
                return answer;
            }
        };
        let answer = match counts {
            Committed::Done => {
                if has_effect {
                    self.effect(key, payload, None);
                }
                self.note_failure(payload, &answer);
                answer
            }
            Committed::Settled(earlier) => decode(earlier),
            Committed::Lapsed => {
                self.trace.count(Count::Lapsed);
                said(pb::AnswerOutcome::Unknown)
            }
        };
        if away { said(pb::AnswerOutcome::Unknown) } else { answer }
    }

    fn finish(&mut self, i: usize, run: RunId, answer: pb::Answer) {
        let next = self.instances[i].bench.finish(run, answer);
        self.begin(i, next);
        self.flush_answers(i);
        self.check_instance(i);
    }

    fn flush_answers(&mut self, i: usize) {
        let mut answers = VecDeque::new();
        for at in 0..self.instances[i].streams.len() {
            let (id, stream) = self.instances[i].streams[at];
            self.instances[i].bench.answers(id, &mut answers);
            for answer in answers.drain(..) {
                self.answer(stream, answer);
            }
        }
    }

    fn answer(&mut self, stream: usize, answer: pb::Answer) {
        let at = self.now + self.delay();
        let way = &mut self.streams[stream];
        if !way.broken {
            way.last[1] = way.last[1].max(at);
            let at = way.last[1];
            way.answers.push_back((at, answer));
            self.schedule(at, Event::Answers { stream });
        }
    }

    /// Answers may have arrived at a gateway.
    pub(crate) fn answers(&mut self, stream: usize) {
        let now = self.now;
        let way = &mut self.streams[stream];
        let mut answers = VecDeque::new();
        while let Some((_, answer)) = way.answers.pop_front_if(|(at, _)| *at <= now) {
            answers.push_back(answer);
        }
        let g = way.gateway;
        if !answers.is_empty() && self.gateways[g].run == way.gateway_run && self.gateways[g].is_up() {
            self.answered(g, stream, answers);
        }
    }

    /// A stream breaks: a part of what is on its way still arrives, and each side learns of it in its own time.
    pub(crate) fn break_stream(&mut self, stream: usize) {
        let way = &mut self.streams[stream];
        if std::mem::replace(&mut way.broken, true) {
            return;
        }
        way.calls.truncate(self.random.usize(0..=way.calls.len()));
        way.answers.truncate(self.random.usize(0..=way.answers.len()));
        for gateway in [true, false] {
            let silent = !self.calm && self.random.u32(0..4) == 0;
            let takes = if silent { self.millis(5_000, 10_000) } else { self.millis(1, 50) };
            self.schedule(self.now + takes, Event::StreamLost { stream, gateway });
        }
    }

    /// One side learns that a stream is gone.
    pub(crate) fn stream_ends(&mut self, stream: usize, gateway: bool) {
        let Stream { gateway: g, gateway_run, instance: i, instance_run, id, .. } = self.streams[stream];
        if gateway {
            if self.gateways[g].run == gateway_run && self.gateways[g].is_up() {
                self.stream_lost(g, stream);
            }
        } else if self.instances[i].run == instance_run && self.instances[i].up {
            self.instances[i].bench.close(id);
            self.instances[i].streams.retain(|&(own, _)| own != id);
        }
    }

    pub(crate) fn break_streams(&mut self, chosen: impl Fn(&Stream) -> bool) {
        let broken: Vec<_> =
            (0..self.streams.len()).filter(|&at| !self.streams[at].broken && chosen(&self.streams[at])).collect();
        broken.into_iter().for_each(|stream| self.break_stream(stream));
    }

    /// What an instance does by the clock.
    pub(crate) fn instance_tick(&mut self, i: usize) {
        let now = self.now;
        let instance = &mut self.instances[i];
        instance.show(now);
        instance.bench.sweep();
        if now >= self.store_away_until {
            let owner = instance.owner(i);
            for key in instance.held.values() {
                self.store.renew(now, owner, key);
            }
        }
        self.flush_answers(i);
    }

    fn check_instance(&mut self, i: usize) {
        let stats = self.instances[i].bench.stats();
        // What runs when a bound is reached is remembered all the same: an answer of each worker.
        if stats.windows > WINDOWS.windows || stats.bytes > WINDOWS.total_bytes + WORKERS * 64 {
            self.trace.violated(format!("instance {i} remembers {} windows of {} bytes", stats.windows, stats.bytes));
        }
        if stats.conflicts > 0 {
            self.trace.violated(format!("instance {i} was sent two payloads under one id"));
        }
        if self.instances[i].streams.len() > 4 * GATEWAYS {
            self.trace.violated(format!("instance {i} has {} streams", self.instances[i].streams.len()));
        }
    }

    /// Counts what an instance's memory did, before it is gone.
    pub(crate) fn count_memory(&mut self, i: usize) {
        let stats = self.instances[i].bench.stats();
        self.trace.count_many(Count::Replays, stats.replayed);
        self.trace.count_many(Count::Waited, stats.waited);
    }
}
