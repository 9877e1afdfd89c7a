//! Tower layers, one file each.
//!
//! All of them decide in `call` and hold nothing in `poll_ready`: an idle clone of a service that was made ready holds
//! what it got ready with. Their `poll_ready` does not touch the inner service; the response future makes it ready once
//! it is the request's turn. Guards travel in the response future, so that whatever ends it releases.

pub mod heartbeat;
#[cfg(feature = "http")]
pub mod http;
pub mod limit;
pub mod queue;
pub mod rate;
pub mod shed;
pub mod step;
pub mod tag;

mod hold;
mod place;
mod start;

pub use hold::{HoldFuture, HoldPlace};
pub use place::{Place, Placed, QueueHandle};
pub use queue::{PlacedQueueLayer, Queue, QueueLayer, QueueSettings};
pub use shed::{Shed, ShedLayer};
pub use tag::{Tag, TagLayer, Tagger};

#[cfg(test)]
pub(in crate::layer) mod testing;
