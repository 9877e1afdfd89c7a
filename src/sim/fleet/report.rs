//! What came of a fleet.

use serde::Serialize;

/// The outcome of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The seed of the run.
    pub seed: u64,
    /// Gateways at the beginning.
    pub gateways: usize,
    /// Clients.
    pub clients: u64,
    /// Managers.
    pub managers: usize,
    /// How the clients came back.
    pub recovery: Recovery,
    /// Logins of the gateways that were there all the time.
    pub logins: Logins,
    /// How evenly clients were spread at the end.
    pub balance: Balance,
    /// Commands of Redis.
    pub redis: Redis,
    /// What managers have to do.
    pub manager_load: ManagerLoad,
    /// Over time, a value for each second since the warm-up.
    pub series: Series,
    /// Measured on this machine: the only figures that are not the same each time.
    pub measured: Measured,
}

/// How the clients of lost gateways came back.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Recovery {
    /// Clients that lost their gateway.
    pub lost: u64,
    /// The longest spread that a lost gateway had told its clients, in seconds.
    pub spread_s: f64,
    /// Seconds from the first loss until this share of them was connected again; `None` if it never was.
    pub back_50_s: Option<f64>,
    /// Of 95 in a hundred.
    pub back_95_s: Option<f64>,
    /// Of 99 in a hundred.
    pub back_99_s: Option<f64>,
    /// Of all.
    pub back_all_s: Option<f64>,
    /// Clients that are still on their way at the end.
    pub still_away: u64,
    /// Clients that were told to move, in restarts.
    pub moved: u64,
}

/// Logins since the first event.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Logins {
    /// Logins per second that the policy allows a gateway.
    pub limit_per_s: f64,
    /// Logins that it lets through within one second at most: the limit and the burst.
    pub ceiling_per_s: f64,
    /// Logins in the fullest second of the gateway with the fullest one.
    pub peak_max: u32,
    /// Logins in the fullest second of each gateway, in the mean.
    pub peak_mean: f64,
    /// Tries in the fullest second of the gateway with the fullest one, refused ones included.
    pub tried_peak_max: u32,
    /// Logins in all.
    pub welcomed: u64,
    /// Refused because logins or connections were at their limit.
    pub limited: u64,
    /// Sent to another gateway.
    pub redirected: u64,
    /// Told to come back, because no gateway took clients.
    pub cut: u64,
    /// Tries of gateways that were gone or shutting down.
    pub in_vain: u64,
}

/// How evenly connections are spread over the gateways that live.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Balance {
    /// Gateways that live at the end.
    pub gateways: usize,
    /// Connections of each, in the mean.
    pub mean: f64,
    /// Of the fullest.
    pub most: u64,
    /// Of the emptiest.
    pub least: u64,
    /// Clients that were told to move for the sake of balance, since the first event.
    pub moved: u64,
    /// How far the farthest is from the mean, as a share of it, in the end.
    pub largest_deviation: f64,
    /// The same among those that were there all the time, at the moment at which all were back.
    pub survivors_deviation: f64,
}

/// Commands per second of the routes in Redis, scripts counted as one.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Redis {
    /// In the second with most.
    pub peak_per_s: f64,
    /// Before anything happened.
    pub steady_per_s: f64,
    /// Of the steady ones: renewals of leases.
    pub leases_per_s: f64,
    /// Of the steady ones: routes written again every eight hours.
    pub refreshes_per_s: f64,
    /// On the managers' board: reports put there, and looks at all of them.
    pub board_per_s: f64,
}

/// What managers have to do, all of them together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ManagerLoad {
    /// Reports that gateways send.
    pub reports_per_s: f64,
    /// Decisions of one manager.
    pub decisions_per_s: f64,
}

/// Over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Series {
    /// When the first event is, in seconds since the warm-up.
    pub event_s: f64,
    /// Clients connected.
    pub connected: Vec<u64>,
    /// Clients that lost their gateway and are not back.
    pub away: Vec<u64>,
    /// Logins.
    pub logins: Vec<u64>,
    /// Tries.
    pub tries: Vec<u64>,
    /// Logins at the gateway with most.
    pub most_logins: Vec<u32>,
    /// Gateways that take logins.
    pub open: Vec<usize>,
    /// Commands of Redis.
    pub redis: Vec<f64>,
}

/// What was measured on this machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Measured {
    /// Microseconds of a decision, in the mean.
    pub decision_us: f64,
    /// Of the 99th in a hundred.
    pub decision_p99_us: f64,
    /// Of the longest.
    pub decision_max_us: f64,
    /// Microseconds for a report to be taken in.
    pub report_us: f64,
    /// Share of a processor that one manager needs for all of it.
    pub manager_cpu: f64,
    /// Seconds that the run took.
    pub run_s: f64,
    /// The most cells of clients in a tick.
    pub cells: usize,
}
