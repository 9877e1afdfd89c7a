//! Routes in Redis: the registry by itself against a single server, a Cluster, and one with TLS and a password; then
//! gateways and services that share one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "what is bounded in time is measured in real time")]

mod cluster;
mod command;
#[path = "../../src/registry/conformance.rs"]
mod conformance;
mod failures;
mod fleet;
mod lost;
mod moves;
mod proxy;
#[path = "../redis/mod.rs"]
mod redis;
mod servers;
mod site;
#[path = "../gateway/talker.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod talker;
mod tls;

use dagor::{
    clock::Timestamp,
    id::{Epoch, Incarnation},
    registry::{
        Held, Home, Login, Registered, Registry, Restored, Route,
        redis::{RedisRegistry, RedisSettings},
    },
};

/// A registry at these addresses. Slow machines must not fail a test of something else.
fn settings(nodes: Vec<String>) -> RedisSettings {
    RedisSettings { nodes, timeout: std::time::Duration::from_secs(10), ..RedisSettings::default() }
}
