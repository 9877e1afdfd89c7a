//! How many places each peer holds. Peers without a place are not in the table, so that it is never larger than the
//! number of places in all.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    num::NonZeroU64,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Locks, so that the acceptors of several workers seldom meet.
const SHARDS: usize = 16;

/// What counts as one peer: an IPv4 address, or the /64 network that one subscriber of IPv6 has to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Peer(NonZeroU64);

impl Peer {
    pub(super) fn of(address: IpAddr) -> Self {
        // No /64 network has the numbers 2³² to 2³³ − 1: they are in ::/8, which is not given out.
        let number = match address.to_canonical() {
            IpAddr::V4(address) => 1 << 32 | u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        };
        Self(NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN))
    }
}

/// Places by peer. The maps are keyed with random numbers, because peers choose their addresses.
#[derive(Debug, Default)]
pub(super) struct Peers {
    shards: [Mutex<HashMap<Peer, u32>>; SHARDS],
}

impl Peers {
    /// Takes a place unless the peer has `max` of them.
    pub(super) fn try_take(&self, peer: Peer, max: u32) -> bool {
        let mut shard = self.shard(peer);
        let held = shard.get(&peer).copied().unwrap_or(0);
        let free = held < max;
        if free {
            shard.insert(peer, held + 1);
        }
        free
    }

    /// Gives a place back.
    pub(super) fn release(&self, peer: Peer) {
        let mut shard = self.shard(peer);
        if let Entry::Occupied(mut held) = shard.entry(peer) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }

    fn shard(&self, Peer(number): Peer) -> MutexGuard<'_, HashMap<Peer, u32>> {
        // Neighbouring addresses go to different shards.
        let shard = number.get().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        self.shards[shard as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::of(address.parse().unwrap())
    }

    #[test]
    fn an_ipv6_subscriber_is_one_peer_and_an_ipv4_address_is_one() {
        assert_eq!(peer("2001:db8:1:2::1"), peer("2001:db8:1:2:ffff::2"));
        assert_ne!(peer("2001:db8:1:2::1"), peer("2001:db8:1:3::1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
        assert_eq!(peer("192.0.2.1"), peer("::ffff:192.0.2.1"));
        assert_ne!(peer("0.0.0.0"), peer("::1"));
    }

    #[test]
    fn a_peer_without_places_is_not_remembered() {
        let peers = Peers::default();
        assert!(!peers.try_take(peer("::1"), 0));
        assert!(peers.try_take(peer("::1"), 2));
        assert!(peers.try_take(peer("::1"), 2));
        assert!(!peers.try_take(peer("::1"), 2));
        peers.release(peer("::1"));
        assert!(peers.try_take(peer("::1"), 2));
        peers.release(peer("::1"));
        peers.release(peer("::1"));
        assert!(peers.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }
}
