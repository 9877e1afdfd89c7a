//! What all plots have in common: the frame with its title, the y axis, and the legend.

use std::fmt::{self, Display};

use super::{axis::Axis, markup::Markup, number::Unit};

/// The height of a plot in its own unit, about a pixel.
pub(super) const HEIGHT: f64 = 300.0;
/// What is kept free around the data for titles and ticks.
pub(super) const LEFT: f64 = 54.0;
pub(super) const RIGHT: f64 = 14.0;
pub(super) const TOP: f64 = 36.0;
pub(super) const BOTTOM: f64 = 46.0;

/// A coordinate with one decimal.
pub(super) struct Decimal(pub(super) f64);

impl Display for Decimal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.1}", self.0)
    }
}

/// Where a value lies from the top of a plot.
pub(super) fn y_of(axis: &Axis, value: f64) -> f64 {
    HEIGHT - BOTTOM - axis.place(value) * (HEIGHT - TOP - BOTTOM)
}

/// The lines across, their labels, and the title above them.
pub(super) fn y_axis(svg: &mut Markup, axis: &Axis, right: f64) {
    for (at, label) in &axis.ticks {
        let y = y_of(axis, *at);
        svg.void("path", &[("class", &"grid"), ("d", &format_args!("M{LEFT} {y:.1}H{right}"))]);
        svg.line("text", &[("class", &"end"), ("x", &(LEFT - 7.0)), ("y", &Decimal(y + 4.0))], label);
    }
    let unit = if axis.unit == Unit::Percent { ", %" } else { "" };
    svg.line("text", &[("class", &"title"), ("x", &2.0), ("y", &13.0)], format_args!("{}{unit}", axis.title));
}

/// A plot's frame: what it is called, what it shows, the picture.
pub(super) fn figure(page: &mut Markup, title: &str, about: &str, wide: bool, inside: impl FnOnce(&mut Markup)) {
    let class = if wide { "plot wide" } else { "plot" };
    page.element("figure", &[("class", &class)], |figure| {
        figure.element("figcaption", &[], |caption| {
            caption.line("h4", &[], title);
            caption.line("p", &[], about);
        });
        inside(figure);
    });
}

/// A picture of this width, with a description for those who cannot see it.
pub(super) fn svg(page: &mut Markup, width: f64, description: &str, inside: impl FnOnce(&mut Markup)) {
    let size = format!("0 0 {width} {HEIGHT}");
    let attributes: [(_, &dyn Display); 4] =
        [("xmlns", &"http://www.w3.org/2000/svg"), ("viewBox", &size), ("role", &"img"), ("aria-label", &description)];
    page.element("svg", &attributes, inside);
}

/// Which line is whose.
pub(super) fn legend<'n>(page: &mut Markup, entries: impl Iterator<Item = (String, &'n str)>) {
    page.element("ul", &[("class", &"legend")], |list| {
        for (class, name) in entries {
            list.element("li", &[("class", &class)], |entry| {
                entry.element("span", &[("class", &"swatch")], |_| ());
                entry.text(name);
            });
        }
    });
}
