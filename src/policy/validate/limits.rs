//! Connections, gates and queues: ranges, and settings that must fit each other.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use super::checker::{Checker, place};
use crate::{
    admission::{ControllerKind, GateMode, GateSettings},
    policy::{
        document::{ConnectionsText, GateText, ServiceText, TicketsText},
        quantity::{format_duration, format_rate, format_size},
        reader::At,
        table::{Connections, Queue, Tickets},
    },
    wire::{HEADER_BYTES, MAX_BODY_BYTES},
};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
/// Milliseconds travel as `u32`, which ends at 49 days.
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);
/// Beyond any machine; catches slips of the keyboard.
const MAX_CONNECTIONS: u64 = 100_000_000;
const MAX_LOGIN_RATE: f64 = 1e7;
/// A client numbers its messages in a window of this many; services remember no more.
const MAX_CONNECTION_IN_FLIGHT: u64 = 1024;
const MAX_QUEUED: u64 = 10_000_000;
const MAX_UNACKED: u64 = 1 << 20;
const MAX_OUTGOING: u64 = 1 << 30;
const MAX_OUTGOING_TOTAL: u64 = 1 << 44;
/// In place of a file: each process has a key of its own.
const RANDOM_KEY: &str = "random";
/// What a try may take.
pub(super) const TIMEOUTS: RangeInclusive<Duration> = MILLISECOND..=HOUR;

/// Below, a client moves so often that it takes the moves for failures, and waits between them; its messages wait as well.
const AGES: RangeInclusive<Duration> = Duration::from_secs(60)..=MONTH;

/// How long a mark may hold.
pub(super) const MARKS: RangeInclusive<Duration> = SECOND..=MONTH;

impl Checker<'_> {
    pub(super) fn connections(&mut self, text: &ConnectionsText) -> Connections {
        let default = Connections::default();
        let connections = Connections {
            max: self.count(&text.max, 1..=MAX_CONNECTIONS, default.max),
            max_per_ip: self.count_or_none(&text.max_per_ip, 1..=MAX_CONNECTIONS),
            login_rate: self.login_rate(&text.login_rate, default.login_rate),
            login_burst: self.whole(&text.login_burst, 1..=u32::MAX.into(), default.login_burst.into()) as u32,
            handshake_timeout: self.duration(&text.handshake_timeout, MILLISECOND..=HOUR, default.handshake_timeout),
            heartbeat: self.duration(&text.heartbeat, MILLISECOND..=HOUR, default.heartbeat),
            heartbeat_tolerance: self.duration(
                &text.heartbeat_tolerance,
                MILLISECOND..=HOUR * 24,
                default.heartbeat_tolerance,
            ),
            max_age: self.duration_or_none(&text.max_age, AGES),
            max_body_before_login: self.size(
                &text.max_body_before_login,
                1..=MAX_BODY_BYTES as u64,
                default.max_body_before_login,
            ),
            max_body: self.size(&text.max_body, 1..=MAX_BODY_BYTES as u64, default.max_body),
            max_in_flight: self.count(&text.max_in_flight, 1..=MAX_CONNECTION_IN_FLIGHT, default.max_in_flight),
            outgoing_bytes: self.size(&text.outgoing_bytes, 1..=MAX_OUTGOING, default.outgoing_bytes),
            outgoing_bytes_total: self.size(
                &text.outgoing_bytes_total,
                1..=MAX_OUTGOING_TOTAL,
                default.outgoing_bytes_total,
            ),
            max_unacked_pushes: self.count(&text.max_unacked_pushes, 1..=MAX_UNACKED, default.max_unacked_pushes),
            keep_for: self.duration(&text.keep_for, MILLISECOND..=MONTH, default.keep_for),
            drain: self.duration(&text.drain, Duration::ZERO..=HOUR, default.drain),
        };
        self.connections_fit(text, &connections);
        connections
    }

    pub(super) fn tickets(&mut self, text: &TicketsText) -> Tickets {
        let default = Tickets::default();
        if let Some(At { value, place }) = &text.keys_file
            && value.is_empty()
        {
            let message = format!("expected the name of a file, or \"{RANDOM_KEY}\"");
            self.faults.add(place, message);
        }
        let keys_file = text.keys_file.as_ref().filter(|written| written.value != RANDOM_KEY);
        Tickets {
            keys_file: keys_file.map(|written| PathBuf::from(&written.value)),
            validity: self.duration(&text.validity, SECOND..=MONTH * 12, default.validity),
        }
    }

    fn connections_fit(&mut self, text: &ConnectionsText, c: &Connections) {
        self.contradiction(
            c.heartbeat < c.heartbeat_tolerance,
            &[place(&text.heartbeat_tolerance), place(&text.heartbeat)],
            || {
                let (heartbeat, tolerance) = (format_duration(c.heartbeat), format_duration(c.heartbeat_tolerance));
                format!("heartbeat ({heartbeat}) must be shorter than heartbeat_tolerance ({tolerance})")
            },
        );
        let size = |bytes: usize| format_size(bytes as u64);
        self.contradiction(
            c.max_body_before_login <= c.max_body,
            &[place(&text.max_body_before_login), place(&text.max_body)],
            || {
                let (before, after) = (size(c.max_body_before_login), size(c.max_body));
                format!("max_body_before_login ({before}) must not exceed max_body ({after})")
            },
        );
        self.contradiction(
            c.max_body.saturating_add(HEADER_BYTES) <= c.outgoing_bytes,
            &[place(&text.outgoing_bytes), place(&text.max_body)],
            || {
                let (queue, body) = (size(c.outgoing_bytes), size(c.max_body));
                format!("outgoing_bytes ({queue}) must hold one frame of max_body ({body} and a header)")
            },
        );
        self.contradiction(
            c.outgoing_bytes <= c.outgoing_bytes_total,
            &[place(&text.outgoing_bytes_total), place(&text.outgoing_bytes)],
            || {
                let (one, all) = (size(c.outgoing_bytes), size(c.outgoing_bytes_total));
                format!("outgoing_bytes_total ({all}) must not be below outgoing_bytes ({one})")
            },
        );
    }

    fn login_rate(&mut self, written: &Option<At<f64>>, default: f64) -> f64 {
        // One login per hour is the least that is not plainly "nobody".
        self.ranged(written, 1.0 / 3600.0..=MAX_LOGIN_RATE, default, |rate| format_rate(*rate))
    }

    pub(super) fn gate(&mut self, text: &GateText) -> GateSettings {
        let default = GateSettings::default();
        let controllers = ControllerKind::ALL.map(|kind| (kind.name(), kind));
        let modes = [("enforce", GateMode::Enforce), ("dry-run", GateMode::DryRun)];
        let controller = self.word(&text.controller, "controller", &controllers, default.controller);
        let default = GateSettings::of(controller);
        let gate = GateSettings {
            controller,
            target: self.duration(&text.target, MILLISECOND / 10..=SECOND * 10, default.target),
            window: self.duration(&text.window, MILLISECOND * 10..=SECOND * 60, default.window),
            window_requests: self.whole(&text.window_requests, 1..=1 << 24, default.window_requests.into()) as u32,
            patience: self.duration(&text.patience, Duration::ZERO..=SECOND * 60, default.patience),
            shares: Vec::new(),
            mode: self.word(&text.mode, "mode", &modes, default.mode),
        };
        self.contradiction(gate.target < gate.window, &[place(&text.window), place(&text.target)], || {
            let (target, window) = (format_duration(gate.target), format_duration(gate.window));
            format!("target ({target}) must be shorter than window ({window})")
        });
        gate
    }

    pub(super) fn queue(&mut self, text: &ServiceText) -> Queue {
        let default = Queue::default();
        Queue {
            capacity: self.count(&text.capacity, 1..=MAX_QUEUED, default.capacity),
            max_in_flight: self.count_or_none(&text.max_in_flight, 1..=MAX_QUEUED),
        }
    }
}
