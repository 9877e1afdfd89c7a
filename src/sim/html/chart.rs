//! Lines over two axes, as SVG that takes its colours from the page.
//!
//! Plain SVG and no plotting library: a library writes colours and fonts into the picture, so that it could follow
//! neither the reader's light or dark setting nor the switches of the legend, and it has neither titles per mark nor
//! texts for those who cannot see.

use std::fmt::Display;

use super::{
    axis::Axis,
    frame::{BOTTOM, Decimal, HEIGHT, LEFT, RIGHT, TOP, figure, legend, svg, y_axis, y_of},
    markup::Markup,
    palette::Look,
};

/// The width of a plot in its own unit, about a pixel.
const WIDTH: f64 = 540.0;

/// A plot of lines.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) title: String,
    /// What it shows, in a sentence.
    pub(super) about: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) guides: Vec<Guide>,
    pub(super) lines: Vec<Line>,
}

/// A thin line with a label, for orientation.
#[derive(Clone, Debug)]
pub(super) enum Guide {
    /// At a value of the y axis.
    Across(f64, String),
    /// At a value of the x axis.
    Up(f64, String),
}

/// One line, broken where a point is absent.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) points: Vec<Option<Point>>,
    /// Places to be marked, each with what its title says.
    pub(super) marks: Vec<(Point, String)>,
}

/// Whose line it is, and how it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A controller's, with a marker at every point.
    Marked(Look),
    /// A controller's.
    Plain(Look),
    /// A controller's; a value holds until the next one.
    Stepped(Look),
    /// What nobody can exceed, or what was asked for.
    Reference,
}

/// A point, with half of its interval where that is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) half: Option<f64>,
}

impl Kind {
    /// The class that gives marks their look.
    pub(super) fn class(self) -> String {
        match self {
            Self::Marked(look) | Self::Plain(look) | Self::Stepped(look) => look.class(),
            Self::Reference => "reference".to_owned(),
        }
    }
}

impl Point {
    pub(super) const fn new(x: f64, y: f64) -> Self {
        Self { x, y, half: None }
    }
}

impl Chart {
    /// Draws it, unless there is nothing to be drawn.
    pub(super) fn draw(&self, page: &mut Markup) {
        if self.lines.iter().all(|line| line.points.iter().flatten().next().is_none()) {
            return;
        }
        figure(page, &self.title, &self.about, false, |page| {
            svg(page, WIDTH, &self.description(), |svg| {
                self.axes(svg);
                for line in &self.lines {
                    self.line(svg, line);
                }
            });
            legend(page, self.lines.iter().map(|line| (line.kind.class(), line.name.as_str())));
        });
    }

    /// What those are told who cannot see it.
    fn description(&self) -> String {
        let ends = |line: &Line| {
            let points: Vec<_> = line.points.iter().flatten().collect();
            let (first, last) = (points.first()?, points.last()?);
            let (from, to) = (self.y.unit.with_unit(first.y), self.y.unit.with_unit(last.y));
            Some(if points.len() > 1 {
                format!("{} from {from} to {to}", line.name)
            } else {
                format!("{} {from}", line.name)
            })
        };
        let ends: Vec<_> = self.lines.iter().filter_map(ends).collect();
        format!("{}. {}. Over {}: {}.", self.title, self.y.title, self.x.title, ends.join(", "))
    }

    fn axes(&self, svg: &mut Markup) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        y_axis(svg, &self.y, right);
        for (at, label) in &self.x.ticks {
            let x = self.x_of(*at);
            svg.void("path", &[("class", &"tick"), ("d", &format_args!("M{x:.1} {bottom:.1}v5"))]);
            svg.line("text", &[("class", &"middle"), ("x", &Decimal(x)), ("y", &Decimal(bottom + 18.0))], label);
        }
        svg.void("path", &[("class", &"axis"), ("d", &format_args!("M{LEFT} {bottom:.1}H{right}"))]);
        let middle = (LEFT + right) / 2.0;
        svg.line("text", &[("class", &"title middle"), ("x", &middle), ("y", &(HEIGHT - 8.0))], &self.x.title);
        for guide in &self.guides {
            self.guide(svg, guide);
        }
    }

    fn guide(&self, svg: &mut Markup, guide: &Guide) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        match guide {
            Guide::Across(at, label) => {
                let y = self.y_of(*at);
                svg.void("path", &[("class", &"guide"), ("d", &format_args!("M{LEFT} {y:.1}H{right}"))]);
                let place: [(_, &dyn Display); 3] =
                    [("class", &"label end"), ("x", &(right - 2.0)), ("y", &Decimal(y - 3.0))];
                svg.line("text", &place, label);
            }
            Guide::Up(at, label) => {
                let x = self.x_of(*at);
                svg.void("path", &[("class", &"guide"), ("d", &format_args!("M{x:.1} {TOP}V{bottom:.1}"))]);
                let place: [(_, &dyn Display); 3] =
                    [("class", &"label"), ("x", &Decimal(x - 1.0)), ("y", &(TOP - 5.0))];
                svg.line("text", &place, label);
            }
        }
    }

    fn line(&self, svg: &mut Markup, line: &Line) {
        let class = format!("data {}", line.kind.class());
        svg.element("g", &[("class", &class)], |group| {
            if let Some(band) = self.band(line) {
                group.void("path", &[("class", &"band"), ("d", &band)]);
            }
            group.element("path", &[("class", &"line"), ("d", &self.path(line))], |path| {
                path.line("title", &[], &line.name)
            });
            match line.kind {
                Kind::Marked(look) => self.markers(group, line, look),
                Kind::Plain(look) | Kind::Stepped(look) => {
                    for (point, title) in &line.marks {
                        self.marker(group, *point, look, title);
                    }
                }
                Kind::Reference => {}
            }
        });
    }

    fn markers(&self, group: &mut Markup, line: &Line, look: Look) {
        for point in line.points.iter().flatten() {
            let half = point.half.map_or_else(String::new, |half| format!(" ± {}", self.y.unit.number(half)));
            let (y, x) = (self.y.unit, self.x.unit);
            let at = x.with_unit(point.x);
            let title = format!("{}: {}{half}{} at {at}", line.name, y.number(point.y), y.suffix());
            self.marker(group, *point, look, &title);
        }
    }

    fn marker(&self, group: &mut Markup, point: Point, look: Look, title: &str) {
        let place = format!("translate({:.1} {:.1})", self.x_of(point.x), self.y_of(point.y));
        let attributes: [(_, &dyn Display); 3] = [("class", &"mark"), ("d", &look.shape()), ("transform", &place)];
        group.element("path", &attributes, |path| path.line("title", &[], title));
    }

    fn path(&self, line: &Line) -> String {
        let (mut path, mut inside) = (String::new(), false);
        for point in &line.points {
            // What was asked for may be far more than the plot is about.
            let beyond = |point: &&Point| line.kind == Kind::Reference && point.y > self.y.high();
            let Some(point) = point.as_ref().filter(|point| !beyond(point)) else {
                inside = false;
                continue;
            };
            let (x, y) = (self.x_of(point.x), self.y_of(point.y));
            let piece = match (inside, line.kind) {
                // The short line makes a point that stands alone visible.
                (false, _) => format!("M{x:.1} {y:.1}h.01"),
                (true, Kind::Stepped(_)) => format!("H{x:.1}V{y:.1}"),
                (true, Kind::Marked(_) | Kind::Plain(_) | Kind::Reference) => format!("L{x:.1} {y:.1}"),
            };
            path += &piece;
            inside = true;
        }
        path
    }

    /// The interval around a line: along its upper edge and back along the lower one.
    fn band(&self, line: &Line) -> Option<String> {
        let points: Vec<_> = line.points.iter().flatten().filter(|point| point.half.is_some()).collect();
        if points.len() < 2 {
            return None;
        }
        let half = |point: &Point| point.half.unwrap_or_default();
        let there = points.iter().map(|point| (point.x, point.y + half(point)));
        let back = points.iter().rev().map(|point| (point.x, point.y - half(point)));
        let corners: Vec<_> =
            there.chain(back).map(|(x, y)| format!("{:.1} {:.1}", self.x_of(x), self.y_of(y))).collect();
        Some(format!("M{}Z", corners.join("L")))
    }

    fn x_of(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y_of(&self, value: f64) -> f64 {
        y_of(&self.y, value)
    }
}
