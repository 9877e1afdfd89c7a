//! Who is connected here, and through what: one table, so that the look-ups by user and by (user, device) cannot differ.
//!
//! The table holds members by the hash of their *user* alone, and nothing else: names live in the members, each once. All
//! devices of a user are found along one probe sequence, whose length is bounded by a bound on devices. The hash is
//! keyed with random numbers, because users choose their names.
//!
//! A later login wins over an earlier one of the same device, whatever the order in which the two arrive here, and the
//! end of an earlier one never removes its successor.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    mem,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use hashbrown::HashTable;

use crate::id::Epoch;

/// Locks, and steps of a walk over everyone. A shard of a million members has 4,000 of them.
pub const SHARDS: usize = 256;

/// Devices per user in [`Roster::default`].
pub const MAX_DEVICES: usize = 16;

/// A connection in the roster.
pub trait Member {
    /// Who is connected. Must not change.
    fn user(&self) -> &str;
    /// With what. Must not change.
    fn device(&self) -> &str;
    /// The number of this login among the user's.
    fn epoch(&self) -> Epoch;
}

impl<M: Member + ?Sized> Member for Arc<M> {
    fn user(&self) -> &str {
        (**self).user()
    }

    fn device(&self) -> &str {
        (**self).device()
    }

    fn epoch(&self) -> Epoch {
        (**self).epoch()
    }
}

/// What an insertion did. Whoever is handed back is to be closed.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Inserted<T> {
    /// The member is in; nobody had to go.
    New,
    /// The member is in, in place of an earlier login of the same device.
    Replaced(T),
    /// The member is in; the user had the most devices allowed, and the one that logged in first had to go.
    Evicted(T),
    /// The member is *not* in and handed back: a later login of its device is, or as many devices as allowed, all of
    /// later logins.
    Outdated(T),
}

/// Sharded table of members; `T` is typically an `Arc` of the connection.
pub struct Roster<T> {
    hasher: RandomState,
    shards: Box<[Shard<T>]>,
    max_devices: usize,
}

/// On a cache line of its own, so that workers that log clients in do not slow each other down.
#[repr(align(64))]
struct Shard<T>(RwLock<HashTable<T>>);

impl<T: Member> Roster<T> {
    /// An empty roster for at most this many devices of a user; zero is taken for one. A user of one more loses the
    /// device that logged in first rather than the one in hand.
    pub fn new(max_devices: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Shard(RwLock::new(HashTable::new()))).collect();
        Self { hasher: RandomState::new(), shards, max_devices: max_devices.max(1) }
    }

    /// Adds a member; see [`Inserted`] for who has to go.
    pub fn insert(&self, member: T) -> Inserted<T> {
        let hash = self.hash(member.user());
        let mut shard = self.write(hash);
        if let Some(held) = shard.find_mut(hash, |held| same_device(held, &member)) {
            return if held.epoch() < member.epoch() {
                Inserted::Replaced(mem::replace(held, member))
            } else {
                Inserted::Outdated(member)
            };
        }
        let (devices, first) = devices(&shard, hash, member.user());
        let mut evicted = None;
        if devices >= self.max_devices {
            if first >= member.epoch() {
                return Inserted::Outdated(member);
            }
            let is_first = |held: &T| held.user() == member.user() && held.epoch() == first;
            evicted = shard.find_entry(hash, is_first).ok().map(|entry| entry.remove().0);
        }
        shard.insert_unique(hash, member, |held| self.hash(held.user()));
        evicted.map_or(Inserted::New, Inserted::Evicted)
    }

    /// Removes this very login, and says whether it was there. A later login of the same device stays.
    pub fn remove(&self, member: &T) -> bool {
        let hash = self.hash(member.user());
        let same_login = |held: &T| same_device(held, member) && held.epoch() == member.epoch();
        // Outlives the guard, so that nothing is dropped under the lock.
        let removed;
        let mut shard = self.write(hash);
        removed = shard.find_entry(hash, same_login).ok().map(|entry| entry.remove().0);
        removed.is_some()
    }

    /// Calls `visit` for every device of a user, and returns how many there were.
    ///
    /// The lock of a shard is held meanwhile: `visit` must be short and must not use the roster.
    pub fn for_user(&self, user: &str, visit: impl FnMut(&T)) -> usize {
        let hash = self.hash(user);
        let shard = self.read(hash);
        shard.iter_hash(hash).filter(|held| held.user() == user).map(visit).count()
    }

    /// Members in all.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| read(shard).len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| read(shard).is_empty())
    }

    fn hash(&self, user: &str) -> u64 {
        self.hasher.hash_one(user)
    }

    fn read(&self, hash: u64) -> RwLockReadGuard<'_, HashTable<T>> {
        read(&self.shards[shard_of(hash)])
    }

    fn write(&self, hash: u64) -> RwLockWriteGuard<'_, HashTable<T>> {
        self.shards[shard_of(hash)].0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Member + Clone> Roster<T> {
    /// The connection of one device.
    pub fn get(&self, user: &str, device: &str) -> Option<T> {
        let hash = self.hash(user);
        self.read(hash).find(hash, |held| held.user() == user && held.device() == device).cloned()
    }

    /// Calls `visit` for everyone. Who comes or goes meanwhile may be missed or visited; nobody is visited twice unless
    /// they log in again.
    ///
    /// No lock is held during a visit: each shard is copied first. A walk that must not keep its thread uses
    /// [`Roster::copy_shard`] and rests between two shards.
    pub fn for_each(&self, mut visit: impl FnMut(&T)) {
        let mut members = Vec::new();
        for index in 0..SHARDS {
            self.copy_shard(index, &mut members);
            members.drain(..).for_each(|member| visit(&member));
        }
    }

    /// Appends the members of one shard to `members`; beyond [`SHARDS`] there are none.
    pub fn copy_shard(&self, index: usize, members: &mut Vec<T>) {
        if let Some(shard) = self.shards.get(index) {
            members.extend(read(shard).iter().cloned());
        }
    }
}

fn read<T>(shard: &Shard<T>) -> RwLockReadGuard<'_, HashTable<T>> {
    shard.0.read().unwrap_or_else(PoisonError::into_inner)
}

/// The table uses the lowest bits of a hash for the place and the highest seven for the tag; these are neither.
fn shard_of(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}

fn same_device<T: Member>(one: &T, other: &T) -> bool {
    one.user() == other.user() && one.device() == other.device()
}

/// How many devices a user has, and the epoch of the first login among them.
fn devices<T: Member>(shard: &HashTable<T>, hash: u64, user: &str) -> (usize, Epoch) {
    let epochs = shard.iter_hash(hash).filter(|held| held.user() == user).map(Member::epoch);
    epochs.fold((0, Epoch(u64::MAX)), |(devices, first), epoch| (devices + 1, first.min(epoch)))
}

impl<T: Member> Default for Roster<T> {
    fn default() -> Self {
        Self::new(MAX_DEVICES)
    }
}

impl<T: Member> fmt::Debug for Roster<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roster").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    type Login = (String, String, u64);

    impl Member for Login {
        fn user(&self) -> &str {
            &self.0
        }

        fn device(&self) -> &str {
            &self.1
        }

        fn epoch(&self) -> Epoch {
            Epoch(self.2)
        }
    }

    fn login(user: &str, device: &str, epoch: u64) -> Arc<Login> {
        Arc::new((user.into(), device.into(), epoch))
    }

    fn devices_of(roster: &Roster<Arc<Login>>, user: &str) -> Vec<String> {
        let mut devices = Vec::new();
        let count = roster.for_user(user, |member| devices.push(member.device().to_owned()));
        assert_eq!(count, devices.len());
        devices.sort();
        devices
    }

    #[test]
    fn a_user_is_found_by_device_and_as_a_whole() {
        let roster = Roster::default();
        assert!(roster.is_empty());
        for device in ["phone", "watch"] {
            assert_eq!(roster.insert(login("ann", device, 1)), Inserted::New);
        }
        assert_eq!(roster.insert(login("bob", "phone", 1)), Inserted::New);
        assert_eq!(devices_of(&roster, "ann"), ["phone", "watch"]);
        assert_eq!(roster.get("ann", "watch"), Some(login("ann", "watch", 1)));
        assert_eq!(roster.get("bob", "watch"), None);
        assert_eq!(devices_of(&roster, "eve"), [""; 0]);
        assert_eq!(roster.len(), 3);
    }

    #[test]
    fn the_later_login_wins_in_whatever_order_they_come() {
        let roster = Roster::default();
        assert_eq!(roster.insert(login("ann", "phone", 5)), Inserted::New);
        assert_eq!(roster.insert(login("ann", "phone", 7)), Inserted::Replaced(login("ann", "phone", 5)));
        assert_eq!(roster.insert(login("ann", "phone", 6)), Inserted::Outdated(login("ann", "phone", 6)));
        assert_eq!(roster.insert(login("ann", "phone", 7)), Inserted::Outdated(login("ann", "phone", 7)));
        assert_eq!(roster.get("ann", "phone"), Some(login("ann", "phone", 7)));
        assert_eq!(roster.len(), 1);
    }

    #[test]
    fn a_late_close_never_removes_the_successor() {
        let roster = Roster::default();
        let (old, new) = (login("ann", "phone", 1), login("ann", "phone", 2));
        let _ = roster.insert(old.clone());
        let _ = roster.insert(new.clone());
        assert!(!roster.remove(&old));
        assert!(roster.remove(&new));
        assert!(!roster.remove(&new));
        assert!(roster.is_empty());
    }

    #[test]
    fn one_device_too_many_costs_the_one_that_logged_in_first() {
        let roster = Roster::new(2);
        assert_eq!(roster.insert(login("ann", "phone", 3)), Inserted::New);
        assert_eq!(roster.insert(login("ann", "watch", 2)), Inserted::New);
        assert_eq!(roster.insert(login("ann", "tablet", 2)), Inserted::Outdated(login("ann", "tablet", 2)));
        assert_eq!(roster.insert(login("ann", "tablet", 4)), Inserted::Evicted(login("ann", "watch", 2)));
        assert_eq!(roster.insert(login("ann", "phone", 5)), Inserted::Replaced(login("ann", "phone", 3)));
        assert_eq!(devices_of(&roster, "ann"), ["phone", "tablet"]);
    }

    #[test]
    fn everyone_is_visited_and_a_visit_may_change_the_roster() {
        let roster = Roster::default();
        for number in 0..5000 {
            let _ = roster.insert(login(&format!("user-{number}"), "phone", 1));
        }
        let mut visited = BTreeSet::new();
        roster.for_each(|member| {
            assert!(visited.insert(member.user().to_owned()));
            assert!(roster.remove(member));
        });
        assert_eq!(visited.len(), 5000);
        assert!(roster.is_empty());
    }

    #[test]
    fn nothing_outlives_its_removal() {
        let roster = Roster::default();
        let member = login("ann", "phone", 1);
        let _ = roster.insert(member.clone());
        assert!(roster.remove(&member));
        assert_eq!(Arc::strong_count(&member), 1);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_map_that_is_obviously_right(
            steps in prop::collection::vec((any::<bool>(), 0..8_u8, 0..3_u8, 0..20_u64), 1..200)
        ) {
            let roster = Roster::default();
            let mut model = BTreeMap::new();
            for (insert, user, device, epoch) in steps {
                let key = (user.to_string(), device.to_string());
                let member = login(&key.0, &key.1, epoch);
                let held = model.get(&key).copied();
                if insert {
                    let inserted = roster.insert(member);
                    match held {
                        Some(held) if held >= epoch => prop_assert!(matches!(inserted, Inserted::Outdated(_))),
                        Some(held) => prop_assert_eq!(inserted, Inserted::Replaced(login(&key.0, &key.1, held))),
                        None => prop_assert_eq!(inserted, Inserted::New),
                    }
                    model.insert(key, held.map_or(epoch, |held| held.max(epoch)));
                } else {
                    prop_assert_eq!(roster.remove(&member), held == Some(epoch));
                    if held == Some(epoch) {
                        model.remove(&key);
                    }
                }
                prop_assert_eq!(roster.len(), model.len());
            }
            for ((user, device), epoch) in &model {
                prop_assert_eq!(roster.get(user, device), Some(login(user, device, *epoch)));
            }
        }
    }
}
