//! A fleet on a virtual clock: a thousand gateways, a hundred million clients, and what happens when a part of the gateways is
//! lost, the managers are away, or all is restarted.
//!
//! ```text
//!  report (each second) ──▶ managers: their own core ──▶ directive ──▶ gateway: accept, alternatives, spread
//!                                                                        ▲ │ bucket, login cut, welcome / refused
//!                       waiting: counts by moment, gateway and stage ────┘ ▼ back-off, redirect, another gateway
//! ```
//!
//! **What is real.** The managers' decisions ([`crate::manager::core`]), the token bucket of the logins, the login classes and
//! their cut, what a gateway tells clients ([`crate::gateway::fleet::rules`]), and how clients wait
//! ([`crate::client::backoff`]) are the code that runs in production.
//!
//! **What is counted.** Clients are no objects. Those that are connected are a number for each gateway, those that are not a
//! number for each gateway that they try next, stage of their back-off, and tick. So a client that finds a dead gateway has
//! forgotten what else it was told: it takes what some other client was told, which is the same in distribution.
//!
//! **What is left out.** Time within a tick of 100 ms, latency and loss of the network, memory and CPU other than that of
//! logins, requests and pushes, several devices of a user, limits per address, and Redis beyond the number of its commands.
//! Behind the clients' own list there is a name that leads to any gateway that lives.

mod clients;
mod gateway;
mod ledger;
mod managers;
pub mod report;
pub mod scenario;
pub mod table;
mod world;

use std::time::Duration;

pub use self::{report::Report, scenario::Scenario, world::run};

/// How finely time passes.
const TICK: Duration = Duration::from_millis(100);
