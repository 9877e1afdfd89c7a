//! How many tasks a scenario could just serve: what is offered per second, in multiples of which rates are written.

use super::{Business, Calls, DEEPEST, Service, Source};

/// How many calls a task of this business makes to each service, those that its calls make included.
pub fn calls(services: &[Service], business: &Business) -> Vec<f64> {
    let mut total = vec![0.0; services.len()];
    // Service by service instead of path by path, of which there may be very many.
    let mut made = made_by(services, [(business.calls.as_slice(), 1.0)]);
    for _ in 0..DEEPEST {
        total.iter_mut().zip(&made).for_each(|(total, made)| *total += made);
        made = made_by(services, services.iter().map(|service| service.calls.as_slice()).zip(made));
    }
    total
}

/// How many calls each service gets of those who make these groups of calls so many times.
fn made_by<'c>(services: &[Service], groups: impl IntoIterator<Item = (&'c [Calls], f64)>) -> Vec<f64> {
    let mut made = vec![0.0; services.len()];
    for (calls, times) in groups {
        calls.iter().for_each(|group| made[group.service] += times * f64::from(group.times));
    }
    made
}

/// Seconds that a task of this business keeps a worker of each service busy, at speed 1.
pub fn demand(services: &[Service], business: &Business) -> Vec<f64> {
    let calls = calls(services, business).into_iter().zip(services);
    calls.map(|(calls, service)| calls * business.cost * service.time.as_secs_f64()).collect()
}

/// How many tasks of this business alone can be served per second.
pub fn of_business(services: &[Service], business: &Business) -> f64 {
    most(services, &demand(services, business))
}

/// How many tasks of the shared traffic can be served per second, if nothing else comes.
pub fn of_mix(services: &[Service], businesses: &[Business]) -> f64 {
    let share = |business: &Business| match business.source {
        Source::Share(share) => share,
        Source::Own(_) => 0.0,
    };
    let shares: f64 = businesses.iter().map(share).sum();
    let mut mean = vec![0.0; services.len()];
    for business in businesses.iter().filter(|business| share(business) > 0.0) {
        let seconds = demand(services, business);
        mean.iter_mut().zip(seconds).for_each(|(mean, seconds)| *mean += seconds * share(business) / shares);
    }
    most(services, &mean)
}

/// Tasks per second at which the first service has no idle worker left; 0 if tasks need nothing.
fn most(services: &[Service], seconds_per_task: &[f64]) -> f64 {
    let each = services.iter().zip(seconds_per_task).filter(|(_, seconds)| **seconds > 0.0);
    let least = each.map(|(service, seconds)| (service.instances * service.workers) as f64 / seconds);
    least.fold(f64::INFINITY, f64::min).min(f64::MAX)
}
