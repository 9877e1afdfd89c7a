//! A bounded queue ordered by level, then by arrival: the best waits in front, and when it is full the worst makes room.
//!
//! Order alone is not enough near the capacity: a level that almost fits is overtaken all the time, and would expire
//! although everybody could be served. So after the gate's patience a request is either still wanted, below the cut, and
//! then is served in turn with the best, or it is not, and then is refused.
//!
//! Pure: it knows neither tasks nor places. Whoever drives it takes the best out when a place becomes free and tells
//! each of its items what became of it. With one level for all it is first in, first out.

use std::{collections::BTreeMap, time::Duration};

use super::{Cause, Cost, Cut, Level, Value, cost::units, drain::DrainRate, fenwick::LevelCounts, places::Backlog};
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
    joined: u64,
    /// Those that had waited long at the last review and are still wanted, the oldest last.
    overdue: Vec<(Timestamp, Position)>,
    /// Counts the requests that were taken out in turn.
    turn: u32,
    /// When the oldest request arrived, at the last review.
    oldest: Option<Timestamp>,
    /// The cost of all that wait, and of what the cut of the last review does not admit.
    cost: u64,
    unwanted: u64,
}

/// One turn in so many belongs to a request that has waited long. The others suffice for the best: what almost fits is
/// a small part of the traffic.
const OVERDUE_TURN: u32 = 3;
/// The same once half of its time has passed.
const URGENT_TURN: u32 = 2;

impl<T> Line<T> {
    /// An empty line of at most `capacity` requests; with 0 nothing ever waits.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            waiting: BTreeMap::new(),
            counts: LevelCounts::new(),
            drain: DrainRate::default(),
            joined: 0,
            overdue: Vec::new(),
            turn: 0,
            oldest: None,
            cost: 0,
            unwanted: 0,
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
    /// [`Cause::Expired`] if its time has passed, [`Cause::TooLate`] if it would pass behind what is before it at the
    /// measured drain rate or has stood still for longer than that, [`Cause::QueueFull`] if everything in the full line is at least as important.
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

    /// Takes the next request out: the best one, or from time to time one that has waited long. The caller looks at its
    /// deadline and says with [`Line::dispatched`] if it goes on.
    pub fn take_next(&mut self, now: Timestamp) -> Option<Left<T>> {
        self.turn = self.turn.wrapping_add(1);
        let oldest = self.overdue.last().and_then(|(_, position)| self.waiting.get(position));
        let urgent = oldest.is_some_and(|(ticket, _)| ticket.is_half_over(now));
        if self.turn.is_multiple_of(if urgent { URGENT_TURN } else { OVERDUE_TURN }) {
            while let Some((_, position)) = self.overdue.pop() {
                if let Some(left) = self.leave(position) {
                    return Some(left);
                }
            }
        }
        let (&position, _) = self.waiting.first_key_value()?;
        self.leave(position)
    }

    /// A request that was taken out goes on: the line drains.
    pub fn dispatched(&mut self) {
        self.drain.dispatched();
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
        (self.oldest, self.unwanted) = (None, 0);
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
        self.drain.wait(now, ahead).is_some_and(|wait| now + wait >= ticket.deadline)
    }

    fn make_room(&mut self, level: Level) -> Result<Left<T>, Cause> {
        match self.waiting.last_key_value() {
            Some((&worst, _)) if level < worst.0 => self.leave(worst).ok_or(Cause::QueueFull),
            _ => Err(Cause::QueueFull),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000);
    const MILLI: Duration = Duration::from_millis(1);

    fn ticket(level: usize) -> Ticket {
        within(level, 500 * MILLI)
    }

    fn within(level: usize, timeout: Duration) -> Ticket {
        Ticket::new(Value::new(Level::from_index(level), 0), NOW, NOW + timeout)
    }

    fn drained(mut line: Line<u32>) -> Vec<u32> {
        std::iter::from_fn(|| line.take_next(NOW).map(|left| left.item)).collect()
    }

    #[test]
    fn the_best_level_goes_first_and_in_a_level_the_first() {
        let mut line = Line::new(8);
        for (item, level) in [(0, 7), (1, 3), (2, 7), (3, 3)] {
            line.join(NOW, ticket(level), item).unwrap();
        }
        assert_eq!(drained(line), [1, 3, 0, 2]);
    }

    #[test]
    fn a_full_line_gives_up_the_last_of_its_worst_for_a_better_one() {
        let mut line = Line::new(2);
        line.join(NOW, ticket(5), 0).unwrap();
        line.join(NOW, ticket(5), 1).unwrap();
        assert_eq!(line.join(NOW, ticket(5), 2).unwrap_err(), Cause::QueueFull);
        let (_, pushed_out) = line.join(NOW, ticket(4), 3).unwrap();
        assert_eq!(pushed_out.unwrap().item, 1);
        assert_eq!(drained(line), [3, 0]);
    }

    #[test]
    fn a_line_that_became_too_long_grows_no_more() {
        let mut line = Line::new(2);
        line.join(NOW, ticket(5), 0).unwrap();
        line.join(NOW, ticket(5), 1).unwrap();
        line.set_capacity(1);
        assert_eq!(line.join(NOW, ticket(5), 2).unwrap_err(), Cause::QueueFull);
        assert!(line.join(NOW, ticket(4), 3).unwrap().1.is_some());
        assert_eq!(line.len(), 2);
        line.set_capacity(3);
        assert!(line.join(NOW, ticket(5), 4).unwrap().1.is_none());
    }

    #[test]
    fn with_a_capacity_of_zero_nothing_waits() {
        assert_eq!(Line::new(0).join(NOW, ticket(0), 0).unwrap_err(), Cause::QueueFull);
    }

    #[test]
    fn what_is_too_late_never_joins() {
        let mut line = Line::new(99);
        assert_eq!(line.join(NOW, within(0, Duration::ZERO), 0).unwrap_err(), Cause::Expired);
        // One dispatch each 10 ms.
        for step in 0..=16 {
            line.join(NOW + MILLI * 10 * step, ticket(9), step).unwrap();
            line.join(NOW + MILLI * 10 * step, ticket(9), step).unwrap();
            line.take_next(NOW).unwrap();
            line.dispatched();
            line.observe(NOW + MILLI * 10 * step);
        }
        assert_eq!(line.len(), 17);
        let now = NOW + MILLI * 160;
        assert_eq!(line.join(now, within(9, 300 * MILLI), 0).unwrap_err(), Cause::TooLate);
        assert!(line.join(now, within(8, 300 * MILLI), 0).is_ok(), "nothing is before it");
    }

    #[test]
    fn a_line_that_stands_still_takes_only_who_has_more_time_than_it_has_stood() {
        let mut line = Line::new(99);
        line.join(NOW, within(5, 500 * MILLI), 0).unwrap();
        let now = NOW + MILLI * 600;
        assert_eq!(line.review(now, Cut::OPEN, 50 * MILLI).len(), 1);
        line.observe(now);
        assert_eq!(line.join(now, within(0, 1100 * MILLI), 1).unwrap_err(), Cause::TooLate, "the best is no exception");
        assert!(line.join(now, within(0, 1300 * MILLI), 2).is_ok());
        line.take_next(now).unwrap();
        line.dispatched();
        assert!(line.join(now, within(5, 700 * MILLI), 3).is_ok(), "it moves again");
    }

    #[test]
    fn after_the_patience_a_request_is_served_in_turn_or_refused() {
        let mut line = Line::new(99);
        line.join(NOW, ticket(5), 5).unwrap();
        line.join(NOW, ticket(7), 7).unwrap();
        for item in 100..109 {
            let later = Ticket { arrived: NOW + 50 * MILLI, ..ticket(3) };
            line.join(NOW + 50 * MILLI, later, item).unwrap();
        }
        let cut = Cut::below_index(6);
        assert!(line.review(NOW + 99 * MILLI, cut, 100 * MILLI).is_empty());
        assert_eq!((line.backlog(NOW).cost, line.backlog(NOW).wanted), (11.0, 10.0));
        let out = line.review(NOW + 100 * MILLI, cut, 100 * MILLI);
        assert_eq!(out.iter().map(|(left, cause)| (left.item, *cause)).collect::<Vec<_>>(), [(7, Cause::ServiceCut)]);
        assert_eq!(drained(line)[..5], [100, 101, 5, 102, 103]);
    }

    #[test]
    fn what_a_minimum_share_let_in_stays_above_the_cut() {
        let mut line = Line::new(9);
        let shared = Ticket { level: Level::MOST_IMPORTANT, ..ticket(800) };
        line.join(NOW, shared, 1).unwrap();
        assert!(line.review(NOW + 200 * MILLI, Cut::below_index(6), 100 * MILLI).is_empty());
    }

    #[test]
    fn the_oldest_is_found_among_those_that_stay() {
        let mut line = Line::new(8);
        let later = Ticket { arrived: NOW + MILLI, ..within(1, 30 * MILLI) };
        line.join(NOW, within(0, 10 * MILLI), 0).unwrap();
        line.join(NOW, later, 1).unwrap();
        assert_eq!(line.review(NOW + MILLI, Cut::OPEN, 400 * MILLI).len(), 0);
        assert_eq!(line.oldest(), Some(NOW));
        assert_eq!(line.review(NOW + 10 * MILLI, Cut::OPEN, 400 * MILLI).len(), 1);
        assert_eq!(line.oldest(), Some(NOW + MILLI));
        assert_eq!(line.review(NOW + 30 * MILLI, Cut::OPEN, 400 * MILLI).len(), 1);
        assert_eq!(line.oldest(), None);
    }

    #[test]
    fn expired_requests_are_taken_out_wherever_they_stand() {
        let mut line = Line::new(8);
        for (item, millis) in [(0, 30), (1, 10), (2, 20)] {
            line.join(NOW, within(item as usize, MILLI * millis), item).unwrap();
        }
        assert!(line.review(NOW + MILLI * 9, Cut::OPEN, 400 * MILLI).is_empty());
        let items = |left: Vec<(Left<u32>, Cause)>| left.into_iter().map(|(left, _)| left.item).collect::<Vec<_>>();
        assert_eq!(items(line.review(NOW + MILLI * 20, Cut::OPEN, 400 * MILLI)), [1, 2]);
        assert_eq!(items(line.review(NOW + MILLI * 30, Cut::OPEN, 400 * MILLI)), [0]);
        assert!(line.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn nothing_is_lost_and_nothing_worse_stays_instead_of_something_better(
            levels in prop::collection::vec(0..40_usize, 1..60), capacity in 0..20_usize,
        ) {
            let mut line = Line::new(capacity);
            let mut out = Vec::new();
            for (item, &level) in levels.iter().enumerate() {
                match line.join(NOW, ticket(level), item as u32) {
                    Ok((_, pushed_out)) => out.extend(pushed_out.map(|left| left.item)),
                    Err(_) => out.push(item as u32),
                }
                prop_assert!(line.len() <= capacity);
            }
            let inside = drained(line);
            prop_assert_eq!(inside.len() + out.len(), levels.len());
            let level_of = |&item: &u32| levels[item as usize];
            prop_assert!(inside.is_sorted_by_key(level_of));
            let worst_inside = inside.iter().map(level_of).max();
            prop_assert!(out.iter().map(level_of).min().is_none_or(|best| worst_inside.is_none_or(|w| w <= best)));
        }
    }
}
