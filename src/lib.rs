//! `dagor`: a gateway that holds client connections and sheds the least important requests first.

#[cfg(feature = "gateway")]
pub mod admin;
pub mod admission;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
pub mod clock;
#[cfg(feature = "gateway")]
pub mod gateway;
pub mod id;
pub mod layer;
#[cfg(feature = "cli")]
pub mod load;
#[cfg(any(feature = "wire", feature = "service"))]
pub mod pb;
#[cfg(feature = "gateway")]
pub mod policy;
#[cfg(feature = "gateway")]
pub mod registry;
pub mod request;
#[cfg(feature = "service")]
pub mod service;
#[cfg(feature = "wire")]
pub mod wire;
