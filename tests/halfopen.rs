//! A peer that vanishes without a word is given up in the promised time by both sides, whatever is written to it.
//!
//! The two sides run in network namespaces of their own, joined by a cable that is pulled: this process starts itself once
//! for each of them. Where namespaces are not permitted it says so and tests nothing. Needs `ip` and root.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "halfopen/cable.rs"]
mod cable;
#[path = "halfopen/sides.rs"]
mod sides;

use std::{io::Write as _, time::Duration};

use cable::{Cable, Side};

/// What a gateway promises: a connection from which nothing was received for this long is given up.
const TOLERANCE: Duration = Duration::from_secs(2);

/// Gateways look at their connections once in this time.
const SCAN: Duration = Duration::from_secs(1);

/// How long the socket of somebody who is given up is held, so that he could read why.
const LEAVE: Duration = Duration::from_secs(2);

/// A machine that does other work as well may be late by this.
const LATENESS: Duration = Duration::from_secs(2);

#[test]
fn a_peer_that_vanishes_is_given_up_in_time_by_both_sides_although_pushes_are_written_to_it() {
    let cable = match Cable::lay() {
        Ok(cable) => cable,
        // Not `eprintln!`, which is not seen of a test that passes.
        Err(why) => return writeln!(std::io::stderr(), "\nSKIPPED: half-open links are not tested: {why}").unwrap(),
    };
    let mut gateway = cable.start(Side::Gateway);
    assert_eq!(gateway.says("listens"), "");
    let mut client = cable.start(Side::Client);
    client.says("connected");
    assert_eq!(gateway.says("connected"), "sockets 1, connections 1");
    client.says("pushed");

    cable.pull();
    gateway.tell("pulled");
    client.tell("pulled");
    let given_up = millis(&client.says("given up after ms"));
    assert!(given_up <= TOLERANCE + LATENESS, "the client took {given_up:?}");
    let reaped = millis(&gateway.says("reaped after ms"));
    assert!(reaped <= TOLERANCE + SCAN + LATENESS, "the gateway took {reaped:?}");
    let freed = millis(&gateway.says("freed after ms"));
    assert!(freed <= TOLERANCE + SCAN + LEAVE + LATENESS, "the gateway held the socket for {freed:?}");
    assert_eq!(gateway.says("at last"), "sockets 0, connections 0, closed as heartbeat_lost 1");
}

fn millis(text: &str) -> Duration {
    Duration::from_millis(text.parse().unwrap())
}

/// Not a test of its own: what this process does in one of the namespaces.
#[test]
fn the_part_that_the_environment_names_is_acted() {
    match Side::of_environment() {
        Some(Side::Gateway) => sides::gateway(),
        Some(Side::Client) => sides::client(),
        None => {}
    }
}
