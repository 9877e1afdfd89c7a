//! What a gateway of a fleet tells clients: where to go, when to come back, over which time to spread. Functions of their
//! arguments alone, randomness included, so that a simulation goes by the same rules.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::{clock::Timestamp, layer::rate::LONGEST_WAIT};

/// After so many gateways in a row that sent a client on, it is not sent on again.
pub const MAX_TRIED: u32 = 3;
/// Alternatives that one client is told.
pub const PER_CLIENT: usize = 3;
/// The part of a shutdown's time within which clients are told to move.
pub const MOVE_PART: f64 = 0.5;
/// The soonest that a client may come back that is not sent elsewhere, and the time that it is spread over at least.
const SOONEST: Duration = Duration::from_secs(1);
const LEAST_SPREAD: Duration = Duration::from_secs(5);
/// Over which time clients spread their return at least, and at most, if their gateway is lost.
pub const SHORTEST_SPREAD: Duration = Duration::from_secs(1);
const LONGEST_SPREAD: Duration = Duration::from_secs(3600);

/// Some of those with these weights, drawn without replacement: a key of u^(1/w) each (Efraimidis and Spirakis 2006).
/// `random` gives numbers from 0 to 1.
pub fn draw(weights: impl Iterator<Item = u32>, mut random: impl FnMut() -> f64) -> impl Iterator<Item = usize> {
    let key = |weight: u32| random().max(f64::MIN_POSITIVE).ln() / f64::from(weight.max(1));
    let mut keyed: Vec<_> = weights.map(key).enumerate().collect();
    keyed.sort_by(|a, b| b.1.total_cmp(&a.1));
    keyed.into_iter().take(PER_CLIENT).map(|(index, _)| index)
}

/// A time for one client among all that are to come back within `wait`. `random` is from 0 to 1.
pub fn later(wait: Duration, random: f64) -> Duration {
    SOONEST + wait.max(LEAST_SPREAD).mul_f64(random)
}

/// Everyone who is refused by a limit in the same moment has the same wait; told as it is, all would come back at once.
pub fn scattered(wait: Duration, random: f64) -> Duration {
    wait.mul_f64(1.0 + random)
}

/// Over which time clients spread their return if their gateway is lost: its connections at the rate at which the others
/// can take them.
pub fn spread(connections: u64, logins_per_second: f64) -> Duration {
    let seconds = connections as f64 / logins_per_second.max(1.0);
    Duration::from_secs_f64(seconds.clamp(SHORTEST_SPREAD.as_secs_f64(), LONGEST_SPREAD.as_secs_f64()))
}

/// When those come back that were refused by the rate of logins: one after the other at that rate. The bucket knows only when
/// the next token is there, a millisecond hence; told that, thousands would come for it.
///
/// A turn reserves nothing: whoever comes first takes the token, and who finds none gets another turn.
#[derive(Debug, Default)]
pub struct Turns {
    /// Nanoseconds at which the last turn is that was given.
    last: AtomicU64,
}

impl Turns {
    /// The next turn, at most [`LONGEST_WAIT`] away. `random` is from 0 to 1 and spreads those for whom that is too soon.
    pub fn take(&self, now: Timestamp, per_second: f64, random: f64) -> Duration {
        let interval = Duration::try_from_secs_f64(per_second.recip()).unwrap_or(LONGEST_WAIT);
        let most = now + LONGEST_WAIT;
        let after = |last: u64| (Timestamp::from_nanos(last).max(now) + interval).min(most);
        let taken = self.last.fetch_update(Relaxed, Relaxed, |last| Some(after(last).as_nanos()));
        let turn = after(taken.unwrap_or_else(|last| last));
        if turn == most { LONGEST_WAIT.mul_f64(f64::midpoint(random, 1.0)) } else { turn.since(now).max(LEAST_HINT) }
    }
}

/// A hint is told in milliseconds, and none is no hint.
const LEAST_HINT: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn the_refused_come_back_one_after_the_other_at_the_rate() {
        let turns = Turns::default();
        let taken: Vec<_> = (0..3).map(|_| turns.take(at(5000), 100.0, 0.5).as_millis()).collect();
        assert_eq!(taken, [10, 20, 30]);
        assert_eq!(turns.take(at(5020), 100.0, 0.5).as_millis(), 20, "the line goes on");
        assert_eq!(turns.take(at(9000), 100.0, 0.5).as_millis(), 10, "nobody is left of it");
        assert_eq!(Turns::default().take(at(1), 1e6, 0.5), LEAST_HINT);
    }

    #[test]
    fn the_line_is_bounded_and_its_end_is_spread() {
        let turns = Turns::default();
        (0..10_000).for_each(|_| assert!(turns.take(at(0), 10.0, 0.5) <= LONGEST_WAIT));
        assert_eq!(turns.take(at(0), 10.0, 0.0), LONGEST_WAIT / 2);
        assert_eq!(turns.take(at(0), 10.0, 1.0), LONGEST_WAIT);
        assert!(
            turns.take(at(30_000), 10.0, 0.0) <= LONGEST_WAIT / 2 + Duration::from_secs(1),
            "it goes on all the same"
        );
        for closed in [0.0, -1.0, f64::NAN] {
            assert_eq!(Turns::default().take(at(0), closed, 1.0), LONGEST_WAIT);
        }
    }

    #[test]
    fn the_spread_is_the_connections_at_the_rate_of_the_others() {
        assert_eq!(spread(60_000, 1000.0), Duration::from_secs(60));
        assert_eq!(spread(10, 1000.0), SHORTEST_SPREAD);
        assert_eq!(spread(u64::MAX, 0.0), LONGEST_SPREAD);
    }
}
