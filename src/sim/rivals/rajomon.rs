//! Rajomon (Xing et al., NSDI 2025): a server asks a price, a call carries tokens, and whoever cannot pay is refused where
//! the price is known first.
//!
//! **Signal**: the longest wait among the calls that started in the last 10 ms. **Decision**: the price rises while that is
//! above the threshold and falls while it is below. A call with fewer tokens than the price is refused on arrival; callers
//! hear the price with every fifth answer and refuse on their own. All calls of a task carry the task's tokens, and prices
//! along a path count by their maximum. **What it cannot do**: the price moves without knowing the capacity or how many
//! calls lie between two prices; callers act on an old one; what tokens mean is left to the operator.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{knob::Knob, written};
use crate::{
    admission::Value,
    clock::Timestamp,
    sim::guard::{Arrangement, Call, Caller, Ended, Feedback, Guard, Refused, Server},
};

/// The code divides microseconds × step by this (`UpdatePrice`).
const MICROSECONDS_PER_STEP: f64 = 10_000.0;
/// Rises decay from the third on (`UpdatePrice`).
const STEADY_RISES: i32 = 2;

/// How a price moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PriceStrategy {
    /// Up by a step, down by one.
    Step,
    /// In proportion to the difference from the threshold; rises in a row become smaller.
    Expdecay,
}

/// Settings of Rajomon.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RajomonSettings {
    /// The wait above which the price rises (`latencyThreshold`).
    #[serde(with = "written::time")]
    pub threshold: Duration,
    /// How often the price moves (`priceUpdateRate`).
    #[serde(with = "written::time")]
    pub update: Duration,
    /// How the price moves (`priceStrategy`).
    pub strategy: PriceStrategy,
    /// How far the price moves (`priceStep`).
    #[serde(deserialize_with = "written::positive")]
    pub step: f64,
    /// What each rise in a row is multiplied by once more (`decayRate`).
    #[serde(deserialize_with = "written::share")]
    pub decay: f64,
    /// An answer in so many carries the price (`priceFreq`).
    #[serde(deserialize_with = "written::count")]
    pub answers_per_price: u32,
    /// The tokens of the most important call; the least important one has none.
    #[serde(deserialize_with = "written::positive")]
    pub tokens: f64,
    /// A caller that hears no price gains one token for each call in this time (`tokenUpdateRate`).
    #[serde(with = "written::time")]
    pub refill: Duration,
}

impl RajomonSettings {
    /// What a search may vary.
    pub const KNOBS: &[Knob] = &[
        Knob::time("threshold", 1.0, 200.0),
        Knob::time("update", 10.0, 500.0),
        Knob::word("strategy", &["step", "expdecay"]),
        Knob::log("step", 0.1, 50.0),
        Knob::linear("decay", 0.3, 1.0),
        Knob::whole("answers_per_price", 1.0, 20.0),
        Knob::time("refill", 1.0, 1000.0),
    ];

    /// What a call can pay.
    fn tokens(&self, value: Value) -> f64 {
        self.tokens * (1.0 - f64::from(value.bits()) / f64::from(u32::MAX))
    }
}

impl Default for RajomonSettings {
    /// The code's (`NewRajomon`), but for two that it leaves to the operator: the threshold, here WeChat's, and the scale of
    /// tokens, on which the price crosses from end to end in a second.
    fn default() -> Self {
        Self {
            threshold: Duration::from_millis(20),
            update: Duration::from_millis(10),
            strategy: PriceStrategy::Step,
            step: 1.0,
            decay: 0.8,
            answers_per_price: 5,
            tokens: 100.0,
            refill: Duration::from_millis(10),
        }
    }
}

impl Arrangement for RajomonSettings {
    fn guard(&self, _workers: usize, _seed: u64) -> Box<dyn Guard> {
        Box::new(Market {
            settings: self.clone(),
            price: 0.0,
            moved: Timestamp::ZERO,
            longest: Duration::ZERO,
            rises: 0,
            answers: 0,
        })
    }

    fn caller(&self, _seed: u64) -> Option<Box<dyn Caller>> {
        Some(Box::new(Buyer { settings: self.clone(), price: 0.0, heard: Timestamp::ZERO }))
    }
}

#[derive(Debug)]
struct Market {
    settings: RajomonSettings,
    price: f64,
    /// When the price moved last.
    moved: Timestamp,
    /// The longest wait since then.
    longest: Duration,
    /// Rises in a row.
    rises: i32,
    answers: u32,
}

impl Market {
    fn change(&mut self) -> f64 {
        let settings = &self.settings;
        let excess = self.longest.as_secs_f64() - settings.threshold.as_secs_f64();
        match settings.strategy {
            PriceStrategy::Step => {
                if excess > 0.0 {
                    settings.step
                } else {
                    -1.0
                }
            }
            PriceStrategy::Expdecay => {
                let change = excess * 1e6 * settings.step / MICROSECONDS_PER_STEP;
                if change <= 0.0 {
                    self.rises = 0;
                    return change;
                }
                let decay = if self.rises >= STEADY_RISES { settings.decay.powi(self.rises) } else { 1.0 };
                self.rises += 1;
                change * decay
            }
        }
    }
}

impl Guard for Market {
    fn arrive(&mut self, _now: Timestamp, call: &Call, _server: &Server) -> Result<(), Refused> {
        if self.settings.tokens(call.value) >= self.price { Ok(()) } else { Err(Refused { retry_after: None }) }
    }

    fn started(&mut self, _now: Timestamp, _call: &Call, queuing: Duration) {
        self.longest = self.longest.max(queuing);
    }

    fn expired(&mut self, _now: Timestamp, _call: &Call, queuing: Duration) {
        self.longest = self.longest.max(queuing);
    }

    fn tick(&mut self, now: Timestamp, _server: &Server) {
        if now.since(self.moved) >= self.settings.update {
            self.moved = now;
            // Nobody has more tokens, so a higher price would refuse nobody and only take longer to fall.
            self.price = (self.price + self.change()).clamp(0.0, self.settings.tokens);
            self.longest = Duration::ZERO;
        }
    }

    fn feedback(&mut self, _now: Timestamp, _caller: usize, _callers: usize) -> Feedback {
        self.answers += 1;
        let told = self.answers.is_multiple_of(self.settings.answers_per_price);
        Feedback { price: told.then_some(self.price), ..Feedback::default() }
    }
}

#[derive(Debug)]
struct Buyer {
    settings: RajomonSettings,
    price: f64,
    /// When the price was heard.
    heard: Timestamp,
}

impl Caller for Buyer {
    /// Calls that are held back gather tokens, so that one of them asks for the price before long.
    fn may_send(&mut self, now: Timestamp, call: &Call) -> Result<(), Refused> {
        let gathered = now.since(self.heard).as_secs_f64() / self.settings.refill.as_secs_f64();
        let tokens = self.settings.tokens(call.value) + gathered;
        if tokens >= self.price { Ok(()) } else { Err(Refused { retry_after: None }) }
    }

    fn ended(&mut self, now: Timestamp, _call: &Call, _ended: Ended, feedback: Option<Feedback>) {
        if let Some(price) = feedback.and_then(|feedback| feedback.price) {
            (self.price, self.heard) = (price, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{self, Bench};
    use super::*;

    #[test]
    fn the_price_settles_where_those_who_can_pay_fill_the_server() {
        let mut bench = Bench::new(&RajomonSettings::default());
        bench.run(2.0, 20);
        let settled = bench.run(2.0, 20);
        let important = settled.good_important as f64 / settled.offered_important as f64;
        assert!(important > 0.8, "{settled:?}");
        assert!(settled.good as f64 > 0.8 * settled.capacity, "{settled:?}");
        assert!(settled.held_back > settled.refused, "{settled:?}");
    }

    #[test]
    fn rises_in_a_row_become_smaller_and_a_fall_ends_the_row() {
        let settings = RajomonSettings { strategy: PriceStrategy::Expdecay, step: 10.0, ..RajomonSettings::default() };
        let mut guard = settings.guard(1, 0);
        let call = bench::call(1, Timestamp::ZERO);
        let mut price = 0.0;
        let changes: Vec<f64> = [21, 21, 21, 21, 20, 21]
            .into_iter()
            .zip(1..)
            .map(|(wait, step)| {
                guard.started(Timestamp::ZERO, &call, Duration::from_millis(wait));
                guard.tick(Timestamp::ZERO + settings.update * step, &Server::default());
                let new = (0..5).find_map(|_| guard.feedback(Timestamp::ZERO, 0, 1).price).unwrap();
                let change = new - price;
                price = new;
                (change * 1000.0).round() / 1000.0
            })
            .collect();
        assert_eq!(changes, [1.0, 1.0, 0.64, 0.512, 0.0, 1.0]);
    }
}
