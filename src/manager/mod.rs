//! Managers collect what gateways report of their load, and say which of them may take clients, where the others' clients
//! go, and where the fleet cuts.
//!
//! ```text
//!  gateway ── reports ──▶ attach ──▶ engine ──▶ board ◀──▶ Redis ◀──▶ the other managers
//!     ▲                                │ core: reports in, directives out
//!     └────────── directives ──────────┘
//!                                      └──▶ api: lists for clients, the fleet for people, caps, drains, kicks
//! ```
//!
//! Read [`core`] first: it decides, and it is pure. Everything else carries things to it and from it.

mod api;
pub mod attach;
pub mod board;
pub mod config;
pub mod core;
pub mod cut_text;
pub mod engine;
#[cfg(feature = "redis")]
pub mod redis;
mod run;
pub mod settings;
pub mod wire;

pub use self::{
    config::{BoardPlace, ManagerConfig, Token},
    run::{Addresses, Running, StartError, start},
};
