//! A scenario file of a fleet: what was written becomes what is meant, or all that is wrong with it.

use std::{ops::RangeInclusive, path::Path, time::Duration};

use crate::{
    manager::{core::MAX_GATEWAYS, settings::Settings},
    policy::{
        Faults, Sources,
        document::parse,
        reader::{At, Notes, Table},
        table::Connections,
        validate::checker::{Checker, place},
    },
};

const SUBJECT: &str = "scenario";
/// Clients; more would not fit into the counts of a cell.
const CLIENTS: RangeInclusive<u64> = 1..=1_000_000_000;
const MANAGERS: RangeInclusive<u64> = 1..=16;
const DURATIONS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const TIMES: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
const COSTS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(1);
const SESSIONS: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(30 * 24 * 3600);
const SHARES: RangeInclusive<f64> = 0.0..=1.0;
const BANDS: RangeInclusive<f64> = 0.0..=100.0;
const RATES: RangeInclusive<f64> = 0.1..=1e7;

/// A fleet, and what happens to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What reports call it.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// How many gateways there are.
    pub gateways: usize,
    /// How many clients are connected at the beginning, evenly.
    pub clients: u64,
    /// How many managers there are.
    pub managers: usize,
    /// How long it is looked at.
    pub duration: Duration,
    /// Before anything happens; nothing of it is reported.
    pub warmup: Duration,
    /// How long clients stay connected in the mean before they come anew by themselves.
    pub session: Duration,
    /// How long a client waits for a gateway that does not answer at all.
    pub connect_timeout: Duration,
    /// What managers go by.
    pub settings: Settings,
    /// What the gateways' policy says of connections.
    pub connections: Connections,
    /// CPU time of a login.
    pub login_cpu: Duration,
    /// Processors of a gateway.
    pub cores: f64,
    /// Levels at which the gate of the service that all gateways share is offered something; what it reports of them.
    pub levels: usize,
    /// The service that all gateways share has more work than it can do.
    pub overloaded: bool,
    /// Gateways that are lost.
    pub losses: Vec<Loss>,
    /// Times without any manager.
    pub absences: Vec<Absence>,
    /// Restarts of all gateways, one group after the other.
    pub restarts: Vec<Restart>,
}

/// Gateways that are lost at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// When, after the warm-up.
    pub at: Duration,
    /// Which share of those that live.
    pub share: f64,
    /// Whether they fall silent, as a machine does that loses its power, instead of closing their connections.
    pub silent: bool,
    /// After which time they are there again; `None` for not.
    pub back_after: Option<Duration>,
}

/// A time in which no manager is there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Absence {
    /// When it begins, after the warm-up.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
}

/// A restart of the whole fleet, one group of gateways after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Restart {
    /// When it begins, after the warm-up.
    pub at: Duration,
    /// Gateways in a group.
    pub together: usize,
    /// From the beginning of one group to that of the next.
    pub every: Duration,
    /// From the end of a gateway to its new beginning.
    pub takes: Duration,
}

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    ///
    /// All faults of the file.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        let sources = Sources::read(path).map_err(|faults| faults.of(SUBJECT))?;
        read(&sources, path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("fleet"))
    }

    /// Makes a scenario of a text; `name` is what faults call it.
    ///
    /// # Errors
    ///
    /// All faults of the text.
    pub fn parse(name: &str, text: &str) -> Result<Self, Faults> {
        read(&Sources::from_text(name, text), name)
    }

    /// When the first thing happens, after the warm-up.
    pub fn first_event(&self) -> Option<Duration> {
        let losses = self.losses.iter().map(|loss| loss.at);
        let absences = self.absences.iter().map(|absence| absence.at);
        losses.chain(absences).chain(self.restarts.iter().map(|restart| restart.at)).min()
    }
}

/// Every key that a scenario of a fleet may hold, such as `lose.share`.
pub fn known_keys() -> Vec<String> {
    let sources =
        Sources::from_text("every table", "[gateway]\n[placement]\n[[lose]]\n[[managers_away]]\n[[restart]]\n");
    let files = parse(&sources).expect("a test reads it");
    let notes = Notes::default();
    scenario(Table::root(&notes, 0, files[0].get_ref()), &notes, "every table");
    notes.asked.into_inner().into_iter().collect()
}

fn read(sources: &Sources, name: &str) -> Result<Scenario, Faults> {
    let files = parse(sources).map_err(|faults| faults.of(SUBJECT))?;
    let notes = Notes::default();
    let root = files.first().map(|file| Table::root(&notes, 0, file.get_ref()));
    let scenario = root.map(|root| scenario(root, &notes, name));
    notes.faults.into_inner().into_result(sources).map_err(|faults| faults.of(SUBJECT))?;
    Ok(scenario.expect("a text has one file"))
}

fn checked<T>(notes: &Notes, check: impl FnOnce(&mut Checker<'_>) -> T) -> T {
    check(&mut Checker { faults: &mut notes.faults.borrow_mut() })
}

fn scenario(mut root: Table<'_>, notes: &Notes, file_name: &str) -> Scenario {
    let name = root.text("name").map_or_else(|| file_name.to_owned(), |at| at.value);
    let description = root.text("description").map_or_else(String::new, |at| at.value);
    let (gateways, clients, managers) = (root.whole("gateways"), root.whole("clients"), root.whole("managers"));
    let (duration, warmup) = (root.duration("duration"), root.duration("warmup"));
    let (session, connect_timeout) = (root.duration("session"), root.duration("connect_timeout"));
    let mut gateway = root.table("gateway");
    let connections = connections(gateway.as_mut(), notes);
    let mut own = gateway.as_mut();
    let (login_cpu, cores) =
        own.as_mut().map_or((None, None), |table| (table.duration("login_cpu"), table.number("cores")));
    let (levels, overloaded) =
        own.as_mut().map_or((None, None), |table| (table.whole("levels"), table.flag("overloaded")));
    if let Some(table) = gateway {
        table.finish();
    }
    let settings = settings(root.table("placement"), notes);
    let losses = root.tables("lose").into_iter().filter_map(|table| loss(table, notes)).collect();
    let absences = root.tables("managers_away").into_iter().filter_map(absence).collect();
    let restarts = root.tables("restart").into_iter().filter_map(|table| restart(table, notes)).collect();
    root.require(&["gateways", "clients"]);
    root.finish();
    checked(notes, |check| Scenario {
        name,
        description,
        gateways: check.count(&gateways, 2..=MAX_GATEWAYS as u64, 2),
        clients: check.whole(&clients, CLIENTS, 1),
        managers: check.count(&managers, MANAGERS, 3),
        duration: check.duration(&duration, DURATIONS, Duration::from_secs(180)),
        warmup: check.duration(&warmup, TIMES, Duration::from_secs(40)),
        session: check.duration(&session, SESSIONS, Duration::from_secs(3600)),
        connect_timeout: check.duration(&connect_timeout, TIMES, Duration::from_secs(10)),
        settings,
        connections,
        login_cpu: check.duration(&login_cpu, COSTS, Duration::from_micros(40)),
        cores: check.ranged(&cores, 0.1..=1024.0, 4.0, f64::to_string),
        levels: check.count(&levels, 0..=8192, 384),
        overloaded: overloaded.is_some_and(|at| at.value),
        losses,
        absences,
        restarts,
    })
}

/// What of the managers' configuration matters here, with its own defaults.
fn settings(table: Option<Table<'_>>, notes: &Notes) -> Settings {
    let mut settings = Settings::default();
    let Some(mut table) = table else { return settings };
    let (above, share) = (table.number("rebalance_above"), table.number("rebalance_share"));
    table.finish();
    let placement = &mut settings.placement;
    checked(notes, |check| {
        placement.rebalance_above = check.ranged(&above, BANDS, placement.rebalance_above, f64::to_string);
        placement.rebalance_share = check.ranged(&share, SHARES, placement.rebalance_share, f64::to_string);
        let fault = placement.fault();
        check.contradiction(fault.is_none(), &[place(&above), place(&share)], || {
            fault.map_or_else(String::new, |(what, why)| format!("{what}: {why}"))
        });
    });
    settings
}

/// What of the policy matters here, with the policy's own defaults.
fn connections(table: Option<&mut Table<'_>>, notes: &Notes) -> Connections {
    let default = Connections::default();
    let Some(table) = table else { return default };
    let (max, rate, burst) = (table.whole("max"), table.rate("login_rate"), table.whole("login_burst"));
    let (heartbeat, tolerance) = (table.duration("heartbeat"), table.duration("heartbeat_tolerance"));
    let drain = table.duration("drain");
    checked(notes, |check| Connections {
        max: check.count(&max, 1..=100_000_000, default.max),
        login_rate: check.ranged(&rate, RATES, default.login_rate, f64::to_string),
        login_burst: u32::try_from(check.whole(&burst, 1..=100_000_000, default.login_burst.into()))
            .unwrap_or(u32::MAX),
        heartbeat: check.duration(&heartbeat, DURATIONS, default.heartbeat),
        heartbeat_tolerance: check.duration(&tolerance, DURATIONS, default.heartbeat_tolerance),
        drain: check.duration(&drain, TIMES, default.drain),
        ..default
    })
}

fn loss(mut table: Table<'_>, notes: &Notes) -> Option<Loss> {
    let (at, share, silent) = (table.duration("at"), table.number("share"), table.flag("silent"));
    let back_after = table.duration("back_after");
    table.require(&["at", "share"]);
    table.finish();
    let share: Option<At<f64>> = share;
    let share = checked(notes, |check| check.ranged(&share, SHARES, 0.1, f64::to_string));
    Some(Loss {
        at: at?.value,
        share,
        silent: silent.is_some_and(|at| at.value),
        back_after: back_after.map(|at| at.value),
    })
}

fn absence(mut table: Table<'_>) -> Option<Absence> {
    let (at, lasts) = (table.duration("at"), table.duration("for"));
    table.require(&["at", "for"]);
    table.finish();
    Some(Absence { at: at?.value, lasts: lasts?.value })
}

fn restart(mut table: Table<'_>, notes: &Notes) -> Option<Restart> {
    let (at, together) = (table.duration("at"), table.whole("together"));
    let (every, takes) = (table.duration("every"), table.duration("takes"));
    table.require(&["at"]);
    table.finish();
    let at = at?.value;
    checked(notes, |check| {
        Some(Restart {
            at,
            together: check.count(&together, 1..=MAX_GATEWAYS as u64, 1),
            every: check.duration(&every, TIMES, Duration::from_secs(15)),
            takes: check.duration(&takes, TIMES, Duration::from_secs(5)),
        })
    })
}
