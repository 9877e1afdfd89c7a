//! Fleets on the loopback: several gateways, several managers, and the Redis between them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "what is promised within a time is measured")]

mod aging;
mod api;
mod closing;
mod fleet;
mod losing;
#[path = "../redis/mod.rs"]
mod redis;
mod sharing;
