//! Who is told to move, and when: as fast as a manager says and no faster, everybody once in a round, and nobody on account
//! of those who were told and have not gone yet. Time and clients are arguments, so that a simulation moves by the same rules.

use std::{collections::VecDeque, time::Duration};

use crate::{clock::Timestamp, gateway::roster::SHARDS};

/// How often clients are told.
pub const TICK: Duration = Duration::from_millis(100);
/// Over which time those told together move.
pub use crate::pb::attach::MOVE_WITHIN as WITHIN;
/// Whoever is still here so long after it was told is not going: it does not count as gone any more, and is told again.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often those who were told are looked at: each look takes a lock of each of them. Who has gone meanwhile holds others back
/// for as long.
const LOOK: Duration = Duration::from_secs(1);

/// What a manager wants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wanted {
    /// Clients told per second.
    pub per_second: f64,
    /// No more once so many are left.
    pub down_to: u64,
}

/// Who is next, and who was told.
#[derive(Debug)]
pub struct Mover<T> {
    /// The next shard, and how many of the present round are behind it; all of them make a round.
    shard: usize,
    looked: usize,
    members: VecDeque<T>,
    /// Clients that may be told by now, and a part of one.
    budget: f64,
    /// When the last round ended.
    rested: Option<Timestamp>,
    /// Who was told and was still here at the last look, each with when. Never longer than all who were here then: nobody is
    /// told twice in the time.
    told: VecDeque<(Timestamp, T)>,
    looked_at: Option<Timestamp>,
}

impl<T> Default for Mover<T> {
    fn default() -> Self {
        Self {
            shard: 0,
            looked: 0,
            members: VecDeque::new(),
            budget: 0.0,
            rested: None,
            told: VecDeque::new(),
            looked_at: None,
        }
    }
}

impl<T: Clone> Mover<T> {
    /// Whom to tell in this tick, of so many connections. `shard` appends the members of one shard.
    pub fn tell(
        &mut self,
        wanted: Wanted,
        connections: usize,
        now: Timestamp,
        is_here: impl Fn(&T) -> bool,
        shard: impl FnMut(usize, &mut Vec<T>),
    ) -> Vec<T> {
        self.forget(now, &is_here);
        let stay = usize::try_from(wanted.down_to).unwrap_or(usize::MAX).saturating_add(self.told.len());
        let many = self.may_tell(wanted.per_second).min(connections.saturating_sub(stay));
        let taken = self.take(many, now, is_here, shard);
        self.told.extend(taken.iter().map(|one| (now, one.clone())));
        taken
    }

    /// Nobody is to be told. Once all who were told are gone the round is over, and the next one goes on behind it, so that not
    /// the same clients move again and again.
    pub fn rest(&mut self, now: Timestamp, is_here: impl Fn(&T) -> bool) {
        self.forget(now, is_here);
        self.members.clear();
        self.budget = 0.0;
        if self.told.is_empty() {
            (self.looked, self.rested) = (0, None);
        }
    }

    /// Whoever has gone, and whoever was told too long ago, counts as told no more.
    fn forget(&mut self, now: Timestamp, is_here: impl Fn(&T) -> bool) {
        if self.looked_at.is_some_and(|last| now.since(last) < LOOK) {
            return;
        }
        self.looked_at = Some(now);
        self.told.retain(|(at, one)| now.since(*at) < PATIENCE && is_here(one));
    }

    /// How many may be told now. What was not used in its tick is lost, but for a part of one.
    fn may_tell(&mut self, per_second: f64) -> usize {
        let rate = if per_second.is_finite() { per_second.max(0.0) } else { 0.0 };
        let tick = rate * TICK.as_secs_f64();
        self.budget = (self.budget + tick).min(tick + 1.0);
        self.budget as usize
    }

    /// The next `many`, or fewer at the end of a round.
    fn take(
        &mut self,
        many: usize,
        now: Timestamp,
        is_here: impl Fn(&T) -> bool,
        mut shard: impl FnMut(usize, &mut Vec<T>),
    ) -> Vec<T> {
        let mut taken = Vec::new();
        if self.rested.is_some_and(|rested| now.since(rested) < PATIENCE) {
            self.budget = 0.0;
            return taken;
        }
        self.rested = None;
        while taken.len() < many {
            if let Some(next) = self.members.pop_front() {
                if is_here(&next) {
                    taken.push(next);
                }
            } else if self.looked == SHARDS {
                (self.looked, self.rested) = (0, Some(now));
                break;
            } else {
                let mut members = Vec::new();
                shard(self.shard, &mut members);
                self.members = members.into();
                (self.shard, self.looked) = ((self.shard + 1) % SHARDS, self.looked + 1);
            }
        }
        self.budget -= taken.len() as f64;
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        collections::BTreeSet,
    };

    use super::*;

    fn at(ticks: u32) -> Timestamp {
        Timestamp::ZERO + TICK * ticks
    }

    const fn wanted(per_second: f64, down_to: u64) -> Wanted {
        Wanted { per_second, down_to }
    }

    /// Two members in each shard.
    fn two(shard: usize, members: &mut Vec<usize>) {
        members.extend([2 * shard, 2 * shard + 1]);
    }

    #[test]
    fn clients_are_told_at_the_rate_and_everybody_once_in_a_round() {
        let mut mover = Mover::default();
        let mut told = Vec::new();
        for tick in 0..1000 {
            let now = mover.tell(wanted(50.0, 0), 4 * SHARDS, at(tick), |_| true, two);
            assert!(now.len() <= 5, "{} at once", now.len());
            told.extend(now);
        }
        assert_eq!(told[..2 * SHARDS], (0..2 * SHARDS).collect::<Vec<_>>());
        let rounds = told.iter().filter(|&&member| member == 0).count();
        assert!((3..=4).contains(&rounds), "{rounds} in 100 s of 10 s and 15 s of rest each");
    }

    #[test]
    fn a_low_rate_adds_up_and_an_absurd_one_moves_nobody() {
        let mut mover = Mover::default();
        let told: usize = (0..100).map(|tick| mover.tell(wanted(0.5, 0), 500, at(tick), |_| true, two).len()).sum();
        assert!((4..=6).contains(&told), "{told} in 10 s");
        assert_eq!(Mover::default().tell(wanted(f64::NAN, 0), 500, at(0), |_| true, two), [0; 0]);
    }

    #[test]
    fn what_was_not_used_in_its_tick_is_not_made_up_for() {
        let mut mover = Mover::default();
        (0..50).for_each(|tick| assert_eq!(mover.tell(wanted(100.0, 500), 500, at(tick), |_| true, two), [0; 0]));
        assert_eq!(mover.tell(wanted(100.0, 0), 500, at(50), |_| true, two).len(), 11, "a tick's, and a part of one");
    }

    #[test]
    fn who_was_told_and_has_not_gone_is_nobody_to_tell_others_for() {
        let (gone, mut mover) = (RefCell::new(BTreeSet::new()), Mover::default());
        let mut tell = |tick: u32| {
            let here = |one: &usize| !gone.borrow().contains(one);
            let connections = 2 * SHARDS - gone.borrow().len();
            mover.tell(wanted(1e6, 2 * SHARDS as u64 - 10), connections, at(tick), here, two)
        };
        let first = tell(0);
        assert_eq!(first.len(), 10);
        assert_eq!(tell(1), [0; 0], "they are on their way");
        gone.borrow_mut().extend(first[..4].iter().copied());
        assert_eq!(tell(2), [0; 0], "four have gone, and six are on their way");
        let ticks = |time: Duration| time.as_millis() as u32 / TICK.as_millis() as u32;
        let patient = ticks(PATIENCE);
        assert_eq!(tell(patient - ticks(LOOK)), [0; 0]);
        assert_eq!(tell(patient - 1), [0; 0]);
        let others = tell(patient);
        assert_eq!(others.len(), 6, "whoever does not go is left alone at first");
        assert!(others.iter().all(|other| !first.contains(other)), "{others:?}");
    }

    #[test]
    fn those_who_were_told_are_looked_at_once_a_second() {
        let (looks, mut mover) = (Cell::new(0), Mover::default());
        let here = |_: &usize| {
            looks.set(looks.get() + 1);
            true
        };
        assert_eq!(mover.tell(wanted(1e6, 0), 100, at(0), here, two).len(), 100);
        looks.set(0);
        (1..=50).for_each(|tick| assert_eq!(mover.tell(wanted(0.0, 0), 100, at(tick), here, two), [0; 0]));
        assert_eq!(looks.get(), 5 * 100);
        looks.set(0);
        (51..=100).for_each(|tick| mover.rest(at(tick), here));
        assert_eq!(looks.get(), 5 * 100);
    }

    #[test]
    fn after_a_rest_it_is_the_turn_of_others() {
        let mut mover = Mover::default();
        let first = mover.tell(wanted(1e6, 0), 100, at(0), |_| true, two);
        mover.rest(at(10), |_| false);
        let second = mover.tell(wanted(1e6, 0), 100, at(11), |_| true, two);
        assert_eq!((first.len(), second.len()), (100, 100));
        assert!(second.iter().all(|one| !first.contains(one)), "{second:?}");
    }

    #[test]
    fn a_rest_does_not_begin_a_round_anew_while_some_are_on_their_way() {
        let mut mover = Mover::default();
        let all = mover.tell(wanted(1e6, 0), 2 * SHARDS, at(0), |_| true, two);
        mover.rest(at(10), |_| true);
        assert_eq!((all.len(), mover.tell(wanted(1e6, 0), 4 * SHARDS, at(11), |_| true, two).len()), (2 * SHARDS, 0));
    }
}
