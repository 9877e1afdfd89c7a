//! What a gateway of a fleet tells clients: where to go, when to come back, over which time to spread. Functions of their
//! arguments alone, randomness included, so that a simulation goes by the same rules.

use std::time::Duration;

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

/// Everyone who is refused by a rate in the same moment has the same wait; told as it is, all would come back at once.
pub fn scattered(wait: Duration, random: f64) -> Duration {
    wait.mul_f64(1.0 + random)
}

/// Over which time clients spread their return if their gateway is lost: its connections at the rate at which the others
/// can take them.
pub fn spread(connections: u64, logins_per_second: f64) -> Duration {
    let seconds = connections as f64 / logins_per_second.max(1.0);
    Duration::from_secs_f64(seconds.clamp(SHORTEST_SPREAD.as_secs_f64(), LONGEST_SPREAD.as_secs_f64()))
}
