//! Names, codes and what refers to what: tiers, services, businesses.

use std::time::Duration;

use super::{
    checker::{Checker, place},
    limits::{MARKS, TIMEOUTS},
};
use crate::{
    admission::{
        GateSettings, MinimumShare,
        level::{BUSINESS_PRIORITIES, USER_LEVELS},
    },
    id::BusinessCode,
    policy::{
        defaults,
        document::{BusinessText, MarksText, ServiceText, TierText},
        fault::Place,
        quantity::format_duration,
        reader::At,
        table::{Balance, Business, Codes, Connections, Marks, Ordering, Service, ServiceIndex, Tier},
    },
};

pub(super) const LOGIN: &str = "login";
/// The names where nothing is written.
const DEFAULT_TIER: &str = "default";
const DEFAULT_SERVICE: &str = "main";
const DEFAULT_BUSINESS: Business = Business {
    code: BusinessCode(2),
    name: String::new(),
    priority: 32,
    service: None,
    tiers: Vec::new(),
    timeout: defaults::TIMEOUT,
    min_share: 0.0,
    ordering: Ordering::None,
};

/// The minimum shares of a service's businesses together. More, and importance would decide on less than half of the
/// capacity.
const MOST_SHARED: f64 = 0.5;

/// A tier holds at least one level.
const MAX_TIERS: usize = USER_LEVELS as usize;
/// Each service has a gate, which counts 8192 levels per worker.
const MAX_SERVICES: usize = 64;
/// Every client is sent the table of them at login.
const MAX_BUSINESSES: usize = 512;

const LAST_USER_LEVEL: u64 = USER_LEVELS as u64 - 1;
const LAST_PRIORITY: u64 = BUSINESS_PRIORITIES as u64 - 1;

impl Checker<'_> {
    /// The tiers; one for everybody if none is written.
    pub(super) fn tiers(&mut self, texts: &[TierText]) -> Vec<Tier> {
        let texts = self.at_most(texts, MAX_TIERS, "tiers", |text| &text.place);
        let mut tiers: Vec<Tier> = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let levels = self.levels(text.levels.as_ref(), &tiers);
            let Some(name) = &text.name else { continue };
            self.name("tier", name, texts[..index].iter().map(|other| &other.name));
            // A tier without sound levels still exists for what refers to it; no policy is made of it.
            tiers.push(Tier { name: name.value.clone(), levels: levels.unwrap_or((1, 0)) });
        }
        if texts.is_empty() {
            tiers.push(Tier { name: DEFAULT_TIER.to_owned(), levels: (0, LAST_USER_LEVEL as u8) });
        }
        tiers
    }

    fn levels(&mut self, written: Option<&At<(u64, u64)>>, before: &[Tier]) -> Option<(u8, u8)> {
        let At { value, place } = written?;
        let (first, last) = self.level_range(*value, place)?;
        if let Some(other) = before.iter().find(|tier| overlap(tier.levels, (first, last))) {
            let (from, to) = other.levels;
            self.faults.add(place, format!("levels overlap with tier `{}` ({from} to {to})", other.name));
            return None;
        }
        Some((first, last))
    }

    /// Two numbers as a range of user levels.
    fn level_range(&mut self, (first, last): (u64, u64), place: &Place) -> Option<(u8, u8)> {
        if first > last || last > LAST_USER_LEVEL {
            let message = format!("levels are two numbers from 0 to {LAST_USER_LEVEL}, the lower one first");
            self.faults.add(place, message);
            return None;
        }
        Some((first as u8, last as u8))
    }

    fn marks(&mut self, text: &MarksText, tiers: &[Tier]) -> Marks {
        let default = Marks::default();
        let levels = text.levels.as_ref().and_then(|At { value, place }| self.level_range((*value)?, place));
        let tiers = text.tiers.iter().flatten().filter_map(|tier| self.tier(tier, tiers)).collect();
        Marks { levels, tiers, longest: self.duration(&text.longest, MARKS, default.longest) }
    }

    /// The services; one with every default if none is written.
    pub(super) fn services(&mut self, texts: &[ServiceText], tiers: &[Tier]) -> Vec<Service> {
        let texts = self.at_most(texts, MAX_SERVICES, "services", |text| &text.place);
        let mut services = Vec::new();
        let balances = [("user-hash", Balance::UserHash), ("least-loaded", Balance::LeastLoaded)];
        for (index, text) in texts.iter().enumerate() {
            let balance = self.word(&text.balance, "balance", &balances, Balance::UserHash);
            let (gate, queue) = (self.gate(&text.gate), self.queue(text));
            let marks = self.marks(&text.marks, tiers);
            let presence = text.presence.as_ref().is_some_and(|written| written.value);
            let Some(name) = &text.name else { continue };
            self.name("service", name, texts[..index].iter().map(|other| &other.name));
            services.push(Service { name: name.value.clone(), gate, queue, balance, marks, presence });
        }
        if texts.is_empty() {
            let (name, gate) = (DEFAULT_SERVICE.to_owned(), GateSettings::default());
            let (queue, marks) = Default::default();
            services.push(Service { name, gate, queue, balance: Balance::UserHash, marks, presence: false });
        }
        services
    }

    /// The businesses by code, `login` first; beside it one for everything if none is written.
    pub(super) fn businesses(&mut self, texts: &[BusinessText], scope: &Scope<'_>) -> Vec<Business> {
        let texts = self.at_most(texts, MAX_BUSINESSES, "businesses", |text| &text.place);
        let mut businesses: Vec<Business> = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let business = self.business(text, &texts[..index], scope);
            businesses.extend(business);
        }
        if !texts.iter().any(|text| text.name.as_ref().is_some_and(|name| name.value == LOGIN)) {
            businesses.push(login(defaults::LOGIN_PRIORITY, scope.connections.handshake_timeout));
        }
        if texts.is_empty() {
            let service = self.service(None, &Place::default(), scope);
            businesses.push(Business { name: "request".to_owned(), service, ..DEFAULT_BUSINESS });
        }
        businesses.sort_by_key(|business| business.code);
        businesses
    }

    /// Tells each service's gate what its businesses get in any case.
    pub(super) fn share(&mut self, texts: &[BusinessText], businesses: &[Business], services: &mut [Service]) {
        for (index, service) in services.iter_mut().enumerate() {
            let answered = businesses.iter().filter(|business| business.service == Some(ServiceIndex(index)));
            let shared = answered.filter(|business| business.min_share > 0.0);
            service.gate.shares = shared
                .map(|business| MinimumShare { priority: business.priority, share: business.min_share })
                .collect();
            let total: f64 = service.gate.shares.iter().map(|share| share.share).sum();
            let written = texts.iter().filter_map(|text| place(&text.min_share)).map(Some).collect::<Vec<_>>();
            self.contradiction(total <= MOST_SHARED, &written, || {
                format!(
                    "the min_share of all businesses of `{}` add up to {total}, more than {MOST_SHARED}",
                    service.name
                )
            });
        }
    }

    fn business(&mut self, text: &BusinessText, before: &[BusinessText], scope: &Scope<'_>) -> Option<Business> {
        let is_login = text.name.as_ref().is_some_and(|name| name.value == LOGIN);
        let default_priority = if is_login { defaults::LOGIN_PRIORITY } else { defaults::PRIORITY };
        let priority = self.whole(&text.priority, 0..=LAST_PRIORITY, default_priority.into()) as u8;
        let code = self.code(text, before, scope.codes);
        if let Some(name) = &text.name {
            self.name("business", name, before.iter().map(|other| &other.name));
        }
        if is_login {
            self.login_takes_no_more(text);
            return Some(login(priority, scope.connections.handshake_timeout));
        }
        let timeout = self.timeout(text.timeout.as_ref(), scope.connections);
        let tiers = text.tiers.iter().flatten().filter_map(|tier| self.tier(tier, scope.tiers)).collect();
        let service = self.service(text.service.as_ref(), &text.place, scope);
        let min_share = self.ranged(&text.min_share, 0.0..=MOST_SHARED, 0.0, f64::to_string);
        let orderings = [("none", Ordering::None), ("outbox", Ordering::Outbox)];
        let ordering = self.word(&text.ordering, "ordering", &orderings, Ordering::None);
        let name = text.name.as_ref()?.value.clone();
        Some(Business { code: code?, name, priority, service, tiers, timeout, min_share, ordering })
    }

    fn code(&mut self, text: &BusinessText, before: &[BusinessText], codes: &Codes) -> Option<BusinessCode> {
        let At { value, place } = text.code.as_ref()?;
        let name = text.name.as_ref().map(|name| name.value.as_str());
        let Ok(code) = u16::try_from(*value) else {
            self.faults.add(place, format!("a code is at most {}", u16::MAX));
            return None;
        };
        let code = BusinessCode(code);
        let taken = before.iter().any(|other| other.code.as_ref().is_some_and(|other| other.value == *value));
        match (code, name) {
            (BusinessCode(0), _) => self.faults.add(place, "code 0 means \"no business\""),
            (BusinessCode::LOGIN, Some(name)) if name != LOGIN => {
                self.faults.add(place, "code 1 belongs to `login`");
            }
            (code, Some(LOGIN)) if code != BusinessCode::LOGIN => {
                self.faults.suggest(place, "`login` has code 1", Some("write `code = 1`".to_owned()));
            }
            _ if taken => self.faults.add(place, format!("code {code} is taken by a business before")),
            _ => self.permanent(code, name, place, codes),
        }
        Some(code)
    }

    /// A code that once had a name keeps it: clients and logs of the past still mean the old one.
    fn permanent(&mut self, code: BusinessCode, name: Option<&str>, place: &Place, codes: &Codes) {
        let Some(owner) = codes.get(&code).filter(|owner| name.is_some_and(|name| name != owner.as_str())) else {
            return;
        };
        let message = format!("code {code} belongs to `{owner}`; codes are permanent");
        let free = codes.keys().last().and_then(|last| last.0.checked_add(1));
        self.faults.suggest(place, message, free.map(|free| format!("take one that was never used, such as {free}")));
    }

    fn login_takes_no_more(&mut self, text: &BusinessText) {
        let tiers = text.tiers.as_ref().map(|_| &text.place);
        let written =
            [place(&text.service), place(&text.timeout), place(&text.min_share), place(&text.ordering), tiers];
        for place in written.into_iter().flatten() {
            let message = "the gateway itself answers `login`, within connections.handshake_timeout, for every tier";
            self.faults.add(place, message);
        }
    }

    fn timeout(&mut self, written: Option<&At<Duration>>, connections: &Connections) -> Duration {
        let timeout = self.duration(&written.cloned(), TIMEOUTS, defaults::TIMEOUT);
        self.contradiction(timeout <= connections.keep_for, &[written.map(|at| &at.place)], || {
            let keep_for = format_duration(connections.keep_for);
            format!("a try must not take longer than a message is kept (connections.keep_for, {keep_for})")
        });
        timeout
    }

    pub(super) fn tier(&mut self, written: &At<String>, tiers: &[Tier]) -> Option<usize> {
        let found = tiers.iter().position(|tier| tier.name == written.value);
        if found.is_none() {
            self.unknown(&written.place, "tier", &written.value, tiers.iter().map(|tier| tier.name.as_str()));
        }
        found
    }

    fn service(&mut self, written: Option<&At<String>>, business: &Place, scope: &Scope<'_>) -> Option<ServiceIndex> {
        let names = scope.services.iter().map(|service| service.name.as_str());
        match written {
            Some(At { value, place }) => {
                let found = names.clone().position(|name| name == value);
                if found.is_none() {
                    self.unknown(place, "service", value, names);
                }
                found.map(ServiceIndex)
            }
            None if scope.services.len() == 1 => Some(ServiceIndex(0)),
            None => {
                let all = names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                let suggestion = Some(format!("write `service = …`, one of {all}"));
                self.faults.suggest(business, "there are several services: which one answers this?", suggestion);
                None
            }
        }
    }
}

/// What businesses refer to.
pub(super) struct Scope<'s> {
    pub(super) tiers: &'s [Tier],
    pub(super) services: &'s [Service],
    pub(super) connections: &'s Connections,
    pub(super) codes: &'s Codes,
}

fn login(priority: u8, timeout: Duration) -> Business {
    Business {
        code: BusinessCode::LOGIN,
        name: LOGIN.to_owned(),
        priority,
        service: None,
        tiers: Vec::new(),
        timeout,
        min_share: 0.0,
        ordering: Ordering::None,
    }
}

/// Whether two ranges share a level; an empty one shares none.
fn overlap(a: (u8, u8), b: (u8, u8)) -> bool {
    a.0 <= a.1 && a.0 <= b.1 && b.0 <= a.1
}
