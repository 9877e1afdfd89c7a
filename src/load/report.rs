//! The report of a run: everything that was seen, ready to be written as JSON or as a table. Times are in milliseconds.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::Serialize;

use super::{
    books::Account,
    config::LoadConfig,
    error::reason_name,
    tally::{Latency, Tally},
};

/// Behind its schedule by more than this at the 99th percentile, the generator itself was the bottleneck.
pub const LAG_LIMIT: Duration = Duration::from_millis(5);

/// A run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was asked for.
    pub config: LoadConfig,
    /// The gateway's name.
    pub gateway: String,
    /// What was measured before the traffic, unless the rate was given.
    pub saturation: Option<Saturation>,
    /// Requests per second of the schedule.
    pub rate: f64,
    /// By business, in the order of the mix; without the warm-up.
    pub businesses: Vec<Fate>,
    /// All businesses together; without the warm-up.
    pub total: Fate,
    /// Every second of the traffic, the warm-up included.
    pub series: Vec<Second>,
    /// Connections that ended during the run, by what ended them.
    pub connections_lost: BTreeMap<String, u64>,
    /// How far behind its schedule the generator was.
    pub lag: Lag,
    /// The generator fell behind by more than [`LAG_LIMIT`]: the figures say nothing about the gateway.
    pub void: bool,
    /// Stopped before its end.
    pub interrupted: bool,
    /// The trace of the traffic, the warm-up included, if one was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
}

/// What was written of a trace.
#[derive(Clone, Debug, Serialize)]
pub struct Trace {
    /// Its file.
    pub file: PathBuf,
    /// Requests in it.
    pub requests: u64,
    /// Requests that are missing, because writing was too slow.
    pub dropped: u64,
}

/// The most that the service completes.
#[derive(Clone, Debug, Serialize)]
pub struct Saturation {
    /// The business that it was measured with.
    pub business: String,
    /// The best step.
    pub requests_per_s: f64,
    /// All steps.
    pub steps: Vec<Step>,
}

/// One step of a measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Requests kept outstanding.
    pub outstanding: usize,
    /// Replies per second.
    pub completed_per_s: f64,
}

/// What became of the requests of one business.
#[derive(Clone, Debug, Serialize)]
pub struct Fate {
    /// Its name; `total` for all.
    pub business: String,
    /// Requests of the schedule.
    pub offered: u64,
    /// Answered within the timeout.
    pub ok: u64,
    /// Answered after the timeout.
    pub late: u64,
    /// Refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Dispatched, and the gateway says that no answer came.
    pub unknown: u64,
    /// No word at all.
    pub lost: u64,
    /// No connection was up, or this machine had no socket.
    pub unsent: u64,
    /// ok ÷ (ok + late + unknown).
    pub in_time_percent: Option<f64>,
    /// ok ÷ offered.
    pub success_percent: Option<f64>,
    /// Of those that were ok, from the intended time of sending.
    pub latency: Quantiles,
}

/// Quantiles of a latency; none if nothing was measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Quantiles {
    /// Half of all.
    pub p50_ms: Option<f64>,
    /// All but one in a hundred.
    pub p99_ms: Option<f64>,
    /// All but one in a thousand.
    pub p999_ms: Option<f64>,
}

/// A second of the traffic. Requests count as offered when they were sent, and in the rest when they ended.
#[derive(Clone, Debug, Serialize)]
pub struct Second {
    /// From the start of the traffic.
    pub second: u64,
    /// Not in the table.
    pub warmup: bool,
    /// By business, in the order of the mix.
    pub businesses: Vec<Slice>,
}

/// A second of one business.
#[derive(Clone, Debug, Serialize)]
pub struct Slice {
    /// Its name.
    pub business: String,
    /// Sent.
    pub offered: u64,
    /// Answered within the timeout.
    pub ok: u64,
    /// Refused for any reason.
    pub refused: u64,
    /// Late, unknown, lost or unsent.
    pub failed: u64,
    /// Of those that were ok.
    pub p99_ms: Option<f64>,
}

/// How far behind its schedule the generator sent.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Lag {
    /// Half of all.
    pub p50_ms: Option<f64>,
    /// All but one in a hundred.
    pub p99_ms: Option<f64>,
    /// The worst.
    pub max_ms: Option<f64>,
}

/// What a run ended with.
pub(super) struct Outcome {
    pub(super) gateway: String,
    pub(super) saturation: Option<Saturation>,
    pub(super) rate: f64,
    pub(super) accounts: Vec<Account>,
    pub(super) series: Vec<Second>,
    pub(super) interrupted: bool,
    pub(super) trace: Option<Trace>,
}

impl Report {
    pub(super) fn new(config: LoadConfig, outcome: Outcome) -> Self {
        let mut lag = Latency::new();
        let mut sums: Vec<_> = config.mix.shares().iter().map(|_| Tally::new()).collect();
        let mut connections_lost = BTreeMap::new();
        for account in &outcome.accounts {
            lag.merge(&account.lag);
            sums.iter_mut().zip(&account.counted).for_each(|(sum, part)| sum.merge(part));
            for (why, count) in &account.ended_connections {
                *connections_lost.entry(why.clone()).or_default() += count;
            }
        }
        let mut total = Tally::new();
        sums.iter().for_each(|sum| total.merge(sum));
        let names = config.mix.shares().iter().map(|share| share.business.as_str());
        Self {
            gateway: outcome.gateway,
            saturation: outcome.saturation,
            rate: outcome.rate,
            businesses: names.zip(&sums).map(|(name, sum)| Fate::new(name, sum)).collect(),
            total: Fate::new("total", &total),
            series: outcome.series,
            connections_lost,
            void: lag.quantile(0.99).is_some_and(|lag| lag > LAG_LIMIT),
            lag: Lag { p50_ms: millis(&lag, 0.5), p99_ms: millis(&lag, 0.99), max_ms: millis(&lag, 1.0) },
            interrupted: outcome.interrupted,
            trace: outcome.trace,
            config,
        }
    }
}

impl Fate {
    fn new(business: &str, tally: &Tally) -> Self {
        let by_name = |(&reason, &count): (&u32, &u64)| (reason_name(reason), count);
        Self {
            business: business.to_owned(),
            offered: tally.offered,
            ok: tally.ok,
            late: tally.late,
            refused: tally.refused.iter().map(by_name).collect(),
            unknown: tally.unknown,
            lost: tally.lost,
            unsent: tally.unsent,
            in_time_percent: tally.in_time_percent(),
            success_percent: tally.success_percent(),
            latency: Quantiles {
                p50_ms: millis(&tally.latency, 0.5),
                p99_ms: millis(&tally.latency, 0.99),
                p999_ms: millis(&tally.latency, 0.999),
            },
        }
    }
}

impl Second {
    pub(super) fn new(config: &LoadConfig, second: u64, tallies: &[Tally]) -> Self {
        let slice = |(share, tally): (&super::config::Share, &Tally)| Slice {
            business: share.business.clone(),
            offered: tally.offered,
            ok: tally.ok,
            refused: tally.refused(),
            failed: tally.late + tally.unknown + tally.lost + tally.unsent,
            p99_ms: millis(&tally.latency, 0.99),
        };
        Self {
            second,
            warmup: Duration::from_secs(second) < config.warmup,
            businesses: config.mix.shares().iter().zip(tallies).map(slice).collect(),
        }
    }
}

fn millis(latency: &Latency, share: f64) -> Option<f64> {
    latency.quantile(share).map(|time| time.as_secs_f64() * 1e3)
}
