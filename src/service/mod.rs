//! The SDK for logic services: a handler runs at most once per call that it is given, at most `workers` handlers run at
//! a time, and every call is answered exactly once.
//!
//! ```text
//! gateway ══ Serve stream ══▶ guard ─▶ free worker? ── yes ─▶ handler ─▶ answers that are ready ══▶ gateway
//!                               │           └─ no ─▶ queue (level, arrival) ─▶ ┘
//!                               └ refused: above the cut, queue full, expired, leaving
//! ```
//!
//! The instance tells each stream how many calls it may have unanswered (its *grants*), so that waiting happens in the
//! gateways' queues, where the gates decide. The queue and the guard here only hold when a gateway does not listen.
//!
//! ```
//! use dagor::service::{Handler, HandlerError, Reply, Request, Server};
//!
//! struct Greeter;
//!
//! impl Handler for Greeter {
//!     async fn handle(&self, request: Request) -> Result<Reply, HandlerError> {
//!         if request.business_name != "greet" {
//!             return Err(HandlerError::failed("only greetings are served here"));
//!         }
//!         Ok(Reply::new(format!("hello, {}", request.user)))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let stop = async { /* until a signal asks this instance to leave */ };
//! Server::new(Greeter).workers(8).serve(listener, stop).await?;
//! # Ok(())
//! # }
//! ```

pub(crate) mod batch;
#[doc(hidden)]
pub mod bench;
mod desk;
pub mod echo;
mod grants;
mod guard;
pub mod handler;
mod mark;
mod memory;
pub mod pacer;
pub mod presence;
pub mod push;
mod queue;
#[cfg(feature = "redis")]
pub mod redis;
pub mod router;
pub mod server;
pub mod store;
mod stream;
pub mod window;
mod worker;

pub use echo::{Echo, EchoConfig, EchoCounters, serve_echo};
pub use grants::split_grants;
pub use handler::{Handler, HandlerError, Reply, Request};
pub use mark::Mark;
pub use memory::Memory;
pub use pacer::Pacer;
pub use presence::{Change, Client, PresenceBatch, PresenceError, PresenceEvent, PresenceReceiver};
pub use push::{Gateway, Gateways, Push, PushClient, PushError, Pushed};
pub use router::Router;
pub use server::{ServeError, Server};
pub use store::{IdempotencyStore, StoreStats};
pub use window::{CallKey, WindowSettings, WindowStats};
