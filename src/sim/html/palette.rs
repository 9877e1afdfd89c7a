//! One look per controller, the same in every plot and table of a report: a colour, a dash and a shape.
//!
//! The colours are told apart by people who see all colours and by those who lack one kind of cone: under each of the
//! three deficiencies (Machado's matrices) any two differ by 18 and more on a light ground, 25 and more on a dark one
//! (ΔE of 1976). Whoever sees no colour at all has the dashes and shapes.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::sim::report::Report;

/// On a light ground and on a dark one.
const COLOURS: [(&str, &str); 8] = [
    ("#0072b2", "#4ea8e0"),
    ("#fd361f", "#fb751d"),
    ("#12966f", "#14eec2"),
    ("#d22e52", "#c9598c"),
    ("#629628", "#d9f773"),
    ("#35018f", "#8862e7"),
    ("#5aa9dc", "#a3e2ff"),
    ("#382d31", "#c89478"),
];
/// Each colour comes with each of these before a look is used twice.
const DASHES: [Dash; 3] = [
    Dash { line: "none", border: "solid", fill: 1.0 },
    Dash { line: "7 4", border: "dashed", fill: 0.5 },
    Dash { line: "2 4", border: "dotted", fill: 0.15 },
];
const LOOKS: usize = COLOURS.len() * DASHES.len();
/// Outlines of markers, around the middle.
const SHAPES: [&str; 4] = [
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z",
    "M-3.6 -3.6h7.2v7.2h-7.2Z",
    "M0 -5l5 5l-5 5l-5 -5Z",
    "M0 -4.8l4.8 8.4h-9.6Z",
];

/// How lines, the samples of the legend and bars are drawn.
struct Dash {
    line: &'static str,
    border: &'static str,
    /// How opaque the inside of a bar is.
    fill: f64,
}

/// The look of each controller of a report.
#[derive(Clone, Debug, Default)]
pub(super) struct Palette {
    looks: BTreeMap<String, usize>,
    order: Vec<String>,
}

/// How a controller is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look(usize);

impl Palette {
    /// In the order in which the controllers first appear.
    pub(super) fn of(report: &Report) -> Self {
        let points = report.scenarios.iter().flat_map(|scenario| &scenario.points);
        let mut palette = Self::default();
        for outcome in points.flat_map(|point| &point.outcomes) {
            if !palette.looks.contains_key(&outcome.controller) {
                palette.looks.insert(outcome.controller.clone(), palette.order.len() % LOOKS);
                palette.order.push(outcome.controller.clone());
            }
        }
        palette
    }

    /// All controllers.
    pub(super) fn controllers(&self) -> &[String] {
        &self.order
    }

    /// The look of a controller.
    pub(super) fn look(&self, controller: &str) -> Look {
        Look(self.looks.get(controller).copied().unwrap_or_default())
    }
}

impl Look {
    /// The look of this number.
    pub(super) const fn of(number: usize) -> Self {
        Self(number % LOOKS)
    }

    /// The class that gives it to an element.
    pub(super) fn class(self) -> String {
        format!("k{}", self.0)
    }

    /// The outline of its markers.
    pub(super) fn shape(self) -> &'static str {
        SHAPES[self.0 % SHAPES.len()]
    }
}

/// What classes look like, and what the switches of the legend do.
pub(super) fn sheet() -> String {
    let mut sheet = String::new();
    for look in 0..LOOKS {
        let (light, dark) = COLOURS[look % COLOURS.len()];
        let Dash { line, border, fill } = DASHES[look / COLOURS.len()];
        let _infallible = writeln!(
            sheet,
            ".k{look} {{ --ink: light-dark({light}, {dark}); --dash: {line}; --border: {border}; --fill: {fill}; }}\n\
             body:has(#k{look}:not(:checked)) .k{look}:not(.switch) {{ display: none; }}\n\
             figure:has(li.k{look}:hover) .data:not(.k{look}) {{ opacity: 0.12; }}"
        );
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_told_apart_until_all_are_used() {
        let looks: Vec<_> = (0..LOOKS).map(|look| (COLOURS[look % COLOURS.len()], look / COLOURS.len())).collect();
        for (index, look) in looks.iter().enumerate() {
            assert!(!looks[..index].contains(look), "{look:?}");
        }
        let sheet = sheet();
        assert!(sheet.contains(".k0 {") && sheet.contains(&format!(".k{} {{", LOOKS - 1)));
    }
}
