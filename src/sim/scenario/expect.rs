//! `[[expect]]`: what the file expects of its results.

use super::{Business, Expectation, read::checked};
use crate::{
    policy::{
        fault::Place,
        reader::{At, Notes, Table},
    },
    sim::{controllers::Contender, measure::Metric},
};

#[derive(Debug)]
pub(super) struct ExpectText {
    place: Place,
    controller: Option<At<String>>,
    metric: Option<At<String>>,
    business: Option<At<String>>,
    load: Option<At<f64>>,
    than: Option<At<String>>,
    at_least: Option<At<f64>>,
    at_most: Option<At<f64>>,
}

impl ExpectText {
    pub(super) fn read(mut table: Table<'_>) -> Self {
        let read = Self {
            place: table.place.clone(),
            controller: table.text("controller"),
            metric: table.text("metric"),
            business: table.text("business"),
            load: table.number("load"),
            than: table.text("than"),
            at_least: table.number("at_least"),
            at_most: table.number("at_most"),
        };
        table.require(&["controller", "metric"]);
        table.finish();
        read
    }
}

pub(super) fn resolve(
    texts: Vec<ExpectText>,
    contenders: &[Contender],
    businesses: &[Business],
    loads: &[f64],
    notes: &Notes,
) -> Vec<Expectation> {
    for At { value, place } in texts.iter().filter_map(|text| text.load.as_ref()) {
        if !loads.contains(value) {
            notes.faults.borrow_mut().add(place, format!("the sweep has no load {value}"));
        }
    }
    let resolve = |text| checked_one(text, contenders, businesses, notes);
    texts.into_iter().filter_map(resolve).collect()
}

fn checked_one(
    text: ExpectText,
    contenders: &[Contender],
    businesses: &[Business],
    notes: &Notes,
) -> Option<Expectation> {
    if text.at_least.is_none() && text.at_most.is_none() {
        notes.faults.borrow_mut().add(&text.place, "nothing is expected: write `at_least`, `at_most` or both");
    }
    let labels: Vec<_> = contenders.iter().map(|contender| contender.label.as_str()).collect();
    let known: Vec<_> = Metric::ALL.iter().map(|metric| (metric.name(), Some(*metric))).collect();
    checked(notes, |check| {
        let mut contender = |written: &Option<At<String>>| {
            let At { value, place } = written.as_ref()?;
            let found = labels.contains(&value.as_str());
            if !found {
                check.unknown(place, "controller", value, labels.iter().copied());
            }
            found.then(|| value.clone())
        };
        let (controller, than) = (contender(&text.controller), contender(&text.than));
        let metric = check.word(&text.metric, "metric", &known, None);
        let business = text.business.as_ref().map(|At { value, place }| {
            let found = businesses.iter().position(|business| business.name == *value);
            if found.is_none() {
                check.unknown(place, "business", value, businesses.iter().map(|business| business.name.as_str()));
            }
            found
        });
        Some(Expectation {
            controller: controller?,
            metric: metric?,
            business: business.flatten(),
            load: text.load.map(|at| at.value),
            than,
            at_least: text.at_least.map(|at| at.value),
            at_most: text.at_most.map(|at| at.value),
        })
    })
}
