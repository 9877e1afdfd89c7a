//! Where chance comes from: generators by purpose, each a function of the seed alone. What happens to one task never
//! changes what is drawn for another, so that runs of one seed compare controllers on the same tasks.

use std::time::Duration;

use rand_distr::{Distribution as _, Exp1, Gamma, LogNormal, StandardUniform};
use rand_pcg::{Pcg64, Pcg64Mcg};

use crate::sim::scenario::Spread;

/// What numbers are drawn for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Gaps,
    Marks,
    Service,
    Feedback,
    Instance,
    Guard,
    Caller,
    Users,
}

/// The generator of a stream: number `index` of this purpose.
pub(super) fn stream(seed: u64, purpose: Purpose, index: usize) -> Pcg64 {
    Pcg64::new(u128::from(mix(seed)), (purpose as u128) << 64 | index as u128)
}

/// A number for one thing among many of a purpose, such as a call of a task.
pub(super) fn number(seed: u64, purpose: Purpose, key: u64) -> u64 {
    mix(mix(seed ^ ((purpose as u64 + 1) << 56)).wrapping_add(key))
}

/// The generator for one thing among many of a purpose.
pub(super) fn for_one(seed: u64, purpose: Purpose, key: u64) -> Pcg64Mcg {
    let high = number(seed, purpose, key);
    Pcg64Mcg::new(u128::from(high) << 64 | u128::from(mix(high)))
}

/// A number in [0, 1) of 53 bits.
pub(super) fn fraction(number: u64) -> f64 {
    (number >> 11) as f64 / (1_u64 << 53) as f64
}

/// Scatters numbers over all 64 bits (the finalizer of SplitMix64).
pub(super) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Service times of mean 1.
#[derive(Clone, Copy, Debug)]
pub(super) enum Times {
    Deterministic,
    Exponential,
    Gamma(Gamma<f64>),
    Lognormal(LogNormal<f64>),
    /// With this chance the first of two exponential distributions, by their means.
    Hyperexponential {
        chance: f64,
        means: [f64; 2],
    },
}

impl Times {
    pub(super) fn new(spread: Spread) -> Self {
        match spread {
            Spread::Deterministic => Self::Deterministic,
            Spread::Exponential => Self::Exponential,
            Spread::Gamma(scv) => Self::Gamma(Gamma::new(scv.recip(), scv).expect("a variation above 0")),
            Spread::Lognormal(scv) => {
                let variance = scv.ln_1p();
                Self::Lognormal(LogNormal::new(-variance / 2.0, variance.sqrt()).expect("a variation above 0"))
            }
            // Balanced means: both branches carry half of the work.
            Spread::Hyperexponential(scv) => {
                let chance = f64::midpoint(1.0, ((scv - 1.0) / (scv + 1.0)).sqrt());
                Self::Hyperexponential { chance, means: [0.5 / chance, 0.5 / (1.0 - chance)] }
            }
        }
    }

    /// A time of mean `mean`.
    pub(super) fn draw(&self, random: &mut Pcg64Mcg, mean: f64) -> Duration {
        let factor: f64 = match self {
            Self::Deterministic => 1.0,
            Self::Exponential => Exp1.sample(random),
            Self::Gamma(gamma) => gamma.sample(random),
            Self::Lognormal(lognormal) => lognormal.sample(random),
            Self::Hyperexponential { chance, means } => {
                let draw: f64 = StandardUniform.sample(random);
                let exponential: f64 = Exp1.sample(random);
                exponential * means[usize::from(draw >= *chance)]
            }
        };
        Duration::try_from_secs_f64(mean * factor).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_times_have_the_mean_and_the_variation_that_were_asked_for() {
        let spreads = [
            (Spread::Deterministic, 0.0),
            (Spread::Exponential, 1.0),
            (Spread::Gamma(0.25), 0.25),
            (Spread::Lognormal(2.0), 2.0),
            (Spread::Hyperexponential(9.0), 9.0),
        ];
        for (spread, expected) in spreads {
            let times = Times::new(spread);
            let draw = |key| times.draw(&mut for_one(7, Purpose::Service, key), 0.01).as_secs_f64();
            let drawn: Vec<_> = (0..400_000).map(draw).collect();
            let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
            let variance = drawn.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / drawn.len() as f64;
            let variation = variance / (mean * mean);
            assert!((mean / 0.01 - 1.0).abs() < 0.02, "{spread:?}: mean {mean}");
            assert!((variation - expected).abs() <= 0.1 * expected + 1e-9, "{spread:?}: variation {variation}");
        }
    }

    #[test]
    fn another_seed_purpose_or_key_draws_another_number() {
        let one = number(1, Purpose::Service, 1);
        let others = [number(2, Purpose::Service, 1), number(1, Purpose::Feedback, 1), number(1, Purpose::Service, 2)];
        assert!(!others.contains(&one) && one == number(1, Purpose::Service, 1));
    }
}
