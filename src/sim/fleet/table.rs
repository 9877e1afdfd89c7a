//! The report of a fleet as people read it.

use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};

use super::report::Report;

/// The whole report.
pub fn render(report: &Report) -> String {
    let Report { gateways, managers, name, seed, .. } = report;
    let clients = grouped(report.clients as f64);
    let described =
        if report.description.is_empty() { String::new() } else { format!("{}\n", report.description.trim()) };
    let head = format!("{name}: {gateways} gateways, {clients} clients, {managers} managers, seed {seed}\n{described}");
    let mut table = Table::new();
    let line = LineStyle::none().fill('─').junction('─');
    table.load_style(TableStyle::new().top_border(line).bottom_border(line));
    for (what, figure, note) in rows(report) {
        table.add_row([Cell::new(what), Cell::new(figure).set_alignment(CellAlignment::Right), Cell::new(note)]);
    }
    format!("{head}\n{table}")
}

/// What, how much, and of what.
pub(in crate::sim) fn rows(report: &Report) -> Vec<(String, String, String)> {
    let mut rows = Vec::new();
    let mut row = |what: &str, figure: String, note: String| rows.push((what.to_owned(), figure, note));
    let Report { recovery, logins, balance, redis, measured, .. } = report;
    let count = |number: u64| grouped(number as f64);
    if recovery.lost > 0 {
        row(
            "clients that lost their gateway",
            count(recovery.lost),
            format!("told to come back within {:.1} s", recovery.spread_s),
        );
        for (share, at) in [
            ("50 %", recovery.back_50_s),
            ("95 %", recovery.back_95_s),
            ("99 %", recovery.back_99_s),
            ("100 %", recovery.back_all_s),
        ] {
            let after = at.map_or_else(|| "never".to_owned(), |seconds| format!("{seconds:.1} s"));
            row(&format!("{share} of them back"), after, "after the first loss".to_owned());
        }
        if recovery.still_away > 0 {
            row("not back at the end", count(recovery.still_away), String::new());
        }
    }
    if recovery.moved > 0 {
        row("clients told to move", count(recovery.moved), String::new());
    }
    if balance.moved > 0 {
        row("told to move for balance", count(balance.moved), String::new());
    }
    let limit = format!(
        "limit {}/s, with the burst {} in a second",
        grouped(logins.limit_per_s),
        grouped(logins.ceiling_per_s)
    );
    row("fullest second of a gateway, logins", count(logins.peak_max.into()), limit);
    row("the same, mean of the gateways", grouped(logins.peak_mean), String::new());
    row(
        "tries in the fullest second",
        count(logins.tried_peak_max.into()),
        "of one gateway, refused ones included".to_owned(),
    );
    row("logins since the first event", count(logins.welcomed), String::new());
    row("refused at the limit", count(logins.limited), String::new());
    row("sent to another gateway", count(logins.redirected), String::new());
    row("told to come back by managers", count(logins.cut), String::new());
    row("tries at gateways that were gone", count(logins.in_vain), String::new());
    let range = format!(
        "{} to {}, mean {}, {} gateways",
        count(balance.least),
        count(balance.most),
        grouped(balance.mean),
        balance.gateways
    );
    row("farthest from the mean, at the end", percent(balance.largest_deviation), range);
    row(
        "the same when all were back",
        percent(balance.survivors_deviation),
        "of the gateways that were there all the time".to_owned(),
    );
    let steady = format!(
        "steady {}/s: leases {}, refreshes {}, the rest logins",
        grouped(redis.steady_per_s),
        grouped(redis.leases_per_s),
        grouped(redis.refreshes_per_s)
    );
    row("Redis commands/s of routes, peak", grouped(redis.peak_per_s), steady);
    row(
        "Redis scripts/s of the managers",
        grouped(redis.board_per_s),
        "reports put on the board, looks at all of them".to_owned(),
    );
    let load = &report.manager_load;
    row(
        "reports/s",
        grouped(load.reports_per_s),
        format!("and {:.0} decisions/s of each manager", load.decisions_per_s),
    );
    let decision =
        format!("p99 {:.0}, longest {:.0}; measured here", measured.decision_p99_us, measured.decision_max_us);
    row("a decision, µs", format!("{:.0}", measured.decision_us), decision);
    let taken = format!("each report taken in {:.1} µs", measured.report_us);
    row("share of a processor, each manager", percent(measured.manager_cpu), taken);
    row(
        "the run",
        format!("{:.1} s", measured.run_s),
        format!("at most {} cells of clients in a tick", measured.cells),
    );
    rows
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// `1,234,567`
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && digit != '-' {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0.0, 999.0, 1000.0, 1_234_567.0].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
