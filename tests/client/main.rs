//! The client SDK: its pure core against a gateway made of `wire` calls, its driver against sockets on loopback.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agent_any;
mod any;
mod core;
mod driver;
mod gateway;
mod messages;
mod pair;
mod reconnect;
mod restart;
mod stage;
mod store;
