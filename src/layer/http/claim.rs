//! How important a request is when nobody trustworthy has said so yet: whoever runs the entry says what kind of request
//! it is and whose, and everything else follows from keyed hashes.

use std::{sync::Arc, time::Duration};

use crate::{
    admission::{Cost, PriorityKey, Value},
    id::MessageId,
};

/// Who says how important a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The entry's own classification: the task begins here.
    Claimed,
    /// A caller, with a signature.
    Signed,
    /// A caller, which is trusted as it is.
    Peer,
}

/// The kind of a request and its user.
///
/// ```
/// use dagor::layer::http::Claim;
///
/// let payment = Claim::business(1).user("ann");
/// let crawler = Claim::business(40);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    business: u8,
    pub(super) user: Option<Arc<str>>,
    tier: (u8, u8),
    task: Option<u64>,
    pub(super) cost: Cost,
}

impl Claim {
    /// A request of this business priority: 0 to 63, lower is more important.
    pub const fn business(priority: u8) -> Self {
        Self { business: priority, user: None, tier: (0, 127), task: None, cost: Cost::ONE }
    }

    /// Made by this user, as the service itself has found out. All of a user's requests have one user level, which
    /// passes through the whole tier in 29 s, so that users are served alike in the long run. Without a user, each
    /// request stands for itself.
    #[must_use]
    pub fn user(mut self, id: impl Into<Arc<str>>) -> Self {
        self.user = Some(id.into());
        self
    }

    /// The user levels of the user's tier, both included: 0 to 127 unless given, lower is more important.
    #[must_use]
    pub const fn tier(mut self, first: u8, last: u8) -> Self {
        self.tier = (first, last);
        self
    }

    /// What stays the same when the caller tries again, such as a hash of an idempotency key: a retry then has the grain
    /// that the first try had and draws no second lot. Without it each request has a grain of its own.
    #[must_use]
    pub const fn task(mut self, id: u64) -> Self {
        self.task = Some(id);
        self
    }

    /// How much of the service's capacity it takes, where others take 1 (1 unless given): a request that works five
    /// times as long as the others costs 5.
    #[must_use]
    pub fn cost(mut self, units: f64) -> Self {
        self.cost = Cost::from_units(units);
        self
    }

    /// The value at a common time (since the Unix epoch); `serial` tells requests apart that say nothing else.
    pub(super) fn value(&self, key: &PriorityKey, since_epoch: Duration, serial: u64) -> Value {
        let task = self.task.unwrap_or(serial);
        let hash = match &self.user {
            Some(user) => key.user(user.as_bytes()),
            None => key.user(&task.to_le_bytes()),
        };
        hash.value(self.business, since_epoch, self.tier, MessageId(task))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const KEY: PriorityKey = PriorityKey(*b"0123456789abcdef");
    const NOW: Duration = Duration::from_secs(1_700_000_000);

    #[test]
    fn a_user_has_one_level_and_a_task_one_grain() {
        let ann = Claim::business(3).user("ann");
        let [first, second] = [1, 2].map(|serial| ann.value(&KEY, NOW, serial));
        assert_eq!(first.level(), second.level());
        assert_eq!(first.level().business(), 3);
        assert_ne!(first.grain(), second.grain());
        let [first, retry] = [1, 2].map(|serial| ann.clone().task(9).value(&KEY, NOW, serial));
        assert_eq!(first, retry);
    }

    #[test]
    fn requests_of_nobody_are_spread_over_the_tier() {
        let nobody = Claim::business(3).tier(64, 127);
        let levels: HashSet<_> = (0..1000).map(|serial| nobody.value(&KEY, NOW, serial).level().user()).collect();
        assert_eq!(levels, (64..128).collect());
    }
}
