//! Gateways that share a service treat the same request alike, use what the service can do, and turn the least important away;
//! also when the fleet's cut is plainly wrong, or when nobody is left who says it. Decided on a virtual clock, so that what
//! is asserted here holds on any machine; `tests/manager/sharing.rs` has the same with sockets.
//!
//! `DAGOR_SHARING_SEEDS=50 cargo test --test sharing -- --nocapture` looks at more seeds and shows the figures.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod model;

use std::{env, ops::Range, time::Duration};

use model::{Second, Setup, Work, World};

/// What is promised of the requests that another gateway decides differently, and of the service's capacity.
const ALIKE: f64 = 0.01;
const USED: f64 = 0.95;
/// No second may use less.
const ALWAYS_USED: f64 = 0.9;
/// Reports after which an overload is handled alike.
const REPORTS: usize = 3;

/// The runs of a setup, one for each seed.
struct Runs {
    name: &'static str,
    seeds: Vec<Vec<Second>>,
}

/// Figures of some seconds of all runs.
#[derive(Debug)]
struct Figures {
    /// Of all requests, the part that another gateway's cut decides differently; and the same of the worst run.
    cut_differs: f64,
    worst_cut_differs: f64,
    /// Of the requests that came at two gateways at once, the part that ended differently.
    twins_differ: f64,
    worst_twins_differ: f64,
    /// Of the capacity, the part that was used; and the least of a run and of a second.
    used: f64,
    least_used: f64,
    least_used_of_a_second: f64,
    /// Of each business's requests, the part that was served, and the least of a run.
    served: [f64; 3],
    least_served: [f64; 3],
    /// Of the gates' looks under a fleet's cut, the part at which the own one was stricter.
    braked: f64,
    /// Times that a gate was given another fleet cut, per second.
    moves: f64,
    longest_wait: f64,
}

impl Runs {
    fn of(name: &'static str, seeds: u64, setup: &Setup) -> Self {
        let seeds = env::var("DAGOR_SHARING_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(seeds);
        Self { name, seeds: (1..=seeds).map(|seed| World::new(setup.clone(), seed).run()).collect() }
    }

    fn figures(&self, seconds: Range<usize>) -> Figures {
        let sum = |run: &[Second], of: &dyn Fn(&Second) -> f64| run.iter().map(of).sum::<f64>();
        let runs = || self.seeds.iter().map(|run| &run[seconds.clone()]);
        let shares = |part: &dyn Fn(&Second) -> f64, whole: &dyn Fn(&Second) -> f64| -> Vec<f64> {
            runs().map(|run| sum(run, part) / sum(run, whole).max(f64::MIN_POSITIVE)).collect()
        };
        let mean = |shares: &[f64]| shares.iter().sum::<f64>() / shares.len() as f64;
        let most = |shares: &[f64]| shares.iter().copied().fold(0.0, f64::max);
        let least = |shares: &[f64]| shares.iter().copied().fold(f64::MAX, f64::min);
        let cut = shares(&|one| one.cut_differs, &|one| one.offered);
        let twins = shares(&|one| one.twins_differ, &|one| one.twins);
        let used = shares(&|one| one.worked, &|one| one.workers);
        let served = [0, 1, 2].map(|at| shares(&|one| one.served[at], &|one| one.arrived[at]));
        let figures = Figures {
            cut_differs: mean(&cut),
            worst_cut_differs: most(&cut),
            twins_differ: mean(&twins),
            worst_twins_differ: most(&twins),
            used: mean(&used),
            least_used: least(&used),
            least_used_of_a_second: least(&runs().flatten().map(|one| one.worked / one.workers).collect::<Vec<_>>()),
            least_served: [0, 1, 2].map(|at| least(&served[at])),
            served: served.map(|shares| mean(&shares)),
            braked: mean(&shares(&|one| one.braked, &|one| one.under_fleet)),
            moves: mean(&shares(&|one| one.moves, &|_| 1.0)),
            longest_wait: most(&runs().flatten().map(|one| one.longest_wait).collect::<Vec<_>>()),
        };
        let Self { name, seeds } = self;
        eprintln!("{name}, seeds 1 to {}, seconds {seconds:?}: {figures:.4?}", seeds.len());
        figures
    }
}

/// Twice what fits from the beginning.
fn overload() -> Setup {
    Setup::default()
}

/// The service of `tests/manager/sharing.rs`: so small that a second's chance is a good part of it.
fn small() -> Setup {
    Setup {
        capacity: 100.0,
        workers: 4,
        work: Work::Even,
        users: 50,
        timeout: Duration::from_secs(10),
        ..Setup::default()
    }
}

#[test]
fn a_busy_gateway_and_a_quiet_one_decide_alike_three_reports_after_an_overload_begins_and_open_after_it() {
    let setup = Setup { load: vec![(0.0, 0.5), (4.0, 2.0), (16.0, 0.5)], seconds: 22, ..overload() };
    let runs = Runs::of("up and down", 10, &setup);
    let overloaded = runs.figures(4 + REPORTS..16);
    assert!(overloaded.worst_cut_differs <= ALIKE && overloaded.worst_twins_differ <= ALIKE, "{overloaded:?}");
    assert!(overloaded.least_used >= USED && overloaded.least_used_of_a_second >= ALWAYS_USED, "{overloaded:?}");
    assert!(overloaded.least_served[0] >= 0.99 && overloaded.served[2] <= 0.01, "{overloaded:?}");
    let rise = runs.figures(4..4 + REPORTS);
    assert!(rise.least_used >= USED, "{rise:?}");
    let calm = runs.figures(16 + REPORTS..21);
    assert!(calm.least_served.iter().all(|served| *served >= 0.999), "{calm:?}");
}

#[test]
fn a_small_service_as_well() {
    let figures = Runs::of("small", 10, &Setup { seconds: 24, ..small() }).figures(REPORTS..24);
    assert!(figures.cut_differs <= ALIKE / 2.0 && figures.twins_differ <= ALIKE, "{figures:?}");
    assert!(figures.used >= USED && figures.served[0] >= 0.99 && figures.served[2] <= 0.03, "{figures:?}");
}

#[test]
fn ten_gateways_of_very_different_sizes_as_well() {
    let mut shares = vec![0.5, 0.2];
    shares.extend([0.3 / 8.0; 8]);
    let figures = Runs::of("ten gateways", 8, &Setup { shares, seconds: 18, ..overload() }).figures(REPORTS + 1..18);
    assert!(figures.worst_cut_differs <= ALIKE && figures.twins_differ <= ALIKE, "{figures:?}");
    assert!(figures.least_used >= USED && figures.least_served[0] >= 0.99, "{figures:?}");
}

#[test]
fn two_managers_that_see_each_others_gateways_late_as_well() {
    let figures = Runs::of("two managers", 5, &Setup { managers: 2, seconds: 18, ..overload() }).figures(REPORTS..18);
    assert!(figures.cut_differs <= ALIKE && figures.twins_differ <= ALIKE, "{figures:?}");
    assert!(figures.least_used >= USED && figures.least_served[0] >= 0.99, "{figures:?}");
}

#[test]
fn without_a_fleet_cut_more_than_a_third_is_decided_differently() {
    let figures = Runs::of("no fleet cuts", 1, &Setup { fleet_cuts: false, seconds: 14, ..overload() }).figures(4..14);
    assert!(figures.cut_differs > 0.33 && figures.twins_differ > 0.33, "{figures:?}");
}

#[test]
fn the_most_important_are_served_when_half_of_the_service_dies() {
    let runs = Runs::of("half dies", 5, &Setup { workers_left: vec![(8.0, 10)], seconds: 18, ..overload() });
    let all = runs.figures(8..18);
    assert!(all.least_served[0] >= 0.99 && all.least_used >= USED, "{all:?}");
    assert!(all.longest_wait < 1.5, "{all:?}");
    let after = runs.figures(8 + REPORTS + 1..18);
    assert!(after.worst_cut_differs <= ALIKE && after.worst_twins_differ <= ALIKE, "{after:?}");
}

#[test]
fn the_most_important_are_served_when_far_more_come() {
    let runs = Runs::of("a storm", 3, &Setup { load: vec![(0.0, 2.0), (8.0, 6.0)], seconds: 14, ..overload() });
    let all = runs.figures(8..13);
    assert!(all.least_used >= USED && all.least_served[0] >= 0.97, "{all:?}");
    let first = runs.figures(8..9);
    assert!(first.braked > 0.05, "the gates act before any report: {first:?}");
    let after = runs.figures(8 + REPORTS..13);
    assert!(after.cut_differs <= ALIKE, "{after:?}");
}

#[test]
fn a_service_that_stood_still_is_used_again_at_once() {
    let setup = Setup { workers_left: vec![(8.0, 0), (11.0, 20)], seconds: 16, ..overload() };
    let figures = Runs::of("a standstill", 3, &setup).figures(12..16);
    assert!(figures.least_used >= USED, "{figures:?}");
    assert!(figures.worst_cut_differs <= ALIKE && figures.least_served[0] >= 0.98, "{figures:?}");
}

#[test]
fn a_service_that_stood_still_for_so_long_that_its_capacity_is_forgotten_as_well() {
    let setup = Setup { workers_left: vec![(8.0, 0), (22.0, 20)], seconds: 28, ..overload() };
    let figures = Runs::of("a long standstill", 3, &setup).figures(23..28);
    assert!(figures.least_used >= USED, "{figures:?}");
    assert!(figures.worst_cut_differs <= ALIKE && figures.least_served[0] >= 0.98, "{figures:?}");
}

#[test]
fn the_last_cut_holds_for_its_time_to_live_and_then_the_gates_decide_by_themselves() {
    let setup = Setup { managers_die: Some(8.0), ttl: Duration::from_secs(6), seconds: 22, ..overload() };
    let runs = Runs::of("managers die", 5, &setup);
    let held = runs.figures(8..13);
    assert!(held.worst_cut_differs <= ALIKE, "{held:?}");
    // Nobody corrects it, and a second's chance comes on top.
    assert!(held.least_used >= ALWAYS_USED && held.least_used_of_a_second >= 0.85, "{held:?}");
    let all = runs.figures(4..22);
    assert!(all.least_used >= USED, "{all:?}");
    let lapsing = runs.figures(13..22);
    assert!(lapsing.least_used_of_a_second >= ALWAYS_USED, "{lapsing:?}");
    assert!(all.least_served[0] >= 0.99, "{all:?}");
    let alone = runs.figures(15..22);
    assert!(alone.cut_differs > ALIKE && alone.moves == 0.0 && alone.least_served[0] >= 0.99, "{alone:?}");
}
