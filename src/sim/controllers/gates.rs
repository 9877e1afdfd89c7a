//! `capacity` and `dagor-v3`: the gateway's own gate, by the settings of a policy file and by those of the paper.

use std::{sync::Arc, time::Duration};

use super::Own;
use crate::{
    admission::{ControllerKind, GateSettings},
    policy::{reader::Table, validate::checker::Checker},
    sim::{
        dagor::{Dagor, Signal},
        guard::{Arrangement, Discipline, UserLevels},
        rivals::Knob,
    },
};

/// The queue of a policy's service holds as many by default.
const QUEUE_CAPACITY: usize = 10_000;

pub(super) const CAPACITY: Own = Own {
    name: "capacity",
    builder: capacity,
    knobs: &[Knob::time("target", 2.0, 200.0), Knob::time("window", 20.0, 1000.0), Knob::time("patience", 1.0, 500.0)],
    defaults: || written(&capacity_default()),
};

pub(super) const DAGOR_V3: Own = Own {
    name: "dagor-v3",
    builder: dagor_v3,
    knobs: &[
        Knob::time("target", 2.0, 200.0),
        Knob::time("window", 50.0, 2000.0),
        Knob::whole("window_requests", 50.0, 5000.0),
        Knob::word("queue", &["fifo", "by-level"]),
        Knob::flag("callers"),
    ],
    defaults: || written(&dagor_v3_default()),
};

/// The gateway as it is by default.
fn capacity(table: &mut Table<'_>) -> Arc<dyn Arrangement> {
    Arc::new(read(table, capacity_default()))
}

fn capacity_default() -> Dagor {
    Dagor {
        settings: GateSettings::of(ControllerKind::Capacity),
        discipline: Discipline::ByLevel,
        queue_capacity: QUEUE_CAPACITY,
        levels: UserLevels::Shifting,
        signal: Signal::Queuing,
        callers: false,
    }
}

/// DAGOR as its paper has it: first in, first out, and users' levels drawn anew each hour.
///
/// Its callers know no cuts unless asked to: what they refuse does not arrive at the gate, whose window then has nothing
/// to open for but everything, so that the cut flaps between too strict and open.
fn dagor_v3(table: &mut Table<'_>) -> Arc<dyn Arrangement> {
    Arc::new(read(table, dagor_v3_default()))
}

fn dagor_v3_default() -> Dagor {
    Dagor {
        settings: GateSettings::of(ControllerKind::DagorV3),
        discipline: Discipline::Fifo,
        queue_capacity: QUEUE_CAPACITY,
        levels: UserLevels::Hourly,
        signal: Signal::Queuing,
        callers: false,
    }
}

/// What a search may vary of these settings, as a file says it.
fn written(dagor: &Dagor) -> toml::Table {
    let GateSettings { target, window, window_requests, patience, .. } = dagor.settings;
    let queue = QUEUES.iter().find(|(_, discipline)| *discipline == dagor.discipline).map_or("", |(word, _)| word);
    let time = |time| toml::Value::from(humantime::format_duration(time).to_string());
    let settings = [
        ("target", time(target)),
        ("window", time(window)),
        ("window_requests", window_requests.into()),
        ("patience", time(patience)),
        ("queue", queue.into()),
        ("callers", dagor.callers.into()),
    ];
    settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn read(table: &mut Table<'_>, default: Dagor) -> Dagor {
    let (target, window, patience) = (table.duration("target"), table.duration("window"), table.duration("patience"));
    let (requests, capacity) = (table.whole("window_requests"), table.whole("queue_capacity"));
    let (queue, levels) = (table.text("queue"), table.text("levels"));
    let callers = table.flag("callers");
    let faults = &mut table.notes.faults.borrow_mut();
    let mut check = Checker { faults };
    let long = Duration::from_millis(1)..=Duration::from_secs(60);
    let settings = default.settings;
    let discipline = check.word(&queue, "queue", &QUEUES, default.discipline);
    if let (ControllerKind::Capacity, Discipline::Fifo, Some(queue)) = (settings.controller, discipline, &queue) {
        let message =
            "capacity learns how much can be done from the gateway's own queue, and would never refuse anything";
        let help =
            "leave `queue` out, or compare with `dagor-v3`, `codel` or `fixed`, whose queue is first in, first out";
        check.faults.suggest(&queue.place, message, Some(help.to_owned()));
    }
    Dagor {
        settings: GateSettings {
            target: check.duration(&target, long.clone(), settings.target),
            window: check.duration(&window, long, settings.window),
            patience: check.duration(&patience, Duration::ZERO..=Duration::from_secs(60), settings.patience),
            window_requests: check.whole(&requests, 1..=1 << 24, settings.window_requests.into()) as u32,
            ..settings
        },
        discipline,
        queue_capacity: check.count(&capacity, 0..=10_000_000, default.queue_capacity),
        levels: check.word(&levels, "kind of levels", &LEVELS, default.levels),
        signal: default.signal,
        callers: callers.map_or(default.callers, |at| at.value),
    }
}

const QUEUES: [(&str, Discipline); 2] = [("fifo", Discipline::Fifo), ("by-level", Discipline::ByLevel)];
const LEVELS: [(&str, UserLevels); 2] = [("hourly", UserLevels::Hourly), ("shifting", UserLevels::Shifting)];

#[cfg(test)]
mod tests {
    use crate::sim::controllers::with;

    #[test]
    fn capacity_says_what_to_do_where_its_queue_is_to_be_first_in_first_out() {
        let fifo: toml::Table = toml::from_str("queue = 'fifo'").unwrap();
        let faults = with("capacity", &fifo).unwrap_err().to_string();
        assert!(faults.contains("would never refuse") && faults.contains("leave `queue` out"), "{faults}");
        assert!(with("dagor-v3", &fifo).unwrap().is_some());
    }
}
