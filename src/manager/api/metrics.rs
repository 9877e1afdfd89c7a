//! The metrics of a manager, made when somebody asks.

use ::metrics::{counter, describe_counter, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use metrics_process::Collector;

use crate::manager::engine::Round;

/// A recorder of its own for each look, so that a gateway that is gone leaves no series behind.
#[derive(Default)]
pub(super) struct Metrics {
    process: Collector,
}

/// Every metric with its meaning; docs/metrics.md has the same list.
fn describe() {
    describe_gauge!("dagor_manager_attached", "Gateways attached to this manager");
    describe_gauge!("dagor_manager_gateways", "Gateways of the fleet, by state");
    describe_gauge!("dagor_manager_connections", "Connections of the fleet");
    describe_gauge!("dagor_manager_headroom", "Clients that a gateway still has room for");
    describe_gauge!("dagor_manager_placed", "Clients sent to a gateway who have not arrived");
    describe_gauge!("dagor_manager_fleet_cut_level", "How many of the 8192 levels the fleet admits whole, by service");
    describe_gauge!("dagor_manager_offered_per_second", "Cost per second offered to a service by the whole fleet");
    describe_gauge!("dagor_manager_capacity_per_second", "Cost per second that a service completes for all");
    describe_gauge!("dagor_manager_caps", "Operators' caps in force");
    describe_gauge!("dagor_manager_frozen", "1 while nothing changes because half of the fleet is out of sight");
    describe_gauge!("dagor_manager_balancing", "1 while clients are moved for the sake of balance");
    describe_counter!("dagor_manager_board_failures_total", "Looks at the shared board that failed");
}

impl Metrics {
    /// The metrics of this moment in Prometheus' text format.
    pub(super) fn render(&self, round: &Round, attached: usize) -> String {
        let recorder: PrometheusRecorder = PrometheusBuilder::new().build_recorder();
        with_local_recorder(&recorder, || {
            describe();
            self.process.describe();
            self.process.collect();
            record(round, attached);
        });
        recorder.handle().render()
    }
}

fn record(round: &Round, attached: usize) {
    let decisions = &round.decisions;
    gauge!("dagor_manager_attached").set(attached as f64);
    let open = decisions.gateways.values().filter(|directive| directive.standing.accepting).count();
    gauge!("dagor_manager_gateways", "state" => "open").set(open as f64);
    gauge!("dagor_manager_gateways", "state" => "closed").set((decisions.gateways.len() - open) as f64);
    let connections: u64 = decisions.gateways.values().map(|directive| directive.connections.0).sum();
    gauge!("dagor_manager_connections").set(connections as f64);
    for (name, directive) in &decisions.gateways {
        gauge!("dagor_manager_headroom", "gateway" => name.clone()).set(directive.headroom);
        gauge!("dagor_manager_placed", "gateway" => name.clone()).set(directive.placed);
    }
    for service in &decisions.services {
        let name = || service.service.clone();
        gauge!("dagor_manager_fleet_cut_level", "service" => name()).set(service.cut.whole_levels() as f64);
        gauge!("dagor_manager_offered_per_second", "service" => name()).set(service.offered);
        gauge!("dagor_manager_capacity_per_second", "service" => name()).set(service.capacity);
    }
    gauge!("dagor_manager_caps").set(round.orders.caps.len() as f64);
    gauge!("dagor_manager_frozen").set(f64::from(u8::from(decisions.frozen.is_some())));
    gauge!("dagor_manager_balancing").set(f64::from(u8::from(decisions.is_balancing())));
    counter!("dagor_manager_board_failures_total").absolute(round.board_failures);
}
