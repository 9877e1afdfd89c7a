//! What was written becomes what is meant: references, ranges, rates in terms of the saturation, no circles of calls.

use std::{path::Path, time::Duration};

use super::{
    Business, Calls, Client, DEEPEST, Entry, SUBJECT, Scenario, Service, Source, Users,
    business::{self, BusinessText},
    controllers,
    expect::{self, ExpectText},
    profile::Profile,
    read::{Rate, RateChange, RatesText, checked},
    replay::{self, TrafficText},
    saturation,
    service::{CallsText, ServiceText},
};
use crate::{
    policy::{
        Faults, Sources,
        document::parse,
        fault::Place,
        quantity::format_duration,
        reader::{At, Notes, Table},
    },
    sim::controllers::Contender,
};

const DEFAULT_DURATION: Duration = Duration::from_secs(60);
const DEFAULT_SEEDS: u64 = 10;
/// A day; more is a slip of the keyboard.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Calls of a task, those that its calls make included.
const MOST_CALLS: f64 = 10_000.0;

/// Makes a scenario of its file; other files are looked for in `folder`.
pub(super) fn scenario(sources: &Sources, name: &str, folder: &Path) -> Result<Scenario, Faults> {
    let files = parse(sources).map_err(|faults| faults.of(SUBJECT))?;
    let notes = Notes::default();
    let root = files.first().map(|file| Table::root(&notes, 0, file.get_ref()));
    let scenario = root.and_then(|root| Written::read(root, &notes, name).meaning(folder, &notes));
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
    Written::read(Table::root(&notes, 0, files[0].get_ref()), &notes, "every table");
    notes.asked.into_inner().into_iter().collect()
}

/// A file's tables, as they were written.
struct Written {
    name: String,
    description: String,
    duration: Option<At<Duration>>,
    warmup: Option<At<Duration>>,
    seeds: Option<At<u64>>,
    sweep: Option<At<Vec<f64>>>,
    contenders: Vec<Contender>,
    services: Vec<ServiceText>,
    businesses: Vec<BusinessText>,
    traffic: TrafficText,
    users: Users,
    clients: Vec<Client>,
    entry: Entry,
    expectations: Vec<ExpectText>,
}

impl Written {
    fn read(mut root: Table<'_>, notes: &Notes, file_name: &str) -> Self {
        let traffic = TrafficText::read(root.table("traffic"), notes);
        let service = |table| ServiceText::read(table, notes);
        let business = |table| BusinessText::read(table, notes);
        let written = Self {
            name: root.text("name").map_or_else(|| file_name.to_owned(), |at| at.value),
            description: root.text("description").map_or_else(String::new, |at| at.value),
            duration: root.duration("duration"),
            warmup: root.duration("warmup"),
            seeds: root.whole("seeds"),
            sweep: root.numbers("sweep"),
            contenders: controllers::read(&mut root, notes),
            services: root.tables("service").into_iter().filter_map(service).collect(),
            businesses: root.tables("business").into_iter().filter_map(business).collect(),
            users: business::users(root.table("users"), traffic.trace.is_some(), notes),
            traffic,
            clients: business::clients(root.tables("client"), notes),
            entry: business::entry(root.table("entry"), notes),
            expectations: root.tables("expect").into_iter().map(ExpectText::read).collect(),
        };
        if written.services.is_empty() && notes.faults.borrow().is_empty() {
            notes.faults.borrow_mut().add(&Place::default(), "there is no service: write a `[[service]]`");
        }
        root.finish();
        written
    }

    /// What it means; nothing if it is too faulty to tell.
    fn meaning(self, folder: &Path, notes: &Notes) -> Option<Scenario> {
        let Self { traffic, mut users, .. } = self;
        let services = connect_services(self.services, notes)?;
        let businesses = Businesses { services: &services, notes }.connect(self.businesses, traffic.is_shared())?;
        let sweep = loads(&self.sweep, notes);
        let expectations = expect::resolve(self.expectations, &self.contenders, &businesses, &sweep, notes);
        let highest = sweep.iter().copied().fold(0.0, f64::max);
        let trace = traffic.trace.as_ref();
        let replay = trace.and_then(|trace| trace.open(folder, &businesses, highest, &mut users, notes));
        let default = replay.as_ref().map_or(DEFAULT_DURATION, |replay| replay::duration(replay));
        let (duration, warmup) = times(&self.duration, default, &self.warmup, notes);
        let per_task = saturation::of_mix(&services, &businesses);
        Some(Scenario {
            name: self.name,
            description: self.description,
            duration,
            warmup,
            seeds: checked(notes, |check| check.whole(&self.seeds, 1..=1000, DEFAULT_SEEDS)),
            contenders: self.contenders,
            sweep,
            swept: self.sweep.is_some(),
            services,
            businesses,
            traffic: profile(&traffic.rates, per_task, notes),
            arrivals: traffic.arrivals,
            replay,
            users,
            clients: self.clients,
            entry: self.entry,
            expectations,
        })
    }
}

/// The points of a sweep; one if there is none.
fn loads(written: &Option<At<Vec<f64>>>, notes: &Notes) -> Vec<f64> {
    let Some(At { value, place }) = written else { return vec![1.0] };
    if value.is_empty() || value.iter().any(|load| *load < 0.0) {
        notes.faults.borrow_mut().add(place, "a sweep is one factor or more, none below 0");
    }
    value.clone()
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
    if let Some((service, place)) = too_deep(&services) {
        let message = format!("below `{}` are circles, or more than {DEEPEST} services in a row", service.name);
        notes.faults.borrow_mut().add(place, message);
        return None;
    }
    Some(services.into_iter().map(|(service, _)| service).collect())
}

fn changed_instances(service: &Service) -> impl Iterator<Item = usize> {
    let changes = service.changes.iter().filter_map(|change| change.instance);
    changes.chain(service.pauses.iter().filter_map(|pause| pause.instance))
}

/// A service with more below it than may be.
fn too_deep(services: &[(Service, Place)]) -> Option<&(Service, Place)> {
    let mut depths = vec![1; services.len()];
    for _ in 0..DEEPEST {
        let below = |service: &Service| service.calls.iter().map(|calls| depths[calls.service]).max().unwrap_or(0);
        depths = services.iter().map(|(service, _)| 1 + below(service)).collect();
    }
    let deepest = depths.iter().position(|depth| *depth > DEEPEST)?;
    services.get(deepest)
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
            let made: f64 = saturation::calls(self.services, &business).iter().sum();
            if made > MOST_CALLS {
                let message =
                    format!("a task of `{}` makes {made} calls, and {MOST_CALLS} are the most", business.name);
                self.notes.faults.borrow_mut().add(&text.name.place, message);
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
