//! Many clients send numbered messages through two gateways to two instances of a service, at twice its capacity, while
//! processes are killed and connections are cut. The ledger in Redis then tells whether each message that was reported as
//! replied was run, and none twice.
//!
//! By itself it is short. At full length, with everything printed:
//!
//! ```text
//! DAGOR_KILL_SECONDS=600 DAGOR_KILL_CLIENTS=2000 DAGOR_KILL_MESSAGES=200000 \
//!   cargo test --release --test kill -- --nocapture
//! ```
//!
//! `DAGOR_KILL_SEED` chooses who is killed when, and which connection is cut after how many bytes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "real processes are killed in real time")]
#![allow(clippy::print_stdout, reason = "the report is what it is run for")]

mod book;
mod clients;
mod cutter;
mod fleet;
#[path = "../ledger/mod.rs"]
mod ledger;
#[path = "../process/mod.rs"]
mod process;
#[path = "../redis/mod.rs"]
mod redis;

use std::time::Duration;

use self::{
    book::Book,
    cutter::Cutter,
    fleet::{Fleet, Site},
    process::number,
    redis::{Durability, Redis},
};

/// How much is done, and what it follows from.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// How long messages are submitted.
    duration: Duration,
    clients: usize,
    /// Over all clients.
    messages: usize,
    seed: u64,
}

/// How long a message stays in an outbox.
const KEEP_FOR: Duration = Duration::from_secs(10);
/// What clients and processes may take for the rest once nothing is killed any more.
const SETTLES_WITHIN: Duration = Duration::from_secs(60);
/// The offered load as a multiple of the capacity.
const OVERLOAD: f64 = 2.0;

impl Plan {
    /// Short, unless the environment says otherwise.
    fn from_environment() -> Self {
        Self {
            duration: Duration::from_secs(number("DAGOR_KILL_SECONDS", 15)),
            clients: number("DAGOR_KILL_CLIENTS", 100) as usize,
            messages: number("DAGOR_KILL_MESSAGES", 3_000) as usize,
            seed: number("DAGOR_KILL_SEED", 1),
        }
    }

    /// Messages per second that the instances can serve together.
    fn capacity(&self) -> f64 {
        self.messages as f64 / self.duration.as_secs_f64() / OVERLOAD
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_replied_was_done_once_and_nothing_is_done_twice() {
    let plan = Plan::from_environment();
    println!("{plan:?}");
    let redis = Redis::start_with(Durability::Process);
    let site = Site::new(&redis.url(), plan.capacity());
    let mut fleet = Fleet::start(site, plan.seed);
    let cutters = [
        Cutter::start(fleet.gateway(0), plan.seed ^ 0xa).await,
        Cutter::start(fleet.gateway(1), plan.seed ^ 0xb).await,
    ];
    let addresses = cutters.iter().map(|cutter| cutter.address.to_string()).collect();
    let sending = tokio::spawn(clients::run(plan, addresses));
    fleet.torment(plan.duration).await;
    let limit = KEEP_FOR + SETTLES_WITHIN;
    let told = tokio::time::timeout(limit, sending).await.expect("every message has ended").unwrap();
    let cuts = cutters.iter().map(Cutter::cuts).sum();
    let book = Book { told, ledger: ledger::Ledger::read(&redis, plan.clients), cuts, kills: fleet.kills() };
    println!("{book}");
    fleet.check_logs();
    book.check(&plan);
}
