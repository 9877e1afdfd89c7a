//! The registry of a single process. It never waits and never fails; with the process it is gone, and so are the
//! connections that it knew of.

use std::{
    collections::{HashMap, VecDeque},
    future::ready,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Answer, Held, Home, Login, Registered, Registry, Renewed, Restored, Route, TOMBSTONE};
use crate::{clock::Timestamp, id::Epoch};

/// Locks, so that a table that grows does not stop all workers.
const SHARDS: usize = 64;

/// Tombstones of a shard. Beyond it the oldest is forgotten early, which is harmless as long as the clocks of the
/// gateways agree, because epochs start from the time.
const MAX_TOMBSTONES: usize = 4096;

/// Lapsed tombstones that one call takes away. More than the one that it may leave, so that they never pile up.
const SWEEP: usize = 4;

/// Routes in memory.
#[derive(Debug)]
pub struct MemoryRegistry {
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
    homes: Mutex<Vec<Arc<Home>>>,
}

#[derive(Debug, Default)]
struct Shard {
    users: HashMap<Box<str>, Vec<Device>>,
    /// In the order in which they lapse.
    tombstones: VecDeque<Tombstone>,
}

#[derive(Debug)]
struct Device {
    name: Arc<str>,
    epoch: Epoch,
    /// `None` for a tombstone.
    home: Option<Arc<Home>>,
}

#[derive(Debug)]
struct Tombstone {
    user: Box<str>,
    device: Arc<str>,
    epoch: Epoch,
    lapses: Timestamp,
}

impl MemoryRegistry {
    /// Knows nobody.
    pub fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { hasher: RandomState::new(), shards, homes: Mutex::default() }
    }

    /// The shard of a user, rid of some of its lapsed tombstones.
    fn shard(&self, user: &str, now: Timestamp) -> MutexGuard<'_, Shard> {
        let index = self.hasher.hash_one(user) as usize % SHARDS;
        let mut shard = self.shards[index].lock().unwrap_or_else(PoisonError::into_inner);
        shard.sweep(now);
        shard
    }

    fn living(&self) -> MutexGuard<'_, Vec<Arc<Home>>> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryRegistry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry for MemoryRegistry {
    fn register<'a>(&'a self, login: Login<'a>, now: Timestamp) -> Answer<'a, Registered> {
        Box::pin(async move { Ok(self.shard(login.user, now).register(login)) })
    }

    fn unregister<'a>(&'a self, held: Held<'a>, now: Timestamp) -> Answer<'a, bool> {
        Box::pin(async move { Ok(self.shard(held.user, now).unregister(held, now + TOMBSTONE)) })
    }

    fn lookup<'a>(&'a self, user: &'a str, now: Timestamp) -> Answer<'a, Vec<Route>> {
        Box::pin(async move { Ok(self.shard(user, now).lookup(user)) })
    }

    fn restore<'a>(&'a self, held: Held<'a>, now: Timestamp) -> Answer<'a, Restored> {
        Box::pin(async move { Ok(self.shard(held.user, now).restore(held)) })
    }

    /// The lease of this process lasts as long as its memory.
    fn renew<'a>(&'a self, home: &'a Arc<Home>, _: Timestamp) -> Answer<'a, Renewed> {
        let mut living = self.living();
        if !living.contains(home) {
            living.push(home.clone());
        }
        Box::pin(ready(Ok(Renewed::Kept)))
    }

    fn release<'a>(&'a self, home: &'a Arc<Home>) -> Answer<'a, ()> {
        self.living().retain(|living| living != home);
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).forget_home(home);
        }
        Box::pin(ready(Ok(())))
    }

    fn homes(&self, _: Timestamp) -> Answer<'_, Vec<Arc<Home>>> {
        Box::pin(ready(Ok(self.living().clone())))
    }
}

impl Shard {
    fn register(&mut self, login: Login<'_>) -> Registered {
        let home = Some(login.home.clone());
        let devices = self.users.entry(login.user.into()).or_insert_with(|| Vec::with_capacity(1));
        let Some(device) = devices.iter_mut().find(|device| &*device.name == login.device) else {
            let epoch = after(login.asked);
            devices.push(Device { name: login.device.into(), epoch, home });
            return Registered { epoch, previous: None };
        };
        let previous = device.route();
        device.epoch = after(device.epoch.max(login.asked));
        device.home = home;
        Registered { epoch: device.epoch, previous }
    }

    fn unregister(&mut self, held: Held<'_>, lapses: Timestamp) -> bool {
        let Held { user, device, home, epoch } = held;
        let is_it = |device: &&mut Device| {
            device.epoch == epoch && device.home.as_ref().is_some_and(|held| held.incarnation == home.incarnation)
        };
        let mut devices = self.users.get_mut(user).into_iter().flatten();
        let Some(device) = devices.find(|held| &*held.name == device).filter(is_it) else { return false };
        device.home = None;
        self.tombstones.push_back(Tombstone { user: user.into(), device: device.name.clone(), epoch, lapses });
        if self.tombstones.len() > MAX_TOMBSTONES {
            self.forget_oldest();
        }
        true
    }

    fn lookup(&self, user: &str) -> Vec<Route> {
        self.users.get(user).into_iter().flatten().filter_map(Device::route).collect()
    }

    fn restore(&mut self, held: Held<'_>) -> Restored {
        let devices = self.users.entry(held.user.into()).or_insert_with(|| Vec::with_capacity(1));
        let Some(device) = devices.iter_mut().find(|device| &*device.name == held.device) else {
            devices.push(Device { name: held.device.into(), epoch: held.epoch, home: Some(held.home.clone()) });
            return Restored::Written { previous: None };
        };
        let is_here = device.home.as_ref().is_some_and(|home| home.incarnation == held.home.incarnation);
        if is_here && device.epoch >= held.epoch {
            return Restored::Written { previous: None };
        }
        if device.epoch >= held.epoch {
            return Restored::Newer;
        }
        let previous = device.route().filter(|_| !is_here);
        device.epoch = held.epoch;
        device.home = Some(held.home.clone());
        Restored::Written { previous }
    }

    /// A home comes back under no name; that its routes leave no tombstones harms nobody.
    fn forget_home(&mut self, home: &Arc<Home>) {
        self.users.retain(|_, devices| {
            devices.retain(|device| device.home.as_ref() != Some(home));
            !devices.is_empty()
        });
    }

    /// Takes away a few tombstones that have lapsed.
    fn sweep(&mut self, now: Timestamp) {
        for _ in 0..SWEEP {
            match self.tombstones.front() {
                Some(oldest) if oldest.lapses <= now => self.forget_oldest(),
                _ => return,
            }
        }
    }

    fn forget_oldest(&mut self) {
        let Some(Tombstone { user, device, epoch, .. }) = self.tombstones.pop_front() else { return };
        let Some(devices) = self.users.get_mut(&user) else { return };
        // A login since then has a later epoch, and stays.
        devices.retain(|held| held.name != device || held.epoch != epoch);
        if devices.is_empty() {
            self.users.remove(&user);
        }
    }
}

impl Device {
    fn route(&self) -> Option<Route> {
        let home = self.home.clone()?;
        Some(Route { device: self.name.clone(), home, epoch: self.epoch })
    }
}

fn after(epoch: Epoch) -> Epoch {
    Epoch(epoch.0.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::registry::conformance::{self, conformance_tests, home};

    conformance_tests!(MemoryRegistry::new());

    /// A login of a client without a ticket.
    fn register(registry: &MemoryRegistry, user: &str, now: Timestamp) -> Epoch {
        let login = Login { user, device: "phone", home: &home("g1"), asked: Epoch(0) };
        registry.shard(user, now).register(login).epoch
    }

    fn unregister(registry: &MemoryRegistry, user: &str, epoch: Epoch, now: Timestamp) -> bool {
        let held = Held { user, device: "phone", home: &home("g1"), epoch };
        registry.shard(user, now).unregister(held, now + TOMBSTONE)
    }

    fn remembered(registry: &MemoryRegistry) -> (usize, usize) {
        let shards = registry.shards.iter().map(|shard| shard.lock().unwrap());
        shards
            .fold((0, 0), |(users, tombstones), shard| (users + shard.users.len(), tombstones + shard.tombstones.len()))
    }

    #[test]
    fn an_epoch_outlives_its_route_by_a_minute() {
        let registry = MemoryRegistry::new();
        let first = register(&registry, "ann", Timestamp::ZERO);
        assert!(unregister(&registry, "ann", first, Timestamp::ZERO));
        let before = Timestamp::ZERO + TOMBSTONE - Duration::from_nanos(1);
        let second = register(&registry, "ann", before);
        assert!(second > first);
        assert!(unregister(&registry, "ann", second, before));
        assert_eq!(register(&registry, "ann", before + TOMBSTONE), first);
    }

    #[test]
    fn a_lapsed_tombstone_does_not_take_a_later_login_with_it() {
        let registry = MemoryRegistry::new();
        let first = register(&registry, "ann", Timestamp::ZERO);
        unregister(&registry, "ann", first, Timestamp::ZERO);
        let second = register(&registry, "ann", Timestamp::ZERO);
        assert!(unregister(&registry, "ann", second, Timestamp::ZERO + TOMBSTONE));
        assert_eq!(remembered(&registry), (1, 1));
    }

    #[test]
    fn tombstones_are_swept_as_fast_as_they_come() {
        let registry = MemoryRegistry::new();
        for step in 0..20_000_u64 {
            let now = Timestamp::ZERO + Duration::from_millis(100 * step);
            let user = format!("user-{step}");
            let epoch = register(&registry, &user, now);
            assert!(unregister(&registry, &user, epoch, now));
        }
        // 600 came in the last minute; a shard that was not called for a while keeps a few more.
        let (users, tombstones) = remembered(&registry);
        assert_eq!(users, tombstones);
        assert!(tombstones < 1200, "{tombstones} are left");
    }

    #[test]
    fn the_number_of_tombstones_is_bounded() {
        let registry = MemoryRegistry::new();
        for number in 0..2 * MAX_TOMBSTONES {
            // All in one shard.
            let user = format!("user-{number}");
            let mut shard = registry.shards[0].lock().unwrap();
            let epoch =
                shard.register(Login { user: &user, device: "phone", home: &home("g1"), asked: Epoch(0) }).epoch;
            let held = Held { user: &user, device: "phone", home: &home("g1"), epoch };
            assert!(shard.unregister(held, Timestamp::MAX));
        }
        assert_eq!(remembered(&registry), (MAX_TOMBSTONES, MAX_TOMBSTONES));
    }
}
