//! What instances can do over time: how fast a worker works, and how much work they all do together.

use std::time::Duration;

use super::{Change, Service, profile::Profile};

/// The speed of a worker of this instance over time, pauses at zero.
pub fn speed(service: &Service, number: usize) -> Profile {
    let concerns = |instance: Option<usize>| instance.is_none_or(|instance| instance == number);
    let changes: Vec<_> = service.changes.iter().filter(|change| concerns(change.instance)).collect();
    let pauses: Vec<_> = service.pauses.iter().filter(|pause| concerns(pause.instance)).collect();
    let mut moments: Vec<_> = changes.iter().map(|change| change.at).collect();
    moments.extend(pauses.iter().flat_map(|pause| [pause.at, pause.at + pause.length]));
    moments.sort();
    let at = |moment| {
        let stands = pauses.iter().any(|pause| pause.at <= moment && moment < pause.at + pause.length);
        let before = changes.iter().take_while(|change: &&&Change| change.at <= moment);
        let speed = before.filter_map(|change| change.speed).last().unwrap_or(1.0);
        if stands { 0.0 } else { speed }
    };
    let mut profile = Profile::constant(at(Duration::ZERO));
    for moment in moments {
        profile.change(moment, at(moment), Duration::ZERO);
    }
    profile
}

/// Workers times speed of all instances of a service over time.
pub fn capacity(service: &Service) -> Vec<Profile> {
    let each = |number| {
        let speed = speed(service, number);
        let mine = |change: &&Change| change.instance.is_none_or(|instance| instance == number);
        let mut moments: Vec<_> = service.changes.iter().filter(mine).map(|change| change.at).collect();
        moments.extend(speed.changes().map(Duration::from_secs_f64));
        moments.sort();
        let workers_at = |moment| {
            let before = service.changes.iter().filter(mine).take_while(|change| change.at <= moment);
            before.filter_map(|change| change.workers).last().unwrap_or(service.workers)
        };
        let value = |moment: Duration| workers_at(moment) as f64 * speed.value(moment.as_secs_f64());
        let mut capacity = Profile::constant(value(Duration::ZERO));
        for moment in moments {
            capacity.change(moment, value(moment), Duration::ZERO);
        }
        capacity
    };
    (0..service.instances).map(each).collect()
}
