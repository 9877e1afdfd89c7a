//! A board in Redis, shared by all managers of a fleet: every entry is a key that lapses by itself, and an index says which
//! there are. Times are Redis' own, so that no two managers' clocks have to agree.
//!
//! All keys of a fleet have the same hash tag. A fleet's reports are small (a few KiB per gateway and second), and one
//! look reads them all.

use std::{fmt, time::Duration};

use bytes::Bytes;
use redis::{
    RedisError, Script, ScriptInvocation,
    aio::{ConnectionManager, ConnectionManagerConfig},
};

use super::{
    board::{Board, BoardError, Entries, MAX_ORDERS},
    core::MAX_GATEWAYS,
};
use crate::clock::expiry_millis;

/// The first pause before Redis is dialed again, and the longest.
const FIRST_REDIAL: Duration = Duration::from_millis(20);
const REDIAL_AT_MOST: Duration = Duration::from_millis(500);

/// How a board in Redis is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisBoardSettings {
    /// Such as `redis://127.0.0.1:6379`.
    pub url: String,
    /// How long Redis may take to answer.
    pub timeout: Duration,
    /// The fleet's name, which keeps fleets apart that share a Redis.
    pub fleet: String,
    /// How long a report lasts; all managers of a fleet must agree.
    pub lease: Duration,
}

impl fmt::Debug for RedisBoardSettings {
    /// Without the address, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBoardSettings").field("fleet", &self.fleet).finish_non_exhaustive()
    }
}

/// Reports and orders in Redis.
pub struct RedisBoard {
    connection: ConnectionManager,
    settings: RedisBoardSettings,
    put: Script,
    read: Script,
}

impl fmt::Debug for RedisBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisBoard").field(&self.settings).finish()
    }
}

/// A kind of entries, as a part of their keys.
#[derive(Clone, Copy)]
enum Kind {
    Report,
    Order,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Order => "order",
        }
    }

    const fn at_most(self) -> usize {
        match self {
            Self::Report => MAX_GATEWAYS,
            Self::Order => MAX_ORDERS,
        }
    }
}

/// An entry as Redis has it.
type Entry = (String, Bytes, Duration);

impl RedisBoard {
    /// A board that is connected to when it is first used, and again whenever the connection is lost.
    ///
    /// # Errors
    ///
    /// If the address is none.
    pub fn open(settings: RedisBoardSettings) -> Result<Self, RedisError> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(settings.timeout))
            .set_response_timeout(Some(settings.timeout))
            .set_min_delay(FIRST_REDIAL)
            .set_max_delay(REDIAL_AT_MOST);
        let client = redis::Client::open(settings.url.as_str())?;
        Ok(Self {
            connection: ConnectionManager::new_lazy_with_config(client, config)?,
            settings,
            put: Script::new(include_str!("put.lua")),
            read: Script::new(include_str!("read.lua")),
        })
    }

    fn prefix(&self, kind: Kind) -> String {
        format!("dagor:{{fleet:{}}}:{}:", self.settings.fleet, kind.name())
    }

    fn index(&self, kind: Kind) -> String {
        format!("dagor:{{fleet:{}}}:{}s", self.settings.fleet, kind.name())
    }

    /// Bounds what waits for Redis.
    async fn within<T>(&self, asked: impl Future<Output = Result<T, RedisError>>) -> Result<T, BoardError> {
        let timeout = self.settings.timeout;
        match tokio::time::timeout(timeout, asked).await {
            Ok(answered) => answered.map_err(|error| BoardError::Away(error.to_string())),
            Err(_) => Err(BoardError::Away(format!("no answer within {timeout:?}"))),
        }
    }

    async fn ask<T: redis::FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, BoardError> {
        let mut connection = self.connection.clone();
        self.within(script.invoke_async(&mut connection)).await
    }

    async fn put(&self, kind: Kind, name: &str, bytes: &[u8], lasts: Duration) -> Result<(), BoardError> {
        let mut script = self.put.key(self.index(kind));
        script.key(self.prefix(kind) + name).arg(name).arg(bytes).arg(expiry_millis(lasts)).arg(kind.at_most());
        let word: String = self.ask(&script).await?;
        if word == "full" { Err(BoardError::Full) } else { Ok(()) }
    }

    async fn remove(&self, kind: Kind, name: &str) -> Result<(), BoardError> {
        let mut connection = self.connection.clone();
        let mut both = redis::pipe();
        both.atomic().zrem(self.index(kind), name).ignore().del(self.prefix(kind) + name).ignore();
        self.within(both.query_async(&mut connection)).await
    }

    async fn entries(&self, kind: Kind) -> Result<Vec<Entry>, BoardError> {
        let mut script = self.read.key(self.index(kind));
        script.arg(self.prefix(kind));
        let found: Vec<(String, Vec<u8>, u64)> = self.ask(&script).await?;
        let entry = |(name, bytes, left): (String, Vec<u8>, u64)| (name, bytes.into(), Duration::from_millis(left));
        Ok(found.into_iter().map(entry).collect())
    }
}

#[tonic::async_trait]
impl Board for RedisBoard {
    fn is_shared(&self) -> bool {
        true
    }

    async fn put_report(&self, gateway: &str, report: Bytes, lasts: Duration) -> Result<(), BoardError> {
        self.put(Kind::Report, gateway, &report, lasts).await
    }

    async fn drop_report(&self, gateway: &str) -> Result<(), BoardError> {
        self.remove(Kind::Report, gateway).await
    }

    async fn put_order(&self, name: &str, order: Bytes, lasts: Duration) -> Result<(), BoardError> {
        self.put(Kind::Order, name, &order, lasts).await
    }

    async fn drop_order(&self, name: &str) -> Result<(), BoardError> {
        self.remove(Kind::Order, name).await
    }

    async fn read(&self) -> Result<Entries, BoardError> {
        let reports = self.entries(Kind::Report).await?;
        let orders = self.entries(Kind::Order).await?;
        let lease = self.settings.lease;
        let aged = |(name, bytes, left): Entry| (name, bytes, lease.saturating_sub(left));
        Ok(Entries {
            reports: reports.into_iter().map(aged).collect(),
            orders: orders.into_iter().map(|(_, bytes, left)| (bytes, left)).collect(),
        })
    }
}
