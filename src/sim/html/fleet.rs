//! The page of a fleet: its figures, and what happened second by second.

use super::{
    SHEET,
    axis::Axis,
    chart::{Chart, Guide, Kind, Line, Point},
    markup::Markup,
    number::Unit,
    palette::{self, Look},
};
use crate::sim::fleet::{Report, table};

const HEADING: &str = "A fleet on a virtual clock";

/// The whole file. `command` makes it again.
pub fn render(report: &Report, command: &str) -> String {
    let mut page = Markup::default();
    page.element("html", &[("lang", &"en")], |html| {
        html.element("head", &[], |head| {
            head.void("meta", &[("charset", &"utf-8")]);
            head.void("meta", &[("name", &"viewport"), ("content", &"width=device-width, initial-scale=1")]);
            head.void("meta", &[("name", &"color-scheme"), ("content", &"light dark")]);
            head.line("title", &[], format_args!("{HEADING}: {}", report.name));
            head.style(SHEET);
            head.style(&palette::sheet());
        });
        html.element("body", &[], |body| self::body(body, report, command));
    });
    page.into_page()
}

fn body(body: &mut Markup, report: &Report, command: &str) {
    body.element("header", &[], |header| {
        header.line("h1", &[], HEADING);
        header.element("p", &[("class", &"note")], |note| {
            note.text(format_args!("dagor {}. The same again: ", env!("CARGO_PKG_VERSION")));
            note.line("code", &[], command);
        });
    });
    body.element("section", &[], |section| {
        section.line("h2", &[], &report.name);
        if !report.description.trim().is_empty() {
            section.line("p", &[], report.description.trim());
        }
        let Report { gateways, clients, managers, seed, .. } = report;
        let facts = format!("{gateways} gateways · {clients} clients · {managers} managers · seed {seed}");
        section.line("p", &[("class", &"note")], facts);
        section.element("div", &[("class", &"scroll")], |scroll| figures(scroll, report));
        section.element("div", &[("class", &"plots")], |plots| {
            charts(report).iter().for_each(|chart| chart.draw(plots));
        });
    });
}

fn figures(page: &mut Markup, report: &Report) {
    page.element("table", &[("class", &"figures")], |table| {
        for (what, figure, note) in table::rows(report) {
            table.element("tr", &[], |row| {
                row.line("th", &[("scope", &"row")], what);
                row.line("td", &[], figure);
                row.line("td", &[], note);
            });
        }
    });
}

fn charts(report: &Report) -> Vec<Chart> {
    let series = &report.series;
    let whole = |values: &[u64]| values.iter().map(|&value| value as f64).collect::<Vec<_>>();
    let limit = (report.logins.limit_per_s, "limit of a gateway");
    let most: Vec<_> = series.most_logins.iter().map(|&logins| f64::from(logins)).collect();
    let open: Vec<_> = series.open.iter().map(|&open| open as f64).collect();
    vec![
        chart(
            report,
            "Not back",
            "Clients that lost their gateway and are not connected again",
            Unit::Count,
            None,
            &[("not back", whole(&series.away))],
        ),
        chart(
            report,
            "Logins",
            "Per second, of the whole fleet, and what was tried",
            Unit::Rate,
            None,
            &[("welcomed", whole(&series.logins)), ("tried", whole(&series.tries))],
        ),
        chart(
            report,
            "The busiest gateway",
            "Logins in the second, at the gateway with most",
            Unit::Rate,
            Some(limit),
            &[("logins", most)],
        ),
        chart(
            report,
            "Connected",
            "Clients with a connection",
            Unit::Count,
            None,
            &[("connected", whole(&series.connected))],
        ),
        chart(report, "Open", "Gateways that take logins", Unit::Count, None, &[("open", open)]),
        chart(
            report,
            "Redis",
            "Commands of the routes per second",
            Unit::Rate,
            None,
            &[("commands", series.redis.clone())],
        ),
    ]
}

fn chart(
    report: &Report,
    title: &str,
    about: &str,
    unit: Unit,
    limit: Option<(f64, &str)>,
    lines: &[(&str, Vec<f64>)],
) -> Chart {
    let values = lines.iter().flat_map(|(_, values)| values).copied();
    let seconds = lines.first().map_or(0, |(_, values)| values.len()) as f64;
    let point = |(second, &value): (usize, &f64)| Some(Point::new(second as f64 + 1.0, value));
    let line = |(index, (name, values)): (usize, &(&str, Vec<f64>))| Line {
        name: (*name).to_owned(),
        kind: Kind::Plain(Look::of(index)),
        points: values.iter().enumerate().map(point).collect(),
        marks: Vec::new(),
    };
    let event = Guide::Up(report.series.event_s, "it begins".to_owned());
    let across = limit.map(|(at, name)| Guide::Across(at, name.to_owned()));
    Chart {
        title: title.to_owned(),
        about: about.to_owned(),
        x: Axis::linear("Seconds", Unit::Seconds, 0.0, seconds),
        y: Axis::from_zero(about, unit, values.chain(limit.map(|(at, _)| at))),
        guides: std::iter::once(event).chain(across).collect(),
        lines: lines.iter().enumerate().map(line).collect(),
    }
}
