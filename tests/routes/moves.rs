//! Two gateways on one Redis: who is where, who has to go, and what is left when one of them dies.

use std::time::Duration;

use dagor::{
    clock::Clock,
    pb::client as pb,
    registry::{Registry, Route},
    service::{Push, PushError, Router},
    wire::{Kind, Reason},
};
use tokio::time::Instant;

use super::{
    fleet::{Fleet, Gateway, MESSAGE},
    proxy::Proxy,
    redis::Redis,
    site::{until, within},
    talker::Talker,
    *,
};

/// The fleet's registry, as a service sees it.
struct Watcher {
    registry: std::sync::Arc<RedisRegistry>,
    clock: Clock,
}

impl Watcher {
    fn new(url: String) -> Self {
        let registry = std::sync::Arc::new(RedisRegistry::open(settings(vec![url])).unwrap());
        Self { registry, clock: Clock::system() }
    }

    async fn routes(&self, user: &str) -> Vec<Route> {
        self.registry.lookup(user, self.clock.now()).await.unwrap_or_default()
    }

    /// The gateway of a user's only device, and the epoch.
    async fn place(&self, user: &str) -> Option<(String, u64)> {
        let routes = self.routes(user).await;
        assert!(routes.len() <= 1, "{routes:?}");
        routes.first().map(|route| (route.home.gateway.clone(), route.epoch.0))
    }

    /// How many of these users are connected to this gateway, as far as Redis knows.
    async fn count(&self, users: &[String], gateway: &Gateway) -> usize {
        let mut found = 0;
        for user in users {
            found += usize::from(self.place(user).await.is_some_and(|(at, _)| at == gateway.name));
        }
        found
    }
}

/// Many clients of one gateway.
async fn crowd(gateway: &Gateway, count: usize) -> (Vec<String>, Vec<Talker>) {
    let users: Vec<_> = (0..count).map(|number| format!("user-{number}")).collect();
    let mut talkers = Vec::new();
    for user in &users {
        talkers.push(gateway.login(user, 1).await);
    }
    (users, talkers)
}

#[tokio::test]
async fn a_newer_login_elsewhere_closes_the_older_one() {
    let redis = Redis::start();
    let fleet = Fleet::start(2, &redis.url()).await;
    let [one, two] = &fleet.gateways[..] else { panic!("two gateways") };
    let watcher = Watcher::new(redis.url());

    // The same outbox is the same client, which has lost its link.
    let mut first = one.login("ann", 7).await;
    let mut second = two.login("ann", 7).await;
    assert!(second.welcome.connection_epoch > first.welcome.connection_epoch);
    assert_eq!(first.refused().await.reason, Reason::Superseded.code());
    assert_eq!(watcher.place("ann").await, Some(("g2".into(), second.welcome.connection_epoch)));

    // Another one is another client, which must not fight for the place.
    let third = one.login("ann", 8).await;
    let kick: pb::Kick = second.expect(Kind::Kick).await.message().unwrap();
    assert_eq!(kick.reason, Reason::Replaced.code());
    assert_eq!(second.next().await, None);

    // What the older ones deleted when they ended was not the newer one's route.
    until("the older connection is gone", async || two.metric("dagor_connections").await == 0.0).await;
    assert_eq!(watcher.place("ann").await, Some(("g1".into(), third.welcome.connection_epoch)));
    drop(third);
    until("the route is gone", async || watcher.place("ann").await.is_none()).await;
}

#[tokio::test]
async fn a_gateway_that_is_killed_takes_its_routes_with_it_and_one_that_leaves_does_at_once() {
    let redis = Redis::start();
    let mut fleet = Fleet::start(3, &redis.url()).await;
    let watcher = Watcher::new(redis.url());
    let ann = fleet.gateways[0].login("ann", 1).await;
    let _bob = fleet.gateways[1].login("bob", 1).await;
    let _eve = fleet.gateways[2].login("eve", 1).await;
    assert_eq!(watcher.registry.homes(watcher.clock.now()).await.unwrap().len(), 3);
    fleet.gateways[0].kill();
    let killed = Instant::now();
    assert!(watcher.place("ann").await.is_some(), "nobody knows yet");
    until("its lease ends", async || watcher.place("ann").await.is_none()).await;
    // The lease, and what a reader may remember of it.
    assert!(killed.elapsed() < Duration::from_millis(6_500) + Duration::from_secs(2), "{:?}", killed.elapsed());
    fleet.gateways[1].leave().await;
    let left = Instant::now();
    until("its lease is given back", async || watcher.place("bob").await.is_none()).await;
    assert!(left.elapsed() < Duration::from_secs(2), "{:?}", left.elapsed());
    assert!(watcher.place("eve").await.is_some());
    // The client comes back elsewhere, with a higher epoch, and nobody is asked to close anything.
    let again = fleet.gateways[2].login("ann", 1).await;
    assert!(again.welcome.connection_epoch > ann.welcome.connection_epoch);
    assert_eq!(watcher.place("ann").await.unwrap().0, "g3");
}

#[tokio::test]
async fn a_redis_that_stops_holds_nobody_up_and_knows_everybody_soon_after_it_comes_back_empty() {
    const CLIENTS: usize = 300;
    let mut redis = Redis::start();
    let fleet = Fleet::start(1, &redis.url()).await;
    let gateway = &fleet.gateways[0];
    let watcher = Watcher::new(redis.url());
    let (mut users, mut talkers) = crowd(gateway, CLIENTS).await;
    assert_eq!(watcher.count(&users, gateway).await, CLIENTS);

    redis.kill();
    for number in CLIENTS..CLIENTS + 20 {
        let user = format!("user-{number}");
        let began = Instant::now();
        talkers.push(gateway.login(&user, 1).await);
        assert!(began.elapsed() < Duration::from_secs(2), "a login took {:?}", began.elapsed());
        users.push(user);
    }
    for talker in &mut talkers {
        assert_eq!(talker.ask(MESSAGE, 1, "hello").await.payload, "hello");
    }
    until("the gateway notices", async || gateway.metric("dagor_routes_away").await == 1.0).await;

    redis.start_again();
    let back = Instant::now();
    until("all routes are there", async || watcher.count(&users, gateway).await == users.len()).await;
    assert!(back.elapsed() < Duration::from_secs(5), "it took {:?}", back.elapsed());
    for talker in &mut talkers {
        assert_eq!(talker.ask(MESSAGE, 2, "again").await.payload, "again", "nobody was closed");
    }
}

#[tokio::test]
async fn a_slow_redis_delays_no_request_and_no_login_by_more_than_its_bound() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.address()).await;
    let fleet = Fleet::start(1, &format!("redis://{}", proxy.address)).await;
    let gateway = &fleet.gateways[0];
    let (mut users, mut talkers) = crowd(gateway, 20).await;
    proxy.delay(Duration::from_secs(1));
    let began = Instant::now();
    for number in 20..40 {
        let user = format!("user-{number}");
        talkers.push(gateway.login(&user, 1).await);
        users.push(user);
    }
    // Each would have taken a second; some have waited for the bound, to find out.
    assert!(began.elapsed() < Duration::from_secs(10), "20 logins took {:?}", began.elapsed());
    let began = Instant::now();
    for talker in &mut talkers {
        assert_eq!(talker.ask(MESSAGE, 1, "hello").await.payload, "hello");
    }
    assert!(began.elapsed() < Duration::from_secs(1), "40 requests took {:?}", began.elapsed());
    proxy.delay(Duration::ZERO);
    let watcher = Watcher::new(redis.url());
    until("all routes are there", async || watcher.count(&users, gateway).await == users.len()).await;
}

#[tokio::test]
async fn a_connection_that_lost_its_place_while_redis_was_away_is_closed() {
    let redis = Redis::start();
    let fleet = Fleet::start(1, &redis.url()).await;
    let gateway = &fleet.gateways[0];
    let mut ann = gateway.login("ann", 1).await;
    // Somewhere else, while nobody here could be told.
    let watcher = Watcher::new(redis.url());
    let elsewhere = conformance::home("elsewhere");
    watcher.registry.renew(&elsewhere, watcher.clock.now()).await.unwrap();
    assert_eq!(redis.tell("FLUSHALL"), "+OK");
    let login = Login { user: "ann", device: "default", home: &elsewhere, asked: Epoch(ann.welcome.connection_epoch) };
    watcher.registry.register(login, watcher.clock.now()).await.unwrap();
    assert_eq!(ann.refused().await.reason, Reason::Superseded.code());
    assert_eq!(gateway.metric("dagor_routes_outdated_total").await, 1.0);
}

#[tokio::test]
async fn pushes_find_users_wherever_they_are() {
    let redis = Redis::start();
    let fleet = Fleet::start(2, &redis.url()).await;
    let [one, two] = &fleet.gateways[..] else { panic!("two gateways") };
    let watcher = Watcher::new(redis.url());
    let router = Router::new(watcher.registry.clone());
    let sent = async |push| within("a result", router.push(push)).await.map(|pushed| pushed.connections);
    let push = |user: &str| Push::to_user(user, "message", "news");
    let mut ann = one.login("ann", 1).await;
    let mut bob = two.login("bob", 1).await;
    assert_eq!(sent(push("ann")).await, Ok(1));
    assert_eq!(sent(push("nobody")).await, Err(PushError::NotConnected));
    assert_eq!(sent(push("ann").device("watch")).await, Err(PushError::NotConnected));
    let list = router.push_all(["bob", "nobody", "ann"].map(push)).await;
    let counts: Vec<_> = list.into_iter().map(|result| result.map(|pushed| pushed.connections)).collect();
    assert_eq!(counts, [Ok(1), Err(PushError::NotConnected), Ok(1)]);
    assert_eq!(sent(Push::to_everyone("message", "all")).await, Ok(2));
    for (talker, pushes) in [(&mut ann, 3), (&mut bob, 2)] {
        for _ in 0..pushes {
            talker.expect(Kind::Push).await;
        }
    }
    // What was looked up a moment ago is out of date; the push goes after her.
    let mut moved = two.login("ann", 1).await;
    until("she is gone there", async || one.metric("dagor_connections").await == 0.0).await;
    assert_eq!(sent(push("ann")).await, Ok(1));
    moved.expect(Kind::Push).await;
}

#[tokio::test]
async fn a_route_to_nobody_is_deleted_by_the_push_that_finds_out() {
    let redis = Redis::start();
    let fleet = Fleet::start(1, &redis.url()).await;
    let watcher = Watcher::new(redis.url());
    let ann = fleet.gateways[0].login("ann", 1).await;
    let home = watcher.routes("ann").await[0].home.clone();
    let login = Login { user: "ghost", device: "phone", home: &home, asked: Epoch(1) };
    watcher.registry.register(login, watcher.clock.now()).await.unwrap();
    let router = Router::new(watcher.registry.clone());
    let push = Push::to_user("ghost", "message", "boo");
    assert_eq!(within("a result", router.push(push)).await, Err(PushError::NotConnected));
    until("the route is deleted", async || watcher.routes("ghost").await.is_empty()).await;
    assert_eq!(watcher.routes("ann").await.len(), 1);
    drop(ann);
}
