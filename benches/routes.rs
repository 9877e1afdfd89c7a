//! What routes in Redis cost: bytes of Redis per route, commands per login, and how many of each a single server and one
//! connection do per second. Starts a Redis of its own.
//!
//! ```text
//! cargo bench --bench routes --no-default-features --features redis
//! ```
#![allow(clippy::unwrap_used, reason = "a measurement that fails has nothing to say")]
#![allow(clippy::print_stdout, reason = "the figures are what it is run for")]
#![allow(clippy::disallowed_methods, reason = "it measures")]

#[path = "../tests/redis/mod.rs"]
mod redis;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dagor::{
    clock::Timestamp,
    id::{Epoch, Incarnation},
    registry::{
        Held, Home, Login, Registry,
        redis::{RedisRegistry, RedisSettings},
    },
};
use futures_util::{StreamExt, stream};
use redis::Redis;

const USERS: u64 = 200_000;
const IN_FLIGHT: usize = 256;
const NOW: Timestamp = Timestamp::ZERO;

/// One number of `INFO`.
fn info(redis: &Redis, section: &str, name: &str) -> f64 {
    let lines = redis.tell_all(&format!("INFO {section}"));
    let value = lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    value.trim().parse().unwrap()
}

struct Bench<'a> {
    redis: &'a Redis,
    users: &'a [String],
}

impl Bench<'_> {
    /// Does something for each user, and prints what it cost.
    async fn each<F: Future<Output = ()>>(&self, name: &str, call: impl Fn(String) -> F) {
        let commands = || info(self.redis, "stats", "total_commands_processed");
        let cpu = || info(self.redis, "cpu", "used_cpu_user") + info(self.redis, "cpu", "used_cpu_sys");
        let (commands_before, cpu_before, began) = (commands(), cpu(), Instant::now());
        stream::iter(self.users.iter().cloned().map(call)).buffer_unordered(IN_FLIGHT).collect::<Vec<()>>().await;
        let (took, users) = (began.elapsed(), self.users.len() as f64);
        println!(
            "{name:<10} {:>9.0}/s   {:.2} commands each   {:.1} µs of the server's CPU each",
            users / took.as_secs_f64(),
            (commands() - commands_before) / users,
            (cpu() - cpu_before) / users * 1e6,
        );
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() {
    let redis = Redis::start();
    // Nobody renews the leases meanwhile.
    let settings = RedisSettings {
        nodes: vec![redis.url()],
        timeout: Duration::from_secs(10),
        lease: Duration::from_secs(3600),
        ..RedisSettings::default()
    };
    let registry = &RedisRegistry::open(settings).unwrap();
    let home = |number| {
        let gateway = format!("gateway-{number}");
        Arc::new(Home { gateway, incarnation: Incarnation(number), address: "10.0.0.7:7402".into() })
    };
    let (home, other) = (&home(1), &home(2));
    registry.renew(home, NOW).await.unwrap();
    registry.renew(other, NOW).await.unwrap();
    let users: Vec<_> = (0..USERS).map(|number| format!("user-{number:08}")).collect();
    let bench = Bench { redis: &redis, users: &users };
    let memory = || info(&redis, "memory", "used_memory");

    let before = memory();
    bench
        .each("register", |user| async move {
            let login = Login { user: &user, device: "phone", home, asked: Epoch(1_700_000_000_000) };
            registry.register(login, NOW).await.unwrap();
        })
        .await;
    println!("           {:.0} bytes of Redis per route (user-00000000, phone)", (memory() - before) / USERS as f64);
    bench
        .each("move", |user| async move {
            let login = Login { user: &user, device: "phone", home: other, asked: Epoch(1) };
            assert!(registry.register(login, NOW).await.unwrap().previous.is_some());
        })
        .await;
    bench.each("lookup", |user| async move { assert_eq!(registry.lookup(&user, NOW).await.unwrap().len(), 1) }).await;
    bench
        .each("restore", |user| async move {
            let held = Held { user: &user, device: "phone", home: other, epoch: Epoch(1_700_000_000_003) };
            registry.restore(held, NOW).await.unwrap();
        })
        .await;
    bench
        .each("unregister", |user| async move {
            let held = Held { user: &user, device: "phone", home: other, epoch: Epoch(1_700_000_000_003) };
            assert!(registry.unregister(held, NOW).await.unwrap());
        })
        .await;
    println!("           {:.0} bytes of Redis per tombstone", (memory() - before) / USERS as f64);
}
