//! What a `Welcome` grants, checked once: no zero is left where a duration or a limit is meant.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    id::{BusinessCode, Epoch, Incarnation},
    pb::client as pb,
};

/// The heartbeat if the gateway names none.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(30);
/// The tolerance if the gateway names none, in heartbeats.
const DEFAULT_TOLERANCE_HEARTBEATS: u32 = 3;
/// The try timeout if neither the request nor the business names one.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest body if the gateway names none, in bytes.
const DEFAULT_MAX_BODY_BYTES: usize = 64 * 1024;
/// Unanswered requests if the gateway names no limit.
const DEFAULT_MAX_IN_FLIGHT: usize = 1024;

/// No heartbeat is shorter: a gateway cannot make a client send without a pause.
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(10);
/// No spread is longer, whatever a gateway says.
const LONGEST_SPREAD: Duration = Duration::from_secs(10 * 60);
/// No hint makes a client wait longer.
const LONGEST_HINT: Duration = Duration::from_secs(3600);
/// So many alternatives are remembered, with so many addresses each; a list in a frame may be longer.
const MAX_ALTERNATIVES: usize = 64;
const MAX_ADDRESSES: usize = 8;
/// The longest address that is remembered, in bytes: a host name and a port.
const MAX_ADDRESS_BYTES: usize = 253 + 1 + 5;

/// A login: what the gateway granted, valid as long as the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The gateway's name.
    pub gateway: String,
    /// Which run of that gateway.
    pub incarnation: Incarnation,
    /// The number of this login.
    pub epoch: Epoch,
    /// What to show at the next login; empty if the gateway gives none.
    pub ticket: Bytes,
    /// How often the gateway wants to hear from this client.
    pub heartbeat: Duration,
    /// After how long without a received frame the connection is given up.
    pub tolerance: Duration,
    /// The largest body that the gateway reads, in bytes.
    pub max_body_bytes: usize,
    /// How many requests may be unanswered at once.
    pub max_in_flight: usize,
    /// How long a message may stay in the outbox, if the gateway limits that.
    pub keep_for: Option<Duration>,
    /// What can be requested.
    pub businesses: Vec<Business>,
    /// Other gateways.
    pub alternatives: Vec<Alternative>,
    /// After a loss of the connection, wait a random part of this before the first try.
    pub spread: Duration,
}

/// A named kind of request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Business {
    /// What stands in frames.
    pub code: BusinessCode,
    /// What people call it.
    pub name: String,
    /// The try timeout of requests that name none.
    pub timeout: Duration,
}

/// A gateway that a client may go to instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// Where it listens.
    pub addresses: Vec<String>,
    /// Relative weight for the random choice.
    pub weight: u32,
}

impl Session {
    /// The business with this code.
    pub fn business(&self, code: BusinessCode) -> Option<&Business> {
        self.businesses.iter().find(|business| business.code == code)
    }

    /// The business with this name.
    pub fn business_named(&self, name: &str) -> Option<&Business> {
        self.businesses.iter().find(|business| business.name == name)
    }
}

impl From<pb::Welcome> for Session {
    fn from(welcome: pb::Welcome) -> Self {
        let heartbeat = millis_or(welcome.heartbeat_ms, DEFAULT_HEARTBEAT).max(SHORTEST_HEARTBEAT);
        let limits = welcome.limits.unwrap_or_default();
        Self {
            gateway: welcome.gateway,
            incarnation: Incarnation(welcome.incarnation),
            epoch: Epoch(welcome.connection_epoch),
            ticket: welcome.ticket,
            heartbeat,
            tolerance: millis_or(welcome.tolerance_ms, heartbeat * DEFAULT_TOLERANCE_HEARTBEATS).max(heartbeat),
            max_body_bytes: count_or(limits.max_body_bytes, DEFAULT_MAX_BODY_BYTES),
            max_in_flight: count_or(limits.max_in_flight, DEFAULT_MAX_IN_FLIGHT),
            keep_for: (limits.keep_for_ms > 0).then(|| Duration::from_millis(limits.keep_for_ms.into())),
            businesses: welcome.businesses.into_iter().filter_map(Business::read).collect(),
            alternatives: alternatives(welcome.alternatives),
            spread: spread(welcome.spread_ms),
        }
    }
}

impl Business {
    /// `None` for a code that no header can carry.
    fn read(business: pb::Business) -> Option<Self> {
        let code = BusinessCode(u16::try_from(business.code).ok()?);
        Some(Self { code, name: business.name, timeout: millis_or(business.timeout_ms, DEFAULT_TIMEOUT) })
    }
}

pub(super) fn alternatives(list: Vec<pb::Alternative>) -> Vec<Alternative> {
    let usable = |address: &String| !address.is_empty() && address.len() <= MAX_ADDRESS_BYTES;
    let read = |other: pb::Alternative| Alternative {
        addresses: other.addresses.into_iter().filter(usable).take(MAX_ADDRESSES).collect(),
        weight: other.weight,
    };
    list.into_iter().take(MAX_ALTERNATIVES).map(read).filter(|other| !other.addresses.is_empty()).collect()
}

/// Milliseconds of a frame as a spread that can be waited for.
pub(super) fn spread(millis: u32) -> Duration {
    Duration::from_millis(millis.into()).min(LONGEST_SPREAD)
}

/// Milliseconds of a frame as a hint that can be waited for.
pub(super) fn hint(millis: u32) -> Duration {
    Duration::from_millis(millis.into()).min(LONGEST_HINT)
}

fn millis_or(millis: u32, default: Duration) -> Duration {
    if millis == 0 { default } else { Duration::from_millis(millis.into()) }
}

fn count_or(count: u32, default: usize) -> usize {
    if count == 0 { default } else { count as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_welcome_leaves_out_gets_a_usable_value() {
        let session = Session::from(pb::Welcome { heartbeat_ms: 200, ..pb::Welcome::default() });
        assert_eq!((session.heartbeat, session.tolerance), (Duration::from_millis(200), Duration::from_millis(600)));
        assert_eq!((session.max_body_bytes, session.max_in_flight), (DEFAULT_MAX_BODY_BYTES, DEFAULT_MAX_IN_FLIGHT));
    }
}
