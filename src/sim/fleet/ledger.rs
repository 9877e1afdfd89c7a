//! Counts while a fleet runs, and makes the report of them.

use std::time::Duration;

use super::{
    TICK,
    gateway::{Gateway, Life},
    managers::Managers,
    report::{Balance, Logins, ManagerLoad, Measured, Recovery, Redis, Report, Series},
    scenario::Scenario,
};
use crate::clock::Timestamp;

/// Commands to renew a lease, and how often it is renewed ([`docs/routes.md`]).
const LEASE_COMMANDS: f64 = 4.0;
const LEASE_EVERY: f64 = 2.0;
/// How often each route is written again.
const REFRESH_EVERY: f64 = 8.0 * 3600.0;
/// How long a gateway remembers a lease that it has read.
const LEASE_FRESH: Duration = Duration::from_millis(500);
/// Scripts of a manager's look at the board, and looks per interval.
const LOOK_SCRIPTS: f64 = 2.0;
pub(super) const LOOKS: u32 = 2;
/// Decisions per interval.
pub(super) const ROUNDS: u32 = 5;

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    recovery: Recovery,
    pub(super) logins: Logins,
    series: Series,
    /// When gateways were lost first, since the warm-up.
    lost_at: Option<Duration>,
    survivors_deviation: Option<f64>,
    given_away: u64,
    /// In the present second.
    welcomed: u64,
    tried: u64,
    logouts: u64,
    reads: f64,
    /// Of each gateway in the present half second: logins of clients that were elsewhere before.
    elsewhere: Vec<u32>,
}

impl Ledger {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut ledger = Self { elsewhere: vec![0; scenario.gateways], ..Self::default() };
        ledger.logins.limit_per_s = scenario.connections.login_rate;
        ledger.logins.ceiling_per_s = scenario.connections.login_rate + f64::from(scenario.connections.login_burst);
        ledger.series.event_s = scenario.first_event().unwrap_or_default().as_secs_f64();
        ledger
    }

    pub(super) fn lose(&mut self, clients: u64, spread: Duration, since: Duration) {
        self.recovery.lost += clients;
        self.recovery.spread_s = self.recovery.spread_s.max(spread.as_secs_f64());
        self.lost_at.get_or_insert(since);
    }

    pub(super) fn move_away(&mut self, clients: u64) {
        self.recovery.moved += clients;
    }

    /// Clients were told to move for the sake of balance.
    pub(super) const fn give_away(&mut self, clients: u64) {
        self.given_away += clients;
    }

    pub(super) fn welcome(&mut self, gateway: usize, came_from_elsewhere: bool) {
        self.welcomed += 1;
        self.logins.welcomed += 1;
        self.elsewhere[gateway] += u32::from(came_from_elsewhere);
    }

    pub(super) const fn try_login(&mut self) {
        self.tried += 1;
    }

    pub(super) const fn log_out(&mut self, clients: u64) {
        self.logouts += clients;
    }

    /// Nobody has counted anything yet that is to be reported.
    pub(super) fn begin(&mut self) {
        let Logins { limit_per_s, ceiling_per_s, .. } = self.logins;
        self.logins = Logins { limit_per_s, ceiling_per_s, ..Logins::default() };
        self.given_away = 0;
    }

    /// A tick has passed; `away` of the lost clients are not back.
    pub(super) fn end_tick(
        &mut self,
        tick: u64,
        since: Option<Duration>,
        away: u64,
        homes: usize,
        gateways: &[Gateway],
    ) {
        if (tick + 1).is_multiple_of((LEASE_FRESH.as_millis() / TICK.as_millis()) as u64) {
            // So many of the homes are met at least once by so many logins.
            let homes = homes.max(1) as f64;
            let met = |logins: &mut u32| homes * (1.0 - (1.0 - 1.0 / homes).powf(f64::from(std::mem::take(logins))));
            self.reads += self.elsewhere.iter_mut().map(met).sum::<f64>();
        }
        let (Some(since), Some(lost_at)) = (since, self.lost_at) else { return };
        let back = self.recovery.lost - away;
        let after = (since + TICK).saturating_sub(lost_at).as_secs_f64();
        let lost = self.recovery.lost;
        let share = |hundredths: u64| back * 100 >= lost * hundredths;
        for (reached, at) in [
            (share(50), &mut self.recovery.back_50_s),
            (share(95), &mut self.recovery.back_95_s),
            (share(99), &mut self.recovery.back_99_s),
            (share(100), &mut self.recovery.back_all_s),
        ] {
            // A later loss begins anew.
            *at = if reached { at.or(Some(after)) } else { None };
        }
        if away == 0 {
            self.survivors_deviation.get_or_insert_with(|| {
                deviation(gateways.iter().filter(|one| one.life == Life::Up && one.is_first_run()))
            });
        }
    }

    /// A second has passed.
    pub(super) fn end_second(&mut self, gateways: &[Gateway], away: u64, reported: bool, now: Timestamp) {
        let living = gateways.iter().filter(|gateway| gateway.reports());
        let (count, connected) = living.fold((0, 0), |(count, sum), gateway| (count + 1, sum + gateway.connected));
        let leases = f64::from(count) * LEASE_COMMANDS / LEASE_EVERY;
        let (welcomed, logouts) = (std::mem::take(&mut self.welcomed), std::mem::take(&mut self.logouts));
        let (tried, reads) = (std::mem::take(&mut self.tried), std::mem::take(&mut self.reads));
        if !reported {
            return;
        }
        let series = &mut self.series;
        series.connected.push(connected);
        series.away.push(away);
        series.logins.push(welcomed);
        series.tries.push(tried);
        series.most_logins.push(gateways.iter().map(|gateway| gateway.second).max().unwrap_or(0));
        series.open.push(gateways.iter().filter(|gateway| gateway.accepts(now)).count());
        series.redis.push((welcomed + logouts) as f64 + reads + leases + connected as f64 / REFRESH_EVERY);
    }

    pub(super) fn finish(
        mut self,
        scenario: &Scenario,
        seed: u64,
        gateways: &[Gateway],
        away: u64,
        managers: &Managers,
        measured: Measured,
    ) -> Report {
        self.recovery.still_away = away;
        // Only those that were there all the time have seen all of it; a restart of all leaves none of them.
        let up = || gateways.iter().filter(|gateway| gateway.life == Life::Up);
        let mut first: Vec<_> = up().filter(|gateway| gateway.is_first_run()).collect();
        if first.is_empty() {
            first = up().collect();
        }
        self.logins.peak_max = first.iter().map(|gateway| gateway.peak).max().unwrap_or(0);
        self.logins.peak_mean = mean(first.iter().map(|gateway| f64::from(gateway.peak)));
        self.logins.tried_peak_max = first.iter().map(|gateway| gateway.tried_peak).max().unwrap_or(0);
        let interval = managers.settings().interval.as_secs_f64();
        let (reports, looks) = (scenario.gateways as f64 / interval, f64::from(LOOKS) / interval);
        let event = (self.series.event_s as usize).min(self.series.redis.len());
        Report {
            name: scenario.name.clone(),
            description: scenario.description.clone(),
            seed,
            gateways: scenario.gateways,
            clients: scenario.clients,
            managers: scenario.managers,
            balance: Balance {
                gateways: up().count(),
                mean: mean(up().map(|gateway| gateway.connected as f64)),
                most: up().map(|gateway| gateway.connected).max().unwrap_or(0),
                least: up().map(|gateway| gateway.connected).min().unwrap_or(0),
                moved: self.given_away,
                largest_deviation: deviation(up()),
                survivors_deviation: self.survivors_deviation.unwrap_or_else(|| deviation(first.into_iter())),
            },
            redis: Redis {
                peak_per_s: self.series.redis.iter().copied().fold(0.0, f64::max),
                steady_per_s: mean(self.series.redis[..event].iter().copied()),
                leases_per_s: scenario.gateways as f64 * LEASE_COMMANDS / LEASE_EVERY,
                refreshes_per_s: scenario.clients as f64 / REFRESH_EVERY,
                board_per_s: reports + scenario.managers as f64 * looks * LOOK_SCRIPTS,
            },
            manager_load: ManagerLoad { reports_per_s: reports, decisions_per_s: f64::from(ROUNDS) / interval },
            recovery: self.recovery,
            logins: self.logins,
            series: self.series,
            measured,
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0_u32, 0.0), |(count, sum), value| (count + 1, sum + value));
    if count == 0 { 0.0 } else { sum / f64::from(count) }
}

/// How far the farthest is from the mean, as a share of it.
fn deviation<'g>(gateways: impl Iterator<Item = &'g Gateway>) -> f64 {
    let connected: Vec<_> = gateways.map(|gateway| gateway.connected as f64).collect();
    let mean = mean(connected.iter().copied());
    if mean == 0.0 { 0.0 } else { connected.iter().map(|one| (one / mean - 1.0).abs()).fold(0.0, f64::max) }
}
