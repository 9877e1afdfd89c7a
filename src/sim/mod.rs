//! The simulator: the gateway's admission code and its rivals on a virtual clock. Everything follows from the scenario
//! and the seed.

pub mod guard;
pub mod rivals;
pub mod search;
