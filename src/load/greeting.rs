//! Before anything else: is there a gateway, does it speak the protocol, does it know the businesses of the mix.

use std::{io, time::Duration};

use super::{
    config::LoadConfig,
    error::Error,
    login::{Identity, LoginFailure, log_in_until},
    socket::Target,
};
use crate::{clock::Clock, id::BusinessCode};

/// How long a gateway that asks to come back later is asked again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Files beyond the connections: logins under way, the runtime's own.
const SPARE_FILES: u64 = 1024;

/// What the first login told.
pub(super) struct Greeting {
    pub(super) target: Target,
    /// The gateway's name.
    pub(super) gateway: String,
    /// The codes of the mix's businesses.
    pub(super) codes: Vec<BusinessCode>,
}

/// Raises the limit on open files as far as it goes.
pub(super) fn raise_open_files(connections: usize) -> Result<(), Error> {
    let needed = connections as u64 + SPARE_FILES;
    // A limit that cannot be read may still be enough; if not, connecting says so.
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(needed);
    if limit < needed { Err(Error::OpenFiles { needed, limit }) } else { Ok(()) }
}

/// Logs in once and reads the gateway's table of businesses.
pub(super) async fn greet(config: &LoadConfig, clock: &Clock) -> Result<Greeting, Error> {
    let address = resolve(&config.address).await?;
    let target = Target { address, transport: config.transport };
    let who = Identity { user: 0, device: "greeting".to_owned(), source: None };
    let login = log_in_until(clock.now() + PATIENCE, clock, target, &who).await;
    let welcome = login.map_err(|failure| explain(failure, target))?.welcome;
    let code_of = |name: &str| {
        let row = welcome.businesses.iter().find(|row| row.name == name)?;
        u16::try_from(row.code).ok().map(BusinessCode)
    };
    let codes = config.mix.resolve(code_of).map_err(|name| Error::UnknownBusiness {
        name,
        known: welcome.businesses.iter().map(|row| row.name.clone()).collect(),
    })?;
    Ok(Greeting { target, gateway: welcome.gateway, codes })
}

async fn resolve(address: &str) -> Result<std::net::SocketAddr, Error> {
    let fail = |source| Error::Resolve { address: address.to_owned(), source };
    let mut found = tokio::net::lookup_host(address).await.map_err(fail)?;
    found.next().ok_or_else(|| fail(io::Error::other("no address has this name")))
}

fn explain(failure: LoginFailure, target: Target) -> Error {
    let address = target.address;
    match failure {
        LoginFailure::Socket(source) if source.kind() != io::ErrorKind::Other => Error::Connect { address, source },
        LoginFailure::Socket(other) => Error::NotAGateway { address, detail: other.to_string() },
        LoginFailure::Refused { reason, .. } => Error::LoginRefused { address, reason },
        LoginFailure::Silent(within) => Error::Silent { address, within },
        LoginFailure::Closed => Error::NotAGateway { address, detail: "it closed the connection".to_owned() },
        LoginFailure::Protocol(detail) => Error::NotAGateway { address, detail },
    }
}
