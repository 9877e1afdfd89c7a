//! The open-loop load generator: requests leave when the schedule says, whatever the gateway does, and their latency
//! counts from the time at which they should have left.

pub mod config;
pub mod schedule;

pub use config::{Arrivals, LoadConfig, Mix, Pace, Transport};
