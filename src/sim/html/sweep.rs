//! Figures against offered load, one line per controller.

use std::iter;

use super::{
    axis::Axis,
    chart::{Chart, Guide, Kind, Line, Point},
    markup::Markup,
    number::Unit,
    palette::Palette,
    scene::Scene,
};
use crate::sim::{
    measure::Metric,
    report::{BusinessInfo, Outcome},
};

/// More businesses than these make more plots than anyone looks at.
const MOST_BUSINESSES: usize = 6;

/// The figures that have a plot beside goodput's and success'.
const FIGURES: [(&str, &str, Metric, Unit); 4] = [
    ("Latency", "Time to the answer that made a task succeed, 99th percentile", Metric::LatencyP99, Unit::Millis),
    ("Queuing time", "Time of admitted calls in the queue, 99th percentile", Metric::QueuingP99, Unit::Millis),
    (
        "Wasted work",
        "Service time spent on tries that did not succeed, of all service time",
        Metric::Wasted,
        Unit::Percent,
    ),
    (
        "Tries per success",
        "Tries that clients made, for each task that succeeded",
        Metric::TriesPerSuccess,
        Unit::Ratio,
    ),
];

/// All plots against load.
pub(super) fn draw(page: &mut Markup, scene: &Scene<'_>, palette: &Palette) {
    let sweep = Sweep { scene, palette };
    sweep.goodput().draw(page);
    sweep
        .figure(
            "Success",
            "Tasks answered in time, of those that arrived".to_owned(),
            Axis::share("Success rate"),
            &|outcome| estimated(outcome, Metric::SuccessRate, None),
        )
        .draw(page);
    for (title, about, metric, unit) in FIGURES {
        let reading = |outcome: &Outcome| estimated(outcome, metric, None);
        let values: Vec<_> = sweep.all(&reading).map(|point| point.y).collect();
        let axis = if unit == Unit::Percent {
            Axis::share(title)
        } else {
            Axis::fitting(&format!("{title}{}", comma_unit(unit)), unit, values.into_iter())
        };
        sweep.figure(title, about.to_owned(), axis, &reading).draw(page);
    }
    sweep.businesses(page);
}

fn comma_unit(unit: Unit) -> String {
    if unit == Unit::Ratio { String::new() } else { format!(",{}", unit.suffix()) }
}

struct Sweep<'a> {
    scene: &'a Scene<'a>,
    palette: &'a Palette,
}

/// A figure of an outcome, and half of its interval.
type Reading<'f> = &'f dyn Fn(&Outcome) -> Option<(f64, Option<f64>)>;

fn estimated(outcome: &Outcome, metric: Metric, business: Option<usize>) -> Option<(f64, Option<f64>)> {
    outcome.estimate(metric, business).map(|estimate| (estimate.mean, estimate.half_width))
}

/// What an ideal without priorities completes per second.
fn ideal(outcome: &Outcome) -> Option<f64> {
    let mean = |metric| outcome.figures.get(&metric).map(|estimate| estimate.mean);
    Some(mean(Metric::Optimum)? * mean(Metric::OfferedRate)?)
}

/// Useful work per second, as tasks of the mix.
fn useful(outcome: &Outcome) -> Option<(f64, Option<f64>)> {
    let (goodput, half) = estimated(outcome, Metric::Goodput, None)?;
    let ideal = ideal(outcome)?;
    Some((goodput * ideal, half.map(|half| half * ideal)))
}

impl Sweep<'_> {
    fn goodput(&self) -> Chart {
        let ideal = Line {
            name: "ideal: min(f, f_sat)".to_owned(),
            kind: Kind::Reference,
            points: self.ideal().into_iter().map(Some).collect(),
            marks: Vec::new(),
        };
        let most = self.all(&useful).map(|point| point.y).chain(ideal.points.iter().flatten().map(|point| point.y));
        let y = Axis::from_zero("Useful work, tasks/s", Unit::Rate, most);
        let about = "Work of the tasks that succeeded, as tasks of the mix per second, beside what an ideal would do"
            .to_owned();
        let mut chart = self.figure("Goodput", about, y, &useful);
        chart.lines.insert(0, ideal);
        chart
    }

    /// The ideal, with its corner where it lies between two loads or before the first.
    fn ideal(&self) -> Vec<Point> {
        let at = |outcome: &Outcome| Some(Point::new(offered(outcome)?, ideal(outcome)?));
        let mut points: Vec<_> =
            self.scene.report.points.iter().filter_map(|point| at(point.outcomes.first()?)).collect();
        points.sort_by(|one, other| one.x.total_cmp(&other.x));
        let saturated = |point: &Point| point.y < point.x * (1.0 - 1e-3);
        let Some(first) = points.iter().position(saturated) else { return points };
        let corner = points[first].y;
        points.insert(first, Point::new(corner, corner));
        let low = self.x_axis().low();
        if first == 0 && low < corner {
            points.insert(0, Point::new(low, low));
        }
        points
    }

    fn figure(&self, title: &str, about: String, y: Axis, reading: Reading<'_>) -> Chart {
        let saturation = self.scene.report.saturation_per_s;
        Chart {
            title: format!("{title} against load"),
            about,
            x: self.x_axis(),
            y,
            guides: vec![Guide::Up(saturation, "saturation".to_owned())],
            lines: self.lines(reading),
        }
    }

    /// From below the saturation to the heaviest load.
    fn x_axis(&self) -> Axis {
        let loads = self.all(&|outcome| Some((offered(outcome)?, None))).map(|point| point.x);
        let loads: Vec<_> = loads.chain(iter::once(self.scene.report.saturation_per_s)).collect();
        Axis::fitting("Offered, tasks/s", Unit::Rate, loads.into_iter())
    }

    fn all<'s>(&'s self, reading: Reading<'s>) -> impl Iterator<Item = Point> + 's {
        let outcomes = self.scene.report.points.iter().flat_map(|point| &point.outcomes);
        outcomes.filter_map(move |outcome| point(outcome, reading))
    }

    fn lines(&self, reading: Reading<'_>) -> Vec<Line> {
        let line = |outcome: &Outcome| {
            let same = |other: &&Outcome| other.controller == outcome.controller;
            let all = self.scene.report.points.iter().filter_map(|point| point.outcomes.iter().find(same));
            let mut points: Vec<_> = all.filter_map(|outcome| point(outcome, reading)).collect();
            points.sort_by(|one, other| one.x.total_cmp(&other.x));
            Line {
                name: outcome.controller.clone(),
                kind: Kind::Marked(self.palette.look(&outcome.controller)),
                points: points.into_iter().map(Some).collect(),
                marks: Vec::new(),
            }
        };
        self.scene.outcomes().iter().map(line).collect()
    }

    fn businesses(&self, page: &mut Markup) {
        if self.scene.report.businesses.len() < 2 {
            return;
        }
        for (index, business) in self.scene.businesses().into_iter().take(MOST_BUSINESSES) {
            let BusinessInfo { name, priority, calls } = business;
            let calls = super::calls_text(*calls);
            let about = format!("Tasks of {name} answered in time; priority {priority}, {calls}");
            let reading = |outcome: &Outcome| estimated(outcome, Metric::SuccessRate, Some(index));
            self.figure(&format!("Success of {}", business.name), about, Axis::share("Success rate"), &reading)
                .draw(page);
        }
    }
}

fn offered(outcome: &Outcome) -> Option<f64> {
    outcome.figures.get(&Metric::OfferedRate).map(|estimate| estimate.mean)
}

fn point(outcome: &Outcome, reading: Reading<'_>) -> Option<Point> {
    let (y, half) = reading(outcome)?;
    Some(Point { x: offered(outcome)?, y, half })
}
