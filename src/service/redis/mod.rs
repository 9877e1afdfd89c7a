//! An idempotency store in Redis, for several instances of a logic service: every change of a message is one script, so
//! that it happens whole or not at all, and only the instance that holds a message can change it.
//!
//! A message is held with a lease. An instance renews it while its handler runs; one that died holds it no longer than
//! the lease. What an instance does too late meets another owner, or an answer, and changes nothing.
//!
//! [`RedisStore::commit`] runs the commands of a handler's effect in the script that stores the reply: both happen, once,
//! or neither.
//!
//! ```no_run
//! use dagor::service::{Handler, HandlerError, Reply, Request, Server, redis::{RedisSettings, RedisStore, pipe}};
//!
//! struct Likes(RedisStore);
//!
//! impl Handler for Likes {
//!     async fn handle(&self, request: Request) -> Result<Reply, HandlerError> {
//!         let tag = RedisStore::hash_tag(&request.user);
//!         let mut effect = pipe();
//!         effect.incr(format!("likes:{tag}"), 1);
//!         Ok(self.0.commit(&request, &effect, Reply::new("liked")).await?)
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = RedisStore::connect("redis://127.0.0.1:6379", RedisSettings::default()).await?;
//! let server = Server::new(Likes(store.clone())).store(store);
//! # Ok(())
//! # }
//! ```

mod commit;
mod settings;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
pub use redis::{Cmd, Pipeline, RedisError, aio::ConnectionManager, cmd, pipe};
use redis::{Script, ScriptInvocation, aio::ConnectionManagerConfig};

pub use self::{commit::CommitError, settings::RedisSettings};
use super::{
    store::{Ended, IdempotencyStore, Standing, StoreError, Try},
    window::{CallKey, WINDOW_IDS, WindowKey},
};
use crate::{clock::expiry_millis, registry::redis::hash_tag};

/// The ids that a Lua number holds exactly.
const IDS: std::ops::Range<u64> = 0..1 << 53;
/// The first pause before Redis is dialed again, and the longest.
const FIRST_REDIAL: Duration = Duration::from_millis(20);
const REDIAL_AT_MOST: Duration = Duration::from_millis(500);
/// The setting of Redis under which it never drops what it holds to make room.
const NEVER_EVICTS: &str = "maxmemory_policy:noeviction";

/// Why something did not succeed in Redis.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// Redis said no, or the connection failed.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// Redis did not answer within [`RedisSettings::timeout`].
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// Redis answered what none of the scripts says.
    #[error("an unexpected answer: {0}")]
    Unexpected(String),
    /// No client that keeps to the protocol gets there.
    #[error("message ids above 2^53 cannot be stored")]
    IdTooLarge,
}

impl StoreFault {
    /// Whether it may be gone with the next try: Redis is away or slow, and has not said no.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::TimedOut(_) => true,
            Self::Redis(error) => error.is_io_error() || error.is_timeout() || error.is_connection_refusal(),
            Self::Unexpected(_) | Self::IdTooLarge => false,
        }
    }
}

impl From<StoreFault> for StoreError {
    fn from(fault: StoreFault) -> Self {
        Self(Box::new(fault))
    }
}

/// An idempotency store in Redis. Clones share the connection and the identity: give one to the
/// [`Server`](super::Server), and one to the handler.
#[derive(Clone)]
pub struct RedisStore(Arc<Inner>);

struct Inner {
    connection: ConnectionManager,
    settings: RedisSettings,
    /// Names this instance among those that hold messages.
    owner: String,
    claim: Script,
    end: Script,
    commit: Script,
}

impl fmt::Debug for RedisStore {
    /// Without the address, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("owner", &self.0.owner).field("settings", &self.0.settings).finish()
    }
}

impl RedisStore {
    /// Connects to a Redis of version 5 or newer, and warns in the log if it is set to drop keys when its memory is
    /// full. Afterwards the connection is made anew whenever it is lost.
    ///
    /// # Errors
    ///
    /// If the address is none or nobody answers there.
    pub async fn connect(url: &str, settings: RedisSettings) -> Result<Self, StoreFault> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(settings.timeout))
            .set_response_timeout(Some(settings.timeout))
            .set_min_delay(FIRST_REDIAL)
            .set_max_delay(REDIAL_AT_MOST);
        let lazy = ConnectionManager::new_lazy_with_config(redis::Client::open(url)?, config)?;
        let store = Self(Arc::new(Inner {
            connection: lazy,
            settings,
            owner: format!("{:016x}", fastrand::u64(..)),
            claim: Script::new(include_str!("claim.lua")),
            end: Script::new(include_str!("end.lua")),
            commit: Script::new(include_str!("commit.lua")),
        }));
        store.within(store.ask_for_eviction()).await?;
        Ok(store)
    }

    async fn ask_for_eviction(&self) -> Result<(), RedisError> {
        let info: String = cmd("INFO").arg("memory").query_async(&mut self.connection()).await?;
        if !info.contains(NEVER_EVICTS) {
            tracing::warn!("Redis drops keys when its memory is full, and messages would run twice; set noeviction");
        }
        Ok(())
    }

    /// The connection, for what a handler reads. What a handler writes belongs into [`RedisStore::commit`].
    pub fn connection(&self) -> ConnectionManager {
        self.0.connection.clone()
    }

    /// What every key of a user's effects must contain, for Redis Cluster: all keys of one transaction are on one node,
    /// and the windows of a user are where this tag says. For `ann`, `{user:ann}`.
    pub fn hash_tag(user: &str) -> String {
        hash_tag(user)
    }

    fn window(&self, key: &WindowKey) -> String {
        let (prefix, tag) = (&self.0.settings.prefix, Self::hash_tag(&key.user));
        format!("{prefix}{tag}:{:016x}:{}", key.outbox.0, key.business)
    }

    /// Bounds what waits for Redis.
    async fn within<T>(&self, asked: impl Future<Output = Result<T, RedisError>>) -> Result<T, StoreFault> {
        let timeout = self.0.settings.timeout;
        match tokio::time::timeout(timeout, asked).await {
            Ok(answered) => Ok(answered?),
            Err(_) => Err(StoreFault::TimedOut(timeout)),
        }
    }

    /// Asks a script, whose answer starts with a word.
    async fn ask(&self, script: &ScriptInvocation<'_>) -> Result<(String, Vec<Vec<u8>>), StoreFault> {
        let mut connection = self.connection();
        let mut answer: Vec<Vec<u8>> = self.within(script.invoke_async(&mut connection)).await?;
        if answer.is_empty() {
            return Err(StoreFault::Unexpected("nothing".into()));
        }
        let word = String::from_utf8_lossy(&answer.remove(0)).into_owned();
        Ok((word, answer))
    }

    async fn standing(&self, message: &Try, takes: bool) -> Result<Standing, StoreFault> {
        let settings = &self.0.settings;
        let (id, oldest) = (message.key.message.0, message.oldest_unsettled.0);
        if !IDS.contains(&id) || !IDS.contains(&oldest) {
            return Err(StoreFault::IdTooLarge);
        }
        let mut script = self.0.claim.key(self.window(&message.key.window));
        script.arg(id).arg(oldest).arg(&message.payload.0).arg(&self.0.owner).arg(expiry_millis(settings.lease));
        script.arg(expiry_millis(settings.keep)).arg(settings.reply_bytes).arg(WINDOW_IDS).arg(u8::from(takes));
        let (word, mut rest) = self.ask(&script).await?;
        Ok(match word.as_str() {
            "free" => Standing::Free,
            "held" => Standing::Held,
            "settled" => Standing::Settled(rest.pop().unwrap_or_default().into()),
            "stale" => Standing::Stale,
            "conflict" => Standing::Conflict,
            "full" => Standing::Full,
            _ => return Err(StoreFault::Unexpected(word)),
        })
    }

    async fn end(&self, key: &CallKey, how: &str, answer: &[u8]) -> Result<Ended, StoreFault> {
        let settings = &self.0.settings;
        let mut script = self.0.end.key(self.window(&key.window));
        script.arg(key.message.0).arg(&self.0.owner).arg(how).arg(answer);
        script.arg(expiry_millis(settings.lease)).arg(expiry_millis(settings.keep));
        let (word, mut rest) = self.ask(&script).await?;
        Ok(match word.as_str() {
            "done" => Ended::Done,
            "settled" => Ended::Settled(rest.pop().unwrap_or_default().into()),
            "lapsed" => Ended::Lapsed,
            _ => return Err(StoreFault::Unexpected(word)),
        })
    }
}

#[tonic::async_trait]
impl IdempotencyStore for RedisStore {
    fn lease(&self) -> Duration {
        self.0.settings.lease
    }

    async fn claim(&self, message: &Try) -> Result<Standing, StoreError> {
        Ok(self.standing(message, true).await?)
    }

    async fn look(&self, message: &Try) -> Result<Standing, StoreError> {
        Ok(self.standing(message, false).await?)
    }

    async fn renew(&self, key: &CallKey) -> Result<Ended, StoreError> {
        Ok(self.end(key, "renew", b"").await?)
    }

    async fn settle(&self, key: &CallKey, answer: Bytes) -> Result<Ended, StoreError> {
        Ok(self.end(key, "settle", &answer).await?)
    }

    async fn release(&self, key: &CallKey) -> Result<Ended, StoreError> {
        Ok(self.end(key, "release", b"").await?)
    }
}
