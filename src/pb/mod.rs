//! Code generated from `proto/`, committed so that building needs neither `protoc` nor a build script;
//! `tests/proto.rs` holds it to the files it came from. Written by hand: what two ends agree upon that a message cannot say.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used, reason = "generated")]

/// What both ends of the link to managers go by besides its messages.
#[cfg(feature = "gateway")]
pub mod attach;
/// The bodies of the client protocol's frames, `proto/client.proto`.
#[cfg(feature = "wire")]
#[rustfmt::skip]
pub mod client;
/// The link to managers, `proto/manager.proto`.
#[cfg(feature = "gateway")]
#[rustfmt::skip]
pub mod manager;
/// The link to logic services, `proto/service.proto`.
#[cfg(feature = "service")]
#[rustfmt::skip]
pub mod service;
/// What clients carry from login to login, `proto/ticket.proto`.
#[cfg(feature = "gateway")]
#[rustfmt::skip]
pub mod ticket;
