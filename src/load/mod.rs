//! The open-loop load generator: requests leave when the schedule says, whatever the gateway does, and their latency
//! counts from the time at which they should have left.
//!
//! ```text
//! run ── orders ──▶ worker (one per thread)
//!                     ├─ traffic ◀─ schedule        what is due is sent
//!                     ├─ callers                    the closed loop that measures the saturation
//!                     └─ link ─▶ login ─▶ socket    one per user; endings go to the books
//! run ◀── beats ──────┘  each second, and an account at the end ──▶ report
//! ```
//!
//! It speaks the frames itself instead of using the client SDK, because it must not be a good client: no outbox, no
//! retries, no obedience to hints, nothing that would make the offered load depend on the answers.

mod books;
mod callers;
pub mod config;
pub mod error;
mod greeting;
mod link;
mod login;
mod pending;
pub mod progress;
mod record;
pub mod report;
pub mod run;
mod saturation;
pub mod schedule;
mod socket;
pub mod table;
mod tally;
mod traffic;
mod worker;

pub use config::{Arrivals, LoadConfig, Mix, Pace, Transport};
pub use error::Error;
pub use progress::Progress;
pub use report::Report;
pub use run::{Event, run};
