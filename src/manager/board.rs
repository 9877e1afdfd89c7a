//! Where managers leave what they know for each other: the last report of each gateway, and what operators want. Each
//! entry lapses by itself. One manager alone keeps its board in memory.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;

use crate::clock::{Clock, Timestamp};

/// Orders at a time; beyond that somebody's script runs wild.
pub const MAX_ORDERS: usize = 4096;

/// What is on a board.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// Encoded reports, each with whose it is and its age.
    pub reports: Vec<(String, Bytes, Duration)>,
    /// Encoded orders, each with the time that it has left.
    pub orders: Vec<(Bytes, Duration)>,
}

/// Why a board could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// It cannot be reached, or did not answer in time.
    #[error("the board is away: {0}")]
    Away(String),
    /// There are more orders than it takes.
    #[error("there are {MAX_ORDERS} orders already")]
    Full,
}

/// A board.
#[tonic::async_trait]
pub trait Board: fmt::Debug + Send + Sync + 'static {
    /// Whether other managers see it.
    fn is_shared(&self) -> bool;

    /// Puts a gateway's report in the place of the one before, for so long.
    ///
    /// # Errors
    ///
    /// If the board is away.
    async fn put_report(&self, gateway: &str, report: Bytes, lasts: Duration) -> Result<(), BoardError>;

    /// Takes a gateway's report away: it is gone.
    ///
    /// # Errors
    ///
    /// If the board is away.
    async fn drop_report(&self, gateway: &str) -> Result<(), BoardError>;

    /// Puts an order in the place of another of the same name, for so long.
    ///
    /// # Errors
    ///
    /// If the board is away or full.
    async fn put_order(&self, name: &str, order: Bytes, lasts: Duration) -> Result<(), BoardError>;

    /// Takes an order back.
    ///
    /// # Errors
    ///
    /// If the board is away.
    async fn drop_order(&self, name: &str) -> Result<(), BoardError>;

    /// Everything that has not lapsed.
    ///
    /// # Errors
    ///
    /// If the board is away.
    async fn read(&self) -> Result<Entries, BoardError>;
}

/// A board for one manager. Its reports never leave the process, so it keeps none of them.
#[derive(Debug)]
pub struct MemoryBoard {
    clock: Clock,
    orders: Mutex<BTreeMap<String, (Bytes, Timestamp)>>,
}

impl MemoryBoard {
    /// An empty board.
    pub const fn new(clock: Clock) -> Self {
        Self { clock, orders: Mutex::new(BTreeMap::new()) }
    }

    fn orders(&self) -> MutexGuard<'_, BTreeMap<String, (Bytes, Timestamp)>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl Board for MemoryBoard {
    fn is_shared(&self) -> bool {
        false
    }

    async fn put_report(&self, _: &str, _: Bytes, _: Duration) -> Result<(), BoardError> {
        Ok(())
    }

    async fn drop_report(&self, _: &str) -> Result<(), BoardError> {
        Ok(())
    }

    async fn put_order(&self, name: &str, order: Bytes, lasts: Duration) -> Result<(), BoardError> {
        let mut orders = self.orders();
        let now = self.clock.now();
        orders.retain(|_, (_, until)| *until > now);
        if orders.len() >= MAX_ORDERS && !orders.contains_key(name) {
            return Err(BoardError::Full);
        }
        orders.insert(name.to_owned(), (order, now + lasts));
        Ok(())
    }

    async fn drop_order(&self, name: &str) -> Result<(), BoardError> {
        self.orders().remove(name);
        Ok(())
    }

    async fn read(&self) -> Result<Entries, BoardError> {
        let now = self.clock.now();
        let mut orders = self.orders();
        orders.retain(|_, (_, until)| *until > now);
        let orders = orders.values().map(|(order, until)| (order.clone(), until.since(now))).collect();
        Ok(Entries { reports: Vec::new(), orders })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_order_takes_the_place_of_its_namesake_and_lapses() {
        let clock = Clock::manual(Timestamp::ZERO);
        let board = MemoryBoard::new(clock.clone());
        let second = Duration::from_secs(1);
        board.put_order("a", Bytes::from_static(b"1"), second).await.unwrap();
        board.put_order("a", Bytes::from_static(b"2"), second * 3).await.unwrap();
        board.put_order("b", Bytes::from_static(b"3"), second).await.unwrap();
        clock.advance(second);
        assert_eq!(board.read().await.unwrap().orders, [(Bytes::from_static(b"2"), second * 2)]);
        board.drop_order("a").await.unwrap();
        assert_eq!(board.read().await.unwrap(), Entries::default());
    }

    #[tokio::test]
    async fn orders_are_bounded_and_those_that_lapsed_make_room() {
        let clock = Clock::manual(Timestamp::ZERO);
        let board = MemoryBoard::new(clock.clone());
        let put = |name: usize| board.put_order("x", Bytes::new(), Duration::from_secs(1 + name as u64 % 2));
        put(0).await.unwrap();
        for name in 1..MAX_ORDERS {
            board.put_order(&name.to_string(), Bytes::new(), Duration::from_secs(1)).await.unwrap();
        }
        assert!(matches!(board.put_order("y", Bytes::new(), Duration::from_secs(1)).await, Err(BoardError::Full)));
        put(1).await.unwrap();
        clock.advance(Duration::from_secs(1));
        board.put_order("y", Bytes::new(), Duration::from_secs(1)).await.unwrap();
    }
}
