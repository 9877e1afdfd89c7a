//! Retries are a small share of what is sent for the first time, so that many clients that are refused do not become a
//! load of their own.

use std::time::Duration;

use crate::clock::Timestamp;

/// The cost of a retry; everything is counted in thousandths of one.
const RETRY: u32 = 1000;
/// What a fresh send gives back: a tenth.
const PER_FRESH_SEND: u32 = RETRY / 10;
/// Time gives a thousandth per this: one retry per 10 s.
const PER_THOUSANDTH: Duration = Duration::from_millis(10);
/// So many retries can be saved up.
const BURST: u32 = 3 * RETRY;

/// How many retries may be sent now.
#[derive(Debug)]
pub(super) struct Budget {
    thousandths: u32,
    counted: Timestamp,
}

impl Budget {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { thousandths: BURST, counted: now }
    }

    pub(super) fn fresh_send(&mut self) {
        self.thousandths = (self.thousandths + PER_FRESH_SEND).min(BURST);
    }

    /// Takes the right to one retry, if there is one.
    pub(super) fn take(&mut self, now: Timestamp) -> bool {
        let gained = now.since(self.counted).as_nanos() / PER_THOUSANDTH.as_nanos();
        let gained = u32::try_from(gained).unwrap_or(BURST).min(BURST);
        self.counted = if gained == BURST { now } else { self.counted + PER_THOUSANDTH * gained };
        self.thousandths = (self.thousandths + gained).min(BURST);
        let rest = self.thousandths.checked_sub(RETRY);
        self.thousandths = rest.unwrap_or(self.thousandths);
        rest.is_some()
    }

    /// When there is a right to a retry, if nothing is sent until then.
    pub(super) fn next(&self) -> Timestamp {
        self.counted + PER_THOUSANDTH * RETRY.saturating_sub(self.thousandths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    /// How many retries there are at once.
    fn available(budget: &mut Budget, now: Timestamp) -> usize {
        (0..100).take_while(|_| budget.take(now)).count()
    }

    #[test]
    fn three_retries_can_be_saved_and_then_one_comes_each_ten_seconds() {
        let mut budget = Budget::new(at(0));
        assert_eq!(available(&mut budget, at(0)), 3);
        assert!(!budget.take(at(1)) && !budget.take(at(9_999)));
        assert_eq!(budget.next(), at(10_000));
        assert!(budget.take(at(10_000)));
        assert_eq!(available(&mut budget, at(3_600_000)), 3);
    }

    #[test]
    fn ten_fresh_sends_give_one_retry() {
        let mut budget = Budget::new(at(0));
        available(&mut budget, at(0));
        (0..9).for_each(|_| budget.fresh_send());
        assert_eq!(available(&mut budget, at(0)), 0);
        budget.fresh_send();
        assert_eq!(available(&mut budget, at(0)), 1);
    }
}
