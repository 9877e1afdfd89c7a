//! A fleet of real processes under real faults: four gateways, two managers, two instances of a service with its ledger, a
//! Redis of the routes, and many clients. One gateway is filled, one is killed, all managers are killed, all gateways are
//! restarted, Redis is away, empty and slow; each scene prints what it saw and holds what is promised.
//!
//! By itself it is short. At full length, one scene after the other:
//!
//! ```text
//! DAGOR_FLEET_CLIENTS=10000 DAGOR_FLEET_SECONDS=30 cargo test --release --test fleet -- --nocapture
//! ```
//!
//! `DAGOR_FLEET_SEED` chooses which gateway is killed, and in which order managers and gateways are.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "real processes are killed in real time")]
#![allow(clippy::print_stdout, reason = "the report is what it is run for")]

mod ask;
mod crowd;
mod curve;
mod fleet;
mod full;
#[path = "../ledger/mod.rs"]
mod ledger;
mod machine;
mod managers;
#[path = "../process/mod.rs"]
mod process;
#[path = "../routes/proxy.rs"]
mod proxy;
#[path = "../redis/mod.rs"]
mod redis;
mod redis_faults;
mod rolling;
mod storm;
mod traffic;

use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

use self::{machine::Machine, process::number};

/// How much is done, and what it follows from.
#[derive(Clone, Copy, Debug)]
struct Plan {
    clients: usize,
    /// How long a scene looks at what stays as it is.
    look: Duration,
    seed: u64,
}

impl Plan {
    /// Short, unless the environment says otherwise.
    fn from_environment() -> Self {
        Self {
            clients: number("DAGOR_FLEET_CLIENTS", 480) as usize,
            look: Duration::from_secs(number("DAGOR_FLEET_SECONDS", 2)),
            seed: number("DAGOR_FLEET_SEED", 1),
        }
    }

    /// Messages per second of all clients together.
    fn messages_per_second(&self) -> f64 {
        self.clients as f64 / 10.0
    }

    /// How many clients start per second where nothing else bounds it.
    fn starts_per_second(&self) -> f64 {
        (self.clients as f64 / 4.0).clamp(400.0, 1000.0)
    }

    fn raise_open_files(&self) {
        // A client that moves has two sockets for a moment; only one gateway's clients do at a time.
        let wanted = self.clients as u64 * 3 / 2 + 1000;
        let has = rlimit::increase_nofile_limit(wanted).unwrap();
        assert!(has >= wanted, "{} clients need {wanted} open files, and {has} are allowed", self.clients);
    }
}

/// Scenes measure, so each has the machine for itself.
static ONE_SCENE: Mutex<()> = Mutex::const_new(());

async fn begin(scene: &str) -> (Plan, (Machine, MutexGuard<'static, ()>)) {
    let scene_holds = ONE_SCENE.lock().await;
    let plan = Plan::from_environment();
    plan.raise_open_files();
    println!("\n== {scene}: {plan:?}");
    (plan, (Machine::watch(), scene_holds))
}
