//! The simulator: the gateway's admission code and its rivals on a virtual clock. Everything follows from the scenario
//! and the seed.

pub mod compare;
pub mod controllers;
pub mod dagor;
mod engine;
pub mod fleet;
pub mod front;
pub mod guard;
pub mod html;
pub mod measure;
mod queue;
pub mod report;
pub mod rivals;
pub mod scenario;
pub mod search;
pub mod table;
pub mod trace;
pub mod tune;

pub use engine::run;
