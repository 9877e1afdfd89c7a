//! The client SDK: an outbox, and a life above single connections, as pure state machines with thin drivers.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use dagor::client::{Client, ClientConfig, NewMessage};
//!
//! let (client, mut pushes, _events) = Client::start(ClientConfig::new("127.0.0.1:7400", "alice"))?;
//! let receipt = client.submit(NewMessage::new("message", "hello")).await?;
//! println!("{}", receipt.await);
//! while let Some(push) = pushes.recv().await {
//!     println!("{:?}", push.payload);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `docs/client.md` says what is promised, and what each setting and event means.
//!
//! Reading order, from the bytes up: `event` (what goes into a connection and comes out), `connection` and `open` (its
//! states), `liveness`, `tries`, `cuts` and `session` (their parts); `outbox` (what is not settled), `agent` (which
//! connection there is, and what is sent on it); `store` (where an outbox is kept); `transport`, `driver` and `direct`
//! (one connection with a socket); `task` and `handle` (an agent with sockets and a store). Everything up to `agent` is free
//! of sockets, clocks, files and tasks, so whole conversations run in a test in microseconds.

mod agent;
mod config;
mod connection;
mod cuts;
mod direct;
mod driver;
mod error;
mod event;
mod handle;
mod latest;
mod liveness;
mod open;
mod outbox;
mod pushes;
mod session;
mod store;
mod task;
mod transport;
mod tries;

pub use agent::{Agent, AgentStart, ClientEvent, Command, LinkId, StopReason, backoff};
pub use config::{ClientConfig, TransportKind};
pub use connection::Connection;
pub use direct::{DirectClient, Response};
pub use error::{CloseReason, ConnectError, ProtocolError, RequestError, Verdict};
pub use event::{Event, Goaway, Login, NewRequest, Push, Reply, Token};
pub use handle::{Client, Receipt, StartError};
pub use outbox::{Fate, GiveUp, Kept, KeptMessage, NewMessage, OutboxLimits, Record, SubmitError};
pub use pushes::{Events, Pushes};
pub use session::{Alternative, Business, Session};
pub use store::{FileStore, MemoryStore, Store, StoreError, SyncPolicy};
