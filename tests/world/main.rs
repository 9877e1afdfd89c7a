//! The promise of delivery, held against a world of its own: the real cores of client, gateway, logic service and registry
//! on a clock that is moved by hand, joined by queues, with everything going wrong that a seed can draw. No socket, no
//! runtime, no waiting; the same seed is the same world, step by step.
//!
//! ```text
//! DAGOR_WORLD_SEED=17 cargo test --test world -- --nocapture a_world     # this one alone, with everything that happens
//! DAGOR_WORLD_SEEDS=100000 cargo test --test world -- --nocapture
//! ```
//!
//! `docs/delivery.md` says what is promised and what is checked.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a reader wants to see that the faults happen")]

mod audit;
mod bugs;
mod client;
mod faults;
mod gateway;
mod ledger;
mod net;
mod routes;
mod service;
mod store;
mod trace;
mod world;

use std::{
    env,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use self::{
    bugs::Bug,
    trace::{Counts, Trace},
    world::World,
};

/// Steps of a seed with faults; then it comes to rest.
const STEPS: u64 = 1_000;
const SEEDS: u64 = 10_000;
/// A planted bug must be found within so many seeds.
const SEEDS_FOR_A_BUG: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: expected a number")))
}

/// Runs one seed to its end, or to the first violation.
fn run(seed: u64, bug: Option<Bug>, aloud: bool) -> Trace {
    let mut world = World::new(seed, bug);
    world.trace.aloud = aloud;
    if (0..STEPS).all(|_| world.step()) {
        world.rest();
    }
    world.trace
}

/// What a failing seed leaves behind.
fn story(seed: u64, trace: &Trace) -> String {
    format!(
        "seed {seed}, step {}: {}\n{}again, with everything: DAGOR_WORLD_SEED={seed} cargo test --test world -- --nocapture a_world",
        trace.step,
        trace.violation.as_deref().unwrap_or_default(),
        trace.tail(),
    )
}

/// Runs seeds on every core until one fails or all have run: steps and counts of all, and the first that failed.
fn run_all(seeds: u64) -> (u64, Counts, Option<String>) {
    let (next, steps) = (AtomicU64::new(0), AtomicU64::new(0));
    let (counts, failed) = (Mutex::new(Counts::default()), Mutex::new(None));
    let work = || {
        let mut own = Counts::default();
        while failed.lock().unwrap().is_none() {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= seeds {
                break;
            }
            let trace = run(seed, None, false);
            steps.fetch_add(trace.step, Relaxed);
            own.add(&trace.counts);
            if trace.violation.is_some() {
                failed.lock().unwrap().get_or_insert_with(|| story(seed, &trace));
            }
        }
        counts.lock().unwrap().add(&own);
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    (steps.into_inner(), counts.into_inner().unwrap(), failed.into_inner().unwrap())
}

#[test]
fn a_world_in_which_everything_fails_keeps_the_promise() {
    if let Some(seed) = number("DAGOR_WORLD_SEED") {
        let trace = run(seed, None, true);
        assert!(trace.violation.is_none(), "{}", story(seed, &trace));
        return;
    }
    let seeds = number("DAGOR_WORLD_SEEDS").unwrap_or(SEEDS);
    let (steps, counts, failed) = run_all(seeds);
    println!("{steps} steps over {seeds} seeds\n{counts}");
    if let Some(story) = failed {
        panic!("{story}");
    }
    if seeds >= SEEDS {
        assert!(steps >= 10_000_000, "only {steps} steps");
        let never: Vec<_> = counts.never().filter(|&name| name != "conflict").collect();
        assert!(never.is_empty(), "never happened: {never:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in 0..20 {
        let (one, other) = (run(seed, None, false), run(seed, None, false));
        assert_eq!((one.step, one.hash()), (other.step, other.hash()), "seed {seed}");
    }
    assert_ne!(run(0, None, false).hash(), run(1, None, false).hash());
}

/// The first seed in which a planted bug breaks an invariant.
fn find(bug: Bug) {
    for seed in 0..SEEDS_FOR_A_BUG {
        let trace = run(seed, Some(bug), false);
        if let Some(violation) = trace.violation {
            println!("{bug:?}: found in seed {seed}, step {}: {violation}", trace.step);
            let without = run(seed, None, false).violation;
            assert_eq!(without, None, "the bug is not what was found");
            return;
        }
    }
    panic!("{bug:?} is not found in {SEEDS_FOR_A_BUG} seeds");
}

#[test]
fn a_high_water_mark_in_place_of_a_window_is_found() {
    find(Bug::HighWaterDedupe);
}

#[test]
fn a_delete_without_a_fence_is_found() {
    find(Bug::UnfencedDelete);
}

#[test]
fn an_acknowledgement_over_a_refused_message_is_found() {
    find(Bug::AckOverRefused);
}

#[test]
fn an_acknowledgement_before_the_answer_is_written_is_found() {
    find(Bug::AckBeforeWrite);
}

#[test]
fn a_new_id_for_a_message_that_is_sent_again_is_found() {
    find(Bug::NewIdOnResend);
}

#[test]
fn a_kick_of_a_client_that_moves_is_found() {
    find(Bug::KickOnMigration);
}
