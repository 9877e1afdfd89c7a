//! What was counted in the last ten seconds, second by second: what is older falls out by itself.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::clock::Timestamp;

/// How long what was counted stays: a client that was sent somewhere and is not there by then has gone elsewhere.
pub(super) const LATELY: Duration = Duration::from_secs(10);
/// Names in one second; clients sent to more of them are not counted.
const MAX_NAMES: usize = 256;

/// Counts by name.
#[derive(Debug, Default)]
pub struct Lately(VecDeque<(u64, BTreeMap<String, f64>)>);

impl Lately {
    /// Counts something now.
    pub fn add(&mut self, name: &str, count: f64, now: Timestamp) {
        let second = second(now);
        if self.0.back().is_none_or(|(last, _)| *last < second) {
            self.forget(now);
            self.0.push_back((second, BTreeMap::new()));
        }
        let Some((_, counts)) = self.0.back_mut() else { return };
        if let Some(known) = counts.get_mut(name) {
            *known += count;
        } else if counts.len() < MAX_NAMES {
            counts.insert(name.to_owned(), count);
        }
    }

    /// What was counted, by name.
    pub fn sums(&mut self, now: Timestamp) -> BTreeMap<String, f64> {
        self.forget(now);
        let mut sums = BTreeMap::new();
        for (name, count) in self.0.iter().flat_map(|(_, counts)| counts) {
            *sums.entry(name.clone()).or_default() += count;
        }
        sums
    }

    fn forget(&mut self, now: Timestamp) {
        let oldest = second(now).saturating_sub(LATELY.as_secs() - 1);
        self.0.retain(|(second, _)| *second >= oldest);
    }
}

const fn second(at: Timestamp) -> u64 {
    at.as_nanos() / 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn what_is_older_than_ten_seconds_falls_out() {
        let mut lately = Lately::default();
        for second in 0..30 {
            lately.add("a", 1.0, at(second));
        }
        lately.add("b", 0.5, at(29));
        assert_eq!(lately.sums(at(29)), BTreeMap::from([("a".to_owned(), 10.0), ("b".to_owned(), 0.5)]));
        assert_eq!(lately.sums(at(34))["a"], 5.0);
        assert!(lately.sums(at(40)).is_empty());
    }

    #[test]
    fn names_are_bounded() {
        let mut lately = Lately::default();
        (0..1000).for_each(|name| lately.add(&name.to_string(), 1.0, at(1)));
        assert_eq!(lately.sums(at(1)).len(), MAX_NAMES);
    }
}
