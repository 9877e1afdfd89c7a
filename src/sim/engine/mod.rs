//! The engine: a world of users, gateways and servers that moves from event to event. Everything in it follows from the
//! scenario, the contender, the load and the seed; no clock is read and nothing is shared between runs.
//!
//! A task arrives and is tried; the try makes calls, which land at an instance of a service, where a guard lets them
//! into the queue or not; a worker takes them, and when it is done the service makes calls of its own, or answers. An
//! answer in time from all calls of a try makes the task succeed. A refusal anywhere ends the try.

mod agenda;
mod callers;
mod instance;
mod random;
mod servers;
mod table;
mod tasks;
mod traffic;
mod world;

use super::{controllers::Contender, measure::Run, scenario::Scenario};

/// One run: a contender at one point of the sweep, by one seed.
pub fn run(scenario: &Scenario, contender: &Contender, load: f64, seed: u64) -> Run {
    world::World::new(scenario, contender, load, seed).run()
}
