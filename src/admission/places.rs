//! A limited number of places with a line in front: a request goes at once if a place is free and nobody waits, otherwise
//! the best goes when a place becomes free. Pure: whoever drives it says what time it is and tells each request what
//! became of it.
//!
//! It knows exactly for how long all places were taken and what was completed in that time; that is how a gate learns
//! the capacity.

use std::time::Duration;

use super::{
    Cause, Cost, Gate, InFlightLimit,
    queue::{Left, Line, Position, Ticket},
};
use crate::clock::Timestamp;

/// Requests in flight and the line of those that wait.
#[derive(Debug)]
pub struct Places<T> {
    line: Line<T>,
    in_flight: usize,
    places: usize,
    limit: LimitClock,
    /// Finds the number of places, if nobody knows it.
    finder: Option<Finder>,
}

/// Tells a gate for how long all places were taken.
#[derive(Debug, Default)]
pub struct LimitClock {
    /// Since when they have been; what lies before was told.
    since: Option<Timestamp>,
}

impl LimitClock {
    /// All places are taken from now on, or not any more.
    pub fn note(&mut self, now: Timestamp, all_taken: bool, gate: &Gate, shard: usize) {
        if let Some(since) = self.since {
            gate.limited(shard, now.since(since));
        }
        self.since = all_taken.then_some(now);
    }

    /// Whether all places were taken when that was last noted.
    pub const fn is_reached(&self) -> bool {
        self.since.is_some()
    }
}

#[derive(Debug, Default)]
struct Finder {
    limit: InFlightLimit,
    completed: u64,
}

/// A request that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// What it was expected to cost.
    pub cost: Cost,
    /// When it got its place.
    pub placed: Timestamp,
}

/// What becomes of an arriving request.
#[derive(Debug)]
pub enum Arrival<T> {
    /// It has a place.
    Goes,
    /// It waits at this position; it may have pushed out a worse one, which is refused.
    Waits(Position, Option<Left<T>>),
    /// It is refused.
    Refused(Cause),
}

/// A request that is out of the line: it goes on, or it is refused for this cause.
pub type Settled<T> = (Left<T>, Result<(), Cause>);

/// What waits, for the gate's controller.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Backlog {
    /// How long the oldest has waited; zero if nothing waits.
    pub oldest: Duration,
    /// The cost of all that wait.
    pub cost: f64,
    /// The cost of those among them that the cut still admits. The others are only served if nothing better is there.
    pub wanted: f64,
}

impl Backlog {
    /// What waits in two lines.
    pub fn join(self, other: Self) -> Self {
        Self { oldest: self.oldest.max(other.oldest), cost: self.cost + other.cost, wanted: self.wanted + other.wanted }
    }
}

impl<T> Places<T> {
    /// `places` free places, with a line for `capacity` requests.
    pub fn new(capacity: usize, places: usize) -> Self {
        Self { line: Line::new(capacity), in_flight: 0, places, limit: LimitClock::default(), finder: None }
    }

    /// A request arrives. Whatever leaves the line is told to `gate`, in this worker's shard.
    pub fn enter(&mut self, now: Timestamp, ticket: Ticket, item: T, gate: &Gate, shard: usize) -> Arrival<T> {
        if self.in_flight < self.places && self.line.is_empty() && now < ticket.deadline {
            self.in_flight += 1;
            self.line.passed_by();
            self.note_limit(now, gate, shard);
            gate.sample(shard, now.since(ticket.arrived));
            return Arrival::Goes;
        }
        match self.line.join(now, ticket, item) {
            Err(cause) => Arrival::Refused(cause),
            Ok((position, pushed_out)) => {
                if let Some(left) = &pushed_out {
                    gate.sample(shard, now.since(left.ticket.arrived));
                }
                Arrival::Waits(position, pushed_out)
            }
        }
    }

    /// A place becomes free: its request was answered, or else was lost. [`Places::grant`] comes next. `now` is asked for
    /// only where it matters.
    pub fn release(&mut self, answered: Option<Answered>, now: impl Fn() -> Timestamp, gate: &Gate, shard: usize) {
        let limited = self.limit.is_reached();
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(Answered { cost, placed }) = answered {
            gate.completed(shard, cost, limited);
            if self.line.answered() {
                self.line.observe_stay(cost, now().since(placed));
            }
            self.finder.iter_mut().for_each(|finder| finder.completed += 1);
        }
        // With somebody in line the place is taken again at once.
        if limited && self.line.is_empty() {
            self.note_limit(now(), gate, shard);
        }
    }

    /// The next that leaves the line because a place is free: it goes on, or its time has passed, or will have before an
    /// answer can come.
    pub fn grant(&mut self, now: Timestamp, gate: &Gate, shard: usize) -> Option<Settled<T>> {
        let free = self.in_flight < self.places;
        let best = if free { self.line.take_next(now) } else { None };
        let Some(left) = best else {
            self.line.observe(now);
            self.note_limit(now, gate, shard);
            return None;
        };
        gate.sample(shard, now.since(left.ticket.arrived));
        if let Some(cause) = self.line.is_late(now, &left.ticket) {
            return Some((left, Err(cause)));
        }
        self.in_flight += 1;
        self.line.dispatched();
        Some((left, Ok(())))
    }

    /// Takes out what must not wait any longer: what is past its deadline, and what the cut has left behind for longer
    /// than the gate's patience. To be called about every 10 ms, with [`Places::grant`] after it; tells the gate how long
    /// all places were taken.
    pub fn expire(&mut self, now: Timestamp, gate: &Gate, shard: usize) -> Vec<(Left<T>, Cause)> {
        let out = self.line.review(now, gate.effective_cut(), gate.patience());
        out.iter().for_each(|(left, _)| gate.sample(shard, now.since(left.ticket.arrived)));
        self.line.observe(now);
        self.note_limit(now, gate, shard);
        if let Some(finder) = &mut self.finder {
            finder.limit.look(now, self.in_flight, std::mem::take(&mut finder.completed));
            self.places = finder.limit.places();
        }
        out
    }

    /// Takes out everything that waits.
    pub fn take_all(&mut self, now: Timestamp, gate: &Gate, shard: usize) -> Vec<Left<T>> {
        let all: Vec<_> = std::iter::from_fn(|| self.line.take_next(now)).collect();
        all.iter().for_each(|left| gate.sample(shard, now.since(left.ticket.arrived)));
        self.line.review(now, gate.effective_cut(), gate.patience());
        self.line.observe(now);
        all
    }

    /// Takes a request out that does not want to wait any longer.
    pub fn leave(&mut self, now: Timestamp, position: Position, gate: &Gate, shard: usize) -> Option<Left<T>> {
        let left = self.line.leave(position)?;
        gate.sample(shard, now.since(left.ticket.arrived));
        self.line.observe(now);
        Some(left)
    }

    /// How many may be in flight from now on. If that is less than there are, nothing goes until enough have come back;
    /// if it is more, [`Places::grant`] comes next.
    pub fn set_places(&mut self, places: usize) {
        self.places = places;
        self.finder = None;
    }

    /// Finds out how many may be in flight ([`InFlightLimit`]), until [`Places::set_places`] says it.
    pub fn find_places(&mut self) {
        let finder = self.finder.get_or_insert_default();
        self.places = finder.limit.places();
    }

    /// How many may wait from now on; those that wait already stay.
    pub const fn set_capacity(&mut self, capacity: usize) {
        self.line.set_capacity(capacity);
    }

    /// What waited at the last [`Places::expire`].
    pub fn backlog(&self, now: Timestamp) -> Backlog {
        self.line.backlog(now)
    }

    /// When the oldest request arrived that waited at the last [`Places::expire`].
    pub const fn oldest(&self) -> Option<Timestamp> {
        self.line.oldest()
    }

    /// What is kept with a waiting request.
    pub fn item_mut(&mut self, position: Position) -> Option<&mut T> {
        self.line.item_mut(position)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.line.len()
    }

    /// How many are in flight.
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many may be in flight.
    pub const fn places(&self) -> usize {
        self.places
    }

    /// Whether somebody waits for whom a place is free.
    pub fn is_due(&self) -> bool {
        self.in_flight < self.places && !self.line.is_empty()
    }

    /// Whether all places are taken. Without any place there is nothing whose capacity could be told.
    pub const fn at_limit(&self) -> bool {
        self.places > 0 && self.in_flight >= self.places
    }

    /// Tells the gate how long all places were taken up to now.
    fn note_limit(&mut self, now: Timestamp, gate: &Gate, shard: usize) {
        self.limit.note(now, self.at_limit(), gate, shard);
    }
}
