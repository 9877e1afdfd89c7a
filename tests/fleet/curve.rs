//! What a storm looked like: who was back when, and what it cost the others.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{
    crowd::{Entry, What},
    traffic::{Sent, quantile},
};

/// A reply that took longer is of no use to who waits for it: the timeout of a payment.
pub(crate) const USEFUL: Duration = Duration::from_millis(500);
/// Columns of the plot.
const WIDTH: usize = 50;

/// One row: what happened within this time.
#[derive(Default)]
struct Row {
    logins: usize,
    back: usize,
    payments: usize,
    good: usize,
    redis_calls: Option<u64>,
}

/// The time after a gateway was killed, in pieces.
pub(crate) struct Curve {
    step: Duration,
    lost: usize,
    /// When each was back, sorted.
    back: Vec<Duration>,
    longest_wait: Duration,
    rows: Vec<Row>,
}

impl Curve {
    /// Of the clients that were lost at this time.
    pub(crate) fn new(log: &[Entry], lost: &[usize], at: Duration, length: Duration, step: Duration) -> Self {
        let (mut first, mut waits) = (BTreeMap::new(), BTreeMap::new());
        let count = (length.as_secs_f64() / step.as_secs_f64()).ceil() as usize;
        let mut rows: Vec<_> = (0..count).map(|_| Row::default()).collect();
        for entry in log.iter().filter(|entry| entry.at >= at) {
            if let What::Lost { delay } = entry.what
                && lost.binary_search(&entry.client).is_ok()
            {
                waits.entry(entry.client).or_insert(delay);
            }
            if !matches!(entry.what, What::Connected { .. }) {
                continue;
            }
            if let Some(row) = row(&mut rows, entry.at - at, step) {
                row.logins += 1;
            }
            if lost.binary_search(&entry.client).is_ok() {
                first.entry(entry.client).or_insert(entry.at - at);
            }
        }
        let mut back: Vec<_> = first.into_values().collect();
        back.sort();
        for (number, row) in rows.iter_mut().enumerate() {
            let end = step * (number as u32 + 1);
            row.back = back.partition_point(|&at| at < end);
        }
        Self { step, lost: lost.len(), back, longest_wait: waits.into_values().max().unwrap_or_default(), rows }
    }

    /// What those who kept their connections paid meanwhile.
    pub(crate) fn add_payments<'a>(&mut self, payments: impl Iterator<Item = &'a Sent>, at: Duration) {
        for one in payments.filter(|one| one.at >= at) {
            if let Some(row) = row(&mut self.rows, one.at - at, self.step) {
                row.payments += 1;
                row.good += usize::from(one.is_good(USEFUL));
            }
        }
    }

    /// How many commands Redis had run at which time after.
    pub(crate) fn add_redis(&mut self, seen: &[(Duration, u64)]) {
        for pair in seen.windows(2) {
            if let Some(row) = row(&mut self.rows, pair[0].0, self.step) {
                *row.redis_calls.get_or_insert(0) += pair[1].1.saturating_sub(pair[0].1);
            }
        }
    }

    /// How many of them are back.
    pub(crate) fn are_back(&self) -> usize {
        self.back.len()
    }

    /// The longest that one of them waited before its first try.
    pub(crate) fn longest_wait(&self) -> Duration {
        self.longest_wait
    }

    /// When so many of all that were lost were back.
    pub(crate) fn back(&self, share: f64) -> Duration {
        quantile(&self.back, share)
    }
}

fn row(rows: &mut [Row], at: Duration, step: Duration) -> Option<&mut Row> {
    rows.get_mut((at.as_secs_f64() / step.as_secs_f64()) as usize)
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_second = |count: usize| count as f64 / self.step.as_secs_f64();
        writeln!(
            f,
            "| after, s | back, % | logins/s | Redis commands/s | payments of the others/s | of these good, % |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for (number, row) in self.rows.iter().enumerate() {
            let end = self.step.as_secs_f64() * (number + 1) as f64;
            let back = row.back as f64 / self.lost as f64 * 100.0;
            let good = if row.payments == 0 { 100.0 } else { row.good as f64 / row.payments as f64 * 100.0 };
            let redis = row.redis_calls.map_or("–".to_owned(), |calls| format!("{:.0}", per_second(calls as usize)));
            let (logins, payments) = (per_second(row.logins), per_second(row.payments));
            writeln!(f, "| {end:.1} | {back:.1} | {logins:.0} | {redis} | {payments:.0} | {good:.1} |")?;
        }
        writeln!(f)?;
        for (number, row) in self.rows.iter().enumerate() {
            let bar = "█".repeat(row.back * WIDTH / self.lost.max(1));
            writeln!(f, "{:5.1} s {bar}", self.step.as_secs_f64() * (number + 1) as f64)?;
        }
        Ok(())
    }
}
