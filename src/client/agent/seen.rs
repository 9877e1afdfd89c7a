//! A push that comes again, on this connection or on the next, is shown once: its service's key says which it is. The
//! last keys are remembered, as many as fit.

use std::{
    collections::{HashSet, VecDeque},
    hash::Hash,
};

use siphasher::sip128::{Hasher128, SipHasher13};

use super::super::Push;

/// Keys remembered, with 16 bytes for each in either collection.
const REMEMBERED: usize = 1024;

/// Which pushes were seen.
#[derive(Debug)]
pub(super) struct Seen {
    /// Nobody outside can choose keys that look equal.
    secret: [u8; 16],
    keys: HashSet<u128>,
    order: VecDeque<u128>,
}

impl Seen {
    pub(super) fn new(secret: [u8; 16]) -> Self {
        Self { secret, keys: HashSet::new(), order: VecDeque::new() }
    }

    /// Whether this push is new. One without a key always is.
    pub(super) fn is_new(&mut self, push: &Push) -> bool {
        if push.dedupe_key.is_empty() {
            return true;
        }
        let key = self.hash(push);
        if !self.keys.insert(key) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
        true
    }

    fn hash(&self, push: &Push) -> u128 {
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        push.business.hash(&mut hasher);
        push.dedupe_key.hash(&mut hasher);
        hasher.finish128().as_u128()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::id::BusinessCode;

    fn push(key: &str, business: u16) -> Push {
        Push {
            id: 1,
            business: BusinessCode(business),
            dedupe_key: Bytes::copy_from_slice(key.as_bytes()),
            payload: Bytes::new(),
        }
    }

    #[test]
    fn a_key_is_new_once_for_each_business_and_no_key_is_always_new() {
        let mut seen = Seen::new([3; 16]);
        assert!(seen.is_new(&push("a", 1)) && seen.is_new(&push("a", 2)) && seen.is_new(&push("b", 1)));
        assert!(!seen.is_new(&push("a", 1)) && !seen.is_new(&push("a", 2)));
        assert!(seen.is_new(&push("", 1)) && seen.is_new(&push("", 1)));
    }

    #[test]
    fn only_the_last_keys_are_remembered() {
        let mut seen = Seen::new([3; 16]);
        for key in 0..3000 {
            assert!(seen.is_new(&push(&key.to_string(), 1)));
        }
        assert_eq!((seen.keys.len(), seen.order.len()), (REMEMBERED, REMEMBERED));
        assert!(!seen.is_new(&push("2999", 1)) && seen.is_new(&push("0", 1)));
    }
}
