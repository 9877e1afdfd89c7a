//! Routes in Redis, for the gateways of a fleet: a single server or a Cluster, with or without TLS.
//!
//! A user is one hash with a field of 16 bytes per device: the epoch, and which home it leads to. What that home is and
//! whether it lives is said by the home's lease alone, a key that ends by itself: a gateway that dies takes all of its
//! routes with it, and nothing is written for a heartbeat. Each change is one script, so that it happens whole or not at
//! all; a look-up is one read of the hash, and one of each lease that was not read in the last half second.
//!
//! Redis may be away or slow at any time. Then a call fails within [`RedisSettings::timeout`], and most at once: what
//! waits is bounded, and after a failure one call at a time finds out whether Redis is back. Nothing is queued but
//! deletions, in a bounded number; the gateways restore from their rosters what is missing.

mod bounds;
mod homes;
mod link;
mod losses;
mod record;
mod settings;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    future::ready,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::try_join_all;
use redis::{RedisError, Script, cmd};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
};

use self::{
    bounds::{Bounds, Call},
    homes::Homes,
    link::Link,
    record::{Record, home_text, number, parse_home},
};
pub use self::{record::hash_tag, settings::RedisSettings};
use super::{
    Answer, CallCount, Held, Home, Login, Loss, Registered, Registry, RegistryError, Renewed, Restored, Route,
    TOMBSTONE, Teller,
};
use crate::{
    clock::{Timestamp, expiry_millis, unix_millis},
    id::{Epoch, Incarnation},
};

/// Devices of a user that are remembered. One more costs the one that logged in first.
const MOST_DEVICES: usize = 64;

/// Deletions that are made at the same time: few, so that a storm of them does not stand in the way of logins.
const DELETIONS_IN_FLIGHT: usize = 256;

/// A lease may take so many timeouts: nobody waits for it.
const LEASE_TIMEOUTS: u32 = 4;

/// How long a home stays in the list of homes after its last renewal. Its lease says whether it lives.
const LISTED: Duration = Duration::from_secs(3600);

/// Why Redis did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Redis said no, or the connection failed.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// Redis did not answer within [`RedisSettings::timeout`].
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// As many calls as allowed wait already.
    #[error("too many calls wait for Redis")]
    Busy,
    /// Redis has just failed another call.
    #[error("Redis was away a moment ago")]
    Resting,
    /// Redis answered what none of the scripts says.
    #[error("an unexpected answer")]
    Unexpected,
    /// There are no addresses.
    #[error("no address of a Redis was given")]
    NoAddress,
    /// The process ends.
    #[error("nobody waits for Redis any more")]
    Ended,
}

impl From<Fault> for RegistryError {
    fn from(fault: Fault) -> Self {
        Self::new(fault)
    }
}

/// Routes in Redis. Clones share the connections.
#[derive(Clone)]
pub struct RedisRegistry {
    inner: Arc<Inner>,
    /// Where commands go on although their callers do not wait for them.
    runtime: Handle,
    /// Places in the queue of deletions.
    deletions: Arc<Semaphore>,
}

struct Inner {
    link: Link,
    /// Apart from the rest, so that a lease never waits behind a storm of logins.
    lease_link: Link,
    settings: RedisSettings,
    bounds: Bounds,
    /// Deletions that are in flight; the others wait.
    deleting: Semaphore,
    homes: Homes,
    /// The servers' runs at the last renewal.
    servers: Mutex<BTreeSet<String>>,
    register: Script,
    unregister: Script,
    restore: Script,
    claim: Script,
    settle: Script,
}

impl RedisRegistry {
    /// A registry that connects in the background, to a Redis of version 6 or newer. It need not be there yet.
    ///
    /// # Errors
    ///
    /// If an address or the certificate is none.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn open(settings: RedisSettings) -> Result<Self, Fault> {
        let lease_settings = RedisSettings { timeout: settings.timeout * LEASE_TIMEOUTS, ..settings.clone() };
        Ok(Self {
            deletions: Arc::new(Semaphore::new(settings.deletions.min(Semaphore::MAX_PERMITS))),
            inner: Arc::new(Inner {
                link: Link::open(&settings)?,
                lease_link: Link::open(&lease_settings)?,
                bounds: Bounds::new(settings.in_flight, settings.timeout),
                deleting: Semaphore::new(DELETIONS_IN_FLIGHT),
                homes: Homes::default(),
                servers: Mutex::default(),
                register: Script::new(include_str!("register.lua")),
                unregister: Script::new(include_str!("unregister.lua")),
                restore: Script::new(include_str!("restore.lua")),
                claim: Script::new(include_str!("claim.lua")),
                settle: Script::new(include_str!("settle.lua")),
                settings,
            }),
            runtime: Handle::current(),
        })
    }
}

impl Registry for RedisRegistry {
    /// Goes on if nobody waits for it any more, and is then taken back: otherwise a client that leaves during its login
    /// would leave a route behind.
    fn register<'a>(&'a self, login: Login<'a>, now: Timestamp) -> Answer<'a, Registered> {
        let place = match self.inner.bounds.admit(Call::Register, now) {
            Ok(place) => place,
            Err(fault) => return Box::pin(ready(Err(fault.into()))),
        };
        let registry = self.clone();
        let (user, device) = (login.user.to_owned(), login.device.to_owned());
        let (home, asked) = (login.home.clone(), login.asked);
        let (answer, answered) = oneshot::channel();
        self.runtime.spawn(async move {
            let registered = registry.inner.register(&user, &device, &home, asked, now).await;
            drop(place);
            if let Err(Ok(Registered { epoch, .. })) = answer.send(registered) {
                // It is on its way already.
                drop(registry.unregister(Held { user: &user, device: &device, home: &home, epoch }, now));
            }
        });
        Box::pin(async move { Ok(answered.await.unwrap_or(Err(Fault::Ended))?) })
    }

    /// Goes on if nobody waits for it.
    fn unregister<'a>(&'a self, held: Held<'a>, now: Timestamp) -> Answer<'a, bool> {
        let Ok(waits) = self.deletions.clone().try_acquire_owned() else {
            self.inner.bounds.count_busy(Call::Unregister);
            return Box::pin(ready(Err(Fault::Busy.into())));
        };
        let (inner, user, device) = (self.inner.clone(), held.user.to_owned(), held.device.to_owned());
        let (home, epoch) = (held.home.clone(), held.epoch);
        let (answer, answered) = oneshot::channel();
        self.runtime.spawn(async move {
            let _waits = waits;
            let Ok(_place) = inner.deleting.acquire().await else { return };
            let deleted = match inner.bounds.check_rest(Call::Unregister, now) {
                Ok(()) => inner.unregister(Held { user: &user, device: &device, home: &home, epoch }, now).await,
                Err(fault) => Err(fault),
            };
            // Nobody need be there any more.
            let _ = answer.send(deleted);
        });
        Box::pin(async move { Ok(answered.await.unwrap_or(Err(Fault::Ended))?) })
    }

    fn lookup<'a>(&'a self, user: &'a str, now: Timestamp) -> Answer<'a, Vec<Route>> {
        Box::pin(async move {
            let inner = &self.inner;
            let _place = inner.bounds.admit(Call::Lookup, now)?;
            Ok(inner.bounds.answer(Call::Lookup, now, inner.lookup(user, now)).await?)
        })
    }

    fn restore<'a>(&'a self, held: Held<'a>, now: Timestamp) -> Answer<'a, Restored> {
        Box::pin(async move {
            let inner = &self.inner;
            let _place = inner.bounds.admit(Call::Restore, now)?;
            Ok(inner.bounds.answer(Call::Restore, now, inner.restore(held, now)).await?)
        })
    }

    /// Not held back by what befell other calls: it is how a gateway finds out that Redis is back.
    fn renew<'a>(&'a self, home: &'a Arc<Home>, now: Timestamp) -> Answer<'a, Renewed> {
        Box::pin(async move { Ok(self.inner.renew_in_time(home, now).await?) })
    }

    fn release<'a>(&'a self, home: &'a Arc<Home>) -> Answer<'a, ()> {
        Box::pin(async move { Ok(self.inner.release(home).await?) })
    }

    fn homes(&self, now: Timestamp) -> Answer<'_, Vec<Arc<Home>>> {
        Box::pin(async move {
            let inner = &self.inner;
            let _place = inner.bounds.admit(Call::Homes, now)?;
            Ok(inner.bounds.answer(Call::Homes, now, inner.all_homes(now)).await?)
        })
    }

    fn lost(&self, now: Timestamp) -> Answer<'_, Vec<Incarnation>> {
        Box::pin(async move {
            let inner = &self.inner;
            let _place = inner.bounds.admit(Call::Homes, now)?;
            Ok(inner.bounds.answer(Call::Homes, now, inner.all_lost(now)).await?)
        })
    }

    fn claim_loss<'a>(&'a self, loss: Loss<'a>, home: &'a Arc<Home>, now: Timestamp) -> Answer<'a, Teller> {
        Box::pin(async move {
            let inner = &self.inner;
            let _place = inner.bounds.admit(Call::Homes, now)?;
            Ok(inner.bounds.answer(Call::Homes, now, inner.claim_loss(loss, home, now)).await?)
        })
    }

    fn settle_loss<'a>(&'a self, loss: Loss<'a>, home: &'a Arc<Home>, now: Timestamp) -> Answer<'a, ()> {
        Box::pin(async move {
            let inner = &self.inner;
            let _place = inner.bounds.admit(Call::Homes, now)?;
            Ok(inner.bounds.answer(Call::Homes, now, inner.settle_loss(loss, home)).await?)
        })
    }

    fn counts(&self) -> Vec<CallCount> {
        self.inner.bounds.counts()
    }
}

impl Inner {
    /// With the previous route's home, if that can be read in the same time.
    async fn register(
        &self,
        user: &str,
        device: &str,
        home: &Arc<Home>,
        asked: Epoch,
        now: Timestamp,
    ) -> Result<Registered, Fault> {
        let mut script = self.register.key(self.user_key(user));
        script.arg(device).arg(number(asked.0)).arg(number(home.incarnation.0));
        script.arg(expiry_millis(self.settings.keep)).arg(MOST_DEVICES);
        let mut time = pin!(tokio::time::sleep(self.settings.timeout));
        let mut link = self.link.clone();
        let asked = async { Ok(script.invoke_async::<Vec<Vec<u8>>>(&mut link).await?) };
        let answer = self.bounds.answer(Call::Register, now, asked).await?;
        let epoch = answer.first().and_then(|epoch| epoch[..].try_into().ok()).map(u64::from_be_bytes);
        let epoch = Epoch(epoch.ok_or(Fault::Unexpected)?);
        let Some(record) = answer.get(1).and_then(|held| Record::parse(held)) else {
            return Ok(Registered { epoch, previous: None });
        };
        let previous = tokio::select! {
            previous = self.route(device, record, home, now) => previous.ok().flatten(),
            () = &mut time => None,
        };
        Ok(Registered { epoch, previous })
    }

    async fn unregister(&self, held: Held<'_>, now: Timestamp) -> Result<bool, Fault> {
        let mut script = self.unregister.key(self.user_key(held.user));
        script.arg(held.device).arg(number(held.epoch.0)).arg(number(held.home.incarnation.0));
        script.arg(TOMBSTONE.as_secs());
        let mut link = self.link.clone();
        let asked = async { Ok(script.invoke_async::<u8>(&mut link).await? == 1) };
        self.bounds.answer(Call::Unregister, now, asked).await
    }

    async fn restore(&self, held: Held<'_>, now: Timestamp) -> Result<Restored, Fault> {
        let mut script = self.restore.key(self.user_key(held.user));
        script.arg(held.device).arg(number(held.epoch.0)).arg(number(held.home.incarnation.0));
        script.arg(expiry_millis(self.settings.keep));
        let (written, previous): (u8, Option<Vec<u8>>) = {
            let mut answer = script.invoke_async::<Vec<redis::Value>>(&mut self.link.clone()).await?.into_iter();
            let written = redis::from_redis_value(answer.next().ok_or(Fault::Unexpected)?);
            let previous = answer.next().map(redis::from_redis_value).transpose();
            (written.map_err(RedisError::from)?, previous.map_err(RedisError::from)?)
        };
        if written == 0 {
            return Ok(Restored::Newer);
        }
        let Some(record) = previous.and_then(|held| Record::parse(&held)) else {
            return Ok(Restored::Written { previous: None });
        };
        Ok(Restored::Written { previous: self.route(held.device, record, held.home, now).await? })
    }

    /// A record as the route that it means; `None` if its home is gone.
    async fn route(
        &self,
        device: &str,
        record: Record,
        own: &Arc<Home>,
        now: Timestamp,
    ) -> Result<Option<Route>, Fault> {
        let home = match record.incarnation == own.incarnation {
            true => Some(own.clone()),
            false => self.home(record.incarnation, now).await?,
        };
        Ok(home.map(|home| Route { device: device.into(), home, epoch: record.epoch }))
    }

    async fn lookup(&self, user: &str, now: Timestamp) -> Result<Vec<Route>, Fault> {
        let fields: HashMap<String, Vec<u8>> =
            cmd("HGETALL").arg(self.user_key(user)).query_async(&mut self.link.clone()).await?;
        let records: Vec<_> =
            fields.iter().filter_map(|(device, value)| Some((device, Record::parse(value)?))).collect();
        let homes = self.homes_of(records.iter().map(|(_, record)| record.incarnation), now).await?;
        let route = |(device, Record { epoch, incarnation }): (&String, Record)| {
            let home = homes.get(&incarnation)?.clone();
            Some(Route { device: device.as_str().into(), home, epoch })
        };
        Ok(records.into_iter().filter_map(route).collect())
    }

    /// Those that live of these homes, read at the same time.
    async fn homes_of(
        &self,
        incarnations: impl Iterator<Item = Incarnation>,
        now: Timestamp,
    ) -> Result<HashMap<Incarnation, Arc<Home>>, Fault> {
        let wanted: BTreeSet<_> = incarnations.collect();
        let read = wanted.into_iter().map(|incarnation| async move {
            Ok::<_, Fault>(self.home(incarnation, now).await?.map(|home| (incarnation, home)))
        });
        Ok(try_join_all(read).await?.into_iter().flatten().collect())
    }

    /// `None` if its lease has ended.
    async fn home(&self, incarnation: Incarnation, now: Timestamp) -> Result<Option<Arc<Home>>, Fault> {
        if let Some(known) = self.homes.get(incarnation, now) {
            return Ok(known);
        }
        let text: Option<String> =
            cmd("GET").arg(self.home_key(incarnation)).query_async(&mut self.link.clone()).await?;
        let home = text.and_then(|text| parse_home(incarnation, &text)).map(Arc::new);
        self.homes.put(incarnation, home.clone(), now);
        Ok(home)
    }

    async fn all_homes(&self, now: Timestamp) -> Result<Vec<Arc<Home>>, Fault> {
        let listed = self.listed().await?;
        Ok(self.homes_of(listed.into_iter(), now).await?.into_values().collect())
    }

    /// Who gave its lease back is not listed any more.
    async fn all_lost(&self, now: Timestamp) -> Result<Vec<Incarnation>, Fault> {
        let mut listed = self.listed().await?;
        let living = self.homes_of(listed.iter().copied(), now).await?;
        listed.retain(|incarnation| !living.contains_key(incarnation));
        Ok(listed)
    }

    async fn listed(&self) -> Result<Vec<Incarnation>, Fault> {
        let listed: Vec<String> =
            cmd("ZRANGE").arg(self.list_key()).arg(0).arg(-1).query_async(&mut self.link.clone()).await?;
        Ok(listed.iter().filter_map(|text| incarnation(text)).collect())
    }

    async fn renew_in_time(&self, home: &Home, now: Timestamp) -> Result<Renewed, Fault> {
        let timeout = self.settings.timeout * LEASE_TIMEOUTS;
        let renewed = async { tokio::time::timeout(timeout, self.renew(home)).await };
        let renewed = match renewed.await {
            Ok(renewed) => renewed,
            Err(_) => Err(Fault::TimedOut(timeout)),
        };
        // Counted, and its success ends a rest of the others.
        let renewed = self.bounds.answer(Call::Renew, now, ready(renewed)).await;
        self.homes.forget(home.incarnation);
        renewed
    }

    async fn renew(&self, home: &Home) -> Result<Renewed, Fault> {
        let (key, lease) = (self.home_key(home.incarnation), expiry_millis(self.settings.lease));
        let mut link = self.lease_link.clone();
        let mut set = cmd("SET");
        set.arg(&key).arg(home_text(home)).arg("PX").arg(lease);
        let kept: Option<String> = set.clone().arg("XX").query_async(&mut link).await?;
        if kept.is_none() {
            let () = set.query_async(&mut link).await?;
            // It may have been lost for a while. If it is lost again, that is another loss.
            let () = cmd("DEL").arg(self.losses_key(home.incarnation)).query_async(&mut link).await?;
        }
        let now = unix_millis() / 1000;
        let () = cmd("ZADD").arg(self.list_key()).arg(now).arg(member(home.incarnation)).query_async(&mut link).await?;
        let past = now.saturating_sub(LISTED.as_secs());
        let () = cmd("ZREMRANGEBYSCORE").arg(self.list_key()).arg("-inf").arg(past).query_async(&mut link).await?;
        let is_new = self.meets_new_servers(link.servers().await?);
        Ok(if kept.is_none() || is_new { Renewed::New } else { Renewed::Kept })
    }

    /// Remembers who is there, and says whether somebody was not there at the last renewal.
    fn meets_new_servers(&self, servers: BTreeSet<String>) -> bool {
        let mut known = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !servers.is_subset(&known);
        *known = servers;
        is_new
    }

    async fn release(&self, home: &Home) -> Result<(), Fault> {
        let mut link = self.lease_link.clone();
        let released = async {
            let () = cmd("DEL").arg(self.home_key(home.incarnation)).query_async(&mut link).await?;
            let () = cmd("ZREM").arg(self.list_key()).arg(member(home.incarnation)).query_async(&mut link).await?;
            Ok(())
        };
        let timeout = self.settings.timeout * LEASE_TIMEOUTS;
        self.homes.forget(home.incarnation);
        tokio::time::timeout(timeout, released).await.unwrap_or(Err(Fault::TimedOut(timeout)))
    }

    fn user_key(&self, user: &str) -> String {
        format!("{}route:{}", self.settings.prefix, hash_tag(user))
    }

    fn home_key(&self, home: Incarnation) -> String {
        format!("{}home:{}", self.settings.prefix, member(home))
    }

    fn losses_key(&self, lost: Incarnation) -> String {
        format!("{}lost:{}", self.settings.prefix, member(lost))
    }

    fn list_key(&self) -> String {
        format!("{}homes", self.settings.prefix)
    }
}

/// An incarnation, as the list of homes and the keys have it.
fn member(Incarnation(number): Incarnation) -> String {
    format!("{number:016x}")
}

fn incarnation(member: &str) -> Option<Incarnation> {
    u64::from_str_radix(member, 16).ok().map(Incarnation)
}

impl fmt::Debug for RedisRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRegistry").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}
