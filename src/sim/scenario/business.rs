//! `[[business]]`, `[users]`, `[[client]]` and `[entry]`: who asks for what, from where, and how patiently.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    Client, Entry, Tier, Users, Wait,
    read::{RatesText, checked, rates},
    service::CallsText,
};
use crate::policy::{
    quantity,
    reader::{At, Mistake, Notes, Table},
};

const LAST_PRIORITY: u64 = 63;
const LAST_LEVEL: u64 = 127;
/// What costs nothing is no task, and what costs a million times as much is another simulation.
const COSTS: RangeInclusive<f64> = 0.001..=1000.0;
/// As in a policy: more, and importance would decide on less than half of the capacity.
const MIN_SHARES: RangeInclusive<f64> = 0.0..=0.5;
const SHARES: RangeInclusive<f64> = 0.0..=1e9;
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(500);
const DEFAULT_UNHINTED: Duration = Duration::from_secs(1);
const GATEWAYS: RangeInclusive<u64> = 1..=1000;
const USERS: RangeInclusive<u64> = 1..=10_000_000;
const DEFAULT_USERS: usize = 10_000;

/// A business whose calls name services.
#[derive(Debug)]
pub(super) struct BusinessText {
    pub(super) name: At<String>,
    pub(super) priority: u8,
    pub(super) share: Option<At<f64>>,
    pub(super) rates: RatesText,
    pub(super) cost: f64,
    pub(super) min_share: f64,
    pub(super) timeout: Duration,
    pub(super) calls: Vec<CallsText>,
}

impl BusinessText {
    pub(super) fn read(mut table: Table<'_>, notes: &Notes) -> Option<Self> {
        let (name, priority) = (table.text("name"), table.whole("priority"));
        let (share, rates) = (table.number("share"), rates(&mut table));
        let (cost, timeout) = (table.number("cost"), table.duration("timeout"));
        let min_share = table.number("min_share");
        let calls = table.tables("call").into_iter().map(|table| CallsText::read(table, notes)).collect();
        table.require(&["name"]);
        table.finish();
        if let (Some(share), Some(_)) = (&share, &rates.rate) {
            notes.faults.borrow_mut().add(&share.place, "a business has a share of `[traffic]` or a rate of its own");
        }
        checked(notes, |check| {
            Some(Self {
                name: name?,
                priority: check.whole(&priority, 0..=LAST_PRIORITY, 0) as u8,
                share: share.map(|at| At {
                    value: check.ranged(&Some(at.clone()), SHARES, 1.0, f64::to_string),
                    place: at.place,
                }),
                rates,
                cost: check.ranged(&cost, COSTS, 1.0, f64::to_string),
                min_share: check.ranged(&min_share, MIN_SHARES, 0.0, f64::to_string),
                timeout: check.duration(&timeout, TIMEOUTS, DEFAULT_TIMEOUT),
                calls,
            })
        })
    }
}

/// With `replayed` the users are those of a trace.
pub(super) fn users(table: Option<Table<'_>>, replayed: bool, notes: &Notes) -> Users {
    let Some(mut table) = table else {
        return Users { count: DEFAULT_USERS as u32, skew: 0.0, tiers: Vec::new() };
    };
    let (count, skew) = (table.whole("count"), table.number("skew"));
    let tiers = table.tables("tier").into_iter().filter_map(|table| tier(table, notes)).collect();
    table.finish();
    checked(notes, |check| {
        let written = [count.as_ref().map(|at| &at.place), skew.as_ref().map(|at| &at.place)];
        check.contradiction(!replayed || written == [None; 2], &written, || {
            "users are those of the trace, and send what they sent: leave this out".to_owned()
        });
        Users {
            count: check.count(&count, USERS, DEFAULT_USERS) as u32,
            skew: check.ranged(&skew, 0.0..=10.0, 0.0, f64::to_string),
            tiers,
        }
    })
}

fn tier(mut table: Table<'_>, notes: &Notes) -> Option<Tier> {
    let (name, share, levels) = (table.text("name"), table.number("share"), table.pair("levels"));
    table.require(&["name", "share", "levels"]);
    table.finish();
    let (share, levels) = (share?, levels?);
    let (first, last) = levels.value;
    if first > last || last > LAST_LEVEL {
        let message = format!("levels run from a smaller to a larger one, 0 to {LAST_LEVEL}");
        notes.faults.borrow_mut().add(&levels.place, message);
        return None;
    }
    let share = checked(notes, |check| check.ranged(&Some(share), SHARES, 1.0, f64::to_string));
    Some(Tier { name: name?.value, share, levels: (first as u8, last as u8) })
}

/// Clients that never send again, whoever they are.
const PATIENT: Client = Client {
    share: 1.0,
    patience: Duration::MAX,
    resends: 0,
    on_refusal: false,
    on_timeout: false,
    after: Wait::Hint(DEFAULT_UNHINTED),
};

pub(super) fn clients(tables: Vec<Table<'_>>, notes: &Notes) -> Vec<Client> {
    let clients: Vec<_> = tables.into_iter().map(|table| client(table, notes)).collect();
    if clients.is_empty() { vec![PATIENT] } else { clients }
}

fn client(mut table: Table<'_>, notes: &Notes) -> Client {
    let (share, patience) = (table.number("share"), table.duration("patience"));
    let resends = table.whole_or("resends", "unlimited");
    let on = table.texts("on");
    let after = table.parsed("after", |value| match value.as_str() {
        Some("hint") => Ok(None),
        Some(text) => quantity::parse_duration(text).map(Some),
        None => Err(Mistake::expected("a duration or \"hint\"", value)),
    });
    let unhinted = table.duration("unhinted").map_or(DEFAULT_UNHINTED, |at| at.value);
    table.finish();
    let mut causes = [false; 2];
    for word in on.iter().flatten() {
        let known = [("refused", Some(0)), ("timeout", Some(1))];
        let cause = checked(notes, |check| check.word(&Some(word.clone()), "cause", &known, None));
        cause.into_iter().for_each(|cause: usize| causes[cause] = true);
    }
    if on.is_none() {
        causes = [true, false];
    }
    let resends = resends.map_or(0, |at| at.value.map_or(u32::MAX, |count| u32::try_from(count).unwrap_or(u32::MAX)));
    checked(notes, |check| Client {
        share: check.ranged(&share, SHARES, 1.0, f64::to_string),
        patience: check.duration(&patience, TIMEOUTS, Duration::MAX),
        resends,
        on_refusal: causes[0],
        on_timeout: causes[1],
        after: match after.and_then(|at| at.value) {
            Some(fixed) => Wait::Fixed(fixed),
            None => Wait::Hint(unhinted),
        },
    })
}

pub(super) fn entry(table: Option<Table<'_>>, notes: &Notes) -> Entry {
    let open = Entry {
        gateways: 1,
        collaboration: true,
        feedback_loss: 0.0,
        feedback_delay: Duration::ZERO,
        hop: Duration::ZERO,
    };
    let Some(mut table) = table else { return open };
    let (gateways, collaboration) = (table.whole("gateways"), table.flag("collaboration"));
    let (loss, delay, hop) = (table.number("feedback_loss"), table.duration("feedback_delay"), table.duration("hop"));
    table.finish();
    checked(notes, |check| Entry {
        gateways: check.count(&gateways, GATEWAYS, 1),
        collaboration: collaboration.is_none_or(|at| at.value),
        feedback_loss: check.ranged(&loss, 0.0..=1.0, 0.0, f64::to_string),
        feedback_delay: delay.map_or(Duration::ZERO, |at| at.value),
        hop: hop.map_or(Duration::ZERO, |at| at.value),
    })
}
