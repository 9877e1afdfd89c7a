//! Bars at the heaviest load: success per business and per number of calls, and fairness per horizon.

use super::{
    axis::Axis,
    bars::{BarSeries, Bars},
    calls_text,
    markup::Markup,
    palette::Palette,
    scene::Scene,
};
use crate::sim::{measure::Metric, report::Outcome};

const HORIZONS: [(&str, Metric); 3] =
    [("10 s", Metric::Jain10), ("60 s", Metric::Jain60), ("whole run", Metric::JainRun)];

/// All plots of bars.
pub(super) fn draw(page: &mut Markup, scene: &Scene<'_>, palette: &Palette) {
    businesses(page, scene, palette);
    calls(page, scene, palette);
    fairness(page, scene, palette);
}

fn businesses(page: &mut Markup, scene: &Scene<'_>, palette: &Palette) {
    let businesses = scene.businesses();
    if businesses.len() < 2 {
        return;
    }
    let values = |outcome: &Outcome| {
        let success = |index| outcome.estimate(Metric::SuccessRate, Some(index));
        businesses.iter().map(|(index, _)| Some((success(*index)?.mean, success(*index)?.half_width))).collect()
    };
    Bars {
        title: format!("Success per business{}", scene.at()),
        about: "Tasks answered in time, of those that arrived; the most important business first".to_owned(),
        y: Axis::share("Success rate"),
        groups: businesses.iter().map(|(_, business)| business.name.clone()).collect(),
        series: series(scene, palette, values),
    }
    .draw(page);
}

fn calls(page: &mut Markup, scene: &Scene<'_>, palette: &Palette) {
    let groups: Vec<_> =
        scene.outcomes().first().map_or(&[][..], |outcome| &outcome.by_calls).iter().map(|group| group.calls).collect();
    if groups.len() < 2 {
        return;
    }
    let values = |outcome: &Outcome| {
        let of = |calls| outcome.by_calls.iter().find(|group| group.calls == calls);
        groups.iter().map(|calls| Some((of(*calls)?.success_rate, None))).collect()
    };
    Bars {
        title: format!("Success per number of calls{}", scene.at()),
        about: "A task succeeds only if all of its calls do; equal bars are fair".to_owned(),
        y: Axis::share("Success rate"),
        groups: groups.iter().map(|calls| calls_text(*calls)).collect(),
        series: series(scene, palette, values),
    }
    .draw(page);
}

fn fairness(page: &mut Markup, scene: &Scene<'_>, palette: &Palette) {
    let present =
        |(_, metric): &&(&str, Metric)| scene.outcomes().iter().any(|outcome| outcome.figures.contains_key(metric));
    let horizons: Vec<_> = HORIZONS.iter().filter(present).collect();
    let values = |outcome: &Outcome| {
        let index = |metric| outcome.estimate(metric, None);
        horizons.iter().map(|(_, metric)| Some((index(*metric)?.mean, index(*metric)?.half_width))).collect()
    };
    Bars {
        title: format!("Fairness between users{}", scene.at()),
        about: "Jain's index of the success rates of users within a horizon: 1 if all fare alike".to_owned(),
        y: Axis::linear("Jain's index", super::number::Unit::Ratio, 0.0, 1.0),
        groups: horizons.iter().map(|(name, _)| (*name).to_owned()).collect(),
        series: series(scene, palette, values),
    }
    .draw(page);
}

fn series(
    scene: &Scene<'_>,
    palette: &Palette,
    values: impl Fn(&Outcome) -> Vec<Option<(f64, Option<f64>)>>,
) -> Vec<BarSeries> {
    let series = |outcome: &Outcome| BarSeries {
        name: outcome.controller.clone(),
        look: palette.look(&outcome.controller),
        values: values(outcome),
    };
    scene.outcomes().iter().map(series).collect()
}
