//! How messages are kept in Redis.

use std::time::Duration;

/// How messages are kept in Redis. All instances of a service must agree on all but the timeout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSettings {
    /// How long a window that is not used is kept; 75 minutes by default. It must be longer than a message can live: the
    /// gateways' `connections.keep_for` (1 hour by default), and the longest try timeout on top. Shorter, and a message
    /// can be run twice; longer costs memory in Redis.
    pub keep: Duration,
    /// The answers that one window remembers, in bytes; 1 MiB by default. A window that is over it refuses new messages,
    /// all but the client's oldest, until its client settles some.
    pub reply_bytes: usize,
    /// For how long an instance that died keeps its messages from the others; 5 s by default. It is renewed three times
    /// in its length while a handler runs, so it need not cover the work. Shorter, and a pause of the process or of Redis
    /// lets another instance run what still runs here; longer, and the messages of a dead instance wait longer.
    pub lease: Duration,
    /// How long Redis may take to answer, 500 ms by default. A call whose message could not be claimed in that time is
    /// refused; an effect that could not be committed is unknown.
    pub timeout: Duration,
    /// What the keys of the windows begin with, `dagor:window:` by default; one per service that shares the Redis.
    pub prefix: String,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            keep: Duration::from_secs(75 * 60),
            reply_bytes: 1 << 20,
            lease: Duration::from_secs(5),
            timeout: Duration::from_millis(500),
            prefix: "dagor:window:".to_owned(),
        }
    }
}
