//! What a gateway process is started with. What may change while it runs stands in the policy instead.

use std::{fmt, net::SocketAddr, path::PathBuf};

use super::{fleet::ManagersConfig, sample::SampleLog, tickets::KeysError};
use crate::policy::{Faults, Policy, PolicyStore, table::ServiceAddresses};
#[cfg(feature = "redis")]
use crate::registry::redis::{Fault, RedisSettings};

/// A gateway's settings.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// What it calls itself.
    pub name: String,
    /// Where clients connect, with TCP and WebSocket on the same port.
    pub clients: SocketAddr,
    /// Where people and monitors look: `/live`, `/ready`, `/metrics`, `/v1/status`.
    pub admin: SocketAddr,
    /// Where logic services push.
    pub push: SocketAddr,
    /// Where they and other gateways reach that, as host:port, if not where it listens.
    pub push_advertised: Option<String>,
    /// Threads that serve clients.
    pub workers: usize,
    /// Where the logic services are.
    pub services: Vec<ServiceAddresses>,
    /// Where the policy comes from.
    pub policy: PolicySource,
    /// The fleet's secret for placing users.
    pub priority_key: [u8; 16],
    /// A sample of the requests that goes into a file.
    pub sample: Option<SampleLog>,
    /// The fleet's managers, if there are any.
    pub managers: Option<ManagersConfig>,
    /// Where the routes are.
    pub routes: RouteStore,
}

/// Where the routes are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RouteStore {
    /// In this process, for a single gateway.
    #[default]
    Memory,
    /// In Redis, for the gateways of a fleet.
    #[cfg(feature = "redis")]
    Redis(RedisSettings),
}

/// Where a policy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicySource {
    /// `policies/default.toml` as it was when the program was built.
    BuiltInDefault,
    /// `policies/chat.toml` as it was when the program was built.
    BuiltInChat,
    /// A file or directory that is watched.
    File(PathBuf),
}

/// What others are told the address of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// Told to clients, by managers.
    Clients,
    /// Told to logic services and to other gateways.
    Pushes,
}

impl fmt::Display for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clients => "this gateway",
            Self::Pushes => "its pushes",
        })
    }
}

impl GatewayConfig {
    /// Checks that what others are told is an address and not all of them.
    ///
    /// # Errors
    ///
    /// [`StartError::Unreachable`] for what listens everywhere while nothing else is advertised.
    pub fn check_addresses(&self) -> Result<(), StartError> {
        let tells_clients = self.managers.as_ref().is_some_and(|managers| managers.advertise.is_empty());
        let told = [
            (Announced::Clients, self.clients, tells_clients),
            (Announced::Pushes, self.push, self.push_advertised.is_none()),
        ];
        match told.into_iter().find(|(_, address, is_told)| *is_told && is_everywhere(*address)) {
            Some((what, address, _)) => Err(StartError::Unreachable { what, address }),
            None => Ok(()),
        }
    }
}

/// Whether this is every address of a machine: one to listen on, and none that others could reach.
pub fn is_everywhere(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_unspecified()
}

impl PolicySource {
    /// Reads the policy.
    ///
    /// # Errors
    ///
    /// All faults of its files.
    pub fn open(&self, unix_millis: u64) -> Result<PolicyStore, Faults> {
        match self {
            Self::BuiltInDefault => Ok(PolicyStore::new(Policy::built_in_default(), unix_millis)),
            Self::BuiltInChat => Ok(PolicyStore::new(Policy::built_in_chat(), unix_millis)),
            Self::File(path) => PolicyStore::open(path, unix_millis),
        }
    }
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The policy has faults.
    #[error("the policy has faults")]
    Policy(Faults),
    /// The policy names a service that no address was given for.
    #[error("the policy names the service `{0}`, but no address was given for it")]
    NoAddress(String),
    /// Others are to be told an address that is every address of this machine.
    #[error("others cannot reach {what} at {address}")]
    Unreachable {
        /// What listens there.
        what: Announced,
        /// Where.
        address: SocketAddr,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The file for the sample of requests cannot be written.
    #[error("cannot write the sample {}", .file.display())]
    Sample {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There are no keys for tickets.
    #[error(transparent)]
    Tickets(KeysError),
    /// The routes have no sensible address.
    #[cfg(feature = "redis")]
    #[error("the routes cannot be kept in this Redis")]
    Routes(#[source] Fault),
    /// A thread could not be started.
    #[error("cannot start a worker")]
    Worker(#[source] std::io::Error),
}
