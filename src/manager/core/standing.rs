//! Whether a gateway takes logins, by what is its own: connections, CPU, memory, event loop, and its own share of the
//! latency. A slow service closes no gateway.
//!
//! **Memory.** None: how long a mark has been passed, and since when a gateway is closed, travels with its reports. So every
//! manager decides alike, and a fresh one goes on where another one stopped.
//!
//! **Close** as soon as one mark has been at its high value or above for as long as it has to last. **Open** when all are
//! below their low values and the gateway was closed for the minimum time. Between low and high nothing changes.
//!
//! **Not known** is no reason to close, and none to stay closed.

use std::time::Duration;

use super::{report::Report, words};
use crate::manager::settings::{MarkKind, Marks};

/// Whether a gateway takes logins.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// It does.
    pub accepting: bool,
    /// Since when.
    pub age: Duration,
    /// Marks at their high value or above, and for how long.
    pub over: Vec<(MarkKind, Duration)>,
    /// Why, for people.
    pub reason: String,
    /// Over which time those who are refused spread their return.
    pub wait: Duration,
    /// The fleet is being balanced: a decision about all, which comes back by way of each.
    pub balancing: bool,
}

impl Standing {
    /// Of a gateway that was never told anything: it has been open since it started.
    fn fresh(report: &Report) -> Self {
        let (reason, wait) = ("open: new".to_owned(), Duration::ZERO);
        Self { accepting: true, age: report.uptime, over: Vec::new(), reason, wait, balancing: false }
    }

    /// What a report that is so old says of the gateway's standing.
    pub(super) fn reported(report: &Report, elapsed: Duration) -> Self {
        let mut standing = report.standing.clone().unwrap_or_else(|| Self::fresh(report));
        standing.age += elapsed;
        standing.over.iter_mut().for_each(|(_, lasted)| *lasted += elapsed);
        standing
    }

    fn turned(self, accepting: bool, reason: String) -> Self {
        Self { accepting, age: Duration::ZERO, reason, ..self }
    }
}

/// What somebody else than the marks wants of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing.
    None,
    /// An operator drains it.
    Drained,
    /// It is shutting down.
    Leaving,
}

/// The standing of a gateway whose report is `elapsed` old.
pub fn judge(report: &Report, elapsed: Duration, marks: &Marks, wish: Wish) -> Standing {
    let mut standing = Standing::reported(report, elapsed);
    standing.over = passed(report, &standing, marks);
    match wish {
        Wish::Drained => return forced(standing, "closed: drained by an operator"),
        Wish::Leaving => return forced(standing, "closed: it is shutting down"),
        Wish::None => {}
    }
    if standing.accepting {
        match closing(&standing, marks) {
            Some((kind, lasted)) => {
                let reason = words::closed(kind, report.value(kind).unwrap_or(0.0), marks.of(kind), lasted);
                standing.turned(false, reason)
            }
            None => standing,
        }
    } else if standing.age >= marks.closed_at_least && too_high(report, marks).is_none() {
        let reason = format!("open again after {}", words::time(standing.age));
        standing.turned(true, reason)
    } else {
        standing
    }
}

/// What a closed gateway waits for, in words.
pub fn waits_for(report: &Report, standing: &Standing, marks: &Marks) -> Option<String> {
    if standing.accepting {
        return None;
    }
    if let Some((kind, value)) = too_high(report, marks) {
        return Some(words::until_low(kind, value, marks.of(kind)));
    }
    let left = marks.closed_at_least.saturating_sub(standing.age);
    (!left.is_zero()).then(|| format!("opens in {} at the earliest", words::time(left)))
}

/// Closed for as long as somebody wants it.
fn forced(standing: Standing, reason: &str) -> Standing {
    if !standing.accepting && standing.reason == reason { standing } else { standing.turned(false, reason.to_owned()) }
}

/// The marks that are passed, each with for how long.
fn passed(report: &Report, before: &Standing, marks: &Marks) -> Vec<(MarkKind, Duration)> {
    let is_over = |kind: &MarkKind| report.value(*kind).is_some_and(|value| value >= marks.of(*kind).high);
    let lasted =
        |kind| before.over.iter().find(|(over, _)| *over == kind).map_or(Duration::ZERO, |(_, lasted)| *lasted);
    MarkKind::ALL.into_iter().filter(is_over).map(|kind| (kind, lasted(kind))).collect()
}

/// The mark that closes the gateway, if one does.
fn closing(standing: &Standing, marks: &Marks) -> Option<(MarkKind, Duration)> {
    let closes = |(kind, lasted): &(MarkKind, Duration)| {
        let needs = marks.of(*kind).lasting;
        *lasted >= needs && (needs.is_zero() || standing.age >= marks.open_at_least)
    };
    standing.over.iter().copied().find(closes)
}

/// What is not below its low value.
fn too_high(report: &Report, marks: &Marks) -> Option<(MarkKind, f64)> {
    let values = MarkKind::ALL.into_iter().filter_map(|kind| Some((kind, report.value(kind)?)));
    values.into_iter().find(|&(kind, value)| value >= marks.of(kind).low)
}

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
