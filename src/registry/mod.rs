//! Where each client is connected. The registry numbers a client's logins, and a write or a delete with an older number
//! than the stored one changes nothing, in whatever order they arrive.
//!
//! A route leads to a *home*, one run of a gateway, and lives no longer than that: a home holds a lease, and with it all of
//! its routes end at once. The connections themselves are the truth; what a registry has lost is restored from them.
//!
//! Every implementation passes the same suite, `conformance.rs`.

pub mod memory;
#[cfg(feature = "redis")]
pub mod redis;

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

/// A connection that has its number already.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// Who.
    pub user: &'a str,
    /// With what.
    pub device: &'a str,
    /// Through which gateway.
    pub home: &'a Arc<Home>,
    /// In which of its logins.
    pub epoch: Epoch,
}

/// What became of the route of a connection that was there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restored {
    /// The registry has it.
    Written {
        /// An older login of the same device, elsewhere, that the registry knew until now. That gateway is to close it.
        previous: Option<Route>,
    },
    /// A later login of the same device is known, or was: this connection is to be closed.
    Newer,
}

/// What a registry says to a home that renews its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// It has what it was told before.
    Kept,
    /// It may have lost routes: all that are there are to be restored.
    New,
}

/// Something that one home of those that live has to tell a service: that another home is lost.
#[derive(Clone, Copy, Debug)]
pub struct Loss<'a> {
    /// Who is lost.
    pub lost: Incarnation,
    /// Who is to know, by the name that the policy gives it.
    pub service: &'a str,
}

/// Who tells of a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teller {
    /// The home that asked.
    Own,
    /// Another one that lives.
    Other,
    /// Nobody any more: the service knows.
    Nobody,
}

/// How often calls of one kind ended in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallCount {
    /// What was asked.
    pub call: &'static str,
    /// What came of it.
    pub result: &'static str,
    /// How often.
    pub total: u64,
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

    /// Deletes the route if it is still the one of this epoch and home, and says whether it was. The epoch is remembered
    /// for [`TOMBSTONE`].
    ///
    /// The epoch alone would not do: a home that could not ask, or that asked before the registry lost its data, may have
    /// one that was granted elsewhere since.
    fn unregister<'a>(&'a self, held: Held<'a>, now: Timestamp) -> Answer<'a, bool>;

    /// The routes of all devices of a user whose homes live, in no particular order.
    fn lookup<'a>(&'a self, user: &'a str, now: Timestamp) -> Answer<'a, Vec<Route>>;

    /// Writes the route of a connection that is there, unless a later login of its device is known.
    fn restore<'a>(&'a self, held: Held<'a>, now: Timestamp) -> Answer<'a, Restored>;

    /// Says that a home lives; to be repeated every [`RENEW_EVERY`].
    fn renew<'a>(&'a self, home: &'a Arc<Home>, now: Timestamp) -> Answer<'a, Renewed>;

    /// Ends a home, and with it all of its routes.
    fn release<'a>(&'a self, home: &'a Arc<Home>) -> Answer<'a, ()>;

    /// All homes that live, in no particular order.
    fn homes(&self, now: Timestamp) -> Answer<'_, Vec<Arc<Home>>>;

    /// The homes that have ended of late and were not released, as far as that is known: lost, or without a lease because
    /// they cannot renew it.
    fn lost(&self, _now: Timestamp) -> Answer<'_, Vec<Incarnation>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Who is to tell of a loss: whoever asks first, and of the others the first one to ask after that one has ended, or has not
    /// settled it for a while. So a service is told once of a loss, and again only if who told it could not say so.
    fn claim_loss<'a>(&'a self, _loss: Loss<'a>, _home: &'a Arc<Home>, _now: Timestamp) -> Answer<'a, Teller> {
        Box::pin(async { Ok(Teller::Own) })
    }

    /// The service knows of a loss from this home. Nobody is to tell it again, unless the lost one lives and is lost once more.
    fn settle_loss<'a>(&'a self, _loss: Loss<'a>, _home: &'a Arc<Home>, _now: Timestamp) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    /// How calls ended so far; what never happened is left out. A registry that cannot fail need not count.
    fn counts(&self) -> Vec<CallCount> {
        Vec::new()
    }
}

/// How long the epoch of a deleted route is remembered: longer than any message about it is on its way.
pub const TOMBSTONE: Duration = Duration::from_secs(60);

/// How long a home lives without a renewal.
pub const LEASE: Duration = Duration::from_secs(6);

/// How often a home renews its lease: two may fail.
pub const RENEW_EVERY: Duration = Duration::from_secs(2);

/// How long a route is kept that nobody restores.
pub const KEEP: Duration = Duration::from_secs(24 * 3600);
