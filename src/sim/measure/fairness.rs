//! Whether equal users fare equally: Jain's index of their success rates, within horizons that follow each other.
//!
//! (Σx)² ÷ (n·Σx²) over the success rates x of the n users who asked often enough: 1 if all are alike, 1 ÷ n if one gets
//! everything.

use std::{collections::VecDeque, time::Duration};

use crate::clock::Timestamp;

/// Users who ask less often say nothing about fairness within a horizon.
const REQUESTS_PER_MINUTE: f64 = 4.0;
/// How long after a horizon's end the last of its tasks may end; later ones count as failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Jain's index per horizon of one length.
#[derive(Debug)]
pub(super) struct Fairness {
    users: usize,
    begin: Timestamp,
    length: Duration,
    /// Horizons that are open, the first with this number.
    first: usize,
    open: VecDeque<Vec<Count>>,
    indices: Vec<f64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    offered: u32,
    succeeded: u32,
}

impl Fairness {
    /// Horizons of this length from `begin` on.
    pub(super) fn new(users: u32, begin: Timestamp, length: Duration) -> Self {
        Self { users: users as usize, begin, length, first: 0, open: VecDeque::new(), indices: Vec::new() }
    }

    /// A task arrived.
    pub(super) fn offered(&mut self, now: Timestamp, user: u32) {
        while self.first + self.open.len() <= self.number(now) {
            self.open.push_back(vec![Count::default(); self.users]);
            let oldest_end = self.begin + self.length * (self.first as u32 + 1);
            if now >= oldest_end + PATIENCE {
                self.close_first();
            }
        }
        if let Some(count) = self.count(now, user) {
            count.offered += 1;
        }
    }

    /// A task that arrived at `created` succeeded.
    pub(super) fn succeeded(&mut self, created: Timestamp, user: u32) {
        if let Some(count) = self.count(created, user) {
            count.succeeded += 1;
        }
    }

    /// The mean over all whole horizons until `end`; `None` if there are none, or nobody asked often enough.
    pub(super) fn index(mut self, end: Timestamp) -> Option<f64> {
        while self.begin + self.length * (self.first as u32 + 1) <= end && !self.open.is_empty() {
            self.close_first();
        }
        let count = self.indices.len();
        (count > 0).then(|| self.indices.iter().sum::<f64>() / count as f64)
    }

    fn number(&self, at: Timestamp) -> usize {
        (at.since(self.begin).as_nanos() / self.length.as_nanos()) as usize
    }

    fn count(&mut self, at: Timestamp, user: u32) -> Option<&mut Count> {
        let place = self.number(at).checked_sub(self.first)?;
        self.open.get_mut(place)?.get_mut(user as usize)
    }

    fn close_first(&mut self) {
        let Some(counts) = self.open.pop_front() else { return };
        self.first += 1;
        let least = (REQUESTS_PER_MINUTE * self.length.as_secs_f64() / 60.0).ceil().max(1.0);
        let often = counts.iter().filter(|count| f64::from(count.offered) >= least);
        self.indices.extend(jain(often.map(|count| f64::from(count.succeeded) / f64::from(count.offered))));
    }
}

/// Jain's index; `None` of nobody. If nobody gets anything, all are alike.
fn jain(rates: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum, squares) =
        rates.fold((0.0, 0.0, 0.0), |(count, sum, squares), x| (count + 1.0, sum + x, squares + x * x));
    if count == 0.0 {
        return None;
    }
    Some(if squares == 0.0 { 1.0 } else { sum * sum / (count * squares) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_one_for_equals_and_one_nth_if_one_gets_everything() {
        assert_eq!(jain([0.5, 0.5, 0.5].into_iter()), Some(1.0));
        assert_eq!(jain([1.0, 0.0, 0.0, 0.0].into_iter()), Some(0.25));
        assert_eq!(jain([0.0, 0.0].into_iter()), Some(1.0));
        assert_eq!(jain(std::iter::empty()), None);
    }

    #[test]
    fn horizons_follow_each_other_and_users_who_seldom_ask_are_left_out() {
        let second = |second| Timestamp::ZERO + Duration::from_secs(second);
        let mut fairness = Fairness::new(3, Timestamp::ZERO, Duration::from_secs(60));
        for at in 0..240 {
            let users: &[u32] = if at % 60 == 7 { &[0, 1, 2] } else { &[0, 1] };
            for user in users {
                fairness.offered(second(at), *user);
                // User 1 gets nothing in every second minute.
                if *user == 0 || at / 60 % 2 == 0 {
                    fairness.succeeded(second(at), *user);
                }
            }
        }
        assert_eq!(fairness.index(second(240)), Some(0.75));
    }
}
