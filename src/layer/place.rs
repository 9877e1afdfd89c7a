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
};

use crate::{
    admission::{
        Backlog, Cause, Gate, Refusal, Value,
        places::{Answered, Arrival, Places},
        queue::{Left, Position, Ticket},
    },
    clock::{Clock, Timestamp},
};

/// What the queue's services, places and handles share.
pub(super) struct Shared {
    state: Mutex<State>,
    /// What waited at the last look, read by other threads than the queue's own.
    published: Published,
    gate: Arc<Gate>,
    shard: usize,
    clock: Clock,
}

/// A backlog in atomics.
struct Published {
    /// When the oldest waiting request arrived, [`NOBODY`] for none.
    oldest_nanos: AtomicU64,
    /// The bits of two floats.
    cost: AtomicU64,
    wanted: AtomicU64,
}

/// No request waits: no arrival is later.
const NOBODY: u64 = u64::MAX;

struct State {
    places: Places<Option<Waker>>,
    /// What became of those that are out of the line and have not been polled since.
    settled: BTreeMap<Position, Settled>,
}

/// What became of a waiting request.
enum Settled {
    /// It has a place, which is counted as in flight.
    Granted(Answered),
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
        let state = State { places: Places::new(capacity, places), settled: BTreeMap::new() };
        Self { state: Mutex::new(state), published: Published::new(), gate, shard, clock }
    }

    /// Gives an arriving request a place, puts it in line, or refuses it.
    pub(super) fn enter(self: &Arc<Self>, ticket: Ticket) -> Entry {
        let now = self.clock.now();
        let mut state = self.state();
        match state.places.enter(now, ticket, None, &self.gate, self.shard) {
            Arrival::Goes => Entry::Go(Place::new(self, Answered { cost: ticket.cost, placed: now })),
            Arrival::Refused(cause) => Entry::Refused(self.gate.refusal(cause, now, ticket.value)),
            Arrival::Waits(position, pushed_out) => {
                let waker = pushed_out.and_then(|left| state.settle(now, left, Err(Cause::PushedOut)));
                drop(state);
                waker.into_iter().for_each(Waker::wake);
                Entry::Wait(Turn { shared: self.clone(), position: Some(position), value: ticket.value })
            }
        }
    }

    /// Frees a place, of a request that was answered or of one that was lost, and lets the best waiting request have it.
    fn release(&self, answered: Option<Answered>) {
        let mut state = self.state();
        state.places.release(answered, || self.clock.now(), &self.gate, self.shard);
        self.grant(state);
    }

    /// Gives free places to the best of those waiting; what has expired is refused on the way.
    fn grant(&self, mut state: MutexGuard<'_, State>) {
        // Most of the time nobody waits, and the clock need not be asked.
        if !state.places.is_due() {
            return;
        }
        let now = self.clock.now();
        let mut wakers = Wakers::new();
        while let Some((left, fate)) = state.places.grant(now, &self.gate, self.shard) {
            wakers.extend(state.settle(now, left, fate));
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The future that waited at `position` is gone.
    fn abandon(&self, position: Position) {
        let mut state = self.state();
        if state.places.leave(self.clock.now(), position, &self.gate, self.shard).is_none()
            && let Some(Settled::Granted(_)) = state.settled.remove(&position)
        {
            drop(state);
            self.release(None);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The counts are right at every moment in which a panic could leave the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Notes what became of a request that left the line.
    fn settle(&mut self, now: Timestamp, left: Left<Option<Waker>>, fate: Result<(), Cause>) -> Option<Waker> {
        let granted = Answered { cost: left.ticket.cost, placed: now };
        let settled = fate.map_or_else(Settled::Refused, |()| Settled::Granted(granted));
        self.settled.insert(left.position, settled);
        left.item
    }
}

impl Published {
    const fn new() -> Self {
        Self { oldest_nanos: AtomicU64::new(NOBODY), cost: AtomicU64::new(0), wanted: AtomicU64::new(0) }
    }

    fn store(&self, places: &Places<Option<Waker>>, now: Timestamp) {
        let backlog = places.backlog(now);
        self.oldest_nanos.store(places.oldest().map_or(NOBODY, Timestamp::as_nanos), Relaxed);
        self.cost.store(backlog.cost.to_bits(), Relaxed);
        self.wanted.store(backlog.wanted.to_bits(), Relaxed);
    }

    fn load(&self, now: Timestamp) -> Backlog {
        Backlog {
            oldest: now.since(Timestamp::from_nanos(self.oldest_nanos.load(Relaxed))),
            cost: f64::from_bits(self.cost.load(Relaxed)),
            wanted: f64::from_bits(self.wanted.load(Relaxed)),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Queue")
            .field("waiting", &state.places.waiting())
            .field("in_flight", &state.places.in_flight())
            .field("places", &state.places.places())
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
            if let Some(waker) = state.places.item_mut(position) {
                waker.get_or_insert_with(|| cx.waker().clone()).clone_from(cx.waker());
            }
            return Poll::Pending;
        };
        drop(state);
        self.position = None;
        Poll::Ready(match settled {
            Settled::Granted(granted) => Ok(Place::new(&self.shared, granted)),
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
    /// What there is to tell once it is answered.
    answered: Answered,
    completed: bool,
}

impl Place {
    /// A place that `shared` has counted as in flight already.
    fn new(shared: &Arc<Shared>, answered: Answered) -> Self {
        Self { shared: shared.clone(), answered, completed: false }
    }

    /// Frees the place of a request that was answered, and tells the gate so ([`Gate::completed`]).
    pub fn complete(mut self) {
        self.completed = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.release(self.completed.then_some(self.answered));
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
        state.places.set_places(places);
        self.0.grant(state);
    }

    /// Finds out from now on how many requests should be in flight
    /// ([`InFlightLimit`](crate::admission::InFlightLimit)), until [`QueueHandle::set_places`] says it.
    pub fn find_places(&self) {
        let mut state = self.0.state();
        state.places.find_places();
        self.0.grant(state);
    }

    /// How many requests may wait from now on; those that wait already stay.
    pub fn set_capacity(&self, capacity: usize) {
        self.0.state().places.set_capacity(capacity);
    }

    /// Refuses what has waited past its deadline or for too long behind the cut, and tells the gate for how long all places
    /// were taken. To be called about every 10 ms.
    pub fn expire(&self, now: Timestamp) {
        let Shared { gate, shard, .. } = &*self.0;
        let mut state = self.0.state();
        let mut wakers = Wakers::new();
        for (left, cause) in state.places.expire(now, gate, *shard) {
            wakers.extend(state.settle(now, left, Err(cause)));
        }
        self.0.published.store(&state.places, now);
        self.0.grant(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Refuses everything that waits, because an instance was lost or the process shuts down. What arrives later waits
    /// as before.
    pub fn refuse_all(&self, cause: Cause) {
        let now = self.0.clock.now();
        let mut state = self.0.state();
        let mut wakers = Wakers::new();
        for left in state.places.take_all(now, &self.0.gate, self.0.shard) {
            wakers.extend(state.settle(now, left, Err(cause)));
        }
        self.0.published.store(&state.places, now);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// What waited at the last [`QueueHandle::expire`]. Takes no lock.
    pub fn backlog(&self, now: Timestamp) -> Backlog {
        self.0.published.load(now)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.0.state().places.waiting()
    }

    /// How many are in flight.
    pub fn in_flight(&self) -> usize {
        self.0.state().places.in_flight()
    }

    /// How many may be in flight.
    pub fn places(&self) -> usize {
        self.0.state().places.places()
    }

    /// Whether all places are taken. Without any place there is nothing whose capacity could be told.
    pub fn at_limit(&self) -> bool {
        self.0.state().places.at_limit()
    }
}
