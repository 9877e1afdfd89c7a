//! The browser client of this folder in real Chromium.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod schema;
