//! Values that only scenarios have: rates as multiples of the saturation, and words for the kinds of things.

use std::time::Duration;

use crate::policy::{
    fault::Collector,
    quantity,
    reader::{At, Mistake, Notes, Table, read_text},
    validate::checker::Checker,
};

/// A rate as it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rate {
    /// Per second.
    Absolute(f64),
    /// Times the saturation.
    Multiple(f64),
}

impl Rate {
    /// Per second, at this saturation.
    pub(super) fn per_second(self, saturation: f64) -> f64 {
        match self {
            Self::Absolute(rate) => rate,
            Self::Multiple(factor) => factor * saturation,
        }
    }
}

/// `1500/s` or `2x`.
pub(super) fn rate(table: &mut Table<'_>, key: &'static str) -> Option<At<Rate>> {
    table.parsed(key, |value| {
        let text =
            read_text(value).map_err(|mistake| mistake.help("write \"1500/s\", or \"2x\" for twice the saturation"))?;
        let Some(number) = text.strip_suffix('x') else {
            return quantity::parse_rate(&text).map(Rate::Absolute).map_err(|_| wrong_rate(&text));
        };
        let factor = number.trim().parse().ok().filter(|factor: &f64| factor.is_finite() && *factor >= 0.0);
        factor.map(Rate::Multiple).ok_or_else(|| wrong_rate(&text))
    })
}

fn wrong_rate(text: &str) -> Mistake {
    Mistake::new(format!("`{text}` is no rate")).help("write `1500/s`, `90/min`, or `2x` for twice the saturation")
}

/// A rate and how it changes.
#[derive(Debug)]
pub(super) struct RatesText {
    pub(super) rate: Option<At<Rate>>,
    pub(super) changes: Vec<RateChange>,
}

/// A `change` of a rate.
#[derive(Debug)]
pub(super) struct RateChange {
    pub(super) at: At<Duration>,
    pub(super) rate: At<Rate>,
    pub(super) over: Duration,
    pub(super) lasts: Option<Duration>,
}

pub(super) fn rates(table: &mut Table<'_>) -> RatesText {
    let rate = rate(table, "rate");
    let changes = table.tables("change").into_iter().filter_map(change).collect();
    RatesText { rate, changes }
}

fn change(mut table: Table<'_>) -> Option<RateChange> {
    let at = table.duration("at");
    let rate = rate(&mut table, "rate");
    let over = table.duration("over");
    let lasts = table.duration("for");
    table.require(&["at", "rate"]);
    table.finish();
    Some(RateChange {
        at: at?,
        rate: rate?,
        over: over.map_or(Duration::ZERO, |at| at.value),
        lasts: lasts.map(|at| at.value),
    })
}

/// Runs a check on the faults so far.
pub(super) fn checked<T>(notes: &Notes, check: impl FnOnce(&mut Checker<'_>) -> T) -> T {
    let faults: &mut Collector = &mut notes.faults.borrow_mut();
    check(&mut Checker { faults })
}
