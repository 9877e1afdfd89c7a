//! `[[service]]`: instances, how long they take, what happens to them, and whom they call.

use std::{ops::RangeInclusive, time::Duration};

use super::{Balance, Calls, Change, Pause, Service, Spread, read::checked};
use crate::policy::reader::{At, Notes, Table};

/// More instances, workers or calls than that are slips of the keyboard.
const COUNTS: RangeInclusive<u64> = 1..=10_000;
/// A mean below a microsecond is no service time; one above an hour never ends in a simulation.
const TIMES: RangeInclusive<Duration> = Duration::from_micros(1)..=Duration::from_secs(3600);
const TIMES_CALLED: RangeInclusive<u64> = 1..=1000;
const RESENDS: RangeInclusive<u64> = 0..=100;
const SPEEDS: RangeInclusive<f64> = 0.0..=1e6;

/// A service whose calls name services that may come later in the file.
#[derive(Debug)]
pub(super) struct ServiceText {
    pub(super) name: At<String>,
    pub(super) service: Service,
    pub(super) calls: Vec<CallsText>,
}

/// A `call`.
#[derive(Debug)]
pub(super) struct CallsText {
    pub(super) service: Option<At<String>>,
    pub(super) calls: Calls,
}

impl ServiceText {
    pub(super) fn read(mut table: Table<'_>, notes: &Notes) -> Option<Self> {
        let name = table.text("name");
        let (instances, workers) = (table.whole("instances"), table.whole("workers"));
        let threads = table.whole("threads");
        let (time, spread) = (table.duration("time"), spread(&mut table, notes));
        let process_expired = table.flag("process_expired").is_some_and(|at| at.value);
        let balance = table.text("balance");
        let changes = table.tables("change").into_iter().filter_map(|table| change(table, notes)).collect();
        let pauses = table.tables("pause").into_iter().filter_map(pause).collect();
        let calls = table.tables("call").into_iter().map(|table| CallsText::read(table, notes)).collect();
        table.require(&["name", "time"]);
        table.finish();
        let (name, at) = (name?, time?);
        let service = checked(notes, |check| Service {
            name: name.value.clone(),
            instances: check.count(&instances, COUNTS, 1),
            workers: check.count(&workers, COUNTS, 1),
            threads: threads.map(|at| check.count(&Some(at), COUNTS, 1)),
            time: check.duration(&Some(at), TIMES, *TIMES.start()),
            spread,
            process_expired,
            balance: check.word(&balance, "balance", &BALANCES, Balance::Random),
            changes,
            pauses,
            calls: Vec::new(),
        });
        Some(Self { name, service, calls })
    }
}

const BALANCES: [(&str, Balance); 4] = [
    ("random", Balance::Random),
    ("round-robin", Balance::RoundRobin),
    ("user-hash", Balance::UserHash),
    ("least-loaded", Balance::LeastLoaded),
];

/// A spread with this variation, if it has one.
type MakeSpread = fn(f64) -> Spread;

fn spread(table: &mut Table<'_>, notes: &Notes) -> Spread {
    let (kind, scv) = (table.text("distribution"), table.number("scv"));
    // Above 1 only for what is no distribution otherwise; the default is what most services look like.
    let variation =
        |range, default| checked(notes, |check| check.ranged(&scv, range, default, |number: &f64| number.to_string()));
    let kinds: [(&str, MakeSpread); 5] = [
        ("deterministic", |_| Spread::Deterministic),
        ("exponential", |_| Spread::Exponential),
        ("gamma", Spread::Gamma),
        ("lognormal", Spread::Lognormal),
        ("hyperexponential", Spread::Hyperexponential),
    ];
    let make = checked(notes, |check| check.word(&kind, "distribution", &kinds, |_| Spread::Exponential));
    match make(1.0) {
        fixed @ (Spread::Deterministic | Spread::Exponential) => {
            if let Some(scv) = &scv {
                let message = "`scv` is for `gamma`, `lognormal` and `hyperexponential`";
                notes.faults.borrow_mut().add(&scv.place, message);
            }
            fixed
        }
        Spread::Gamma(_) => Spread::Gamma(variation(0.001..=100.0, 1.0)),
        Spread::Lognormal(_) => Spread::Lognormal(variation(0.001..=100.0, 1.0)),
        Spread::Hyperexponential(_) => Spread::Hyperexponential(variation(1.0..=1000.0, 4.0)),
    }
}

fn change(mut table: Table<'_>, notes: &Notes) -> Option<Change> {
    let (at, instance) = (table.duration("at"), table.whole("instance"));
    let (workers, speed) = (table.whole("workers"), table.number("speed"));
    if workers.is_none() && speed.is_none() {
        notes.faults.borrow_mut().add(&table.place, "nothing changes: write `workers`, `speed` or both");
    }
    table.require(&["at"]);
    table.finish();
    let workers = workers.map(|at| checked(notes, |check| check.count(&Some(at), 0..=10_000, 1)));
    let speed = speed.map(|at| checked(notes, |check| check.ranged(&Some(at), SPEEDS, 1.0, f64::to_string)));
    Some(Change { at: at?.value, instance: instance.map(|at| at.value as usize), workers, speed })
}

fn pause(mut table: Table<'_>) -> Option<Pause> {
    let (at, length, instance) = (table.duration("at"), table.duration("for"), table.whole("instance"));
    table.require(&["at", "for"]);
    table.finish();
    Some(Pause { at: at?.value, length: length?.value, instance: instance.map(|at| at.value as usize) })
}

impl CallsText {
    pub(super) fn read(mut table: Table<'_>, notes: &Notes) -> Self {
        let service = table.text("service");
        let (times, resends) = (table.whole("times"), table.whole("resends"));
        let parallel = table.flag("parallel").is_some_and(|at| at.value);
        table.finish();
        let (times, resends) = checked(notes, |check| {
            (check.whole(&times, TIMES_CALLED, 1) as u32, check.whole(&resends, RESENDS, 0) as u32)
        });
        Self { service, calls: Calls { service: 0, times, parallel, resends } }
    }
}
