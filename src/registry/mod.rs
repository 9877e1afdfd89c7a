//! Where each client is connected. The registry numbers a client's logins, and a write or a delete with an older number
//! than the stored one changes nothing, in whatever order they arrive.
//!
//! Every implementation passes the same suite, `conformance.rs`.

pub mod memory;

#[cfg(test)]
mod conformance;

use std::{error::Error, pin::Pin, sync::Arc, time::Duration};

use crate::{
    clock::Timestamp,
    id::{Epoch, Incarnation},
};

pub use memory::MemoryRegistry;

/// One run of a gateway, as other processes see it. Shared by all routes that lead to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Home {
    /// The gateway's name.
    pub gateway: String,
    /// Which run of it.
    pub incarnation: Incarnation,
    /// Where it takes pushes.
    pub address: String,
}

/// Where one device of a user is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// With what.
    pub device: Arc<str>,
    /// Through which gateway.
    pub home: Arc<Home>,
    /// In which of its logins.
    pub epoch: Epoch,
}

/// A client that is about to be connected.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// Who.
    pub user: &'a str,
    /// With what.
    pub device: &'a str,
    /// Through which gateway.
    pub home: &'a Arc<Home>,
    /// The last epoch that the client or its gateway knows of: the larger of the ticket's and the Unix milliseconds.
    pub asked: Epoch,
}

/// A login that has been granted its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// One above the larger of the stored and the asked one.
    pub epoch: Epoch,
    /// Where the same device was connected until now. That gateway is to close it.
    pub previous: Option<Route>,
}

/// The registry did not answer in time, or not in a way that makes sense.
#[derive(Debug, thiserror::Error)]
#[error("the registry is away")]
pub struct RegistryError(#[source] Box<dyn Error + Send + Sync>);

impl RegistryError {
    /// An error with this cause.
    pub fn new(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(source.into())
    }
}

/// The answer of a registry: boxed, so that `dyn Registry` is possible, because which one it is is configuration.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, RegistryError>> + Send + 'a>>;

/// Knows where each client of a fleet is connected.
///
/// Each call fails with [`RegistryError`] if the registry is away, soon enough for the caller not to set a timer of its
/// own. `now` comes from the clock of the process; a registry elsewhere may go by its own.
pub trait Registry: Send + Sync {
    /// Writes the route of a login and grants its epoch: `max(stored, asked) + 1`.
    fn register<'a>(&'a self, login: Login<'a>, now: Timestamp) -> Answer<'a, Registered>;

    /// Deletes the route if it is still the one of this epoch, and says whether it was. The epoch is remembered for
    /// [`TOMBSTONE`].
    fn unregister<'a>(&'a self, user: &'a str, device: &'a str, epoch: Epoch, now: Timestamp) -> Answer<'a, bool>;

    /// The routes of all devices of a user, in no particular order.
    fn lookup<'a>(&'a self, user: &'a str, now: Timestamp) -> Answer<'a, Vec<Route>>;
}

/// How long the epoch of a deleted route is remembered: longer than any message about it is on its way.
pub const TOMBSTONE: Duration = Duration::from_secs(60);
