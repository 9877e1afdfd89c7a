//! The client SDK: its pure core against a gateway made of `wire` calls, its driver against sockets on loopback.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod any;
mod core;
mod driver;
mod gateway;
mod pair;
