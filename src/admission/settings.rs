//! What a gate can be told.

use std::time::Duration;

use super::share::MinimumShare;

/// A gate's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct GateSettings {
    /// Which controller moves the cut.
    pub controller: ControllerKind,
    /// Mean queuing time above which the gate is overloaded (the paper: 20 ms).
    pub target: Duration,
    /// The longest window: 100 ms (the paper: 1 s).
    pub window: Duration,
    /// A window also ends after this many requests (the paper: 2000).
    pub window_requests: u32,
    /// How long a request stays in the queue that the cut has left behind: it is served only while nothing better is
    /// there. Zero refuses it as soon as the cut passes it.
    pub patience: Duration,
    /// What business priorities get in any case. The paper's controller knows none.
    pub shares: Vec<MinimumShare>,
    /// Whether the gate refuses or only says what it would have refused.
    pub mode: GateMode,
}

impl Default for GateSettings {
    fn default() -> Self {
        Self {
            controller: ControllerKind::Capacity,
            target: Duration::from_millis(20),
            window: Duration::from_millis(100),
            window_requests: 20_000,
            patience: Duration::from_millis(50),
            shares: Vec::new(),
            mode: GateMode::Enforce,
        }
    }
}

impl GateSettings {
    /// The settings under which this controller is at its best.
    pub fn of(controller: ControllerKind) -> Self {
        match controller {
            ControllerKind::Capacity => Self::default(),
            ControllerKind::DagorV3 => Self::dagor_v3(),
        }
    }

    /// The paper's figures for the paper's controller.
    pub fn dagor_v3() -> Self {
        Self {
            controller: ControllerKind::DagorV3,
            window: Duration::from_secs(1),
            window_requests: 2000,
            ..Self::default()
        }
    }
}

/// Which controller moves a gate's cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControllerKind {
    /// Tracks the capacity and the rates at which each level arrives.
    Capacity,
    /// The one of the DAGOR paper (arXiv 1806.04075 v3, algorithm 1).
    DagorV3,
}

impl ControllerKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Capacity, Self::DagorV3];

    /// What policy files and reports call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Capacity => "capacity",
            Self::DagorV3 => "dagor-v3",
        }
    }
}

/// Whether a gate refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateMode {
    /// Refuses what is not below the cut.
    Enforce,
    /// Refuses nothing; counts what it would have refused.
    DryRun,
}
