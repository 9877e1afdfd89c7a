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
        measure::Series,
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
/// The cut's axis goes this far beyond what the least important business can have.
const CUT_HEADROOM: f64 = 1.08;

/// All plots over time.
pub(super) fn draw(page: &mut Markup, scene: &Scene<'_>, palette: &Palette) {
    let Some(first) = scene.outcomes().first() else { return };
    let courses = Courses { scene, palette, step: Steps::of(&first.series) };
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
    /// So that points are neither too many nor made of too few tasks.
    fn of(series: &Series) -> Self {
        let steps = series.offered_per_s.len();
        let tasks = series.offered_per_s.iter().sum::<f64>() * series.step_s / steps.max(1) as f64;
        let steady = if tasks > 0.0 { (TASKS_PER_POINT / tasks).ceil() as usize } else { 1 };
        Self(steady.min(steps / FEWEST_POINTS).max(steps.div_ceil(MOST_POINTS)).max(1))
    }

    /// One entry becomes one point.
    pub(super) const SINGLE: Self = Self(1);

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
        lines.insert(0, self.offered(any));
        self.chart(
            "Tasks that succeed",
            "Per second, by when they did, beside those that arrive",
            "Tasks/s",
            Unit::Rate,
            lines,
        )
    }

    fn offered(&self, any: &Series) -> Line {
        let points = self.step.means(any.step_s, some(&any.offered_per_s).into_iter());
        Line { name: "offered".to_owned(), kind: Kind::Reference, points, marks: Vec::new() }
    }

    fn admitted(&self) -> Chart {
        let lines = self.means(|series| some(&series.admitted_per_s));
        self.chart("Calls that gates let pass", "Per second, at all services", "Calls/s", Unit::Rate, lines)
    }

    fn queuing(&self) -> Chart {
        let lines = self.means(|series| series.queuing_ms.clone());
        self.chart("Queuing time", "Mean of the calls that leave a queue", "Milliseconds", Unit::Millis, lines)
    }

    /// Business by business, the most important first.
    fn businesses(&self, page: &mut Markup) {
        if self.scene.report.businesses.len() < 2 {
            return;
        }
        for (index, business) in self.scene.businesses().into_iter().take(MOST_BUSINESSES) {
            let lines = self.means(|series| series.success.get(index).cloned().unwrap_or_default());
            let mut chart = self.chart(
                &format!("Success of {}", business.name),
                "Tasks answered in time, by when they arrived",
                "",
                Unit::Percent,
                lines,
            );
            chart.y = Axis::share("Success rate");
            chart.draw(page);
        }
    }

    /// In the scale of the businesses: what lies above the least important one is the same as open.
    fn cut(&self) -> Chart {
        let lines =
            self.lines(Kind::Stepped, |step, series| step.lasts(series.step_s, series.cut_level.iter().copied()));
        let businesses = &self.scene.report.businesses;
        let least = businesses.iter().map(|business| business.priority).max().unwrap_or_default();
        let top = (level_after(least) * CUT_HEADROOM).min(LEVELS as f64);
        let about = "The strictest gate's, as the number of levels that it admits; at the upper edge it admits all";
        let mut chart = self.chart("The cut", about, "", Unit::Count, lines);
        chart.y = Axis::linear("Levels admitted", Unit::Count, 0.0, top);
        chart.guides.extend(guides(businesses));
        chart
    }

    fn chart(&self, title: &str, about: &str, axis: &str, unit: Unit, lines: Vec<Line>) -> Chart {
        let values: Vec<_> = lines.iter().flat_map(|line| &line.points).flatten().map(|point| point.y).collect();
        Chart {
            title: format!("{title} over time{}", self.scene.at()),
            about: about.to_owned(),
            x: Axis::linear("Seconds", Unit::Seconds, 0.0, self.scene.report.duration_s),
            y: Axis::fitting(axis, unit, values.into_iter()),
            guides: self.warmup(),
            lines,
        }
    }

    fn warmup(&self) -> Vec<Guide> {
        let warmup = self.scene.report.warmup_s;
        if warmup > 0.0 { vec![Guide::Up(warmup, "warm-up ends".to_owned())] } else { Vec::new() }
    }

    fn means(&self, values: impl Fn(&Series) -> Vec<Option<f64>>) -> Vec<Line> {
        self.lines(Kind::Plain, |step, series| step.means(series.step_s, values(series).into_iter()))
    }

    fn lines(&self, kind: impl Fn(Look) -> Kind, points: impl Fn(Steps, &Series) -> Vec<Option<Point>>) -> Vec<Line> {
        let line = |outcome: &Outcome| Line {
            name: outcome.controller.clone(),
            kind: kind(self.palette.look(&outcome.controller)),
            points: points(self.step, &outcome.series),
            marks: Vec::new(),
        };
        let mut lines: Vec<_> = self.scene.outcomes().iter().map(line).collect();
        lines.retain(|line| line.points.iter().any(Option::is_some));
        lines
    }
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
