//! In-flight places: each is held by one [`Place`], and dropping it lets the best waiting request go.
//!
//! Every change happens under the queue's lock; wakers are called after it is released.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{
    admission::{
        Cause, Gate, Refusal, Value,
        queue::{Left, Line, Position, Ticket},
    },
    clock::{Clock, Timestamp},
};

/// What the queue's services, places and handles share.
pub(super) struct Shared {
    state: Mutex<State>,
    /// When the oldest waiting request arrived, [`NOBODY`] for none; read by other threads than the queue's own.
    oldest_nanos: AtomicU64,
    gate: Arc<Gate>,
    shard: usize,
    clock: Clock,
}

/// No request waits: no arrival is later.
const NOBODY: u64 = u64::MAX;

struct State {
    line: Line<Option<Waker>>,
    /// What became of those that are out of the line and have not been polled since.
    settled: BTreeMap<Position, Settled>,
    in_flight: usize,
    places: usize,
}

/// What became of a waiting request.
enum Settled {
    /// It has a place, which is counted as in flight.
    Granted,
    Refused(Cause),
}

/// What a queue says to an arriving request.
pub(super) enum Entry {
    Go(Place),
    Wait(Turn),
    Refused(Refusal),
}

/// Wakers to be called once the lock is released.
type Wakers = Vec<Waker>;

impl Shared {
    pub(super) fn new(capacity: usize, places: usize, gate: Arc<Gate>, shard: usize, clock: Clock) -> Self {
        let state = State { line: Line::new(capacity), settled: BTreeMap::new(), in_flight: 0, places };
        Self { state: Mutex::new(state), oldest_nanos: AtomicU64::new(NOBODY), gate, shard, clock }
    }

    /// Gives an arriving request a place, puts it in line, or refuses it.
    pub(super) fn enter(self: &Arc<Self>, ticket: Ticket, value: Value) -> Entry {
        let now = self.clock.now();
        let mut state = self.state();
        if state.in_flight < state.places && state.line.is_empty() && now < ticket.deadline {
            state.in_flight += 1;
            self.gate.sample(self.shard, now.since(ticket.arrived));
            drop(state);
            return Entry::Go(Place::new(self));
        }
        match state.line.join(now, ticket, None) {
            Err(cause) => Entry::Refused(self.gate.refusal(cause, now, value)),
            Ok((position, pushed_out)) => {
                let waker = pushed_out.and_then(|left| self.settle(&mut state, now, left, Some(Cause::PushedOut)));
                drop(state);
                waker.into_iter().for_each(Waker::wake);
                Entry::Wait(Turn { shared: self.clone(), position: Some(position), value })
            }
        }
    }

    /// Frees a place and lets the best waiting request have it.
    fn release(&self, completed: bool) {
        let mut state = self.state();
        state.in_flight -= 1;
        if completed {
            self.gate.completed(self.shard);
        }
        let wakers = self.grant(&mut state);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Gives free places to the best of those waiting; what has expired is refused on the way.
    fn grant(&self, state: &mut State) -> Wakers {
        let mut wakers = Wakers::new();
        // Most of the time nobody waits, and the clock need not be asked.
        if state.line.is_empty() || state.in_flight >= state.places {
            return wakers;
        }
        let now = self.clock.now();
        while state.in_flight < state.places
            && let Some(left) = state.line.take_best()
        {
            let expired = left.ticket.deadline <= now;
            if !expired {
                state.in_flight += 1;
                state.line.dispatched();
            }
            wakers.extend(self.settle(state, now, left, expired.then_some(Cause::Expired)));
        }
        state.line.observe(now);
        wakers
    }

    /// Notes what became of a request that left the line: refused, or granted if there is no cause.
    fn settle(
        &self,
        state: &mut State,
        now: Timestamp,
        left: Left<Option<Waker>>,
        cause: Option<Cause>,
    ) -> Option<Waker> {
        self.gate.sample(self.shard, now.since(left.ticket.arrived));
        state.settled.insert(left.position, cause.map_or(Settled::Granted, Settled::Refused));
        left.item
    }

    /// The future that waited at `position` is gone.
    fn abandon(&self, position: Position) {
        let mut state = self.state();
        if let Some(left) = state.line.leave(position) {
            let now = self.clock.now();
            self.gate.sample(self.shard, now.since(left.ticket.arrived));
            state.line.observe(now);
        } else if let Some(Settled::Granted) = state.settled.remove(&position) {
            drop(state);
            self.release(false);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The counts are right at every moment in which a panic could leave the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Queue")
            .field("waiting", &state.line.len())
            .field("in_flight", &state.in_flight)
            .field("places", &state.places)
            .finish()
    }
}

/// A request's turn to come. Dropping it leaves the line, or passes on a place that was granted meanwhile.
pub(super) struct Turn {
    shared: Arc<Shared>,
    position: Option<Position>,
    value: Value,
}

impl Turn {
    /// Ready with a place, or with the refusal.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Place, Refusal>> {
        let position = self.position.expect("a turn comes once");
        let mut state = self.shared.state();
        let Some(settled) = state.settled.remove(&position) else {
            if let Some(waker) = state.line.item_mut(position) {
                waker.get_or_insert_with(|| cx.waker().clone()).clone_from(cx.waker());
            }
            return Poll::Pending;
        };
        drop(state);
        self.position = None;
        Poll::Ready(match settled {
            Settled::Granted => Ok(Place::new(&self.shared)),
            Settled::Refused(cause) => Err(self.shared.gate.refusal(cause, self.shared.clock.now(), self.value)),
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(position) = self.position {
            self.shared.abandon(position);
        }
    }
}

/// The right to be in flight. It may outlive the caller: an inner service that hands its work to a remote peer keeps the
/// place until the answer is there. Dropping it frees the place.
#[must_use = "dropping it frees the place"]
pub struct Place {
    shared: Arc<Shared>,
    completed: bool,
}

impl Place {
    /// A place that `shared` has counted as in flight already.
    fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: shared.clone(), completed: false }
    }

    /// Frees the place of a request that was answered, and tells the gate so ([`Gate::completed`]).
    pub fn complete(mut self) {
        self.completed = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.release(self.completed);
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}

/// A request whose turn has come, with its place.
#[derive(Debug)]
pub struct Placed<R> {
    /// Frees the place when dropped.
    pub place: Place,
    /// Its importance.
    pub value: Value,
    /// The request itself.
    pub request: R,
}

/// Steers a queue and looks at it; for the worker's 10 ms round, for whoever knows the grants, and for reports.
#[derive(Clone, Debug)]
pub struct QueueHandle(Arc<Shared>);

impl QueueHandle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// How many requests may be in flight from now on. If that is less than there are, nothing goes until enough have
    /// come back.
    pub fn set_places(&self, places: usize) {
        let mut state = self.0.state();
        state.places = places;
        let wakers = self.0.grant(&mut state);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How many requests may wait from now on; those that wait already stay.
    pub fn set_capacity(&self, capacity: usize) {
        self.0.state().line.set_capacity(capacity);
    }

    /// Refuses what has waited past its deadline, and tells the gate whether all places are taken. To be called about
    /// every 10 ms.
    pub fn expire(&self, now: Timestamp) {
        let mut state = self.0.state();
        let mut wakers = Wakers::new();
        for left in state.line.take_expired(now) {
            wakers.extend(self.0.settle(&mut state, now, left, Some(Cause::Expired)));
        }
        state.line.observe(now);
        self.0.oldest_nanos.store(state.line.oldest().map_or(NOBODY, Timestamp::as_nanos), Relaxed);
        self.0.gate.observe_limit(self.0.shard, state.at_limit());
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Refuses everything that waits, because an instance was lost or the process shuts down. What arrives later waits
    /// as before.
    pub fn refuse_all(&self, cause: Cause) {
        let now = self.0.clock.now();
        let mut state = self.0.state();
        let mut wakers = Wakers::new();
        while let Some(left) = state.line.take_best() {
            wakers.extend(self.0.settle(&mut state, now, left, Some(cause)));
        }
        state.line.observe(now);
        self.0.oldest_nanos.store(NOBODY, Relaxed);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The age of the oldest request that waited at the last [`QueueHandle::expire`]; zero if none did. Takes no lock.
    pub fn oldest_waiting(&self, now: Timestamp) -> Duration {
        now.since(Timestamp::from_nanos(self.0.oldest_nanos.load(Relaxed)))
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.0.state().line.len()
    }

    /// How many are in flight.
    pub fn in_flight(&self) -> usize {
        self.0.state().in_flight
    }

    /// How many may be in flight.
    pub fn places(&self) -> usize {
        self.0.state().places
    }

    /// Whether all places are taken. Without any place there is nothing whose capacity could be told.
    pub fn at_limit(&self) -> bool {
        self.0.state().at_limit()
    }
}

impl State {
    fn at_limit(&self) -> bool {
        self.places > 0 && self.in_flight >= self.places
    }
}
