//! What the decisions go by. The defaults are in `docs/manager.toml`, each with its reason.

use std::time::Duration;

/// Something of a gateway's own that may close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MarkKind {
    /// Connections, as a share of the policy's limit.
    Connections,
    /// CPU, as a share of what the process may use.
    Cpu,
    /// Memory, as a share of what the process may use.
    Memory,
    /// How late the workers' timers are, in seconds.
    EventLoop,
    /// What the gateway itself adds to a reply's latency, 99th percentile, in seconds.
    OwnShare,
}

impl MarkKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Connections, Self::Cpu, Self::Memory, Self::EventLoop, Self::OwnShare];

    /// The number on the wire.
    pub const fn code(self) -> u32 {
        match self {
            Self::Connections => 1,
            Self::Cpu => 2,
            Self::Memory => 3,
            Self::EventLoop => 4,
            Self::OwnShare => 5,
        }
    }

    /// The mark with this number, if this version knows it.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The key in the configuration, and the label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::EventLoop => "event_loop",
            Self::OwnShare => "own_share",
        }
    }

    /// Whether its values are times.
    pub const fn is_time(self) -> bool {
        matches!(self, Self::EventLoop | Self::OwnShare)
    }
}

/// When one thing closes a gateway, and when it may open again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// From here on it is too much.
    pub high: f64,
    /// Below this it is little enough to open again.
    pub low: f64,
    /// For how long it has to be too much. Zero closes at once, also a gateway that has only just opened.
    pub lasting: Duration,
}

/// The marks of a gateway.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Marks {
    /// One for each kind, in the order of [`MarkKind::ALL`].
    marks: [Mark; MarkKind::ALL.len()],
    /// A gateway stays closed for at least this long.
    pub closed_at_least: Duration,
    /// A gateway that has just opened is not closed by what has to last, for this long.
    pub open_at_least: Duration,
}

impl Marks {
    /// The mark of this kind.
    pub const fn of(&self, kind: MarkKind) -> Mark {
        self.marks[kind as usize]
    }

    /// Changes one.
    pub const fn set(&mut self, kind: MarkKind, mark: Mark) {
        self.marks[kind as usize] = mark;
    }
}

impl Default for Marks {
    fn default() -> Self {
        let mark = |high, low, seconds| Mark { high, low, lasting: Duration::from_secs(seconds) };
        Self {
            marks: [
                mark(0.9, 0.8, 0),
                mark(0.9, 0.75, 5),
                mark(0.85, 0.75, 2),
                mark(0.020, 0.005, 5),
                mark(0.050, 0.020, 5),
            ],
            closed_at_least: Duration::from_secs(10),
            open_at_least: Duration::from_secs(10),
        }
    }
}

/// How clients are sent from one gateway to others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// How long a new gateway, or one that has opened again, takes to get its whole share of the clients.
    pub ramp: Duration,
    /// Of the logins that the policies allow, the share that is let in while every gateway is closed.
    pub closed_logins: f64,
    /// A gateway with so many times the mean connections, or as far below it, has clients moved until all have the mean; 0 for
    /// never.
    pub rebalance_above: f64,
    /// Of its connections, the share that a gateway gives away per second at most.
    pub rebalance_share: f64,
}

impl Placement {
    /// What is wrong with the balance that is wanted, and why, if anything is.
    pub(crate) fn fault(&self) -> Option<(&'static str, &'static str)> {
        if self.rebalance_above <= 0.0 {
            None
        } else if self.rebalance_above < 1.05 {
            Some(("`rebalance_above` is below 1.05", "chance alone makes such differences"))
        } else if self.rebalance_share <= 0.0 {
            Some((
                "`rebalance_share` is 0 and `rebalance_above` is not",
                "clients would be to move for ever, and none would",
            ))
        } else {
            None
        }
    }
}

impl Default for Placement {
    fn default() -> Self {
        Self { ramp: Duration::from_secs(60), closed_logins: 0.1, rebalance_above: 1.25, rebalance_share: 0.002 }
    }
}

/// All settings of the decisions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// How often gateways report.
    pub interval: Duration,
    /// A gateway that was silent for this long is gone.
    pub lease: Duration,
    /// For how long a gateway obeys the last directive when no other one comes.
    pub ttl: Duration,
    /// For how long nothing changes after half of the fleet was lost from sight.
    pub hold: Duration,
    /// When gateways close and open.
    pub marks: Marks,
    /// Where clients go.
    pub placement: Placement,
    /// Whether services get one cut for the fleet.
    pub fleet_cuts: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            lease: Duration::from_secs(3),
            ttl: Duration::from_secs(10),
            hold: Duration::from_secs(60),
            marks: Marks::default(),
            placement: Placement::default(),
            fleet_cuts: true,
        }
    }
}
