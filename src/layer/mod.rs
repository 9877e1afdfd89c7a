//! Tower layers, one file each.

pub mod heartbeat;
pub mod limit;
pub mod step;
