//! The report as people read it: one row per business, what refused the rest below it, and a loud line for everything
//! that makes the figures worth less than they look.

use std::{collections::BTreeSet, fmt::Write as _, iter};

use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};

use super::{
    config::Pace,
    report::{Fate, LAG_LIMIT, Report},
};

/// The whole report, several lines long.
pub fn render(report: &Report) -> String {
    let mut text = format!("{}\n\n{}\n", headline(report), fates(report));
    if let Some(table) = refusals(report) {
        let _infallible = write!(text, "\nrefused, by reason\n{table}\n");
    }
    for note in notes(report) {
        let _infallible = write!(text, "\n{note}");
    }
    text
}

fn headline(report: &Report) -> String {
    let config = &report.config;
    let offered = match (config.pace, &report.saturation) {
        (Pace::Overload(multiple), Some(saturation)) => {
            let (rate, saturation) =
                (count(report.rate.round() as u64), count(saturation.requests_per_s.round() as u64));
            format!("{rate} requests/s ({multiple}x the saturation of {saturation}/s)")
        }
        _ => format!("{} requests/s", count(report.rate.round() as u64)),
    };
    let transport = config.transport;
    format!(
        "{offered} for {}{} over {} {} connections to {}, seed {}",
        humantime::format_duration(config.duration),
        if config.warmup.is_zero() {
            String::new()
        } else {
            format!(" after a warm-up of {}", humantime::format_duration(config.warmup))
        },
        count(config.connections as u64),
        transport.label(),
        report.gateway,
        config.seed,
    )
}

fn fates(report: &Report) -> Table {
    // Columns for what should not happen appear only when it did.
    let unsent = report.total.unsent > 0;
    let mut table = table();
    let mut header = vec!["business", "offered", "ok", "refused", "late", "unknown", "lost"];
    header.extend(unsent.then_some("unsent"));
    header.extend(["in time", "success", "p50 ms", "p99 ms", "p99.9 ms"]);
    table.set_header(aligned(header));
    for fate in report.businesses.iter().chain([&report.total]) {
        table.add_row(row(fate, unsent));
    }
    narrow(table)
}

fn row(fate: &Fate, unsent: bool) -> Vec<Cell> {
    let refused = fate.refused.values().sum();
    let mut cells = vec![fate.business.clone()];
    cells.extend([fate.offered, fate.ok, refused, fate.late, fate.unknown, fate.lost].map(count));
    cells.extend(unsent.then(|| count(fate.unsent)));
    cells.extend([fate.in_time_percent, fate.success_percent].map(percent));
    cells.extend([fate.latency.p50_ms, fate.latency.p99_ms, fate.latency.p999_ms].map(millis));
    aligned(cells)
}

fn refusals(report: &Report) -> Option<Table> {
    let reasons: BTreeSet<_> = report.total.refused.keys().collect();
    if reasons.is_empty() {
        return None;
    }
    let mut table = table();
    let names = report.businesses.iter().map(|fate| fate.business.as_str());
    table.set_header(aligned(["reason"].into_iter().chain(names)));
    for reason in reasons {
        let counts = report.businesses.iter().map(|fate| count(fate.refused.get(reason).copied().unwrap_or(0)));
        table.add_row(aligned([reason.clone()].into_iter().chain(counts)));
    }
    Some(narrow(table))
}

fn notes(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    if report.interrupted {
        notes.push("stopped early: the figures are of the part before".to_owned());
    }
    if report.total.lost > 0 {
        notes.push(format!("WARNING: {} requests got no word at all", count(report.total.lost)));
    }
    for (why, &times) in &report.connections_lost {
        notes.push(format!("WARNING: {} connections lost: {why}", count(times)));
    }
    let lag = format!("generator lag: p99 {} ms, worst {} ms", millis(report.lag.p99_ms), millis(report.lag.max_ms));
    if report.void {
        let limit = LAG_LIMIT.as_millis();
        notes.push(format!("VOID: the generator fell behind its schedule by more than {limit} ms ({lag})"));
    } else {
        notes.push(lag);
    }
    if let Some(trace) = &report.trace {
        notes.push(format!("trace: {} requests in {}", count(trace.requests), trace.file.display()));
        if trace.dropped > 0 {
            notes.push(format!(
                "WARNING: {} requests are missing in the trace: writing was too slow",
                count(trace.dropped)
            ));
        }
    }
    notes
}

fn table() -> Table {
    let mut table = Table::new();
    let line = LineStyle::none().fill('─').junction('─');
    table.load_style(TableStyle::new().top_border(line).header_separator(line).bottom_border(line));
    table
}

/// A table of all columns fits into 100 characters with one blank between them.
fn narrow(mut table: Table) -> Table {
    for column in table.column_iter_mut().skip(1) {
        column.set_padding((0, 1));
    }
    table
}

/// Names to the left, numbers to the right.
fn aligned<T: ToString>(texts: impl IntoIterator<Item = T>) -> Vec<Cell> {
    let alignments = iter::once(CellAlignment::Left).chain(iter::repeat(CellAlignment::Right));
    let cell = |(text, alignment): (T, _)| Cell::new(text.to_string()).set_alignment(alignment);
    texts.into_iter().zip(alignments).map(cell).collect()
}

/// With a comma between thousands.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Rounded down, so that only a clean sheet shows as 100 %.
pub(super) fn percent(number: Option<f64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| format!("{:.2} %", (number * 100.0).floor() / 100.0))
}

pub(super) fn millis(number: Option<f64>) -> String {
    match number {
        None => "-".to_owned(),
        Some(number) if number < 10.0 => format!("{number:.2}"),
        Some(number) if number < 100.0 => format!("{number:.1}"),
        Some(number) => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_have_commas() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_percentage_is_never_rounded_up_to_perfection() {
        assert_eq!(percent(Some(99.9999)), "99.99 %");
        assert_eq!(percent(Some(100.0)), "100.00 %");
        assert_eq!(percent(None), "-");
    }

    #[test]
    fn latencies_have_three_digits() {
        assert_eq!([1.2345, 12.345, 123.45].map(|number| millis(Some(number))), ["1.23", "12.3", "123"]);
    }
}
