//! Moves connected clients elsewhere, as fast as a manager says and no faster: each is told where it may go and when, and is
//! served until then. Shard by shard through the roster, so that nobody is told twice in a round.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use crate::{
    clock::Timestamp,
    gateway::{
        Gateway,
        connection::{Connection, Ending},
        roster::SHARDS,
    },
    wire::Reason,
};

/// How often clients are told.
const TICK: Duration = Duration::from_millis(100);
/// Over which time those told together move.
const WITHIN: Duration = Duration::from_secs(1);
/// Whoever is still here this long after everybody was told is told again.
const PATIENCE: Duration = Duration::from_secs(15);

/// Moves clients for as long as it is polled.
pub(in crate::gateway) async fn move_clients(gateway: Arc<Gateway>) {
    let mut mover = Mover::default();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = gateway.clock.now();
        let wanted = gateway.fleet.in_force(now).and_then(|in_force| {
            let moves = in_force.directive.moves?;
            (!in_force.directive.alternatives.is_empty()).then_some(moves)
        });
        // On shutdown everybody is told anyway.
        match wanted.filter(|_| !gateway.is_draining()) {
            Some(moves) => {
                let many = mover.may_tell(moves.per_second, TICK);
                let spare = (gateway.roster.len() as u64).saturating_sub(moves.down_to);
                let told = mover.take(many.min(usize::try_from(spare).unwrap_or(usize::MAX)), now, |shard, members| {
                    gateway.roster.copy_shard(shard, members);
                });
                gateway.fleet.moved_total.fetch_add(told.len() as u64, super::Relaxed);
                for connection in told {
                    connection.end(Ending::Goaway(Reason::Draining, WITHIN.mul_f64(fastrand::f64())));
                }
            }
            None => mover = Mover::default(),
        }
    }
}

/// Who is next.
struct Mover<T = Arc<Connection>> {
    /// The next shard; all of them make a round.
    shard: usize,
    members: VecDeque<T>,
    /// Clients that may be told by now, and a part of one.
    budget: f64,
    /// When the last round ended.
    rested: Option<Timestamp>,
}

impl<T> Default for Mover<T> {
    fn default() -> Self {
        Self { shard: 0, members: VecDeque::new(), budget: 0.0, rested: None }
    }
}

impl<T> Mover<T> {
    /// How many may be told now. What was not used within a second is lost.
    fn may_tell(&mut self, per_second: f64, elapsed: Duration) -> usize {
        let rate = if per_second.is_finite() { per_second.max(0.0) } else { 0.0 };
        self.budget = (self.budget + rate * elapsed.as_secs_f64()).min(rate.max(1.0));
        self.budget as usize
    }

    /// The next `many`, or fewer at the end of a round.
    fn take(&mut self, many: usize, now: Timestamp, mut shard: impl FnMut(usize, &mut Vec<T>)) -> Vec<T> {
        let mut taken = Vec::new();
        if self.rested.is_some_and(|rested| now.since(rested) < PATIENCE) {
            self.budget = 0.0;
            return taken;
        }
        self.rested = None;
        while taken.len() < many {
            if let Some(next) = self.members.pop_front() {
                taken.push(next);
            } else if self.shard == SHARDS {
                (self.shard, self.rested) = (0, Some(now));
                break;
            } else {
                let mut members = Vec::new();
                shard(self.shard, &mut members);
                self.members = members.into();
                self.shard += 1;
            }
        }
        self.budget -= taken.len() as f64;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn clients_are_told_at_the_rate_and_everybody_once_in_a_round() {
        let mut mover = Mover::default();
        let mut told = Vec::new();
        for tick in 0..1000 {
            let many = mover.may_tell(50.0, TICK);
            // Two members in each shard.
            let now = mover.take(many, at(tick / 10), |shard, members| members.extend([2 * shard, 2 * shard + 1]));
            assert!(now.len() <= 5, "{} at once", now.len());
            told.extend(now);
        }
        assert_eq!(told[..2 * SHARDS], (0..2 * SHARDS).collect::<Vec<_>>());
        let rounds = told.iter().filter(|&&member| member == 0).count();
        assert!((3..=4).contains(&rounds), "{rounds} in 100 s of 10 s and 15 s of rest each");
    }

    #[test]
    fn a_low_rate_adds_up_and_an_absurd_one_moves_nobody() {
        let mut mover: Mover<usize> = Mover::default();
        let told: usize = (0..100).map(|_| mover.may_tell(0.5, TICK).min(1)).sum();
        assert!(told > 0);
        assert_eq!(Mover::<usize>::default().may_tell(f64::NAN, TICK), 0);
    }
}
