//! Between messages and what the core knows: everything that comes in is checked here, once. Numbers are finite, lists and
//! names are bounded, and what a newer gateway says on top is left out.

use std::time::Duration;

use super::{
    core::{
        Alternative, Directive, GateReport, Orders, Report, Standing,
        orders::{CapOrder, DrainOrder, KickOrder},
    },
    settings::{MarkKind, Settings},
};
use crate::{
    admission::{Cost, Cut, Level},
    clock::{whole_millis, whole_millis_u32},
    histogram::Histogram,
    id::{Incarnation, MAX_NAME_BYTES},
    pb::{attach::MAX_SENT, manager as pb},
};

/// Gates in a report.
const MAX_GATES: usize = 256;
/// Levels of a gate: all that there are.
const MAX_LEVELS: usize = crate::admission::level::LEVELS;
/// Addresses of a gateway.
const MAX_ADDRESSES: usize = 16;
/// Longest reason that is kept, in bytes.
const MAX_REASON_BYTES: usize = 256;
/// No amount in a message counts for more, so that sums and products of those of a whole fleet stay numbers.
const MOST: f64 = 1e12;
/// No time in a message counts for more.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Why a report is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportFault {
    /// It does not say whose it is, or in more words than a name has.
    #[error("a gateway's name has 1 to 128 bytes")]
    Name,
    /// More gates, levels or addresses than a gateway can have.
    #[error("the report is too large")]
    TooLarge,
}

/// Reads a report.
///
/// # Errors
///
/// If it has no name or is too large.
pub fn report(from: &pb::LoadReport) -> Result<Report, ReportFault> {
    if !is_name(&from.gateway) {
        return Err(ReportFault::Name);
    }
    let too_large = from.gates.len() > MAX_GATES
        || from.gates.iter().any(|gate| gate.offered.len() > MAX_LEVELS || gate.service.len() > MAX_NAME_BYTES)
        || from.sent_away.len() > MAX_SENT
        || from.addresses.len() > MAX_ADDRESSES
        || from.addresses.iter().any(|address| address.len() > 2 * MAX_NAME_BYTES);
    if too_large {
        return Err(ReportFault::TooLarge);
    }
    Ok(Report {
        gateway: from.gateway.clone(),
        incarnation: Incarnation(from.incarnation),
        addresses: from.addresses.clone(),
        uptime: millis(from.uptime_ms),
        connections: from.connections,
        limit: from.connection_limit,
        cpu: known_share(from.cpu),
        memory: known_share(from.memory),
        event_loop: micros(from.event_loop_delay_us),
        own_share: from.own_share.as_ref().and_then(p99),
        login_limit: amount(from.login_limit),
        logins: amount(from.logins),
        standing: from.standing.as_ref().map(standing),
        sent: from.sent_away.iter().map(|sent| (sent.gateway.clone(), amount(sent.clients))).collect(),
        arrived: amount(from.arrived),
        leaving: from.leaving,
        policy: from.policy_revision,
        refused_policy: from.refused_policy,
        gates: from.gates.iter().map(gate).collect(),
    })
}

fn gate(from: &pb::GateReport) -> GateReport {
    let level = |rate: &pb::LevelRate| (Level::from_index(rate.level as usize), amount(rate.per_second));
    GateReport {
        service: from.service.clone(),
        own_cut: Cut::from_bits(from.cut),
        fleet_cut: Cut::from_bits(from.fleet_cut),
        queuing: micros(from.queuing_us),
        target: micros(from.target_us),
        capacity: amount(from.capacity),
        mean_cost: cost(from.mean_cost),
        admitted: amount(from.admitted),
        limited: amount(from.limited).min(1.0),
        backlog: amount(from.backlog),
        dry_run: from.dry_run,
        offered: from.offered.iter().map(level).collect(),
        latency: from.latency.as_ref().and_then(p99),
    }
}

fn standing(from: &pb::Standing) -> Standing {
    let over = |over: &pb::Over| Some((MarkKind::from_code(over.mark)?, millis(over.for_ms)));
    let mut reason = from.reason.clone();
    reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
    Standing {
        accepting: from.accepting,
        age: millis(from.for_ms),
        over: from.over.iter().take(MarkKind::ALL.len()).filter_map(over).collect(),
        reason,
        wait: millis(from.wait_ms.into()),
        balancing: from.balancing,
    }
}

fn p99(from: &pb::Histogram) -> Option<Duration> {
    let mut histogram = Histogram::default();
    for (&bucket, &count) in from.buckets.iter().zip(&from.counts) {
        histogram.add(bucket as usize, count);
    }
    histogram.quantile(0.99)
}

/// A directive without cuts, caps, kicks and policy, which are the same for many.
pub fn directive(from: &Directive, settings: &Settings) -> pb::Directive {
    let over = |&(kind, lasted): &(MarkKind, Duration)| pb::Over { mark: kind.code(), for_ms: whole_millis(lasted) };
    let standing = &from.standing;
    pb::Directive {
        accept: from.accept,
        alternatives: alternatives(&from.alternatives),
        ttl_ms: whole_millis_u32(settings.ttl),
        report_interval_ms: whole_millis_u32(settings.interval),
        standing: Some(pb::Standing {
            accepting: standing.accepting,
            for_ms: whole_millis(standing.age),
            over: standing.over.iter().map(over).collect(),
            reason: standing.reason.clone(),
            wait_ms: whole_millis_u32(standing.wait),
            balancing: standing.balancing,
        }),
        spare_logins: from.spare_logins,
        moves: from.moves.as_ref().map(|moves| pb::Moves {
            per_second: moves.per_second,
            down_to: moves.down_to,
            to: alternatives(&moves.to),
        }),
        ..pb::Directive::default()
    }
}

fn alternatives(from: &[Alternative]) -> Vec<pb::AlternativeGateway> {
    let alternative = |one: &Alternative| pb::AlternativeGateway {
        gateway: one.gateway.clone(),
        addresses: one.addresses.clone(),
        weight: one.weight,
    };
    from.iter().map(alternative).collect()
}

/// Reads what operators want, each with the time that it has left. What this version does not know is left out.
pub fn orders<'a>(from: impl IntoIterator<Item = (&'a pb::Order, Duration)>) -> Orders {
    let mut orders = Orders::default();
    for (order, left) in from {
        if let Some(cap) = &order.cap {
            let cut = Cut::from_bits(cap.cut);
            orders.caps.push(CapOrder { service: cap.service.clone(), cut, left });
        }
        if let Some(drain) = &order.drain {
            orders.drains.push(DrainOrder {
                gateway: drain.gateway.clone(),
                incarnation: Incarnation(drain.incarnation),
                per_second: amount(drain.per_second),
            });
        }
        if let Some(kick) = &order.kick {
            orders.kicks.push(KickOrder { id: kick.id, user: kick.user.clone(), device: kick.device.clone() });
        }
    }
    orders
}

/// Whether this may be the name of something.
pub fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
}

/// What is no number, or no amount of anything, is none of it.
fn amount(number: f64) -> f64 {
    if number.is_finite() { number.clamp(0.0, MOST) } else { 0.0 }
}

/// A cost below that of any request is none.
fn cost(number: f64) -> f64 {
    let cost = amount(number);
    if cost >= Cost::LEAST.units() { cost } else { 0.0 }
}

fn known_share(number: f64) -> Option<f64> {
    (number.is_finite() && number >= 0.0).then(|| amount(number))
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis).min(LONGEST)
}

fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named() -> pb::LoadReport {
        pb::LoadReport { gateway: "a".to_owned(), ..pb::LoadReport::default() }
    }

    #[test]
    fn numbers_that_are_none_count_for_nothing() {
        let mut from = named();
        (from.cpu, from.memory, from.login_limit, from.arrived) = (f64::NAN, -1.0, f64::INFINITY, -5.0);
        from.uptime_ms = u64::MAX;
        from.gates = vec![pb::GateReport { limited: 7.0, capacity: f64::NEG_INFINITY, ..pb::GateReport::default() }];
        let report = report(&from).unwrap();
        assert_eq!((report.cpu, report.memory, report.login_limit, report.arrived), (None, None, 0.0, 0.0));
        assert_eq!((report.gates[0].limited, report.gates[0].capacity), (1.0, 0.0));
        assert_eq!(report.uptime, LONGEST);
    }

    #[test]
    fn no_amount_is_so_large_or_cost_so_small_that_a_fleet_cannot_be_reckoned_with() {
        let gate = |mean_cost| pb::GateReport { capacity: f64::MAX, mean_cost, ..pb::GateReport::default() };
        let mut from = named();
        (from.cpu, from.arrived) = (f64::MAX, f64::MAX);
        from.gates = [f64::from_bits(1), 1e-4, 0.5, f64::MAX].map(gate).to_vec();
        let report = report(&from).unwrap();
        assert_eq!((report.cpu, report.arrived, report.gates[0].capacity), (Some(MOST), MOST, MOST));
        let costs: Vec<_> = report.gates.iter().map(|gate| gate.mean_cost).collect();
        assert_eq!(costs, [0.0, 0.0, 0.5, MOST]);
    }

    #[test]
    fn what_has_no_name_or_no_bounds_is_refused() {
        assert_eq!(report(&pb::LoadReport::default()), Err(ReportFault::Name));
        let long = pb::LoadReport { gateway: "x".repeat(129), ..pb::LoadReport::default() };
        assert_eq!(report(&long), Err(ReportFault::Name));
        let many = pb::LoadReport { gates: vec![pb::GateReport::default(); MAX_GATES + 1], ..named() };
        assert_eq!(report(&many), Err(ReportFault::TooLarge));
    }

    #[test]
    fn a_standing_comes_back_as_it_was_sent_but_for_marks_that_are_not_known() {
        let sent = pb::Standing {
            accepting: false,
            for_ms: 1500,
            over: vec![pb::Over { mark: 4, for_ms: 20 }, pb::Over { mark: 99, for_ms: 20 }],
            reason: "é".repeat(200),
            wait_ms: 7,
            balancing: true,
        };
        let read = standing(&sent);
        assert_eq!(read.over, [(MarkKind::EventLoop, Duration::from_millis(20))]);
        assert_eq!((read.age, read.wait), (Duration::from_millis(1500), Duration::from_millis(7)));
        assert_eq!((read.reason.len(), read.balancing), (MAX_REASON_BYTES, true));
    }
}
