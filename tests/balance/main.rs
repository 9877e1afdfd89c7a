//! Balance, by the managers' own core and the gateways' own mover, on a clock that is moved by hand: from one full gateway,
//! and from one empty one, everybody comes within 5 % of the mean, on both sides, in a time that is stated, at no higher rate
//! than is allowed, and with hardly more moves than there are clients in the wrong place.
//!
//! `DAGOR_BALANCE_SEED` chooses who goes where.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what is measured is what it is run for")]

mod fleet;

use std::time::Duration;

use dagor::manager::settings::Settings;

use self::fleet::{Fleet, Setup};

/// How far anybody may be from the mean in the end.
const DEVIATION: f64 = 0.05;
/// Moves for each client that has to move.
const MOVES: f64 = 1.3;
/// How long it has to stay as it is.
const STAYS: u64 = 60;

fn seed() -> u64 {
    std::env::var("DAGOR_BALANCE_SEED").map_or(1, |seed| seed.parse().unwrap())
}

/// One has more than its part, the others have the rest.
fn one_full(gateways: u64, clients: u64) -> Vec<u64> {
    let full = (clients / 2).min(clients / gateways * 10);
    with(full, gateways, clients)
}

/// One has nobody, as if it had just been restarted.
fn one_empty(gateways: u64, clients: u64) -> Vec<u64> {
    with(0, gateways, clients)
}

fn with(first: u64, gateways: u64, clients: u64) -> Vec<u64> {
    let (each, rest) = ((clients - first) / (gateways - 1), (clients - first) % (gateways - 1));
    std::iter::once(first).chain((0..gateways - 1).map(|other| each + u64::from(other < rest))).collect()
}

fn quick() -> Settings {
    let mut settings = Settings::default();
    (settings.placement.rebalance_above, settings.placement.rebalance_share) = (1.05, 0.1);
    settings
}

/// Lets a fleet balance. Returns after how many seconds it was within 5 % for good.
#[track_caller]
fn balance(what: &str, setup: Setup, within: u64) -> u64 {
    balance_through(what, setup, within, |_, _| ())
}

/// The same while something happens at the beginning of each second.
#[track_caller]
fn balance_through(what: &str, setup: Setup, within: u64, mut happens: impl FnMut(u64, &mut Fleet)) -> u64 {
    let (before, seed) = (setup.connections.clone(), setup.seed);
    let mean = before.iter().sum::<u64>() as f64 / before.len() as f64;
    let surplus: f64 = before.iter().map(|&one| (one as f64 - mean).max(0.0)).sum();
    let mut fleet = Fleet::new(setup);
    let mut last_outside = 0;
    for second in 1..=within + STAYS {
        happens(second, &mut fleet);
        fleet.second();
        if fleet.deviation() > DEVIATION {
            last_outside = second;
        }
    }
    let connections = fleet.connections();
    let (least, most) = (connections.iter().min().unwrap(), connections.iter().max().unwrap());
    let moves = fleet.told as f64 / surplus;
    println!(
        "{what}, seed {seed}: mean {mean:.1}, in the end {least} to {most}, {:.1} % off; within 5 % after {last_outside} s; \
         {} told, {moves:.2} for each of {surplus:.0} too many",
        fleet.deviation() * 100.0,
        fleet.told
    );
    assert!(last_outside < within, "{what}, seed {seed}: still outside after {last_outside} s: {least} to {most}");
    assert!(fleet.rests(), "{what}, seed {seed}: it goes on");
    assert!(moves <= MOVES, "{what}, seed {seed}: {moves:.2} moves for each");
    fleet.check_rates();
    last_outside
}

#[test]
fn few_clients_are_balanced_as_well_as_many() {
    for (gateways, clients) in [(4, 480), (4, 10_000), (100, 100_000)] {
        let seeds = if gateways > 4 { 1 } else { 5 };
        for seed in seed()..seed() + seeds {
            for (name, connections) in [("full", one_full(gateways, clients)), ("empty", one_empty(gateways, clients))]
            {
                let setup = Setup { settings: quick(), ..Setup::new(connections, seed) };
                balance(&format!("{gateways} gateways, {clients} clients, one {name}"), setup, 60);
            }
        }
    }
}

#[test]
fn a_thousand_gateways_are_balanced_as_well_as_few() {
    let setup = |connections| Setup { settings: quick(), managers: 1, ..Setup::new(connections, seed()) };
    balance("1000 gateways, one empty", setup(one_empty(1000, 200_000)), 60);
    balance("1000 gateways, one full", setup(one_full(1000, 200_000)), 120);
    let mut random = fastrand::Rng::with_seed(seed());
    balance("1000 gateways, any", setup((0..1000).map(|_| random.u64(0..400)).collect()), 60);
}

#[test]
fn new_managers_go_on_where_the_others_were() {
    let setup = Setup { settings: quick(), ..Setup::new(one_full(4, 10_000), seed()) };
    balance_through("4 gateways, managers restarted each 3 s, one full", setup, 60, |second, fleet| {
        if second.is_multiple_of(3) {
            fleet.restart_managers();
        }
    });
}

#[test]
fn without_a_setting_an_empty_gateway_is_filled_slowly() {
    let setup = Setup::new(one_empty(4, 10_000), seed());
    let took = balance("defaults, one empty", setup, 300);
    assert!(took > 60, "{took} s");
}

#[test]
fn a_gateway_in_its_ramp_is_filled_by_its_ramp() {
    let mut setup = Setup { settings: quick(), ..Setup::new(one_empty(4, 10_000), seed()) };
    setup.uptime[0] = Duration::ZERO;
    let took = balance("in its ramp, one empty", setup, 120);
    assert!(took >= 50, "{took} s of a ramp of 60 s");
}

#[test]
fn clients_that_come_and_go_leave_a_balanced_fleet_alone() {
    // Of each gateway one client per second, by chance anywhere: what it makes in ten minutes is not worth a move by default.
    let setup = Setup { session: Some(Duration::from_secs(3600)), ..Setup::new(vec![3600; 10], seed()) };
    let mut fleet = Fleet::new(setup);
    (0..600).for_each(|_| fleet.second());
    assert_eq!(fleet.told, 0, "seed {}: {:?}", seed(), fleet.connections());
}
