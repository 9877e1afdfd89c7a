//! No control: every call is admitted.
//!
//! **Signal**: none. **Decision**: only the queue's bound refuses. **What it cannot do**: beyond saturation the queue grows
//! until every call in it is as old as its deadline; then the server works on what nobody waits for any more.

use serde::{Deserialize, Serialize};

use super::{knob::Knob, written};
use crate::{
    clock::Timestamp,
    sim::guard::{Arrangement, Call, Guard, Refused, Server},
};

/// Settings of no control.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NoneSettings {
    /// How many calls may wait. Small, it is a fixed limit.
    #[serde(deserialize_with = "written::count")]
    pub waiting: u32,
}

impl NoneSettings {
    /// There is nothing to search: with a small bound this would be `fixed`.
    pub const KNOBS: &[Knob] = &[];
}

impl Default for NoneSettings {
    /// More than can be worked off within a deadline, less than memory.
    fn default() -> Self {
        Self { waiting: 10_000 }
    }
}

impl Arrangement for NoneSettings {
    fn guard(&self, _workers: usize, _seed: u64) -> Box<dyn Guard> {
        Box::new(Open { settings: self.clone() })
    }
}

#[derive(Debug)]
struct Open {
    settings: NoneSettings,
}

impl Guard for Open {
    fn queue_capacity(&self) -> usize {
        self.settings.waiting as usize
    }

    fn arrive(&mut self, _now: Timestamp, _call: &Call, _server: &Server) -> Result<(), Refused> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::Bench;
    use super::*;

    #[test]
    fn beyond_saturation_it_works_for_nobody() {
        let mut bench = Bench::new(&NoneSettings::default());
        bench.run(2.0, 5);
        let late = bench.run(2.0, 5);
        assert_eq!(late.refused, 0);
        assert_eq!(late.good, 0, "everything that starts is as old as its deadline: {late:?}");
    }
}
