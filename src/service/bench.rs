//! An instance on a workbench: the real desk, queue and memory without streams, handlers or a runtime. Whoever drives it
//! hands calls in, says how each run ends, and takes the answers out; so a test holds an instance still at any moment.
//!
//! Not for services: nothing here runs by itself.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{
    desk::{Arrival, Desk, DeskParts, Job, Outbox, Seat},
    guard::Guard,
    handler::Request,
    memory::Memory,
    window::{WindowSettings, WindowStats},
};
use crate::{admission::GateSettings, clock::Clock, pb::service as pb};

/// Names a stream of calls to a bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(u64);

/// Names a call that has a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunId(pub u64);

/// An instance that a test drives.
#[derive(Debug)]
pub struct Bench {
    desk: Arc<Desk>,
    /// Answers are remembered here; otherwise whoever drives it has a store.
    remembers: bool,
    streams: BTreeMap<StreamId, (usize, Arc<Outbox>)>,
    running: BTreeMap<RunId, (Seat, Job)>,
    last: u64,
}

impl Bench {
    /// An instance with so many workers and places in its queue, which remembers within these bounds; without them only
    /// what runs, as an instance with a store does.
    pub fn new(clock: Clock, workers: usize, waiting: usize, windows: Option<WindowSettings>) -> Self {
        let guard = Guard::new(GateSettings::default());
        let memory = windows.map_or_else(Memory::of_running, Memory::new);
        let places = workers + waiting;
        let desk = Arc::new(Desk::new(DeskParts { clock, guard, workers, waiting, places, memory, store: None }));
        let (streams, running) = (BTreeMap::new(), BTreeMap::new());
        Self { desk, remembers: windows.is_some(), streams, running, last: 0 }
    }

    /// A gateway's stream begins.
    pub fn open(&mut self) -> StreamId {
        self.last += 1;
        let outbox = Arc::new(Outbox::default());
        let key = self.desk.open(Arc::clone(&outbox));
        self.streams.insert(StreamId(self.last), (key, outbox));
        StreamId(self.last)
    }

    /// A stream is gone; what waits for it does not run.
    pub fn close(&mut self, stream: StreamId) {
        if let Some((key, outbox)) = self.streams.remove(&stream) {
            self.desk.close(key, &outbox);
        }
    }

    /// A call comes in; returns its run if it has a worker at once.
    pub fn receive(&mut self, stream: StreamId, call: pb::Call) -> Option<RunId> {
        let (key, outbox) = self.streams.get(&stream)?;
        self.desk.received(*key, 1, 0);
        let (id, outbox) = (call.id, Arc::clone(outbox));
        let request = Request::read(call, self.desk.clock.now(), &self.desk.clock, None);
        match self.desk.arrive(Job { id, request, outbox: Arc::clone(&outbox) }) {
            Arrival::Runs(seat, job) => Some(self.run(seat, job)),
            Arrival::Waits => None,
            Arrival::Answered(answer) => {
                outbox.send(answer);
                None
            }
        }
    }

    /// What a run works on.
    pub fn request(&self, run: RunId) -> Option<&Request> {
        self.running.get(&run).map(|(_, job)| &job.request)
    }

    /// A run ends with this answer; returns the next one if a call waited.
    pub fn finish(&mut self, run: RunId, answer: pb::Answer) -> Option<RunId> {
        let (mut seat, job) = self.running.remove(&run)?;
        let answer = if self.remembers {
            self.desk.memory.settle(self.desk.clock.now(), &job.request.key, &answer);
            pb::Answer { id: job.id, ..answer }
        } else {
            self.desk.end(&job, answer)
        };
        job.outbox.send(answer);
        let next = seat.next()?;
        Some(self.run(seat, next))
    }

    /// Moves what is answered on a stream to the end of `answers`.
    pub fn answers(&mut self, stream: StreamId, answers: &mut VecDeque<pb::Answer>) {
        if let Some((key, outbox)) = self.streams.get(&stream) {
            let before = answers.len();
            outbox.drain_into(answers);
            self.desk.dispatch(*key, answers.len() - before, false);
        }
    }

    /// The streams that are open.
    pub fn streams(&self) -> impl Iterator<Item = StreamId> {
        self.streams.keys().copied()
    }

    /// Drops what has rested for long enough. The guard's window stays open: a bench decides nothing by load.
    pub fn sweep(&self) {
        self.desk.memory.sweep(self.desk.clock.now());
    }

    /// What is remembered.
    pub fn stats(&self) -> WindowStats {
        self.desk.memory.stats()
    }

    fn run(&mut self, seat: Seat, job: Job) -> RunId {
        self.last += 1;
        self.running.insert(RunId(self.last), (seat, job));
        RunId(self.last)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{admission::Cut, clock::Timestamp, pb::service::AnswerOutcome};

    fn call(id: u64, message_id: u64) -> pb::Call {
        pb::Call { id, user: "ann".into(), business: 2, message_id, timeout_ms: 1000, ..pb::Call::default() }
    }

    /// Two gateways take turns with nearly all of the places. Each is told at once that it may use them, while the calls of the
    /// other are still here; so more than there are places wait, by the instance's own word, and for long.
    #[test]
    fn the_guard_leaves_alone_what_was_granted_however_long_it_waits() {
        let clock = Clock::manual(Timestamp::from_nanos(1));
        let (window, mut answers, mut last) = (Duration::from_millis(100), VecDeque::new(), 0);
        let mut bench = Bench::new(clock.clone(), 2, 10, None);
        // A bench has no room for more than it grants.
        let (guard, memory) = (Guard::new(GateSettings::default()), Memory::of_running());
        let parts = DeskParts { clock: clock.clone(), guard, workers: 2, waiting: 64, places: 12, memory, store: None };
        bench.desk = Arc::new(Desk::new(parts));
        let streams = [bench.open(), bench.open()];
        let (mut granted, mut here, mut running) = ([1, 1], [0, 0], VecDeque::new());
        for round in 0..400 {
            clock.advance(window);
            bench.desk.tick();
            let busy = round / 4 % 2;
            for key in [0, 1] {
                let waiting = if key == busy { 40 } else { 0 };
                bench.desk.received(key, 0, waiting);
                let before = answers.len();
                bench.streams[&streams[key]].1.drain_into(&mut answers);
                let answered = answers.len() - before;
                here[key] -= answered;
                let dispatch = bench.desk.dispatch(key, answered, false);
                assert_eq!(dispatch.cut, Cut::OPEN, "in round {round}");
                granted[key] = dispatch.grants.unwrap_or(granted[key]);
            }
            while here[busy] < granted[busy] {
                (last, here[busy]) = (last + 1, here[busy] + 1);
                let call = pb::Call { timeout_ms: 600_000, ..call(last, last) };
                running.extend(bench.receive(streams[busy], call));
            }
            for _ in 0..2 {
                let done = running.pop_front().expect("the workers are busy");
                running.extend(bench.finish(done, pb::Answer::default()));
            }
        }
        assert!(answers.iter().all(|answer| answer.outcome() == AnswerOutcome::Replied), "{answers:?}");
    }

    /// Its calls waited here and ran here, by more than half of the places. The other gateway is granted these at once.
    #[test]
    fn the_guard_does_not_hold_against_others_what_a_gateway_has_left_behind() {
        let clock = Clock::manual(Timestamp::from_nanos(1));
        let (window, mut last) = (Duration::from_millis(100), 0);
        let mut bench = Bench::new(clock.clone(), 2, 10, None);
        let (lost, other) = (bench.open(), bench.open());
        let mut send = |bench: &mut Bench, stream| {
            last += 1;
            bench.receive(stream, pb::Call { timeout_ms: 600_000, ..call(last, last) })
        };
        let running: Vec<_> = (0..8).filter_map(|_| send(&mut bench, lost)).collect();
        assert_eq!(running.len(), 2);
        bench.close(lost);
        (0..10).for_each(|_| assert_eq!(send(&mut bench, other), None, "the workers are busy"));
        let mut answers = VecDeque::new();
        for _ in 0..50 {
            clock.advance(window);
            bench.desk.tick();
            bench.answers(other, &mut answers);
            let (key, _) = &bench.streams[&other];
            assert_eq!(bench.desk.dispatch(*key, 0, false).cut, Cut::OPEN);
        }
        let next: Vec<_> = running.into_iter().filter_map(|run| bench.finish(run, pb::Answer::default())).collect();
        assert_eq!((next.len(), answers.len()), (2, 0), "the other one's calls, and nobody was refused");
        assert!(next.iter().all(|&run| bench.request(run).is_some()));
    }

    #[test]
    fn a_bench_answers_copies_alike_and_runs_what_waits() {
        let clock = Clock::manual(Timestamp::from_nanos(1));
        let mut bench = Bench::new(clock, 1, 4, Some(WindowSettings::default()));
        let stream = bench.open();
        let first = bench.receive(stream, call(1, 7)).expect("a worker is free");
        assert_eq!(bench.receive(stream, call(2, 7)), None, "a copy waits");
        assert_eq!(bench.receive(stream, call(3, 8)), None, "the worker is busy");
        let second = bench.finish(first, pb::Answer { payload: "hi".into(), ..pb::Answer::default() });
        assert_eq!(bench.request(second.expect("the next runs")).map(|request| request.message.0), Some(8));
        assert_eq!(bench.receive(stream, call(4, 7)), None);
        let mut answers = VecDeque::new();
        bench.answers(stream, &mut answers);
        let said: Vec<_> = answers.iter().map(|answer| (answer.id, &answer.payload[..])).collect();
        assert_eq!(said.len(), 3);
        for id in [1, 2, 4] {
            assert!(said.contains(&(id, &b"hi"[..])), "{said:?}");
        }
        bench.close(stream);
        assert!(bench.finish(second.unwrap(), pb::Answer::default()).is_none());
        assert_eq!(answers[0].outcome(), AnswerOutcome::Replied);
    }
}
