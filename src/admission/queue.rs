//! A bounded queue ordered by level, then by arrival: the best waits in front, and when it is full the worst makes room.
//!
//! Order alone is not enough near the capacity: a level that almost fits is overtaken all the time, and would expire
//! although everybody could be served. So after the gate's patience a request is either still wanted, below the cut, and
//! then is served in turn with the best, or it is not, and then is refused.
//!
//! Pure: it knows neither tasks nor places. Whoever drives it takes the best out when a place becomes free and tells
//! each of its items what became of it. With one level for all it is first in, first out.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Cause, Cost, Cut, Level, Value, cost::units, drain::DrainRate, fenwick::LevelCounts, places::Backlog, stay::Stay,
};
use crate::clock::Timestamp;

/// What the queue knows of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Its importance.
    pub value: Value,
    /// Where it stands in line; the first of a level comes first. Its own level, or a better one for what was let in by
    /// its business's minimum share: in a line ordered by importance that would wait for ever.
    pub level: Level,
    /// What it is expected to cost.
    pub cost: Cost,
    /// When it arrived at this process.
    pub arrived: Timestamp,
    /// When its answer is of no use any more.
    pub deadline: Timestamp,
}

impl Ticket {
    /// A ticket whose level is that of its value, at the usual cost.
    pub const fn new(value: Value, arrived: Timestamp, deadline: Timestamp) -> Self {
        Self { value, level: value.level(), cost: Cost::ONE, arrived, deadline }
    }

    /// Whether the cut admits it, or a minimum share has let it in.
    fn is_below(&self, cut: Cut) -> bool {
        cut.admits(self.value) || self.level < self.value.level()
    }

    fn has_waited(&self, now: Timestamp, patience: Duration) -> bool {
        now.since(self.arrived) >= patience || self.is_half_over(now)
    }

    fn is_half_over(&self, now: Timestamp) -> bool {
        now.since(self.arrived) >= self.deadline.since(now)
    }
}

/// Where a request stands in the line: the best is the smallest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(Level, u64);

/// A request that is out of the line.
#[derive(Debug)]
pub struct Left<T> {
    /// Where it stood.
    pub position: Position,
    /// What was known of it.
    pub ticket: Ticket,
    /// What was kept with it.
    pub item: T,
}

/// The waiting requests.
#[derive(Debug)]
pub struct Line<T> {
    capacity: usize,
    waiting: BTreeMap<Position, (Ticket, T)>,
    counts: LevelCounts,
    drain: DrainRate,
    stay: Stay,
    joined: u64,
    /// Those that had waited long at the last review and are still wanted, the oldest last.
    overdue: Vec<(Timestamp, Position)>,
    /// What the best cost that were taken out while others were overdue, less what that has paid for.
    credit: u64,
    /// When the oldest request arrived, at the last review.
    oldest: Option<Timestamp>,
    /// The cost of all that wait, and of what the cut of the last review does not admit.
    cost: u64,
    unwanted: u64,
    /// Whether the cut of the last review refuses anything: then a place that goes to work that can hardly be answered in
    /// time is taken from somebody else. Otherwise it may as well be tried.
    pressed: bool,
}

/// For each part that goes to a request that has waited long, so many go to the best: these suffice for them, because
/// what almost fits is a small part of the traffic.
const OVERDUE_PARTS: u64 = 2;
/// The same once half of its time has passed.
const URGENT_PARTS: u64 = 1;
/// With so few in line a place would soon idle if those were turned away that can only just be answered.
const FEW: usize = 4;

impl<T> Line<T> {
    /// An empty line of at most `capacity` requests; with 0 nothing ever waits.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            waiting: BTreeMap::new(),
            counts: LevelCounts::new(),
            drain: DrainRate::default(),
            stay: Stay::default(),
            joined: 0,
            overdue: Vec::new(),
            credit: 0,
            oldest: None,
            cost: 0,
            unwanted: 0,
            pressed: false,
        }
    }

    /// How many may wait from now on. What waits already stays; a line that is too long takes only what pushes out
    /// something worse.
    pub const fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// Puts a request in line. If the line is full, the worst request leaves it for a better one and is returned.
    ///
    /// # Errors
    ///
    /// [`Cause::Expired`] if its time has passed, [`Cause::TooLate`] if behind what is before it, at the measured drain
    /// rate, its turn would come too late, or its answer where enough others wait to tell that, or if the line has stood
    /// still for longer than it has time, [`Cause::QueueFull`] if everything in the full line is at least as important.
    pub fn join(&mut self, now: Timestamp, ticket: Ticket, item: T) -> Result<(Position, Option<Left<T>>), Cause> {
        if ticket.deadline <= now {
            return Err(Cause::Expired);
        }
        if self.would_be_late(now, ticket) {
            return Err(Cause::TooLate);
        }
        let pushed_out = if self.waiting.len() < self.capacity { None } else { Some(self.make_room(ticket.level)?) };
        let position = Position(ticket.level, self.joined);
        self.joined += 1;
        self.waiting.insert(position, (ticket, item));
        self.counts.add(ticket.level);
        self.cost = self.cost.wrapping_add(ticket.cost.ticks());
        self.drain.observe(now, true);
        Ok((position, pushed_out))
    }

    /// Takes the next request out: the best one, or from time to time one that has waited long. The caller asks whether
    /// it [is late](Line::is_late) and says with [`Line::dispatched`] if it goes on.
    pub fn take_next(&mut self, now: Timestamp) -> Option<Left<T>> {
        if let Some(position) = self.overdue_whose_turn_it_is(now) {
            self.overdue.pop();
            return self.leave(position);
        }
        let (&position, _) = self.waiting.first_key_value()?;
        let left = self.leave(position)?;
        if !self.overdue.is_empty() {
            self.credit = self.credit.saturating_add(left.ticket.cost.ticks());
        }
        Some(left)
    }

    /// The one that has waited longest, once the best have had their part, by cost: dear work among cheap would take more
    /// than its turns. Pays for it.
    fn overdue_whose_turn_it_is(&mut self, now: Timestamp) -> Option<Position> {
        while self.overdue.pop_if(|(_, position)| !self.waiting.contains_key(position)).is_some() {}
        let &(_, position) = self.overdue.last()?;
        let (ticket, _) = self.waiting.get(&position)?;
        let parts = if ticket.is_half_over(now) { URGENT_PARTS } else { OVERDUE_PARTS };
        let price = ticket.cost.ticks() * parts;
        self.credit = self.credit.checked_sub(price)?;
        Some(position)
    }

    /// A request that was taken out goes on: the line drains.
    pub fn dispatched(&mut self) {
        self.drain.dispatched();
    }

    /// Why a request that was taken out should not go on: its time has passed, or under pressure it hardly could be
    /// answered in it while enough others wait for the place. One of a few goes in any case: a place that idles helps
    /// nobody, and so it does not go unnoticed that answers come sooner again.
    pub fn is_late(&self, now: Timestamp, ticket: &Ticket) -> Option<Cause> {
        if ticket.deadline <= now {
            return Some(Cause::Expired);
        }
        let peers = self.counts.through(ticket.level) as usize;
        let late = self.is_unlikely(now, ticket, peers) || self.is_hopeless(now, ticket, self.waiting.len());
        late.then_some(Cause::TooLate)
    }

    /// An answer has come to a request that went on. Tells whether to [observe](Line::observe_stay) how long it took.
    pub fn answered(&mut self) -> bool {
        self.stay.answered()
    }

    /// A request of this cost was answered after so long.
    pub fn observe_stay(&mut self, cost: Cost, took: Duration) {
        self.stay.observe(cost, took);
    }

    /// A request goes on without having been in line: nothing stands still.
    pub fn passed_by(&mut self) {
        self.drain.passed_by();
    }

    /// Takes a request out that does not want to wait any longer.
    pub fn leave(&mut self, position: Position) -> Option<Left<T>> {
        let (ticket, item) = self.waiting.remove(&position)?;
        self.counts.remove(ticket.level);
        self.cost = self.cost.wrapping_sub(ticket.cost.ticks());
        Some(Left { position, ticket, item })
    }

    /// Takes out what must not wait any longer: what is past its deadline, and what has waited for longer than the
    /// `patience` (or half of its time, if that is less) and lies above the cut: that is served only while nothing better
    /// is there, and should rather learn soon. Everybody else is served in turn with the best after so long. To be called
    /// every few milliseconds.
    pub fn review(&mut self, now: Timestamp, cut: Cut, patience: Duration) -> Vec<(Left<T>, Cause)> {
        let mut out = Vec::new();
        (self.oldest, self.unwanted, self.pressed) = (None, 0, cut != Cut::OPEN);
        self.overdue.clear();
        for (&position, (ticket, _)) in &self.waiting {
            let has_waited = ticket.has_waited(now, patience);
            if ticket.deadline <= now {
                out.push((position, Cause::Expired));
                continue;
            }
            if has_waited && !ticket.is_below(cut) {
                out.push((position, Cause::ServiceCut));
                continue;
            }
            if has_waited {
                self.overdue.push((ticket.arrived, position));
            }
            if !ticket.is_below(cut) {
                self.unwanted += ticket.cost.ticks();
            }
            self.oldest = Some(self.oldest.map_or(ticket.arrived, |oldest| oldest.min(ticket.arrived)));
        }
        self.overdue.sort_unstable_by(|one, other| other.cmp(one));
        if self.overdue.is_empty() {
            self.credit = 0;
        }
        out.into_iter().filter_map(|(position, cause)| Some((self.leave(position)?, cause))).collect()
    }

    /// What waits, as of the last [`Line::review`].
    pub fn backlog(&self, now: Timestamp) -> Backlog {
        let oldest = self.oldest.map_or(Duration::ZERO, |oldest| now.since(oldest));
        Backlog { oldest, cost: units(self.cost), wanted: units(self.cost.saturating_sub(self.unwanted)) }
    }

    /// To be called after anything left, and regularly: measures the drain rate.
    pub fn observe(&mut self, now: Timestamp) {
        self.drain.observe(now, !self.waiting.is_empty());
    }

    /// What is kept with a waiting request.
    pub fn item_mut(&mut self, position: Position) -> Option<&mut T> {
        self.waiting.get_mut(&position).map(|(_, item)| item)
    }

    /// When the oldest request arrived that waited at the last [`Line::review`]: to find it costs a look at each.
    pub const fn oldest(&self) -> Option<Timestamp> {
        self.oldest
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn would_be_late(&self, now: Timestamp, ticket: Ticket) -> bool {
        let ahead = self.counts.through(ticket.level);
        let Some(wait) = self.drain.wait(now, ahead) else { return false };
        let begins = now + wait;
        let ahead = ahead as usize;
        begins >= ticket.deadline
            || self.is_unlikely(begins, &ticket, ahead)
            || self.is_hopeless(begins, &ticket, ahead)
    }

    /// Whether a place that it gets then had better go to one of so many others that are as important.
    fn is_unlikely(&self, begins: Timestamp, ticket: &Ticket, peers: usize) -> bool {
        self.pressed && peers >= FEW && begins + self.stay.of_most(ticket.cost) > ticket.deadline
    }

    /// The same, whatever the others are.
    fn is_hopeless(&self, begins: Timestamp, ticket: &Ticket, others: usize) -> bool {
        others >= FEW && begins + self.stay.of_half(ticket.cost) > ticket.deadline
    }

    fn make_room(&mut self, level: Level) -> Result<Left<T>, Cause> {
        match self.waiting.last_key_value() {
            Some((&worst, _)) if level < worst.0 => self.leave(worst).ok_or(Cause::QueueFull),
            _ => Err(Cause::QueueFull),
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
