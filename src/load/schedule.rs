//! When what is sent over which connection: a function of the seed, never of how the gateway answers. That is what makes
//! the load an open loop, and latency counted from these times free of coordinated omission.

use std::time::Duration;

use rand_distr::{Distribution as _, Exp, Uniform, weighted::WeightedAliasIndex};
use rand_pcg::Pcg64;

use super::config::{Arrivals, Mix};

/// One request of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When it is to be sent, from the start of the traffic.
    pub at: Duration,
    /// Its business: a position in the mix.
    pub business: usize,
    /// Its connection: a position among the connections of the thread.
    pub connection: usize,
}

/// What the schedules of all threads have in common.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Requests per second, of all threads together.
    pub rate: f64,
    /// How the gaps are drawn.
    pub arrivals: Arrivals,
    /// What the businesses are drawn from.
    pub mix: Mix,
    /// The end of the traffic, from its start.
    pub until: Duration,
    /// Each thread draws from a stream of its own under this seed.
    pub seed: u64,
    /// How many threads there are.
    pub threads: usize,
}

/// The requests of one thread in the order of their times.
#[derive(Debug)]
pub struct Schedule {
    random: Pcg64,
    gaps: Gaps,
    businesses: WeightedAliasIndex<u32>,
    connections: Uniform<usize>,
    until: Duration,
}

#[derive(Debug)]
enum Gaps {
    Poisson { gap: Exp<f64>, at: f64 },
    // Multiplied rather than added up, so that the rate does not drift.
    Even { number: f64, period: f64 },
}

impl Schedule {
    /// The schedule of `thread` (0-based), which has `connections` connections.
    ///
    /// # Panics
    ///
    /// If the rate is not above 0 or there are no connections.
    pub fn new(plan: &Plan, thread: usize, connections: usize) -> Self {
        let rate = plan.rate / plan.threads as f64;
        let gaps = match plan.arrivals {
            Arrivals::Poisson => Gaps::Poisson { gap: Exp::new(rate).expect("a rate is above 0"), at: 0.0 },
            // Threads take turns, so that the gaps are equal over all of them.
            Arrivals::Even => Gaps::Even { number: thread as f64 / plan.threads as f64, period: rate.recip() },
        };
        let weights = plan.mix.shares().iter().map(|share| share.weight).collect();
        Self {
            random: Pcg64::new(u128::from(plan.seed), thread as u128),
            gaps,
            businesses: WeightedAliasIndex::new(weights).expect("weights of a mix are above 0"),
            connections: Uniform::new(0, connections).expect("a thread has connections"),
            until: plan.until,
        }
    }
}

impl Iterator for Schedule {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let seconds = match &mut self.gaps {
            Gaps::Poisson { gap, at } => {
                *at += gap.sample(&mut self.random);
                *at
            }
            Gaps::Even { number, period } => {
                *number += 1.0;
                (*number - 1.0) * *period
            }
        };
        let at = Duration::try_from_secs_f64(seconds).ok().filter(|&at| at < self.until)?;
        let business = self.businesses.sample(&mut self.random);
        let connection = self.connections.sample(&mut self.random);
        Some(Arrival { at, business, connection })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(arrivals: Arrivals, threads: usize) -> Plan {
        let mix = "login=1,payment=9,message=40,moments=50".parse().unwrap();
        Plan { rate: 10_000.0, arrivals, mix, until: Duration::from_secs(10), seed: 7, threads }
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule() {
        let plan = plan(Arrivals::Poisson, 2);
        assert!(Schedule::new(&plan, 0, 50).eq(Schedule::new(&plan, 0, 50)));
        assert!(!Schedule::new(&plan, 0, 50).eq(Schedule::new(&plan, 1, 50)), "threads draw from streams of their own");
        let other = Plan { seed: 8, ..plan.clone() };
        assert!(!Schedule::new(&plan, 0, 50).eq(Schedule::new(&other, 0, 50)));
    }

    #[test]
    fn rate_mix_and_connections_come_out_as_planned() {
        for arrivals in [Arrivals::Poisson, Arrivals::Even] {
            let plan = plan(arrivals, 2);
            let all: Vec<_> = (0..2).flat_map(|thread| Schedule::new(&plan, thread, 50)).collect();
            let expected = 100_000.0;
            assert!((all.len() as f64 / expected - 1.0).abs() < 0.02, "{arrivals:?}: {}", all.len());
            for (business, share) in plan.mix.shares().iter().enumerate() {
                let count = all.iter().filter(|arrival| arrival.business == business).count() as f64;
                assert!((count / (expected * f64::from(share.weight) / 100.0) - 1.0).abs() < 0.1, "{share:?}: {count}");
            }
            assert!((0..50).all(|connection| all.iter().any(|arrival| arrival.connection == connection)));
        }
    }

    #[test]
    fn even_arrivals_of_all_threads_have_equal_gaps() {
        let plan = plan(Arrivals::Even, 4);
        let mut times: Vec<_> = (0..4).flat_map(|thread| Schedule::new(&plan, thread, 5)).map(|next| next.at).collect();
        times.sort();
        let gap = Duration::from_micros(100);
        assert!(times.windows(2).all(|pair| (pair[1] - pair[0]).abs_diff(gap) < Duration::from_nanos(10)));
    }

    #[test]
    fn the_gaps_of_poisson_arrivals_vary_as_much_as_their_mean() {
        let times: Vec<_> = Schedule::new(&plan(Arrivals::Poisson, 1), 0, 5).map(|next| next.at).collect();
        let gaps: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05, "mean {mean}, variance {variance}");
    }

    #[test]
    fn nothing_is_scheduled_after_the_end() {
        let plan = plan(Arrivals::Poisson, 1);
        assert!(Schedule::new(&plan, 0, 5).all(|arrival| arrival.at < plan.until));
    }
}
