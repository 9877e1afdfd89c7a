//! The course of the first seed's run at the heaviest load: how rates, cut and queuing time went.

use super::{
    axis::Axis,
    chart::{Chart, Guide, Kind, Line, Point},
    markup::Markup,
    number::Unit,
    palette::{Look, Palette},
    scene::Scene,
};
use crate::{
    admission::level::{LEVELS, Level},
    sim::{
        measure::{Metric, Series},
        report::{BusinessInfo, Outcome},
    },
};

/// More points than these cannot be seen in a plot.
const MOST_POINTS: usize = 240;
/// Fewer points than these show no course.
const FEWEST_POINTS: usize = 40;
/// A point stands for at least so many tasks where the run is long enough; fewer jump about by chance alone.
const TASKS_PER_POINT: f64 = 50.0;
const MOST_BUSINESSES: usize = 6;
/// The cut's axis goes this far beyond the levels that the businesses have.
const CUT_MARGIN: f64 = 0.08;
/// What was offered fits on an axis up to so many times the controllers' largest value.
const MOST_ROOM: f64 = 2.0;
/// Nobody notices shorter waits than this.
const LEAST_MILLIS: f64 = 1.0;

/// All plots over time.
pub(super) fn draw(page: &mut Markup, scene: &Scene<'_>, palette: &Palette) {
    let Some(first) = scene.outcomes().first() else { return };
    let offered = &first.series.offered_per_s;
    let rate = offered.iter().sum::<f64>() / offered.len().max(1) as f64;
    let courses = Courses { scene, palette, step: Steps::for_rate(&first.series, rate) };
    courses.succeeded(&first.series).draw(page);
    courses.cut().draw(page);
    courses.admitted().draw(page);
    courses.queuing().draw(page);
    courses.businesses(page);
}

/// How many entries of a series become one point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Steps(usize);

impl Steps {
    /// So that points are neither too many nor made of too few tasks, if so many tasks arrive per second.
    fn for_rate(series: &Series, tasks_per_s: f64) -> Self {
        let entries = series.offered_per_s.len();
        let tasks = tasks_per_s * series.step_s;
        let steady = if tasks > 0.0 { (TASKS_PER_POINT / tasks).ceil() as usize } else { 1 };
        Self(steady.min(entries / FEWEST_POINTS).max(entries.div_ceil(MOST_POINTS)).max(1))
    }

    /// So that this many seconds become at most so many points.
    pub(super) fn for_span(series: &Series, seconds: f64, most: usize) -> Self {
        Self(((seconds / series.step_s / most as f64).ceil() as usize).max(1))
    }

    /// The mean of each group of entries, in its middle; absent where all of them are.
    pub(super) fn means(self, step_s: f64, values: impl Iterator<Item = Option<f64>>) -> Vec<Option<Point>> {
        self.points(step_s, 0.5, values, |group| {
            let present: Vec<_> = group.iter().flatten().copied().collect();
            (!present.is_empty()).then(|| present.iter().sum::<f64>() / present.len() as f64)
        })
    }

    /// The last entry of each group, at its end.
    fn lasts(self, step_s: f64, values: impl Iterator<Item = Option<f64>>) -> Vec<Option<Point>> {
        self.points(step_s, 1.0, values, |group| group.last().copied().flatten())
    }

    fn points(
        self,
        step_s: f64,
        place: f64,
        values: impl Iterator<Item = Option<f64>>,
        of: impl Fn(&[Option<f64>]) -> Option<f64>,
    ) -> Vec<Option<Point>> {
        let values: Vec<_> = values.collect();
        let point = |(index, group): (usize, &[Option<f64>])| {
            let x = step_s * ((index * self.0) as f64 + group.len() as f64 * place);
            of(group).map(|y| Point::new(x, y))
        };
        values.chunks(self.0).enumerate().map(point).collect()
    }
}

struct Courses<'a> {
    scene: &'a Scene<'a>,
    palette: &'a Palette,
    step: Steps,
}

impl Courses<'_> {
    fn succeeded(&self, any: &Series) -> Chart {
        let mut lines = self.means(|series| some(&series.succeeded_per_s));
        let offered = self.step.means(any.step_s, some(&any.offered_per_s).into_iter());
        lines.insert(0, Line { name: "offered".to_owned(), kind: Kind::Reference, points: offered, marks: Vec::new() });
        let about = "Per second, by when they did, beside those that arrive as far as these fit";
        self.chart("Tasks that succeed", about, rates_beside(&lines), lines)
    }

    fn admitted(&self) -> Chart {
        let lines = self.means(|series| some(&series.admitted_per_s));
        let y = Axis::from_zero("Calls/s", Unit::Rate, values(&lines));
        self.chart("Calls that gates let pass", "Per second, at all services", y, lines)
    }

    fn queuing(&self) -> Chart {
        let lines = self.means(|series| series.queuing_ms.clone());
        let noticed: Vec<_> = values(&lines).map(|millis| millis.max(LEAST_MILLIS)).collect();
        let y = Axis::fitting("Milliseconds", Unit::Millis, noticed.into_iter());
        self.chart("Queuing time", "Mean of the calls that leave a queue", y, lines)
    }

    /// Business by business, the most important first.
    fn businesses(&self, page: &mut Markup) {
        if self.scene.report.businesses.len() < 2 {
            return;
        }
        for (index, business) in self.scene.businesses().into_iter().take(MOST_BUSINESSES) {
            let lines = self.lines(Kind::Plain, |outcome| {
                let rate = outcome.estimate(Metric::OfferedRate, Some(index)).map_or(0.0, |estimate| estimate.mean);
                let success = outcome.series.success.get(index).cloned().unwrap_or_default();
                Steps::for_rate(&outcome.series, rate).means(outcome.series.step_s, success.into_iter())
            });
            let title = format!("Success of {}", business.name);
            self.chart(&title, "Tasks answered in time, by when they arrived", Axis::share("Success rate"), lines)
                .draw(page);
        }
    }

    /// In the scale of the businesses: what lies beyond the least important one is the same as open.
    fn cut(&self) -> Chart {
        let lines = self.lines(Kind::Stepped, |outcome| {
            self.step.lasts(outcome.series.step_s, outcome.series.cut_level.iter().copied())
        });
        let businesses = &self.scene.report.businesses;
        let priorities = || businesses.iter().map(|business| business.priority);
        let first = Level::new(priorities().min().unwrap_or_default(), 0).index() as f64;
        let last = level_after(priorities().max().unwrap_or_default());
        let margin = (last - first) * CUT_MARGIN;
        let (low, high) = ((first - margin).max(0.0), (last + margin).min(LEVELS as f64));
        let about = "The strictest gate's, as the number of levels that it admits; at the upper edge it admits all";
        let mut chart = self.chart("The cut", about, Axis::linear("Levels admitted", Unit::Count, low, high), lines);
        chart.guides.extend(guides(businesses));
        chart
    }

    fn chart(&self, title: &str, about: &str, y: Axis, lines: Vec<Line>) -> Chart {
        Chart {
            title: format!("{title} over time{}", self.scene.at()),
            about: about.to_owned(),
            x: Axis::linear("Seconds", Unit::Seconds, 0.0, self.scene.report.duration_s),
            y,
            guides: self.warmup(),
            lines,
        }
    }

    fn warmup(&self) -> Vec<Guide> {
        let warmup = self.scene.report.warmup_s;
        if warmup > 0.0 { vec![Guide::Up(warmup, "warm-up ends".to_owned())] } else { Vec::new() }
    }

    fn means(&self, values: impl Fn(&Series) -> Vec<Option<f64>>) -> Vec<Line> {
        self.lines(Kind::Plain, |outcome| self.step.means(outcome.series.step_s, values(&outcome.series).into_iter()))
    }

    fn lines(&self, kind: impl Fn(Look) -> Kind, points: impl Fn(&Outcome) -> Vec<Option<Point>>) -> Vec<Line> {
        let line = |outcome: &Outcome| Line {
            name: outcome.controller.clone(),
            kind: kind(self.palette.look(&outcome.controller)),
            points: points(outcome),
            marks: Vec::new(),
        };
        let mut lines: Vec<_> = self.scene.outcomes().iter().map(line).collect();
        lines.retain(|line| line.points.iter().any(Option::is_some));
        lines
    }
}

/// An axis for rates: for reference lines too, unless the others would become small beside them.
pub(super) fn rates_beside(lines: &[Line]) -> Axis {
    let most = |reference: bool| {
        let chosen = lines.iter().filter(move |line| (line.kind == Kind::Reference) == reference);
        chosen.flat_map(|line| &line.points).flatten().map(|point| point.y).fold(0.0, f64::max)
    };
    let (own, reference) = (most(false), most(true));
    let highest = if reference > own * MOST_ROOM { own } else { own.max(reference) };
    Axis::from_zero("Tasks/s", Unit::Rate, [highest].into_iter())
}

fn values(lines: &[Line]) -> impl Iterator<Item = f64> {
    lines.iter().flat_map(|line| &line.points).flatten().map(|point| point.y)
}

/// The number of levels up to the last one of this priority.
fn level_after(priority: u8) -> f64 {
    (Level::new(priority, u8::MAX).index() + 1) as f64
}

/// Where each priority begins, with the businesses that have it.
fn guides(businesses: &[BusinessInfo]) -> Vec<Guide> {
    let mut priorities: Vec<_> = businesses.iter().map(|business| business.priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    let guide = |priority: u8| {
        let same = businesses.iter().filter(|business| business.priority == priority);
        let names: Vec<_> = same.map(|business| business.name.as_str()).collect();
        Guide::Across(level_after(priority), names.join(", "))
    };
    priorities.into_iter().map(guide).collect()
}

fn some(values: &[f64]) -> Vec<Option<f64>> {
    values.iter().copied().map(Some).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_put_together_and_gaps_stay_gaps() {
        let values = [Some(1.0), Some(3.0), None, Some(5.0), None, None, Some(7.0)];
        let means = Steps(2).means(0.5, values.into_iter());
        let found: Vec<_> = means.iter().map(|point| point.map(|point| (point.x, point.y))).collect();
        assert_eq!(found, [Some((0.5, 2.0)), Some((1.5, 5.0)), None, Some((3.25, 7.0))]);
        let lasts = Steps(2).lasts(0.5, values.into_iter());
        assert_eq!(
            lasts.iter().map(|point| point.map(|point| point.y)).collect::<Vec<_>>()[..2],
            [Some(3.0), Some(5.0)]
        );
    }

    #[test]
    fn priorities_are_named_once() {
        let business = |name: &str, priority| BusinessInfo { name: name.to_owned(), priority, calls: 1 };
        let guides = guides(&[business("b", 3), business("a", 0), business("c", 3)]);
        let [Guide::Across(first, a), Guide::Across(second, b)] = &guides[..] else { panic!("{guides:?}") };
        assert_eq!((*first, a.as_str(), *second, b.as_str()), (128.0, "a", 512.0, "b, c"));
    }
}
