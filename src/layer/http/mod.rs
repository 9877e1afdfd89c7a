//! Layers for anything that speaks `http`: axum, tonic and hyper servers, hyper's, tonic's and other clients. They carry
//! importance from hop to hop, and shed where it is lacking in capacity, before anything was done.
//!
//! ```text
//!  caller                                server
//!  ┌────────────────────┐  dagor-level   ┌───────────────────────────────────────────────────────────────┐
//!  │ Context ▶ CallLayer│ ──────────────▶│ EntryLayer: exempt? ▶ trusted? or classify ▶ gate ▶ queue ▶ │── your service
//!  │            │ knows │  dagor-cut     │                                              │        place  │   in its Context,
//!  │   refused ◀┘ cuts  │ ◀──────────────│                                  503 or gRPC ◀┘   held by body │   calls on
//!  └────────────────────┘                └───────────────────────────────────────────────────────────────┘
//! ```
//!
//! Reading order: [`header`] (what goes over the wire), [`Context`] (what a task carries), [`Trust`] and [`sign`]
//! (whose word counts), [`EntryLayer`] with its [`Gatehouse`], [`CallLayer`] with its [`Downstream`]. `docs/layers.md`
//! is for those who use them.

mod body;
mod call;
mod claim;
mod context;
mod downstream;
mod entry;
mod exempt;
mod gatehouse;
pub mod header;
mod refuse;
mod run;
pub mod sign;
mod trust;

pub use http::request::Parts;

pub use body::HeldBody;
pub use call::{Call, CallLayer};
pub use claim::{Claim, Origin};
pub use context::{Context, Scoped};
pub use downstream::Downstream;
pub use entry::{Classify, Entry, EntryLayer};
pub use exempt::Exempt;
pub use gatehouse::{Driver, Gatehouse, GatehouseSettings, ROUND};
pub use sign::{KeyError, Signer, SigningKey, Verifier};
pub use trust::Trust;

#[cfg(test)]
mod testing;
