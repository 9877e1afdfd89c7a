//! Clients that are not connected, as counts: how many will try to log in where, at which moment, after what. They are no
//! objects; a hundred million of them are as many cells as there are gateways times stages times moments that they wait for.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use fastrand::Rng;

use super::TICK;
use crate::{
    client::backoff::{Backoff, MAX_REDIRECTS, hinted},
    ticket::Coming,
};

/// Where a client is between two connections. What it shares with others makes it one of a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stage {
    /// Logins that failed since the loss, as far as they matter: the wait does not grow any more after so many.
    pub(super) failures: u8,
    /// How many of the alternatives that it was told it has tried.
    pub(super) tried: u8,
    /// How many gateways in a row have sent it on.
    pub(super) redirects: u8,
    /// Its gateway was lost.
    pub(super) lost: bool,
    /// What it says of why it comes.
    pub(super) reason: Reason,
}

/// Why a client comes, in an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    New,
    Back,
    Redirected,
}

/// From so many failures on all waits are the longest.
const MOST_FAILURES: u32 = 8;

impl Stage {
    pub(super) const fn new(reason: Reason, lost: bool) -> Self {
        Self { failures: 0, tried: 0, redirects: 0, lost, reason }
    }

    pub(super) const fn coming(self) -> Coming {
        match self.reason {
            Reason::New => Coming::New,
            Reason::Back => Coming::Back,
            Reason::Redirected => Coming::Redirected,
        }
    }

    /// A login failed: the SDK's formula says how long it waits.
    pub(super) fn fail(&mut self, random: &mut Rng) -> Duration {
        let mut backoff = Backoff::lost(self.failures.into());
        let wait = backoff.after_failure(random);
        self.failures = backoff.failures().min(MOST_FAILURES) as u8;
        wait
    }

    /// A gateway sent it on, with this hint: how long it waits.
    pub(super) fn redirect(&mut self, hint: Duration, random: &mut Rng) -> Duration {
        self.redirects = (u32::from(self.redirects) + 1).min(MAX_REDIRECTS + 1) as u8;
        (self.reason, self.tried) = (Reason::Redirected, 1);
        hinted(hint, random)
    }
}

/// Who tries next, tick by tick.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// The first tick of the queue.
    first: u64,
    ticks: VecDeque<BTreeMap<(u16, Stage), u32>>,
    /// Clients whose gateway was lost and who are not back.
    pub(super) lost: u64,
    /// All clients that wait.
    pub(super) all: u64,
    /// The most cells that there were in one tick.
    pub(super) most_cells: usize,
}

impl Waiting {
    /// One more client of this stage tries `to` after this wait, from the moment `now` within a tick on.
    pub(super) fn add(&mut self, to: u16, stage: Stage, due: Duration) {
        let tick = (due.as_nanos() / TICK.as_nanos()) as u64;
        // What is due within the present tick happens in the next one.
        let ahead = usize::try_from(tick.saturating_sub(self.first)).unwrap_or(usize::MAX);
        if self.ticks.len() <= ahead {
            self.ticks.resize_with(ahead + 1, BTreeMap::new);
        }
        let cells = &mut self.ticks[ahead];
        *cells.entry((to, stage)).or_default() += 1;
        self.most_cells = self.most_cells.max(cells.len());
        self.all += 1;
        self.lost += u64::from(stage.lost);
    }

    /// Who is due in this tick, in the order of the gateways.
    pub(super) fn due(&mut self, tick: u64) -> BTreeMap<(u16, Stage), u32> {
        let due = if self.first <= tick { self.ticks.pop_front().unwrap_or_default() } else { BTreeMap::new() };
        self.first = tick + 1;
        for ((_, stage), count) in &due {
            self.all -= u64::from(*count);
            self.lost -= if stage.lost { u64::from(*count) } else { 0 };
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_a_stage_are_one_cell_and_come_when_they_are_due() {
        let mut waiting = Waiting::default();
        let stage = Stage::new(Reason::Back, true);
        for _ in 0..1000 {
            waiting.add(3, stage, TICK * 5);
        }
        waiting.add(2, Stage::new(Reason::New, false), TICK * 2);
        assert_eq!((waiting.all, waiting.lost, waiting.most_cells), (1001, 1000, 1));
        let due: Vec<_> = (0..6).map(|tick| waiting.due(tick).values().sum::<u32>()).collect();
        assert_eq!(due, [0, 0, 1, 0, 0, 1000]);
        assert_eq!((waiting.all, waiting.lost), (0, 0));
    }

    #[test]
    fn what_is_due_already_comes_in_the_next_tick() {
        let mut waiting = Waiting::default();
        waiting.due(7);
        waiting.add(1, Stage::new(Reason::New, false), TICK * 3);
        assert_eq!(waiting.due(8).len(), 1);
    }

    #[test]
    fn waits_grow_as_the_sdk_has_it_and_stages_are_bounded() {
        let (mut stage, mut random) = (Stage::new(Reason::Back, true), Rng::with_seed(1));
        let waits: Vec<_> = (0..100).map(|_| stage.fail(&mut random)).collect();
        assert!(waits[0] <= Duration::from_secs(1) && waits.iter().all(|wait| *wait <= Duration::from_secs(60)));
        assert_eq!(u32::from(stage.failures), MOST_FAILURES);
        for _ in 0..100 {
            stage.redirect(Duration::ZERO, &mut random);
        }
        assert_eq!(u32::from(stage.redirects), MAX_REDIRECTS + 1);
    }
}
