//! What a gate can be told.

use std::time::Duration;

/// A gate's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct GateSettings {
    /// Which controller moves the cut.
    pub controller: ControllerKind,
    /// Mean queuing time above which the gate is overloaded (the paper: 20 ms).
    pub target: Duration,
    /// The longest window (the paper: 1 s).
    pub window: Duration,
    /// A window also ends after this many requests (the paper: 2000).
    pub window_requests: u32,
    /// Whether the gate refuses or only says what it would have refused.
    pub mode: GateMode,
}

impl Default for GateSettings {
    /// The paper's figures.
    fn default() -> Self {
        Self {
            controller: ControllerKind::DagorV3,
            target: Duration::from_millis(20),
            window: Duration::from_secs(1),
            window_requests: 2000,
            mode: GateMode::Enforce,
        }
    }
}

/// Which controller moves a gate's cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControllerKind {
    /// The one of the DAGOR paper (arXiv 1806.04075 v3, algorithm 1).
    DagorV3,
}

/// Whether a gate refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateMode {
    /// Refuses what is not below the cut.
    Enforce,
    /// Refuses nothing; counts what it would have refused.
    DryRun,
}
