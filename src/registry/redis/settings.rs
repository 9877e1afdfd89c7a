//! How routes are kept in Redis.

use std::time::Duration;

use crate::registry::{KEEP, LEASE};

/// How routes are kept in Redis. All gateways and services of a fleet must agree on all but the timeout and the bounds.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// Where Redis is: `redis://[[user]:password@]host[:port][/database]`, or `rediss://…` with TLS. One address is a single
    /// server; several are nodes of one Redis Cluster, of which at least one must be there at the start.
    pub nodes: Vec<String>,
    /// The certificate authority that signed the servers' certificates, in PEM. The system's own without it.
    pub authority: Option<Vec<u8>>,
    /// What all keys begin with, `dagor:` by default.
    pub prefix: String,
    /// How long Redis may take to answer, 250 ms by default. Who waits for it goes on without afterwards.
    pub timeout: Duration,
    /// Calls that wait for Redis at the same time, 1,024 by default; one more fails at once. So many answers are bounded
    /// by the timeout only if Redis gives them in that time: a single server gives some 50,000 per second.
    pub in_flight: usize,
    /// Deletions that wait for their turn, 8,192 by default; one more is dropped, and its route ends with its home, with the
    /// next push to it, or after [`RedisSettings::keep`].
    pub deletions: usize,
    /// How long a home lives without a renewal; [`LEASE`] by default.
    pub lease: Duration,
    /// How long a route is kept that nobody restores; [`KEEP`] by default. A gateway restores each at a third of that.
    pub keep: Duration,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            nodes: vec!["redis://127.0.0.1:6379".to_owned()],
            authority: None,
            prefix: "dagor:".to_owned(),
            timeout: Duration::from_millis(250),
            in_flight: 1024,
            deletions: 8192,
            lease: LEASE,
            keep: KEEP,
        }
    }
}

impl std::fmt::Debug for RedisSettings {
    /// Without the addresses, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { nodes, prefix, timeout, .. } = self;
        let nodes = nodes.len();
        f.debug_struct("RedisSettings")
            .field("nodes", &nodes)
            .field("prefix", prefix)
            .field("timeout", timeout)
            .finish_non_exhaustive()
    }
}
