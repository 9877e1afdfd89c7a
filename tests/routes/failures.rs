//! What the registry does when Redis is away, empty, or does not trust it.

use std::time::{Duration, Instant};

use dagor::registry::Renewed;

use super::{conformance::home, tls::Secured, *};
use crate::{cluster::Cluster, redis::Redis};

const NOW: Timestamp = Timestamp::ZERO;

#[tokio::test]
async fn a_wrong_password_or_an_unknown_authority_is_an_error_and_no_plain_connection() {
    let secured = Secured::start();
    let home = home("g1");
    for wrong in [
        RedisSettings { nodes: vec![secured.url("guess")], ..secured.settings() },
        RedisSettings { authority: None, ..secured.settings() },
        settings(vec![secured.redis.url()]),
    ] {
        let settings = RedisSettings { timeout: Duration::from_millis(500), ..wrong };
        let registry = RedisRegistry::open(settings).unwrap();
        registry.renew(&home, NOW).await.unwrap_err();
        registry.lookup("ann", NOW).await.unwrap_err();
    }
    RedisRegistry::open(settings(vec!["not an address".into()])).unwrap_err();
    RedisRegistry::open(settings(Vec::new())).unwrap_err();
}

/// Fails at once but for one call now and then, and finds the server again by itself.
async fn comes_back(registry: &RedisRegistry, stop: impl FnOnce(), start: impl FnOnce()) {
    let home = home("g1");
    assert_eq!(registry.renew(&home, NOW).await.unwrap(), Renewed::New);
    assert_eq!(registry.renew(&home, NOW).await.unwrap(), Renewed::Kept);
    stop();
    let began = Instant::now();
    for _ in 0..10_000 {
        let login = Login { user: "ann", device: "phone", home: &home, asked: Epoch(1) };
        registry.register(login, NOW).await.unwrap_err();
        registry.lookup("ann", NOW).await.unwrap_err();
    }
    assert!(began.elapsed() < Duration::from_secs(10), "20,000 calls took {:?}", began.elapsed());
    start();
    let renewed = async {
        loop {
            if let Ok(renewed) = registry.renew(&home, NOW).await {
                return renewed;
            }
        }
    };
    let renewed = tokio::time::timeout(Duration::from_secs(20), renewed).await.expect("it comes back");
    assert_eq!(renewed, Renewed::New, "it is empty");
    let login = Login { user: "ann", device: "phone", home: &home, asked: Epoch(1) };
    assert_eq!(registry.register(login, NOW).await.unwrap().epoch, Epoch(2));
}

#[tokio::test]
async fn a_server_that_was_away_is_found_again() {
    let redis = std::cell::RefCell::new(Redis::start());
    let settings = RedisSettings { timeout: Duration::from_millis(250), ..settings(vec![redis.borrow().url()]) };
    let registry = RedisRegistry::open(settings).unwrap();
    comes_back(&registry, || redis.borrow_mut().kill(), || redis.borrow_mut().start_again()).await;
}

#[tokio::test]
async fn a_cluster_that_was_away_is_found_again() {
    let cluster = std::cell::RefCell::new(Cluster::start());
    let settings = RedisSettings { timeout: Duration::from_millis(250), ..settings(cluster.borrow().urls()) };
    let registry = RedisRegistry::open(settings).unwrap();
    let start = || {
        cluster.borrow_mut().nodes.iter_mut().for_each(Redis::start_again);
        cluster.borrow().wait_until_whole();
    };
    comes_back(&registry, || cluster.borrow_mut().nodes.iter_mut().for_each(Redis::kill), start).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_at_the_start_is_found_later() {
    let mut redis = Redis::start();
    redis.kill();
    let registry = RedisRegistry::open(settings(vec![redis.url()])).unwrap();
    registry.lookup("ann", NOW).await.unwrap_err();
    redis.start_again();
    let found = async { while registry.renew(&home("g1"), NOW).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(20), found).await.expect("it is found");
    assert_eq!(registry.lookup("ann", NOW).await.unwrap(), []);
}

#[tokio::test]
async fn a_node_of_a_cluster_that_lost_everything_is_noticed() {
    let mut cluster = Cluster::start();
    let registry = RedisRegistry::open(settings(cluster.urls())).unwrap();
    let home = home("g1");
    assert_eq!(registry.renew(&home, NOW).await.unwrap(), Renewed::New);
    assert_eq!(registry.renew(&home, NOW).await.unwrap(), Renewed::Kept);
    // One of the three has the lease; another one, then.
    let has_lease = |node: &Redis| node.tell("DBSIZE") != ":0";
    let empty = cluster.nodes.iter().position(|node| !has_lease(node)).unwrap();
    cluster.nodes[empty].start_again();
    cluster.wait_until_whole();
    let renewed = async {
        loop {
            match registry.renew(&home, NOW).await {
                Ok(Renewed::New) => return,
                Ok(Renewed::Kept) => panic!("it was not noticed"),
                Err(_) => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), renewed).await.expect("it is noticed");
}

#[tokio::test]
async fn a_flushed_server_is_noticed_and_a_lease_ends_by_itself() {
    let redis = Redis::start();
    let settings = RedisSettings { lease: Duration::from_millis(300), ..settings(vec![redis.url()]) };
    let registry = RedisRegistry::open(settings).unwrap();
    let (lives, dies) = (home("g1"), home("g2"));
    for home in [&lives, &dies] {
        assert_eq!(registry.renew(home, NOW).await.unwrap(), Renewed::New);
    }
    let login = Login { user: "ann", device: "phone", home: &dies, asked: Epoch(1) };
    registry.register(login, NOW).await.unwrap();
    let gone = async {
        // Its own clock stands still, so that nothing is read twice unless its time is up.
        for step in 1.. {
            if registry.lookup("ann", NOW + Duration::from_secs(step)).await.unwrap().is_empty() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("a lease ends");
    assert_eq!(redis.tell("FLUSHALL"), "+OK");
    assert_eq!(registry.renew(&lives, NOW).await.unwrap(), Renewed::New);
}

#[tokio::test]
async fn a_login_that_nobody_waits_for_leaves_no_route() {
    let redis = Redis::start();
    let registry = RedisRegistry::open(settings(vec![redis.url()])).unwrap();
    let home = home("g1");
    registry.renew(&home, NOW).await.unwrap();
    let login = Login { user: "ann", device: "phone", home: &home, asked: Epoch(1) };
    drop(registry.register(login, NOW));
    let deleted = async {
        // `epoch(8) seconds(4)` is what is left of it.
        while redis.tell("HSTRLEN dagor:route:{user:ann} phone") != ":12" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), deleted).await.expect("it is taken back");
}

#[tokio::test]
async fn whoever_makes_up_devices_does_not_fill_the_memory() {
    let redis = Redis::start();
    let registry = RedisRegistry::open(settings(vec![redis.url()])).unwrap();
    let home = home("g1");
    registry.renew(&home, NOW).await.unwrap();
    for number in 0..200 {
        let device = format!("device {number}");
        let login = Login { user: "ann", device: &device, home: &home, asked: Epoch(number) };
        let epoch = registry.register(login, NOW).await.unwrap().epoch;
        if number % 2 == 0 {
            assert!(registry.unregister(Held { user: "ann", device: &device, home: &home, epoch }, NOW).await.unwrap());
        }
    }
    let routes = registry.lookup("ann", NOW).await.unwrap();
    assert_eq!(routes.len(), 64);
    assert!(routes.iter().all(|route| route.epoch > Epoch(50)), "the first ones had to go");
}

#[tokio::test]
async fn what_is_deleted_ends_by_itself() {
    let redis = Redis::start();
    let registry = RedisRegistry::open(settings(vec![redis.url()])).unwrap();
    let home = home("g1");
    let login = |device| Login { user: "ann", device, home: &home, asked: Epoch(1) };
    let left = || redis.tell("PTTL dagor:route:{user:ann}")[1..].parse::<u64>().unwrap();
    let phone = registry.register(login("phone"), NOW).await.unwrap().epoch;
    let watch = registry.register(login("watch"), NOW).await.unwrap().epoch;
    let held = |device, epoch| Held { user: "ann", device, home: &home, epoch };
    assert!(registry.unregister(held("phone", phone), NOW).await.unwrap());
    assert!(left() > 80_000_000, "the watch is connected");
    assert!(registry.unregister(held("watch", watch), NOW).await.unwrap());
    assert!((50_000..=60_000).contains(&left()), "a tombstone outlives its route by a minute");
}

#[tokio::test]
async fn what_waits_for_redis_is_bounded_and_the_rest_fails_at_once() {
    let redis = Redis::start();
    let bounded = RedisSettings { in_flight: 16, deletions: 4, ..settings(vec![redis.url()]) };
    let registry = RedisRegistry::open(bounded).unwrap();
    let home = home("g1");
    let users: Vec<_> = (0..1000).map(|number| format!("user-{number}")).collect();
    // All are made before the first is answered: this thread is the only one.
    let login = |user| Login { user, device: "phone", home: &home, asked: Epoch(1) };
    let logins: Vec<_> = users.iter().map(|user| registry.register(login(user), NOW)).collect();
    let logins = futures_util::future::join_all(logins).await;
    assert_eq!(logins.iter().filter(|login| login.is_ok()).count(), 16);
    let held = |user| Held { user, device: "phone", home: &home, epoch: Epoch(2) };
    let deletions: Vec<_> = users.iter().map(|user| registry.unregister(held(user), NOW)).collect();
    let deletions = futures_util::future::join_all(deletions).await;
    assert_eq!(deletions.iter().filter(|deleted| matches!(deleted, Ok(true))).count(), 4);
    let busy: Vec<_> = registry.counts().into_iter().filter(|count| count.result == "busy").collect();
    assert_eq!(
        busy.iter().map(|count| (count.call, count.total)).collect::<Vec<_>>(),
        [("register", 984), ("unregister", 996)]
    );
    assert!(registry.register(login("user-0"), NOW).await.is_ok(), "there is room again");
}
