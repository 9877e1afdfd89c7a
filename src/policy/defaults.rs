//! What holds where nothing is written; `policies/default.toml` says the same in words, and a test compares the two.

use std::time::Duration;

use super::table::{Connections, Marks, Queue, Tickets};

/// The file that is the manual: every key with its default.
pub const DEFAULT_TOML: &str = include_str!("../../policies/default.toml");
/// The policy of a chat app, with WeChat's order of importance.
pub const CHAT_TOML: &str = include_str!("../../policies/chat.toml");

/// The try timeout of a business that names none. The DAGOR paper's tasks have the same.
pub(super) const TIMEOUT: Duration = Duration::from_millis(500);
/// The priority of a business that names none: what nobody thought about goes first.
pub(super) const PRIORITY: u8 = 63;
/// The priority of `login` if the files name none: whoever cannot log in gets nothing else either.
pub(super) const LOGIN_PRIORITY: u8 = 0;

impl Default for Queue {
    fn default() -> Self {
        Self { capacity: 10_000, max_in_flight: None }
    }
}

impl Default for Marks {
    /// None is allowed.
    fn default() -> Self {
        Self { levels: None, tiers: Vec::new(), longest: Duration::from_secs(3600) }
    }
}

impl Default for Tickets {
    fn default() -> Self {
        Self { keys_file: None, validity: Duration::from_secs(24 * 3600) }
    }
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            max: 1_000_000,
            max_per_ip: None,
            login_rate: 5000.0,
            login_burst: 10_000,
            handshake_timeout: Duration::from_secs(5),
            heartbeat: Duration::from_secs(30),
            heartbeat_tolerance: Duration::from_secs(75),
            max_age: None,
            max_body_before_login: 4 << 10,
            max_body: 64 << 10,
            max_in_flight: 256,
            outgoing_bytes: 256 << 10,
            outgoing_bytes_total: 1 << 30,
            max_unacked_pushes: 1024,
            keep_for: Duration::from_secs(3600),
            drain: Duration::from_secs(10),
        }
    }
}
