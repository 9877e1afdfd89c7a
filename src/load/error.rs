//! Why a run could not be made. How the gateway fares under a run is never an error: that is in the report.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use crate::wire::Reason;

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is not one.
    #[error("{address} cannot be resolved: {source}")]
    Resolve {
        /// What was given.
        address: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No connection to the gateway.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Connected, but no answer to `Hello`.
    #[error("{address} did not answer the login within {within:?}")]
    Silent {
        /// Where.
        address: SocketAddr,
        /// How long was waited.
        within: Duration,
    },
    /// Something answered that is not a gateway.
    #[error("{address} does not speak the gateway's protocol: {detail}")]
    NotAGateway {
        /// Where.
        address: SocketAddr,
        /// What was wrong.
        detail: String,
    },
    /// The gateway refused the login.
    #[error("{address} refused the login: {}", reason_name(*.reason))]
    LoginRefused {
        /// Where.
        address: SocketAddr,
        /// See [`Reason`].
        reason: u32,
    },
    /// Not all connections could log in.
    #[error("only {connected} of {wanted} connections could log in; the last failure: {last}")]
    NotConnected {
        /// How many are logged in.
        connected: usize,
        /// How many should be.
        wanted: usize,
        /// What happened to the last one.
        last: String,
    },
    /// The mix names a business that the gateway does not know.
    #[error("the gateway knows no business {name:?}; it knows {}", .known.join(", "))]
    UnknownBusiness {
        /// The name in the mix.
        name: String,
        /// The names in `Welcome`.
        known: Vec<String>,
    },
    /// The mix has logins only, which have no saturation.
    #[error("the saturation cannot be measured with logins alone")]
    NothingToProbe,
    /// No request was answered while the saturation was measured.
    #[error("no request of {business} was answered while the saturation was measured")]
    NoSaturation {
        /// The business in question.
        business: String,
    },
    /// The open-file limit is too low and cannot be raised.
    #[error("{needed} open files are needed, the limit is {limit}")]
    OpenFiles {
        /// Connections and some spare.
        needed: u64,
        /// The hard limit.
        limit: u64,
    },
    /// A thread or its runtime could not be started, or it ended early.
    #[error("a thread of the generator failed: {0}")]
    Thread(io::Error),
    /// The trace cannot be written.
    #[error("cannot write the trace {}: {source}", .path.display())]
    Trace {
        /// Its file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Stopped before any traffic had been counted.
    #[error("stopped before the traffic began")]
    Interrupted,
}

/// The name of a reason's code in reports, also of one that this version does not know.
pub(super) fn reason_name(code: u32) -> String {
    Reason::from_code(code).map_or_else(|| format!("reason_{code}"), |reason| reason.name().to_owned())
}
