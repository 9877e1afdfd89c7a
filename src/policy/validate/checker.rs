//! The checks that every section shares. Each returns a value to go on with, so that one fault hides no other.

use std::{ops::RangeInclusive, time::Duration};

use crate::policy::{
    fault::{Collector, Place, did_you_mean},
    quantity::{format_duration, format_size},
    reader::At,
};

/// The longest name of a business, service or tier, in bytes; names become labels of metrics.
pub(crate) const MAX_NAME_BYTES: usize = 64;

pub(crate) struct Checker<'f> {
    pub(crate) faults: &'f mut Collector,
}

impl Checker<'_> {
    /// The written number, or `default` if it is absent or out of range.
    pub(crate) fn whole(&mut self, written: &Option<At<u64>>, range: RangeInclusive<u64>, default: u64) -> u64 {
        self.ranged(written, range, default, |number| number.to_string())
    }

    /// Like [`Checker::whole`], where `usize` counts.
    pub(crate) fn count(&mut self, written: &Option<At<u64>>, range: RangeInclusive<u64>, default: usize) -> usize {
        usize::try_from(self.whole(written, range, default as u64)).unwrap_or(usize::MAX)
    }

    /// The written number, or `None` if it is absent or a word in its place says so.
    pub(super) fn count_or_none(
        &mut self,
        written: &Option<At<Option<u64>>>,
        range: RangeInclusive<u64>,
    ) -> Option<usize> {
        let At { value, place } = written.as_ref()?;
        let number = Some(At { value: (*value)?, place: place.clone() });
        Some(self.count(&number, range, 1))
    }

    /// The written size in bytes, or `default`.
    pub(crate) fn size(&mut self, written: &Option<At<u64>>, range: RangeInclusive<u64>, default: usize) -> usize {
        let bytes = self.ranged(written, range, default as u64, |bytes| format_size(*bytes));
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// The written duration, or `default`.
    pub(crate) fn duration(
        &mut self,
        written: &Option<At<Duration>>,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        self.ranged(written, range, default, |duration| format_duration(*duration))
    }

    /// The written duration, or `None` if it is absent or a word in its place says so.
    pub(super) fn duration_or_none(
        &mut self,
        written: &Option<At<Option<Duration>>>,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let At { value, place } = written.as_ref()?;
        let duration = Some(At { value: (*value)?, place: place.clone() });
        let least = *range.start();
        Some(self.duration(&duration, range, least))
    }

    /// The written value, or `default` if it is absent or out of range.
    pub(crate) fn ranged<T: PartialOrd + Clone>(
        &mut self,
        written: &Option<At<T>>,
        range: RangeInclusive<T>,
        default: T,
        show: impl Fn(&T) -> String,
    ) -> T {
        let Some(At { value, place }) = written else { return default };
        if range.contains(value) {
            return value.clone();
        }
        let (from, to) = (show(range.start()), show(range.end()));
        let key = place.path.rsplit('.').next().unwrap_or_default();
        self.faults.add(place, format!("{key} must be from {from} to {to}, not {}", show(value)));
        default
    }

    /// What the written word stands for, or `default`.
    pub(crate) fn word<T: Copy>(
        &mut self,
        written: &Option<At<String>>,
        what: &str,
        known: &[(&'static str, T)],
        default: T,
    ) -> T {
        let Some(At { value, place }) = written else { return default };
        match known.iter().find(|(word, _)| word == value) {
            Some((_, meaning)) => *meaning,
            None => {
                self.unknown(place, what, value, known.iter().map(|(word, _)| *word));
                default
            }
        }
    }

    /// A reference to something that does not exist.
    pub(crate) fn unknown<'k>(
        &mut self,
        place: &Place,
        what: &str,
        written: &str,
        known: impl Iterator<Item = &'k str> + Clone,
    ) {
        let all = || known.clone().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        let suggestion = did_you_mean(written, known.clone()).unwrap_or_else(|| format!("known: {}", all()));
        self.faults.suggest(place, format!("unknown {what} `{written}`"), Some(suggestion));
    }

    /// A name that is neither odd nor taken by one before it.
    pub(crate) fn name<'n>(
        &mut self,
        what: &str,
        name: &At<String>,
        mut before: impl Iterator<Item = &'n Option<At<String>>>,
    ) {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.value.is_empty() || name.value.len() > MAX_NAME_BYTES || !name.value.bytes().all(fits) {
            let message = format!("a name is 1 to {MAX_NAME_BYTES} letters, digits, `-`, `_` or `.`");
            self.faults.add(&name.place, message);
        }
        if before.any(|other| other.as_ref().is_some_and(|other| other.value == name.value)) {
            self.faults.add(&name.place, format!("there is a {what} `{}` already", name.value));
        }
    }

    /// The first `limit` of a list; a longer one is a fault.
    pub(crate) fn at_most<'t, T>(
        &mut self,
        texts: &'t [T],
        limit: usize,
        what: &str,
        place: impl Fn(&T) -> &Place,
    ) -> &'t [T] {
        if let Some(first_too_many) = texts.get(limit) {
            self.faults.add(place(first_too_many), format!("a policy holds at most {limit} {what}"));
        }
        &texts[..texts.len().min(limit)]
    }

    /// Notes a contradiction between settings at the first of them that was written. If none was, the defaults would
    /// contradict each other, which a test excludes.
    pub(crate) fn contradiction(&mut self, holds: bool, written: &[Option<&Place>], message: impl FnOnce() -> String) {
        if let (false, Some(place)) = (holds, written.iter().flatten().next()) {
            self.faults.add(place, message());
        }
    }
}

/// Where a setting was written, if it was.
pub(crate) fn place<T>(written: &Option<At<T>>) -> Option<&Place> {
    written.as_ref().map(|at| &at.place)
}
