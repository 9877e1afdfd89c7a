//! The whole gateway on real sockets of the loopback, between clients and a logic service that do what a test says.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod admin;
mod advertise;
mod age;
mod cuts;
mod framing;
mod heartbeat;
mod instances;
mod logins;
mod marks;
mod policy;
mod presence;
mod pushes;
mod queue;
mod requests;
mod service;
mod settled;
mod shutdown;
mod site;
mod slow;
mod strict;
mod talker;
mod tickets;
