//! A client's request inside the gateway, and the table that turns a business code into what the request stack needs.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::connection::Connection;
use crate::{
    admission::Cost,
    clock::Timestamp,
    id::{BusinessCode, MessageId},
    layer::Placed,
    policy::table::{Balance, Business, Policy},
    request::{Admitted, Tagged, Timed},
};

/// The longest try timeout that is honoured; longer ones are cut to it, so that every wait ends.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// A request of a client, resolved against the policy.
#[derive(Clone, Debug)]
pub struct ClientRequest {
    /// Who sent it.
    pub connection: Arc<Connection>,
    /// What kind it is.
    pub business: BusinessCode,
    /// The business's priority, 0–63.
    pub priority: u8,
    /// The user levels that the client moves in: its tier's, or the end of them if it was served far more than others.
    pub levels: (u8, u8),
    /// Index of the logic service in the gateway.
    pub service: usize,
    /// The client's number of the message.
    pub id: MessageId,
    /// The client has sent it before.
    pub resent: bool,
    /// The client wants no reply.
    pub no_reply_wanted: bool,
    /// When it was read.
    pub arrived: Timestamp,
    /// The same in milliseconds since the Unix epoch, by which all gateways shift user levels alike.
    pub unix_ms: u64,
    /// When its answer is of no use any more.
    pub deadline: Timestamp,
    /// The client's lowest unsettled id of this business.
    pub oldest_unsettled_of_business: u64,
    /// What it is expected to cost.
    pub cost: Cost,
    /// A slice of what was read.
    pub payload: Bytes,
    /// The policy that it was resolved by.
    pub table: Arc<Table>,
}

impl Timed for ClientRequest {
    fn arrived(&self) -> Timestamp {
        self.arrived
    }

    fn deadline(&self) -> Timestamp {
        self.deadline
    }

    fn cost(&self) -> Cost {
        self.cost
    }
}

/// Anything that belongs to a client request, at whatever step.
pub trait OfClient {
    /// The request itself.
    fn client(&self) -> &ClientRequest;
}

impl OfClient for ClientRequest {
    fn client(&self) -> &ClientRequest {
        self
    }
}

macro_rules! of_client {
    ($($step:ident),*) => {
        $(impl<R: OfClient> OfClient for $step<R> {
            fn client(&self) -> &ClientRequest {
                self.request.client()
            }
        })*
    };
}

of_client!(Tagged, Admitted, Placed);

/// The policy in force with what this gateway makes of it. Each worker has its own copy, so that counting references
/// is never contended.
#[derive(Debug)]
pub struct Table {
    /// The policy itself.
    pub policy: Arc<Policy>,
    /// For each of the policy's services, its index in the gateway; `None` if the gateway has no address for it.
    services: Vec<Option<usize>>,
    /// For each of the gateway's services, how an instance is chosen.
    balances: Vec<Balance>,
}

impl Table {
    /// Joins a policy with the services that the gateway can reach, by name.
    pub fn new(policy: Arc<Policy>, reachable: &[String]) -> Self {
        let services =
            policy.services.iter().map(|service| reachable.iter().position(|name| *name == service.name)).collect();
        let rules = |name: &String| policy.services.iter().find(|service| service.name == *name);
        let balance = |name| rules(name).map_or(Balance::UserHash, |rules| rules.balance);
        let balances = reachable.iter().map(balance).collect();
        Self { policy, services, balances }
    }

    /// The index in the gateway of the service that answers `business`.
    pub fn service_of(&self, business: &Business) -> Option<usize> {
        *self.services.get(business.service?.0)?
    }

    /// How an instance of the gateway's service at this index is chosen.
    pub fn balance_of(&self, service: usize) -> Balance {
        self.balances.get(service).copied().unwrap_or(Balance::UserHash)
    }
}
