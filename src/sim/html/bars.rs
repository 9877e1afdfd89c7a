//! Groups of bars: one group for each thing that is compared, in it a bar for each controller.

use super::{
    axis::Axis,
    frame::{BOTTOM, Decimal, LEFT, RIGHT, figure, legend, svg, y_axis, y_of},
    markup::Markup,
    palette::Look,
};

const NARROW: f64 = 540.0;
const WIDE: f64 = 1100.0;
/// More bars than these need the wide plot.
const NARROW_BARS: usize = 42;
const WIDEST_BAR: f64 = 34.0;
/// The share of a group's place that its bars take.
const FILLED: f64 = 0.84;

/// A plot of bars.
#[derive(Clone, Debug)]
pub(super) struct Bars {
    pub(super) title: String,
    pub(super) about: String,
    pub(super) y: Axis,
    pub(super) groups: Vec<String>,
    pub(super) series: Vec<BarSeries>,
}

/// A controller's bars.
#[derive(Clone, Debug)]
pub(super) struct BarSeries {
    pub(super) name: String,
    pub(super) look: Look,
    /// One for each group: the value, and half of its interval.
    pub(super) values: Vec<Option<(f64, Option<f64>)>>,
}

/// Where a bar stands.
struct Place {
    left: f64,
    width: f64,
}

impl Bars {
    /// Draws it, unless there is nothing to be drawn.
    pub(super) fn draw(&self, page: &mut Markup) {
        if self.series.iter().all(|series| series.values.iter().flatten().next().is_none()) {
            return;
        }
        let wide = self.groups.len() * self.series.len() > NARROW_BARS;
        let width = if wide { WIDE } else { NARROW };
        figure(page, &self.title, &self.about, wide, |page| {
            svg(page, width, &self.description(), |svg| {
                y_axis(svg, &self.y, width - RIGHT);
                self.names(svg, width);
                for (index, series) in self.series.iter().enumerate() {
                    svg.element("g", &[("class", &format_args!("data {}", series.look.class()))], |group| {
                        for (number, value) in series.values.iter().enumerate() {
                            let Some((value, half)) = value else { continue };
                            let place = self.place(number, index, width);
                            self.bar(group, &place, *value, *half, &self.bar_title(series, number, *value, *half));
                        }
                    });
                }
                let bottom = y_of(&self.y, 0.0);
                svg.void("path", &[("class", &"axis"), ("d", &format_args!("M{LEFT} {bottom:.1}H{}", width - RIGHT))]);
            });
            legend(page, self.series.iter().map(|series| (series.look.class(), series.name.as_str())));
        });
    }

    fn bar(&self, group: &mut Markup, place: &Place, value: f64, half: Option<f64>, title: &str) {
        let (top, bottom) = (y_of(&self.y, value), y_of(&self.y, 0.0));
        let Place { left, width } = place;
        let outline = format!("M{left:.1} {bottom:.1}V{top:.1}h{width:.1}V{bottom:.1}Z");
        group.element("path", &[("class", &"bar"), ("d", &outline)], |bar| bar.line("title", &[], title));
        if let Some(half) = half.filter(|half| *half > 0.0) {
            let (high, low) = (y_of(&self.y, value + half), y_of(&self.y, value - half));
            let middle = left + width / 2.0;
            group.void("path", &[("class", &"whisker"), ("d", &format_args!("M{middle:.1} {high:.1}V{low:.1}"))]);
        }
    }

    fn bar_title(&self, series: &BarSeries, group: usize, value: f64, half: Option<f64>) -> String {
        let unit = self.y.unit;
        let half = half.map_or_else(String::new, |half| format!(" ± {}", unit.number(half)));
        format!("{}, {}: {}{half}{}", self.groups[group], series.name, unit.number(value), unit.suffix())
    }

    fn names(&self, svg: &mut Markup, width: f64) {
        let pitch = (width - LEFT - RIGHT) / self.groups.len() as f64;
        let fits = (pitch / 6.5) as usize;
        for (number, name) in self.groups.iter().enumerate() {
            let middle = LEFT + pitch * (number as f64 + 0.5);
            let y = y_of(&self.y, 0.0) + BOTTOM / 2.0;
            svg.element("text", &[("class", &"middle"), ("x", &Decimal(middle)), ("y", &Decimal(y))], |text| {
                text.text(shortened(name, fits));
                text.line("title", &[], name);
            });
        }
    }

    fn place(&self, group: usize, series: usize, width: f64) -> Place {
        let pitch = (width - LEFT - RIGHT) / self.groups.len() as f64;
        let width = (pitch * FILLED / self.series.len() as f64).min(WIDEST_BAR);
        let begin = LEFT + pitch * (group as f64 + 0.5) - width * self.series.len() as f64 / 2.0;
        Place { left: begin + width * series as f64, width: (width - 1.0).max(1.0) }
    }

    fn description(&self) -> String {
        let unit = self.y.unit;
        let of = |series: &BarSeries| {
            let pairs = self.groups.iter().zip(&series.values);
            let values =
                pairs.filter_map(|(name, value)| Some(format!("{name} {}", unit.with_unit(value.as_ref()?.0))));
            format!("{}: {}", series.name, values.collect::<Vec<_>>().join(", "))
        };
        format!("{}. {}", self.title, self.series.iter().map(of).collect::<Vec<_>>().join("; "))
    }
}

/// A name cut to this many characters.
fn shortened(name: &str, most: usize) -> String {
    if name.chars().count() <= most.max(2) {
        return name.to_owned();
    }
    name.chars().take(most.max(2) - 1).chain(['…']).collect()
}
