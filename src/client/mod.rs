//! The client SDK: a pure state machine for one connection, and a thin driver that gives it a socket and a clock.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use dagor::client::{ClientConfig, DirectClient};
//!
//! let (client, mut pushes) = DirectClient::connect(ClientConfig::new("127.0.0.1:7400", "alice")).await?;
//! let message = client.business("message").ok_or("no such business")?;
//! let reply = client.request(message, "hello".into(), None).await?;
//! println!("{:?}", reply.payload);
//! while let Some(push) = pushes.recv().await {
//!     println!("{:?}", push.payload);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Reading order: `event` (what goes in and comes out), `connection` and `open` (the states), `liveness`, `tries`, `cuts`
//! and `session` (their parts), `transport`, `driver`, `pushes`, `handle`. Everything up to `session` is free of sockets,
//! clocks and tasks, so whole conversations run in a test in microseconds.

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

pub use agent::{Agent, AgentStart, ClientEvent, Command, LinkId, StopReason};
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
