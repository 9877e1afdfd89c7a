//! The policy as it is used per request: validated, dense, looked up by index. Made by `validate`, swapped whole.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use crate::{admission::GateSettings, id::BusinessCode};

/// A validated policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Changes whenever the text of the policy's files changes.
    pub revision: Revision,
    /// All businesses, ordered by code; `login` (code 1) is always the first.
    pub businesses: Vec<Business>,
    /// All logic services, in the order of the file.
    pub services: Vec<Service>,
    /// All user tiers; the first is the default.
    pub tiers: Vec<Tier>,
    /// What a client and a gateway may expect of a connection.
    pub connections: Connections,
    /// What clients carry from login to login.
    pub tickets: Tickets,
    /// The gateway's own gate, which also decides on logins.
    pub gateway_gate: GateSettings,
    /// Cases that state what must be admitted or refused.
    pub tests: Vec<Case>,
}

/// Which business a code belongs to, for ever.
pub type Codes = BTreeMap<BusinessCode, String>;

/// A hash of a policy's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Index of a service in [`Policy::services`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceIndex(pub usize);

/// A named kind of request.
#[derive(Clone, Debug, PartialEq)]
pub struct Business {
    /// Permanent; goes into the frame header.
    pub code: BusinessCode,
    /// What people and logic services call it.
    pub name: String,
    /// 0–63, lower is more important.
    pub priority: u8,
    /// Who answers it; `None` for `login`, which the gateway answers itself.
    pub service: Option<ServiceIndex>,
    /// The tiers that may claim it; empty for all. Indices into [`Policy::tiers`].
    pub tiers: Vec<usize>,
    /// The try timeout if a request names none.
    pub timeout: Duration,
    /// The share of its service's capacity that it gets however strict the cut, 0 to 0.5.
    pub min_share: f64,
    /// Whether its messages wait for each other.
    pub ordering: Ordering,
}

/// Whether the messages of a business wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordering {
    /// They run as they come.
    None,
    /// Each runs only after the one before it of the same outbox is replied to on the same connection.
    Outbox,
}

/// A logic service.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// The name that businesses refer to.
    pub name: String,
    /// The gate in front of it.
    pub gate: GateSettings,
    /// The queue behind the gate.
    pub queue: Queue,
    /// How an instance is chosen.
    pub balance: Balance,
    /// How far it may move clients.
    pub marks: Marks,
    /// Whether it is told who comes and who goes.
    pub presence: bool,
}

/// How far a service may move clients by marking them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    /// First and last of the user levels, 0–127, that a mark may name; `None` if the service may not mark at all.
    pub levels: Option<(u8, u8)>,
    /// The tiers whose users may be marked; empty for all. Indices into [`Policy::tiers`].
    pub tiers: Vec<usize>,
    /// How long a mark may hold.
    pub longest: Duration,
}

/// How the instance of a service is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Rendezvous hash of the user: one user's requests meet the same instance.
    UserHash,
    /// The instance with the fewest requests in flight.
    LeastLoaded,
}

/// A service's queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    /// How many requests may wait, over all workers of the gateway.
    pub capacity: usize,
    /// How many requests may be unanswered where the service sends no grants, over all workers of the gateway; `None` to
    /// find it out.
    pub max_in_flight: Option<usize>,
}

/// A class of users with a range of user levels.
#[derive(Clone, Debug, PartialEq)]
pub struct Tier {
    /// What tickets and `match` call it.
    pub name: String,
    /// First and last user level, 0–127, both included.
    pub levels: (u8, u8),
}

/// Limits on connections.
#[derive(Clone, Debug, PartialEq)]
pub struct Connections {
    /// How many connections this gateway holds.
    pub max: usize,
    /// How many connections one source address may hold; `None` for no limit.
    pub max_per_ip: Option<usize>,
    /// Logins per second.
    pub login_rate: f64,
    /// How many logins may come at once.
    pub login_burst: u32,
    /// How long a connection may take from accept to `Welcome`.
    pub handshake_timeout: Duration,
    /// How often the gateway wants to hear from a client.
    pub heartbeat: Duration,
    /// After how long without a received frame a connection is reaped.
    pub heartbeat_tolerance: Duration,
    /// Around which age a connection is moved elsewhere; `None` for never.
    pub max_age: Option<Duration>,
    /// The largest body before login, in bytes.
    pub max_body_before_login: usize,
    /// The largest body after login, in bytes.
    pub max_body: usize,
    /// Requests that one connection may have unanswered.
    pub max_in_flight: usize,
    /// Bytes that may wait to be written on one connection.
    pub outgoing_bytes: usize,
    /// Bytes that may wait to be written on all connections together.
    pub outgoing_bytes_total: usize,
    /// Pushes that one connection may have unacknowledged.
    pub max_unacked_pushes: usize,
    /// How long messages may stay in a client's outbox.
    pub keep_for: Duration,
    /// How long a shutdown waits for what is in flight.
    pub drain: Duration,
}

/// How tickets are signed, and for how long they count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tickets {
    /// The file with the keys; `None` for a random key of each process.
    pub keys_file: Option<PathBuf>,
    /// How long a ticket counts after it was issued.
    pub validity: Duration,
}

/// A `[[test]]` of a policy file: at `cut`, requests of `business` by users of `user_levels` must be (not) admitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// What the case states, for the report.
    pub name: String,
    /// Index into [`Policy::businesses`].
    pub business: usize,
    /// First and last user level, 0–127, both included: what must happen must happen to all of them.
    pub user_levels: (u8, u8),
    /// Business priority and user level of the least important level that is still admitted.
    pub cut: (u8, u8),
    /// What must happen.
    pub admitted: bool,
}

/// A service's name with the addresses of its instances; where the services are is the deployment's matter, not the
/// policy's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAddresses {
    /// The name in the policy.
    pub name: String,
    /// Where its instances listen.
    pub instances: Vec<SocketAddr>,
}

impl Policy {
    /// The business with this code.
    pub fn business(&self, code: BusinessCode) -> Option<&Business> {
        let at = self.businesses.binary_search_by_key(&code, |business| business.code).ok()?;
        self.businesses.get(at)
    }

    /// The business with this name.
    pub fn business_named(&self, name: &str) -> Option<&Business> {
        self.businesses.iter().find(|business| business.name == name)
    }

    /// The businesses' names by code.
    pub fn codes(&self) -> Codes {
        self.businesses.iter().map(|business| (business.code, business.name.clone())).collect()
    }

    /// The service that answers a business.
    pub fn service_of(&self, business: BusinessCode) -> Option<&Service> {
        self.service(self.business(business)?.service?)
    }

    /// The service with this name.
    pub fn service_named(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }

    /// The service at this index.
    pub fn service(&self, index: ServiceIndex) -> Option<&Service> {
        self.services.get(index.0)
    }
}
