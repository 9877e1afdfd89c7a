//! Pushes to users wherever they are connected: looks their routes up, groups by gateway, and drops what cannot be
//! delivered.
//!
//! A route that was looked up counts for a second. A gateway that does not have the client any more is not the end: the
//! routes are read once more, and the push follows those that are new. What then has no connection is told as such, and
//! nothing waits for a gateway that is gone.
//!
//! ```no_run
//! use std::sync::Arc;
//! use dagor::{registry::redis::{RedisRegistry, RedisSettings}, service::{Push, Router}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let routes = RedisSettings { nodes: vec!["redis://127.0.0.1:6379".into()], ..RedisSettings::default() };
//! let router = Router::new(Arc::new(RedisRegistry::open(routes)?));
//! router.push(Push::to_user("ann", "message", "hello")).await?;
//! let list = ["bob", "eve"].map(|user| Push::to_user(user, "message", "hello"));
//! for result in router.push_all(list).await { println!("{result:?}") }
//! router.push(Push::to_everyone("message", "good night")).await?;
//! # Ok(())
//! # }
//! ```

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{StreamExt, future::join_all, stream};

use super::{
    desk::lock,
    push::{Push, PushClient, PushError, Pushed, Target},
};
use crate::{
    clock::{Clock, Timestamp},
    registry::{Registry, Route},
};

/// How long routes that were looked up count.
const FRESH: Duration = Duration::from_secs(1);
/// Users whose routes are remembered, twice: those of the last while, and those of the one before.
const MOST_USERS: usize = 32_768;
/// Links to gateways; above it all are given up.
const MOST_LINKS: usize = 1024;
/// Pushes of a list that are under way at the same time. The registry takes some more.
const LIST_IN_FLIGHT: usize = 256;

/// Pushes to users wherever they are connected. Clones share the links and what was looked up.
#[derive(Clone)]
pub struct Router(Arc<Inner>);

struct Inner {
    registry: Arc<dyn Registry>,
    clock: Clock,
    cache: Mutex<Cache>,
    /// By the address of the gateway.
    links: Mutex<HashMap<String, PushClient>>,
}

impl Router {
    /// A router that looks routes up here.
    pub fn new(registry: Arc<dyn Registry>) -> Self {
        let (cache, links) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { registry, clock: Clock::system(), cache, links }))
    }

    /// Pushes to a user, on one device or all, or to everyone, and says to how many connections it was written.
    ///
    /// # Errors
    ///
    /// When it was written to none, or nobody knows. Of several errors, the one that leaves the most open.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn push(&self, push: Push) -> Result<Pushed, PushError> {
        let (user, device) = match push.target() {
            Target::Everyone => return self.to_everyone(&push).await,
            Target::User { user, device } => (user, device),
        };
        let now = self.0.clock.now();
        let is_wanted = |route: &Route| device.is_empty() || *route.device == *device;
        let known = lock(&self.0.cache).get(user, now);
        let was_known = known.is_some();
        let mut routes = match known {
            Some(routes) => routes,
            None => self.look_up(user, now).await?,
        };
        routes.retain(is_wanted);
        let mut results = self.along(&push, &routes).await;
        // Whoever has moved is found at another place. What was not looked up just now may be out of date as a whole.
        if results.iter().any(|result| is_elsewhere(*result)) || (was_known && routes.is_empty()) {
            let mut fresh = self.look_up(user, self.0.clock.now()).await?;
            fresh.retain(|route| is_wanted(route) && !routes.contains(route));
            results.extend(self.along(&push, &fresh).await);
        }
        sum(&results)
    }

    /// Pushes a list, each as [`Router::push`] does, and says what became of each in the same order.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn push_all(&self, pushes: impl IntoIterator<Item = Push>) -> Vec<Result<Pushed, PushError>> {
        let under_way = pushes.into_iter().map(|push| self.push(push));
        stream::iter(under_way).buffered(LIST_IN_FLIGHT).collect().await
    }

    async fn to_everyone(&self, push: &Push) -> Result<Pushed, PushError> {
        let homes = self.0.registry.homes(self.0.clock.now()).await.map_err(|_| PushError::NoRoutes)?;
        let links: Vec<_> = homes.iter().map(|home| self.link(&home.address)).collect();
        sum(&join_all(links.iter().map(|link| link.push(push.clone()))).await)
    }

    async fn look_up(&self, user: &str, now: Timestamp) -> Result<Vec<Route>, PushError> {
        let routes = self.0.registry.lookup(user, now).await.map_err(|_| PushError::NoRoutes)?;
        lock(&self.0.cache).put(user, &routes, now);
        Ok(routes)
    }

    /// Pushes to each of these devices. The link of a gateway puts what is for it together.
    async fn along(&self, push: &Push, routes: &[Route]) -> Vec<Result<Pushed, PushError>> {
        let pushed = routes.iter().map(|route| {
            let link = self.link(&route.home.address);
            let push = push.along(&route.device, route.epoch);
            async move { link.push(push).await }
        });
        join_all(pushed).await
    }

    fn link(&self, address: &str) -> PushClient {
        let mut links = lock(&self.0.links);
        if let Some(link) = links.get(address) {
            return link.clone();
        }
        if links.len() >= MOST_LINKS {
            links.clear();
        }
        let link = PushClient::new(address);
        links.insert(address.to_owned(), link.clone());
        link
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").finish_non_exhaustive()
    }
}

/// Certainly not written, and perhaps because the client is elsewhere by now.
fn is_elsewhere(result: Result<Pushed, PushError>) -> bool {
    matches!(result, Err(PushError::NotConnected | PushError::Unreachable))
}

/// One result from those of all connections.
fn sum(results: &[Result<Pushed, PushError>]) -> Result<Pushed, PushError> {
    let connections = results.iter().flatten().map(|pushed| pushed.connections).sum();
    if connections > 0 {
        return Ok(Pushed { connections });
    }
    let errors = || results.iter().filter_map(|result| result.err());
    Err(errors().max_by_key(|error| openness(*error)).unwrap_or(PushError::NotConnected))
}

/// Who may have got it after all comes before who was there and did not.
const fn openness(error: PushError) -> u8 {
    match error {
        PushError::NotConnected => 0,
        PushError::Unreachable => 1,
        PushError::NoRoutes => 2,
        PushError::Invalid => 3,
        PushError::SlowConsumer => 4,
        PushError::Unknown => 5,
    }
}

/// Routes that were looked up of late. Of users without a route nothing is remembered: they may log in at any moment.
#[derive(Debug, Default)]
struct Cache {
    young: HashMap<String, (Vec<Route>, Timestamp)>,
    old: HashMap<String, (Vec<Route>, Timestamp)>,
}

impl Cache {
    fn get(&self, user: &str, now: Timestamp) -> Option<Vec<Route>> {
        let (routes, read) = self.young.get(user).or_else(|| self.old.get(user))?;
        (now.since(*read) < FRESH).then(|| routes.clone())
    }

    fn put(&mut self, user: &str, routes: &[Route], now: Timestamp) {
        if routes.is_empty() {
            self.young.remove(user);
            self.old.remove(user);
            return;
        }
        if self.young.len() >= MOST_USERS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(user.to_owned(), (routes.to_vec(), now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{Epoch, Incarnation},
        registry::Home,
    };

    fn route(epoch: u64) -> Route {
        let home = Home { gateway: "g".into(), incarnation: Incarnation(1), address: "127.0.0.1:1".into() };
        Route { device: "phone".into(), home: Arc::new(home), epoch: Epoch(epoch) }
    }

    #[test]
    fn what_was_looked_up_counts_for_a_moment_and_nobody_is_remembered_as_gone() {
        let (mut cache, now) = (Cache::default(), Timestamp::from_nanos(5));
        cache.put("ann", &[route(1)], now);
        assert_eq!(cache.get("ann", now + FRESH - Duration::from_nanos(1)), Some(vec![route(1)]));
        assert_eq!(cache.get("ann", now + FRESH), None);
        cache.put("ann", &[], now);
        assert_eq!(cache.get("ann", now), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut cache = Cache::default();
        for number in 0..3 * MOST_USERS {
            cache.put(&number.to_string(), &[route(1)], Timestamp::ZERO);
        }
        assert!(cache.young.len() + cache.old.len() <= 2 * MOST_USERS);
        let last = (3 * MOST_USERS - 1).to_string();
        assert!(cache.get(&last, Timestamp::ZERO).is_some());
    }

    #[test]
    fn the_result_of_several_is_what_was_written_or_what_leaves_the_most_open() {
        let written = |connections| Ok(Pushed { connections });
        let gone = Err(PushError::NotConnected);
        assert_eq!(sum(&[]), gone);
        assert_eq!(sum(&[written(2), gone, written(1)]), written(3));
        assert_eq!(sum(&[gone, Err(PushError::Unknown), Err(PushError::SlowConsumer)]), Err(PushError::Unknown));
        assert_eq!(sum(&[gone, Err(PushError::Unreachable)]), Err(PushError::Unreachable));
    }
}
