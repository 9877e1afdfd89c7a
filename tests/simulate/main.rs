//! The simulator against what is known without it: queueing theory, conservation, the same figures for the same seed, and
//! the effect of each key of a scenario.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use dagor::sim::{
    controllers,
    measure::{Metric, Run},
    run,
    scenario::Scenario,
};

mod effects;
mod files;
mod fleet;
mod paper;
mod theory;
mod world;

/// The scenario of this text.
fn scenario(text: &str) -> Scenario {
    Scenario::parse("test.toml", text).unwrap_or_else(|faults| panic!("{faults}"))
}

/// A run of this text by a controller, with seed 1.
fn simulate(text: &str, controller: &str) -> Run {
    run(&scenario(text), &controllers::named(controller).unwrap(), 1.0, 1)
}

fn figure(run: &Run, metric: Metric) -> f64 {
    *run.figures.get(&metric).unwrap_or_else(|| panic!("no {} in {:?}", metric.name(), run.figures))
}

fn of_business(run: &Run, business: usize, metric: Metric) -> f64 {
    run.businesses[business][&metric]
}

#[track_caller]
fn assert_close(found: f64, expected: f64, tolerance: f64) {
    assert!((found / expected - 1.0).abs() <= tolerance, "{found} is not within {tolerance} of {expected}");
}
