//! The default controller: knows how much can be done and how much of what arrives, and lets in what fits. Where the
//! paper's walk takes 5 % away or adds 1 % per window and so finds its way by trial, this one goes there at once.
//!
//! **Signal.** Three things, learnt from short windows (100 ms): the *capacity* μ, cost completed per second while all
//! places are taken ([`Throughput`](super::throughput::Throughput)); the *rates*, cost arriving per second at each level
//! ([`LevelRates`]); and the *backlog*, the cost of what waits and is still wanted. What waits above the cut is not
//! counted: the queue is ordered by importance, so it only fills gaps.
//!
//! **Decision.** What the next window may let in: μ − (backlog − allowed) / time, where the backlog is the part of it that
//! will still be below the new cut. The cut is the point of the scale at
//! which the rates sum up to that, down to a part of the marginal level, which the grain spreads over its requests: no
//! coin is thrown, so a task's calls fare alike and a retry cannot draw again.
//!
//! **Patience.** A backlog is no overload. At 95 % of the capacity chance alone piles up a hundred requests now and then,
//! and they go by themselves; a backlog that the rates explain (more arrives than μ) does not. So how much backlog is
//! allowed and how fast it has to go is drawn between two settings by that evidence: wide and slow where the rates say
//! that all fits, tight and fast where they say that it cannot. How much is chance follows from how arrivals and
//! completions vary ([`Dispersion`](super::dispersion::Dispersion)), so that the same settings serve even work and bursts,
//! 5 requests/s and 100,000.
//!
//! **Bursts.** An open cut stays open until more is owed than a burst or a pause usually leaves behind
//! ([`Surge`]): what can be worked off is not refused.
//!
//! **Cold start.** As long as places never ran short there is no capacity to speak of, and the gate stays open.
//!
//! **No samples.** Nothing offered is nothing to refuse: the cut is open. What stays away above the cut is remembered for
//! some seconds, because its callers may hold it back ([`LevelRates`]).
//!
//! **Standstill.** While nothing at all is completed only what the allowed backlog has room for is let in.
//!
//! **Recovery.** When less arrives, or more is completed, the cut moves there in the window that shows it. If places stay
//! free while something is refused, the model is wrong: it is stretched by 5 %, then 10, 20, 40 % with each window.
//!
//! **Other cuts.** While another cut is stricter, this gate's may fall but not rise.

use super::{
    controller::{Controller, Decision, WindowStats},
    level::Cut,
    rates::{Division, LevelRates},
    surge::Surge,
};

/// The backlog that is allowed when the rates explain it: so many standard deviations of what chance does to it between
/// two corrections, so that the places hardly ever run dry.
const TIGHT_DEVIATIONS: f64 = 1.8;
/// In how many seconds, or requests if that takes longer, such a backlog has to go.
const TIGHT_SECONDS: f64 = 0.25;
const TIGHT_REQUESTS_TO_GO: f64 = 30.0;
/// The backlog that is allowed when the rates do not explain it: in multiples of the target delay, and in requests for
/// each unit of dispersion (chance piles up twice as much where calls come in pairs).
const WIDE_TARGETS: f64 = 10.0;
const WIDE_REQUESTS: f64 = 30.0;
/// In how many seconds such a backlog has to go.
const WIDE_SECONDS: f64 = 2.0;
/// So many standard deviations of the rates above the capacity are full evidence of overload.
const EVIDENT: f64 = 3.0;
/// The first stretch of a model that leaves places free, and the largest.
const FIRST_STRETCH: f64 = 0.05;
const LARGEST_STRETCH: f64 = 0.5;
/// Below this share of a window with all places taken, places count as free, if no more than so many requests wait.
const FREE: f64 = 0.7;
const FEW: f64 = 6.0;

/// Tracks capacity and rates. One default setting serves 5 requests/s and 500,000.
#[derive(Debug, Default)]
pub struct CapacityTracker {
    rates: LevelRates,
    stretch: Stretch,
    surge: Surge,
}

/// How far the model is stretched because it left places free.
#[derive(Debug)]
struct Stretch {
    factor: f64,
    step: f64,
}

impl Default for Stretch {
    fn default() -> Self {
        Self { factor: 1.0, step: FIRST_STRETCH }
    }
}

impl Stretch {
    fn on_window(&mut self, stats: &WindowStats<'_>) {
        let refuses = stats.cut != Cut::OPEN && !stats.frozen;
        let free = stats.limited_seconds < FREE * stats.elapsed.as_secs_f64();
        let request = stats.throughput.mean_cost().unwrap_or(1.0);
        if refuses && free && stats.backlog.wanted < FEW * request {
            self.factor *= 1.0 + self.step;
            self.step = (self.step * 2.0).min(LARGEST_STRETCH);
        } else {
            *self = Self::default();
        }
    }
}

impl Controller for CapacityTracker {
    fn on_window(&mut self, stats: &WindowStats<'_>) -> Decision {
        self.rates.observe(stats.offered, stats.costs, stats.elapsed.as_secs_f64(), stats.cut);
        self.stretch.on_window(stats);
        let Some(capacity) = stats.throughput.per_second() else { return Decision::plain(Cut::OPEN) };
        if self.surge.may_pass(capacity, stats) {
            return Decision::plain(Cut::OPEN);
        }
        let wanted = self.wanted(capacity, stats);
        let Division { cut, floors } = self.rates.divide(wanted, capacity, stats.shares);
        let cut = if stats.frozen { cut.min(stats.cut) } else { cut };
        Decision { cut, floors }
    }
}

impl CapacityTracker {
    /// How much cost per second the next window may let in.
    fn wanted(&self, capacity: f64, stats: &WindowStats<'_>) -> f64 {
        let request = stats.throughput.mean_cost().unwrap_or(1.0);
        let dispersion = self.rates.dispersion() + stats.throughput.dispersion();
        let evidence = self.evidence(capacity, dispersion, stats);
        let between = |wide: f64, tight: f64| wide + evidence * (tight - wide);

        let tight_seconds = TIGHT_SECONDS.max(TIGHT_REQUESTS_TO_GO * request / capacity);
        let seconds = between(WIDE_SECONDS.max(tight_seconds), tight_seconds);
        // What independent steps pile up that are worked off within a time (an Ornstein-Uhlenbeck process).
        let deviation = (dispersion * capacity / request * tight_seconds / 2.0).sqrt() * request;
        let target = stats.target.as_secs_f64() * capacity;
        let allowed = between(
            WIDE_TARGETS * target + WIDE_REQUESTS * dispersion * request,
            target.max(TIGHT_DEVIATIONS * deviation),
        );
        let base = if stats.throughput.is_stalled() { 0.0 } else { capacity };
        // A stricter cut leaves a part of the backlog behind: about as much as of the rate that has brought it.
        let brought = self.rates.below(stats.cut).max(capacity);
        let wanted = (base + allowed / seconds) / (1.0 + stats.backlog.wanted / (brought * seconds));
        wanted * self.stretch.factor
    }

    /// How sure it is that more arrives than can be done, 0 to 1.
    fn evidence(&self, capacity: f64, dispersion: f64, stats: &WindowStats<'_>) -> f64 {
        let surplus = self.rates.total() / capacity - 1.0;
        let (arrived, completed) = (self.rates.evidence().max(1.0), stats.throughput.evidence().max(1.0));
        let chance = (dispersion * (1.0 / arrived + 1.0 / completed)).sqrt();
        (surplus / (EVIDENT * chance)).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
#[path = "capacity_tests.rs"]
mod tests;
