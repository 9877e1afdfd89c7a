//! The decision core. Decides from numbers alone: no IO, no clock, no randomness and no allocation per request. Time and
//! hashes come in as arguments, so that the same code runs on sockets, in a simulator and in tests.
//!
//! ```text
//!              value                    decide: one load, one count
//!  request ────────────▶ Gate ──────────────────────────────────────▶ admitted, or a Refusal
//!                          │ counts per level, ages of what left the queue
//!                          ▼ tick, every 10 ms
//!            Window due? ─▶ Detector ─▶ Controller ─▶ own cut ─▶ min(own, gateway's, manager's)
//! ```
//!
//! Reading order: [`level`] (the scale), [`gate`] (the hot path), [`controller`] (the design of the loop),
//! [`capacity`] (the default one), [`dagor_v3`] (the paper's), [`own`] (the gateway's own gate), [`places`] and [`queue`]
//! (who is next when a place becomes free).

pub mod capacity;
pub mod cells;
pub mod controller;
pub mod cost;
pub mod dagor_v3;
pub mod detector;
pub mod dispersion;
pub mod drain;
pub mod dry_run;
pub mod fenwick;
pub mod flow;
pub mod gate;
pub mod in_flight;
pub mod level;
pub mod own;
pub mod places;
pub mod priority;
pub mod queue;
pub mod rates;
pub mod refusal;
pub mod resolve;
pub mod retry;
pub mod settings;
pub mod share;
pub mod stay;
pub mod surge;
pub mod throughput;
pub mod upstream;
pub mod weight;
pub mod window;

pub use capacity::CapacityTracker;
pub use cells::Tally;
pub use controller::{Controller, WindowStats};
pub use cost::{Cost, CostBook};
pub use dagor_v3::DagorV3;
pub use flow::{Flow, FlowMeter};
pub use gate::{Admission, Gate, GateSnapshot};
pub use in_flight::InFlightLimit;
pub use level::{Cut, GRAIN_BITS, Level, Value};
pub use own::OwnGate;
pub use places::Backlog;
pub use priority::{PriorityKey, UserHash};
pub use refusal::{Cause, Refusal};
pub use resolve::{Resolved, resolve};
pub use retry::retry_after;
pub use settings::{ControllerKind, GateMode, GateSettings};
pub use share::MinimumShare;
pub use upstream::{Passage, Upstream};
pub use weight::{Population, Weight};
