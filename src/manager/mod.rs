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

pub mod core;
pub mod settings;
