//! How many tasks a scenario could just serve: what is offered per second, in multiples of which rates are written.

use super::{Business, Calls, Service, Source};

/// Seconds that a task of this business keeps a worker of each service busy, at speed 1.
pub fn demand(services: &[Service], business: &Business) -> Vec<f64> {
    let mut seconds = vec![0.0; services.len()];
    add(services, &business.calls, business.cost, &mut seconds);
    seconds
}

fn add(services: &[Service], calls: &[Calls], factor: f64, seconds: &mut [f64]) {
    for calls in calls {
        let times = factor * f64::from(calls.times);
        let service = &services[calls.service];
        seconds[calls.service] += times * service.time.as_secs_f64();
        add(services, &service.calls, times, seconds);
    }
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
