//! Who runs and who waits: at most `workers` handlers run at a time over all streams, a call waits only while all of
//! them are busy, and whatever leaves the queue is either run or answered.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::sync::{Notify, Semaphore};

use super::{
    grants::Ledger,
    guard::Guard,
    handler::Request,
    memory::{Claimed, Memory},
    queue::WaitQueue,
    store::IdempotencyStore,
};
use crate::{
    admission::{Backlog, Cut},
    clock::{Clock, Timestamp, whole_millis_u32},
    pb::service as pb,
};

/// When a refusal because of a full queue suggests to come back: about the time in which a queue of work that its
/// clients still want drains.
const RETRY_WHEN_FULL: Duration = Duration::from_millis(500);
/// When a refusal by a leaving instance suggests to come back: by then the gateways have left it.
const RETRY_WHEN_LEAVING: Duration = Duration::from_millis(100);

/// Locks, also after a panic elsewhere: no code that may panic changes what is locked here.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The answers of one stream that are ready to be sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    ready: Mutex<VecDeque<pb::Answer>>,
    pub(super) waker: AtomicWaker,
    closed: AtomicBool,
    /// Its calls that run. Changes under the desk's lock.
    running: AtomicUsize,
}

impl Outbox {
    /// Adds an answer and wakes the stream.
    pub(super) fn send(&self, answer: pb::Answer) {
        lock(&self.ready).push_back(answer);
        self.waker.wake();
    }

    /// Moves what is ready to the end of `answers`.
    pub(super) fn drain_into(&self, answers: &mut VecDeque<pb::Answer>) {
        answers.append(&mut lock(&self.ready));
    }

    /// Nobody is left to read the answers.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// A call and where its answer goes.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) request: Request,
    pub(super) outbox: Arc<Outbox>,
}

/// What becomes of a call on arrival.
pub(super) enum Arrival {
    /// A worker is free and now taken for it.
    Runs(Seat, Job),
    /// It is in the queue, or a copy of one that is or runs.
    Waits,
    /// It does not run.
    Answered(pb::Answer),
}

/// What a stream is to send besides its answers.
pub(super) struct Dispatch {
    pub(super) grants: Option<usize>,
    pub(super) cut: Cut,
    /// Everything that came in was answered, and no more will come.
    pub(super) ended: bool,
}

/// The state that an instance's streams share.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) clock: Clock,
    workers: usize,
    /// Locked alone, or while `state` is; never the other way round.
    pub(super) memory: Memory,
    /// Where several instances remember together.
    pub(super) store: Option<Arc<dyn IdempotencyStore>>,
    /// Calls that wait for another instance: as many as may wait here for a worker.
    pub(super) aside: Arc<Semaphore>,
    state: Mutex<State>,
    idle: Notify,
}

/// What a desk is made of.
pub(super) struct DeskParts {
    pub(super) clock: Clock,
    pub(super) guard: Guard,
    pub(super) workers: usize,
    /// Calls that may wait for a worker.
    pub(super) waiting: usize,
    /// Places to grant to the streams.
    pub(super) places: usize,
    pub(super) memory: Memory,
    pub(super) store: Option<Arc<dyn IdempotencyStore>>,
}

#[derive(Debug)]
struct State {
    running: usize,
    /// Calls that run although their stream is gone.
    orphans: usize,
    queue: WaitQueue<Job>,
    ledger: Ledger<Arc<Outbox>>,
    guard: Guard,
    leaving: bool,
    closing: bool,
}

impl Desk {
    /// A desk with nobody at it.
    pub(super) fn new(parts: DeskParts) -> Self {
        let DeskParts { clock, guard, workers, waiting, places, memory, store } = parts;
        let (queue, ledger) = (WaitQueue::new(waiting), Ledger::new(places));
        let state = Mutex::new(State { running: 0, orphans: 0, queue, ledger, guard, leaving: false, closing: false });
        let aside = Arc::new(Semaphore::new(waiting));
        Self { clock, workers, memory, store, aside, state, idle: Notify::new() }
    }

    /// Adds a stream.
    pub(super) fn open(&self, outbox: Arc<Outbox>) -> usize {
        let mut state = lock(&self.state);
        let key = state.ledger.open(outbox);
        state.ledger.split(self.clock.now(), |stream| stream.waker.wake());
        key
    }

    /// Removes a stream. What waits for it is gone with it, and takes no place from others; what runs for it goes on.
    pub(super) fn close(&self, key: usize, outbox: &Outbox) {
        let now = self.clock.now();
        let mut state = lock(&self.state);
        outbox.close();
        state.orphans += outbox.running.load(Ordering::Relaxed);
        for job in state.queue.take_if(|job| job.outbox.is_closed()) {
            if let Some(copy) = self.successor(&job, now) {
                self.wait(&mut state, copy, now);
            }
        }
        state.ledger.close(key);
        state.ledger.split(now, |stream| stream.waker.wake());
    }

    /// A batch came in on a stream.
    pub(super) fn received(&self, key: usize, calls: usize, waiting: usize) {
        lock(&self.state).ledger.received(key, calls, waiting);
    }

    /// That many answers are about to be sent on a stream of which nothing more will be read if `read_all`.
    pub(super) fn dispatch(&self, key: usize, answers: usize, read_all: bool) -> Dispatch {
        let now = self.clock.now();
        let mut state = lock(&self.state);
        state.ledger.answered(key, answers, now);
        state.ledger.split(now, |stream| stream.waker.wake());
        let ended = (read_all || state.closing) && state.ledger.unanswered(key) == 0;
        Dispatch { grants: state.ledger.untold(key, now), cut: state.guard.cut(now), ended }
    }

    /// Decides on a call.
    pub(super) fn arrive(self: &Arc<Self>, job: Job) -> Arrival {
        match self.memory.claim(job) {
            Claimed::Run(job) => self.place(job),
            Claimed::Waits => Arrival::Waits,
            Claimed::Answered(_, answer) => Arrival::Answered(answer),
        }
    }

    /// A worker or a place in the queue for a call that this instance is to run.
    pub(super) fn place(self: &Arc<Self>, job: Job) -> Arrival {
        let (value, now) = (job.request.value, self.clock.now());
        let mut state = lock(&self.state);
        if state.leaving {
            return Arrival::Answered(self.end(&job, leaving()));
        }
        if let Err(retry_after) = state.guard.admit(now, value) {
            return Arrival::Answered(self.end(&job, refused("above the instance's cut", retry_after)));
        }
        if state.running < self.workers {
            state.running += 1;
            let all_busy = state.running == self.workers;
            state.guard.note_limit(now, all_busy);
            state.guard.left_queue(Duration::ZERO);
            state.begin(&job.outbox);
            return Arrival::Runs(Seat { desk: Some(Arc::clone(self)), outbox: Arc::clone(&job.outbox) }, job);
        }
        self.wait(&mut state, job, now);
        Arrival::Waits
    }

    /// All workers are busy. If the queue is full, the worst call of all is refused.
    fn wait(&self, state: &mut State, job: Job, now: Timestamp) {
        if let Some(worst) = state.queue.push(job.request.value, job) {
            let age = self.age(state, state.queue.len() + 1, &worst, now);
            state.guard.left_queue(age);
            worst.outbox.send(self.end(&worst, refused("the instance's queue is full", RETRY_WHEN_FULL)));
        }
    }

    /// A call ends, and those who waited for it: all get this answer, of which the call's own comes back. Nothing is
    /// remembered here.
    pub(super) fn end(&self, job: &Job, answer: pb::Answer) -> pb::Answer {
        self.memory.answer_copies(self.clock.now(), &job.request.key, &answer);
        pb::Answer { id: job.id, ..answer }
    }

    /// A call will not run, but the first of its copies that still can will: here it is.
    fn successor(&self, job: &Job, now: Timestamp) -> Option<Job> {
        let mut successor = None;
        for copy in self.memory.forget(now, &job.request.key) {
            match fate(&copy, now) {
                Fate::Run => match self.memory.claim(copy) {
                    Claimed::Run(copy) => successor = Some(copy),
                    Claimed::Waits => (),
                    Claimed::Answered(outbox, answer) => outbox.send(answer),
                },
                Fate::Expired => copy.outbox.send(pb::Answer { id: copy.id, ..expired() }),
                Fate::Abandoned => (),
            }
        }
        successor
    }

    /// Closes the guard's window if it is over; tells every stream when that moved the cut.
    pub(super) fn tick(&self) {
        let now = self.clock.now();
        self.memory.sweep(now);
        let mut state = lock(&self.state);
        let oldest = state.queue.iter().min_by_key(|job| job.request.arrived);
        let oldest_age = oldest.map_or(Duration::ZERO, |job| self.age(&state, state.queue.len(), job, now));
        let all_busy = state.running == self.workers;
        state.guard.note_limit(now, all_busy);
        let beyond = state.queue.len().saturating_sub(self.granted(&state)) as f64;
        if state.guard.tick(now, Backlog { oldest: oldest_age, cost: beyond, wanted: beyond }) {
            state.ledger.streams().for_each(|stream| stream.waker.wake());
        }
    }

    /// Refuses every call from now on and withdraws all grants.
    pub(super) fn leave(&self) {
        let mut state = lock(&self.state);
        state.leaving = true;
        state.ledger.leave();
        state.ledger.streams().for_each(|stream| stream.waker.wake());
    }

    /// Whether this instance leaves.
    pub(super) fn is_leaving(&self) -> bool {
        lock(&self.state).leaving
    }

    /// Ends every stream as soon as its calls are answered.
    pub(super) fn end_streams(&self) {
        let mut state = lock(&self.state);
        state.closing = true;
        state.ledger.streams().for_each(|stream| stream.waker.wake());
    }

    /// Waits until nothing runs and nothing waits.
    pub(super) async fn wait_until_idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.is_idle() {
                return;
            }
            idle.await;
        }
    }

    fn is_idle(&self) -> bool {
        let state = lock(&self.state);
        state.running == 0 && state.queue.is_empty()
    }

    /// The next call to run on a worker that is done with one of this stream, or the worker goes idle.
    fn next(&self, done: &Outbox) -> Option<Job> {
        let now = self.clock.now();
        let mut state = lock(&self.state);
        state.guard.completed();
        let next = self.take_next(&mut state, now);
        match &next {
            Some(job) => {
                state.end(done);
                state.begin(&job.outbox);
            }
            None => self.one_less(&mut state, done),
        }
        next
    }

    /// The best of the calls that wait and can still run.
    fn take_next(&self, state: &mut State, now: Timestamp) -> Option<Job> {
        while let Some(job) = state.queue.pop() {
            let age = self.age(state, state.queue.len() + 1, &job, now);
            state.guard.left_queue(age);
            match fate(&job, now) {
                Fate::Run => return Some(job),
                Fate::Expired => job.outbox.send(pb::Answer { id: job.id, ..expired() }),
                Fate::Abandoned => (),
            }
            if let Some(copy) = self.successor(&job, now) {
                return Some(copy);
            }
        }
        None
    }

    /// How long one of so many calls has waited, as the guard sees it. While no more wait than the gateways were granted
    /// beyond the workers, that waiting is what this instance asked for, however long its handlers take.
    fn age(&self, state: &State, waiting: usize, job: &Job, now: Timestamp) -> Duration {
        if waiting <= self.granted(state) { Duration::ZERO } else { now.since(job.request.arrived) }
    }

    /// How many calls this instance asked to have waiting, by what it granted beyond its workers. Of these some may be at work
    /// for a stream that is gone, whose places others have.
    fn granted(&self, state: &State) -> usize {
        (state.ledger.places() + state.orphans).saturating_sub(self.workers)
    }

    fn one_less(&self, state: &mut State, done: &Outbox) {
        state.end(done);
        state.running -= 1;
        state.guard.note_limit(self.clock.now(), false);
        if state.running == 0 {
            self.idle.notify_waiters();
        }
    }
}

impl State {
    /// A worker begins with a call of this stream.
    fn begin(&mut self, outbox: &Outbox) {
        outbox.running.fetch_add(1, Ordering::Relaxed);
        self.orphans += usize::from(outbox.is_closed());
    }

    /// It is done.
    fn end(&mut self, outbox: &Outbox) {
        outbox.running.fetch_sub(1, Ordering::Relaxed);
        self.orphans -= usize::from(outbox.is_closed());
    }
}

enum Fate {
    Run,
    Expired,
    /// Its stream is gone and its gateway has told the client so.
    Abandoned,
}

fn fate(job: &Job, now: Timestamp) -> Fate {
    if job.outbox.is_closed() {
        Fate::Abandoned
    } else if now >= job.request.deadline {
        Fate::Expired
    } else {
        Fate::Run
    }
}

/// A refusal, which lacks its call's id.
pub(super) fn refused(detail: &str, retry_after: Duration) -> pb::Answer {
    let (outcome, retry_after_ms) = (pb::AnswerOutcome::Refused.into(), whole_millis_u32(retry_after));
    pb::Answer { outcome, detail: detail.to_owned(), retry_after_ms, ..pb::Answer::default() }
}

/// The refusal of an instance that leaves.
pub(super) fn leaving() -> pb::Answer {
    refused("leaving", RETRY_WHEN_LEAVING)
}

/// The answer to a call whose time was up before it ran, which lacks the call's id.
pub(super) fn expired() -> pb::Answer {
    pb::Answer { outcome: pb::AnswerOutcome::Expired.into(), ..pb::Answer::default() }
}

/// A busy worker, and whose call it is busy with. Dropping it makes the worker idle.
#[derive(Debug)]
pub(super) struct Seat {
    desk: Option<Arc<Desk>>,
    outbox: Arc<Outbox>,
}

impl Seat {
    /// Takes the next waiting call, or goes idle.
    pub(super) fn next(&mut self) -> Option<Job> {
        let next = self.desk.as_ref()?.next(&self.outbox);
        match &next {
            Some(job) => self.outbox = Arc::clone(&job.outbox),
            None => self.desk = None,
        }
        next
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(desk) = self.desk.take() {
            desk.one_less(&mut lock(&desk.state), &self.outbox);
        }
    }
}
