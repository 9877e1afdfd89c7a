//! What could have been served: the capacity over time against what was offered, span by span.
//!
//! A span is a time in which neither rates nor capacity change (a ramp is cut each second). The ideal may move work about
//! within a span, not from one to another. Without priorities it serves the same share of every business; with them it
//! serves the most important one first.

use crate::sim::scenario::{Scenario, Source, capacity::capacity, profile::Profile, saturation};

/// Seconds of a ramp that count as one span.
const RAMP_STEP: f64 = 1.0;

/// Demand and capacity of a scenario at a load.
#[derive(Debug)]
pub(super) struct Optimum {
    /// Of each service: busy workers × seconds per second.
    capacity: Vec<Vec<Profile>>,
    /// Of each business: busy seconds per task at each service.
    demand: Vec<Vec<f64>>,
    /// Businesses of one priority together, the most important first.
    ranks: Vec<Vec<usize>>,
    /// Seconds at which a rate or the capacity changes.
    pub(super) changes: Vec<f64>,
    /// Where one span ends and the next begins, from 0 to the end.
    pub(super) bounds: Vec<f64>,
}

/// The ideal's share of what was offered.
#[derive(Debug)]
pub(super) struct Served {
    /// The same for all, without priorities.
    pub(super) share: f64,
    /// Of each business, the more important first.
    pub(super) by_priority: Vec<f64>,
}

impl Optimum {
    pub(super) fn new(scenario: &Scenario, load: f64) -> Self {
        let capacity: Vec<_> = scenario.services.iter().map(capacity).collect();
        let demand = scenario.businesses.iter().map(|business| saturation::demand(&scenario.services, business));
        let end = scenario.duration.as_secs_f64();
        let mut profiles = vec![scenario.traffic.times(load)];
        profiles.extend(scenario.businesses.iter().filter_map(|business| match &business.source {
            Source::Own(profile) => Some(profile.clone()),
            Source::Share(_) => None,
        }));
        // Nobody knows how fast a trace changes.
        let slopes = |at: f64| scenario.replay.is_some() || profiles.iter().any(|profile| profile.slopes(at));
        let capacity_changes = capacity.iter().flatten().flat_map(|profile| profile.changes());
        let mut changes: Vec<_> =
            profiles.iter().flat_map(|profile| profile.changes()).chain(capacity_changes).collect();
        changes.retain(|at| *at < end);
        changes.sort_by(f64::total_cmp);
        changes.dedup();
        let mut bounds = vec![0.0];
        for next in changes.iter().copied().filter(|at| *at > 0.0).chain([end]) {
            let mut at = bounds.last().copied().unwrap_or(0.0);
            while slopes(at) && at + RAMP_STEP < next {
                at += RAMP_STEP;
                bounds.push(at);
            }
            bounds.push(next);
        }
        Self { demand: demand.collect(), ranks: ranks(scenario), capacity, changes, bounds }
    }

    /// Busy seconds that a task of this business needs altogether.
    pub(super) fn work(&self, business: usize) -> f64 {
        self.demand[business].iter().sum()
    }

    /// Busy seconds that all services had between two seconds.
    pub(super) fn available(&self, from: f64, to: f64) -> f64 {
        (0..self.capacity.len()).map(|service| self.capacity_of(service, from, to)).sum()
    }

    fn capacity_of(&self, service: usize, from: f64, to: f64) -> f64 {
        self.capacity[service].iter().map(|profile| profile.total(to) - profile.total(from)).sum()
    }

    /// What the ideal serves without priorities of this many tasks of each business that arrive between two seconds.
    pub(super) fn share(&self, offered: &[f64], from: f64, to: f64) -> f64 {
        let share = |service: usize| {
            let wanted: f64 = offered.iter().zip(&self.demand).map(|(count, demand)| count * demand[service]).sum();
            if wanted > 0.0 { self.capacity_of(service, from, to) / wanted } else { 1.0 }
        };
        (0..self.capacity.len()).map(share).fold(1.0, f64::min)
    }

    /// The same, with and without priorities.
    pub(super) fn served(&self, offered: &[f64], from: f64, to: f64) -> Served {
        let mut left: Vec<_> = (0..self.capacity.len()).map(|service| self.capacity_of(service, from, to)).collect();
        let mut by_priority = vec![1.0; offered.len()];
        for rank in &self.ranks {
            let wanted = |service: usize| -> f64 {
                rank.iter().map(|business| offered[*business] * self.demand[*business][service]).sum()
            };
            let wanted: Vec<_> = (0..left.len()).map(wanted).collect();
            let fits = left.iter().zip(&wanted).filter(|(_, wanted)| **wanted > 0.0);
            let share = fits.map(|(left, wanted)| left / wanted).fold(1.0, f64::min);
            left.iter_mut().zip(&wanted).for_each(|(left, wanted)| *left = (*left - share * wanted).max(0.0));
            rank.iter().for_each(|business| by_priority[*business] = share);
        }
        Served { share: self.share(offered, from, to), by_priority }
    }
}

fn ranks(scenario: &Scenario) -> Vec<Vec<usize>> {
    let mut order: Vec<_> = (0..scenario.businesses.len()).collect();
    let priority = |index: usize| scenario.businesses[index].priority;
    order.sort_by_key(|index| priority(*index));
    order.chunk_by(|a, b| priority(*a) == priority(*b)).map(<[usize]>::to_vec).collect()
}
