//! What was written becomes what is meant: references, ranges, rates in terms of the saturation, no circles of calls.

use std::{path::Path, time::Duration};

use super::{
    Business, Calls, SUBJECT, Scenario, Service, Source,
    business::{self, BusinessText},
    controllers, expect,
    profile::Profile,
    read::{Rate, RateChange, RatesText, checked},
    replay::{self, TrafficText},
    saturation,
    service::{CallsText, ServiceText},
};
use crate::policy::{
    Faults, Sources,
    document::parse,
    fault::Place,
    quantity::format_duration,
    reader::{At, Notes, Table},
};

const DEFAULT_DURATION: Duration = Duration::from_secs(60);
const DEFAULT_SEEDS: u64 = 10;
/// A day; more is a slip of the keyboard.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Levels of services below each other.
const DEEPEST: usize = 8;

/// Makes a scenario of its file; other files are looked for in `folder`.
pub(super) fn scenario(sources: &Sources, name: &str, folder: &Path) -> Result<Scenario, Faults> {
    let files = parse(sources).map_err(|faults| faults.of(SUBJECT))?;
    let notes = Notes::default();
    let scenario = files.first().and_then(|file| read(Table::root(&notes, 0, file.get_ref()), &notes, name, folder));
    notes.faults.into_inner().into_result(sources).map_err(|faults| faults.of(SUBJECT))?;
    Ok(scenario.expect("where something is missing there is a fault"))
}

/// Every table that a scenario may hold.
const EVERY_TABLE: &str = r#"
controllers = [{ kind = "none" }]
[traffic]
change = [{}]
[entry]
[users]
tier = [{}]
[[client]]
[[service]]
change = [{}]
pause = [{}]
call = [{}]
[[business]]
change = [{}]
call = [{}]
[[expect]]
"#;

/// Every key that a scenario may hold, such as `service.pause.at`: what the reader asks for in every table. Of
/// controllers only what all of them have.
pub fn known_keys() -> Vec<String> {
    let sources = Sources::from_text("every table", EVERY_TABLE);
    let files = parse(&sources).expect("a test reads it");
    let notes = Notes::default();
    read(Table::root(&notes, 0, files[0].get_ref()), &notes, "every table", Path::new(""));
    notes.asked.into_inner().into_iter().collect()
}

fn read(mut root: Table<'_>, notes: &Notes, file_name: &str, folder: &Path) -> Option<Scenario> {
    let name = root.text("name").map_or_else(|| file_name.to_owned(), |at| at.value);
    let description = root.text("description").map_or_else(String::new, |at| at.value);
    let (duration, warmup, seeds) = (root.duration("duration"), root.duration("warmup"), root.whole("seeds"));
    let sweep = root.numbers("sweep");
    let contenders = controllers::read(&mut root, notes);
    let services: Vec<_> = root.tables("service").into_iter().map(|table| ServiceText::read(table, notes)).collect();
    let businesses: Vec<_> =
        root.tables("business").into_iter().map(|table| BusinessText::read(table, notes)).collect();
    let traffic = TrafficText::read(root.table("traffic"), notes);
    let mut users = business::users(root.table("users"), traffic.trace.is_some(), notes);
    let clients = business::clients(root.tables("client"), notes);
    let entry = business::entry(root.table("entry"), notes);
    let expectations: Vec<_> = root.tables("expect").into_iter().map(expect::ExpectText::read).collect();
    root.require(&["service"]);
    root.finish();

    let services: Vec<_> = services.into_iter().collect::<Option<_>>()?;
    let businesses: Vec<_> = businesses.into_iter().collect::<Option<_>>()?;
    let services = connect_services(services, notes)?;
    let businesses = Businesses { services: &services, notes }.connect(businesses, traffic.is_shared())?;
    let sweep_values = sweep.as_ref().map_or_else(|| vec![1.0], |at| at.value.clone());
    if let Some(At { place, .. }) = sweep.as_ref().filter(|at| at.value.is_empty() || at.value.iter().any(|v| *v < 0.0))
    {
        notes.faults.borrow_mut().add(place, "a sweep is one factor or more, none below 0");
    }
    let expectations = expect::resolve(expectations, &contenders, &businesses, notes);
    let highest = sweep_values.iter().copied().fold(0.0, f64::max);
    let trace = traffic.trace.as_ref();
    let replay = trace.and_then(|trace| trace.open(folder, &businesses, highest, &mut users, notes));
    let default = replay.as_ref().map_or(DEFAULT_DURATION, |replay| replay::duration(replay));
    let (duration, warmup) = times(&duration, default, &warmup, notes);
    let per_task = saturation::of_mix(&services, &businesses);
    Some(Scenario {
        name,
        description,
        duration,
        warmup,
        seeds: checked(notes, |check| check.whole(&seeds, 1..=1000, DEFAULT_SEEDS)),
        contenders,
        sweep: sweep_values,
        swept: sweep.is_some(),
        services,
        businesses,
        traffic: profile(&traffic.rates, per_task, notes),
        arrivals: traffic.arrivals,
        replay,
        users,
        clients,
        entry,
        expectations,
    })
}

fn times(
    duration: &Option<At<Duration>>,
    default: Duration,
    warmup: &Option<At<Duration>>,
    notes: &Notes,
) -> (Duration, Duration) {
    checked(notes, |check| {
        let total = check.duration(duration, Duration::from_millis(100)..=LONGEST, default);
        let before = check.duration(warmup, Duration::ZERO..=LONGEST, Duration::ZERO);
        check.contradiction(before < total, &[warmup.as_ref().map(|at| &at.place)], || {
            let (before, total) = (format_duration(before), format_duration(total));
            format!("the warm-up ({before}) must be shorter than the duration ({total})")
        });
        (total, before)
    })
}

/// The rate over time; its multiples are of `saturation` tasks per second.
fn profile(text: &RatesText, saturation: f64, notes: &Notes) -> Profile {
    let rate = text.rate.as_ref().map_or(Rate::Absolute(0.0), |at| at.value);
    let mut profile = Profile::constant(rate.per_second(saturation));
    let mut latest = Duration::ZERO;
    for RateChange { at, rate, over, lasts } in &text.changes {
        if at.value < latest {
            notes.faults.borrow_mut().add(&at.place, "this change comes before the end of the one above it");
            continue;
        }
        let before = profile.value(at.value.as_secs_f64());
        profile.change(at.value, rate.value.per_second(saturation), *over);
        latest = at.value + *over;
        if let Some(lasts) = lasts {
            latest += *lasts;
            profile.change(latest, before, Duration::ZERO);
        }
    }
    profile
}

fn connect_services(texts: Vec<ServiceText>, notes: &Notes) -> Option<Vec<Service>> {
    let names: Vec<_> = texts.iter().map(|text| text.service.name.clone()).collect();
    checked(notes, |check| {
        let written: Vec<_> = texts.iter().map(|text| Some(text.name.clone())).collect();
        for (index, text) in texts.iter().enumerate() {
            check.name("service", &text.name, written[..index].iter());
        }
    });
    let mut services = Vec::new();
    for text in texts {
        let calls = text.calls.iter().map(|calls| target(calls, &names, &text.name.place, notes)).collect::<Vec<_>>();
        let mut service = text.service;
        service.calls = calls.into_iter().flatten().collect();
        service.changes.sort_by_key(|change| change.at);
        for instance in changed_instances(&service).filter(|instance| *instance >= service.instances) {
            let message = format!("`{}` has no instance {instance}; the first one is 0", service.name);
            notes.faults.borrow_mut().add(&text.name.place, message);
        }
        services.push((service, text.name.place));
    }
    for (index, (service, place)) in services.iter().enumerate() {
        if depth(&services, index, 1) > DEEPEST {
            let message = format!("below `{}` are circles, or more than {DEEPEST} services in a row", service.name);
            notes.faults.borrow_mut().add(place, message);
            return None;
        }
    }
    Some(services.into_iter().map(|(service, _)| service).collect())
}

fn changed_instances(service: &Service) -> impl Iterator<Item = usize> {
    let changes = service.changes.iter().filter_map(|change| change.instance);
    changes.chain(service.pauses.iter().filter_map(|pause| pause.instance))
}

/// How many services stand below each other from here on; no deeper than is needed to find a circle.
fn depth(services: &[(Service, Place)], index: usize, above: usize) -> usize {
    if above > DEEPEST {
        return above;
    }
    let below = services[index].0.calls.iter().map(|calls| depth(services, calls.service, above + 1));
    below.max().unwrap_or(above)
}

fn target(text: &CallsText, names: &[String], owner: &Place, notes: &Notes) -> Option<Calls> {
    let Some(At { value, place }) = &text.service else {
        if names.len() == 1 {
            return Some(text.calls);
        }
        let message = "a call without its service";
        notes.faults.borrow_mut().suggest(owner, message, Some(format!("known: {}", names.join(", "))));
        return None;
    };
    let found = names.iter().position(|name| name == value);
    if found.is_none() {
        checked(notes, |check| check.unknown(place, "service", value, names.iter().map(String::as_str)));
    }
    Some(Calls { service: found?, ..text.calls })
}

struct Businesses<'a> {
    services: &'a [Service],
    notes: &'a Notes,
}

impl Businesses<'_> {
    /// One business for everything if none is written.
    fn connect(&self, texts: Vec<BusinessText>, shared: bool) -> Option<Vec<Business>> {
        if self.services.is_empty() {
            return None;
        }
        let names: Vec<_> = self.services.iter().map(|service| service.name.clone()).collect();
        let written: Vec<_> = texts.iter().map(|text| Some(text.name.clone())).collect();
        let mut businesses = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            checked(self.notes, |check| check.name("business", &text.name, written[..index].iter()));
            let calls = text.calls.iter().filter_map(|calls| target(calls, &names, &text.name.place, self.notes));
            let mut business = Business {
                name: text.name.value.clone(),
                priority: text.priority,
                source: Source::Share(text.share.as_ref().map_or(1.0, |at| at.value)),
                cost: text.cost,
                timeout: text.timeout,
                calls: calls.collect(),
            };
            if business.calls.is_empty() {
                business.calls.push(ONE_CALL);
            }
            if text.rates.rate.is_some() {
                let alone = saturation::of_business(self.services, &business);
                business.source = Source::Own(profile(&text.rates, alone, self.notes));
            } else if !shared {
                let message = format!("`{}` has no rate, and there is none in `[traffic]`", business.name);
                self.notes.faults.borrow_mut().add(&text.name.place, message);
            }
            businesses.push(business);
        }
        if businesses.is_empty() {
            businesses.push(Business { calls: vec![ONE_CALL], ..default_business() });
        }
        Some(businesses)
    }
}

const ONE_CALL: Calls = Calls { service: 0, times: 1, parallel: false, resends: 0 };

fn default_business() -> Business {
    Business {
        name: "request".to_owned(),
        priority: 0,
        source: Source::Share(1.0),
        cost: 1.0,
        timeout: Duration::from_millis(500),
        calls: Vec::new(),
    }
}
