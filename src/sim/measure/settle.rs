//! How fast goodput settles after a change of a rate or of the capacity.
//!
//! At each tenth of a second after a change, goodput is averaged over the 3 s that follow, as long as they end before the
//! next change; a span of less than 3 s is averaged whole. It has settled at the first moment from which on all these
//! averages are at least 95 %. A span in which it never settles counts with its whole length.
//!
//! Goodput is of the tasks that arrived in those 3 s. Where everything can be served it is the work of those that
//! succeeded, of the work of all. In overload it is the service time that was really spent on those that succeeded, of the
//! capacity: service times are drawn, and a busy server that draws long ones has not lost anything.
//!
//! Looking ahead lets a perfect step count as settled up to 0.15 s early, the twentieth part of the 3 s.

use serde::Serialize;

use super::{books::Books, optimum::Optimum};

const AVERAGED_BINS: usize = 30;
/// How much before a change tells whether there was an overload.
const BINS_BEFORE: usize = 10;
const SETTLED: f64 = 0.95;
const REOPENED: f64 = 0.99;
/// What is offered may exceed the capacity by chance; a span is overloaded when it does by more than this.
const OVERLOADED: f64 = 0.999;

/// What a change led into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Towards {
    /// More is offered than can be served.
    Overload,
    /// Everything can be served again, after an overload.
    Recovery,
    /// Everything can be served, as before.
    Calm,
}

/// How a run settled after one change.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Settled {
    /// Seconds from the beginning.
    pub at_s: f64,
    /// What the change led into.
    pub towards: Towards,
    /// Seconds until the next change, or the end.
    pub span_s: f64,
    /// Seconds until goodput had settled; the whole span if it never did.
    pub settled_s: f64,
    /// Whether it did.
    pub settled: bool,
    /// Seconds until 99 % of fresh tasks succeeded, where that is possible; the whole span if they never did.
    pub reopened_s: Option<f64>,
}

/// Judges every change after the warm-up, and the beginning if there is no warm-up.
pub(super) fn settle(optimum: &Optimum, books: &Books, warmup: f64, end: f64) -> Vec<Settled> {
    let mut moments: Vec<_> = optimum.changes.iter().copied().filter(|at| *at >= warmup && *at > 0.0).collect();
    if warmup == 0.0 {
        moments.insert(0, 0.0);
    }
    let mut settled = Vec::new();
    let mut before = None;
    for (index, &at) in moments.iter().enumerate() {
        let until = moments.get(index + 1).copied().unwrap_or(end);
        let span = Span { optimum, books, first: Books::bin(at), end: Books::bin(until) };
        if span.end <= span.first {
            continue;
        }
        let overloaded = span.share(span.first, span.end) < OVERLOADED;
        let was = before.replace(overloaded).unwrap_or_else(|| overloaded_before(optimum, books, at));
        let towards = match (overloaded, was) {
            (true, _) => Towards::Overload,
            (false, true) => Towards::Recovery,
            (false, false) => Towards::Calm,
        };
        let goodput = if overloaded { Span::goodput_in_overload } else { Span::goodput };
        let calm = span.first_lasting(SETTLED, goodput);
        let reopened = (towards == Towards::Recovery).then(|| span.first_lasting(REOPENED, Span::success));
        settled.push(Settled {
            at_s: at,
            towards,
            span_s: until - at,
            settled_s: calm.unwrap_or(until - at),
            settled: calm.is_some(),
            reopened_s: reopened.map(|reopened| reopened.unwrap_or(until - at)),
        });
    }
    settled
}

/// Whether the second before a moment was overloaded.
fn overloaded_before(optimum: &Optimum, books: &Books, at: f64) -> bool {
    let end = Books::bin(at);
    let span = Span { optimum, books, first: end.saturating_sub(BINS_BEFORE), end };
    span.first < end && span.share(span.first, end) < OVERLOADED
}

struct Span<'a> {
    optimum: &'a Optimum,
    books: &'a Books,
    first: usize,
    end: usize,
}

impl Span<'_> {
    /// Seconds from the span's beginning to the first moment from which on all averages reach a limit.
    fn first_lasting(&self, limit: f64, average: impl Fn(&Self, usize, usize) -> f64) -> Option<f64> {
        let last = self.end.saturating_sub(AVERAGED_BINS).max(self.first);
        let reaches = |bin: usize| average(self, bin, (bin + AVERAGED_BINS).min(self.end)) >= limit - 1e-9;
        let failing = (self.first..=last).rev().find(|bin| !reaches(*bin));
        match failing {
            None => Some(0.0),
            Some(bin) if bin == last => None,
            Some(bin) => Some((bin + 1 - self.first) as f64 * Books::BIN_SECONDS),
        }
    }

    fn share(&self, from: usize, to: usize) -> f64 {
        let seconds = |bin| bin as f64 * Books::BIN_SECONDS;
        self.optimum.share(&self.books.offered(from, to), seconds(from), seconds(to))
    }

    /// Work that the tasks of these bins were meant to need.
    fn work(&self, counts: &[f64]) -> f64 {
        counts.iter().enumerate().map(|(business, count)| count * self.optimum.work(business)).sum()
    }

    /// Work that succeeded, of what could have been served.
    fn goodput(&self, from: usize, to: usize) -> f64 {
        let possible = self.work(&self.books.offered(from, to)) * self.share(from, to);
        if possible > 0.0 { self.work(&self.books.succeeded(from, to)) / possible } else { 1.0 }
    }

    /// Service time spent on what succeeded, of what there was.
    fn goodput_in_overload(&self, from: usize, to: usize) -> f64 {
        let possible = self.work(&self.books.offered(from, to)) * self.share(from, to);
        if possible > 0.0 { self.books.work(from, to) / possible } else { 1.0 }
    }

    /// Tasks that succeeded, of those that arrived.
    fn success(&self, from: usize, to: usize) -> f64 {
        let offered: f64 = self.books.offered(from, to).iter().sum();
        if offered > 0.0 { self.books.succeeded(from, to).iter().sum::<f64>() / offered } else { 1.0 }
    }
}
