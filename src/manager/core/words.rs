//! Decisions as a person reads them.

use std::time::Duration;

use crate::manager::settings::{Mark, MarkKind};

/// A time in its most readable unit.
pub(super) fn time(time: Duration) -> String {
    let millis = time.as_millis();
    if millis < 1_000 {
        format!("{millis} ms")
    } else if millis < 120_000 {
        let tenths = (millis + 50) / 100;
        if tenths.is_multiple_of(10) {
            format!("{} s", tenths / 10)
        } else {
            format!("{}.{} s", tenths / 10, tenths % 10)
        }
    } else {
        format!("{} min", time.as_secs() / 60)
    }
}

/// A count of something per second.
pub(super) fn rate(per_second: f64) -> String {
    if per_second < 10.0 { format!("{per_second:.1}/s") } else { format!("{per_second:.0}/s") }
}

fn level(kind: MarkKind, value: f64) -> String {
    if kind.is_time() {
        time(Duration::from_secs_f64(value.clamp(0.0, 1e6)))
    } else {
        format!("{:.0} %", value * 100.0)
    }
}

const fn subject(kind: MarkKind) -> &'static str {
    match kind {
        MarkKind::Connections => "connections at",
        MarkKind::Cpu => "CPU at",
        MarkKind::Memory => "memory at",
        MarkKind::EventLoop => "event loop",
        MarkKind::OwnShare => "own share of the latency",
    }
}

/// `event loop 38 ms late`
fn state(kind: MarkKind, value: f64) -> String {
    let late = if kind == MarkKind::EventLoop { " late" } else { "" };
    format!("{} {}{late}", subject(kind), level(kind, value))
}

/// `closed: event loop 38 ms late over 20 ms for 5 s`
pub(super) fn closed(kind: MarkKind, value: f64, mark: Mark, lasted: Duration) -> String {
    let lasting = if mark.lasting.is_zero() { String::new() } else { format!(" for {}", time(lasted)) };
    format!("closed: {} over {}{lasting}", state(kind, value), level(kind, mark.high))
}

/// `opens when connections fall below 80 %, now 85 %`
pub(super) fn until_low(kind: MarkKind, value: f64, mark: Mark) -> String {
    format!("opens below {}: {}", level(kind, mark.low), state(kind, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_the_unit_that_people_would_use() {
        let written = [38, 1_000, 1_500, 7_990, 90_000, 600_000].map(|millis| time(Duration::from_millis(millis)));
        assert_eq!(written, ["38 ms", "1 s", "1.5 s", "8 s", "90 s", "10 min"]);
    }

    #[test]
    fn a_closed_gateway_says_why_and_what_it_waits_for() {
        let mark = Mark { high: 0.020, low: 0.005, lasting: Duration::from_secs(5) };
        let said = closed(MarkKind::EventLoop, 0.038, mark, Duration::from_secs(5));
        assert_eq!(said, "closed: event loop 38 ms late over 20 ms for 5 s");
        let mark = Mark { high: 0.9, low: 0.8, lasting: Duration::ZERO };
        assert_eq!(closed(MarkKind::Connections, 0.913, mark, Duration::ZERO), "closed: connections at 91 % over 90 %");
        assert_eq!(until_low(MarkKind::Connections, 0.85, mark), "opens below 80 %: connections at 85 %");
    }
}
