//! The metrics of a gateway. They are read when somebody asks: the paths of requests count in cells of their own and
//! know nothing of this.

use ::metrics::{counter, describe_counter, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use metrics_process::Collector;

use crate::{
    admission::GateSnapshot,
    gateway::{Gateway, counters::Outcome, fleet::FleetCounts, marks::MarkFault},
    policy::PolicyStatus,
    registry::CallCount,
    ticket::Fault,
    wire::Reason,
};

/// A recorder of its own for each gateway, so that several live in one process.
pub(super) struct Metrics {
    recorder: PrometheusRecorder,
    process: Collector,
}

impl Default for Metrics {
    fn default() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let process = Collector::default();
        with_local_recorder(&recorder, || {
            describe();
            process.describe();
        });
        Self { recorder, process }
    }
}

/// Every metric with its meaning; docs/metrics.md has the same list.
fn describe() {
    describe_gauge!("dagor_connections", "Logged-in connections");
    describe_gauge!("dagor_sockets", "Open client sockets, logged in or not");
    describe_counter!("dagor_closed_total", "Connections that the gateway ended or did not let in, by reason");
    describe_counter!("dagor_aged_total", "Connections that were told to move because of their age");
    describe_counter!("dagor_requests_total", "Requests that ended, by business and outcome");
    describe_gauge!("dagor_outgoing_bytes", "Bytes that wait to be written to clients");
    describe_gauge!("dagor_outgoing_bytes_peak", "The most bytes that ever waited to be written to clients");
    describe_gauge!("dagor_pushes_unacked", "Pushes taken to be written that no client has acknowledged");
    describe_counter!("dagor_tickets_total", "Tickets shown at logins, by whether they count");
    describe_counter!("dagor_marks_total", "Marks that services gave, by whether they were taken");
    describe_gauge!("dagor_ticket_keys_failing", "1 while the newest keys for tickets on disk are refused");
    describe_gauge!("dagor_routes_away", "1 while the registry of routes does not answer");
    describe_gauge!("dagor_routes_behind", "1 while connections may be missing in the registry of routes");
    describe_counter!("dagor_routes_calls_total", "Calls of the registry of routes, by call and result");
    describe_counter!("dagor_routes_restored_total", "Routes that were written again for connections that are there");
    describe_counter!("dagor_routes_outdated_total", "Connections closed for a later login that was found then");
    describe_counter!("dagor_routes_closes_total", "Earlier logins at other gateways, by whether those were told");
    describe_gauge!("dagor_presence_waiting", "Events of clients that come and go that wait, by service");
    describe_counter!("dagor_presence_events_total", "Such events, by service and whether it has taken them");
    describe_counter!("dagor_presence_failures_total", "Reports of such events that no instance took, by service");
    describe_gauge!("dagor_queue_waiting", "Requests that wait for a place, by service");
    describe_gauge!("dagor_in_flight", "Requests that a service has not answered, by service");
    describe_gauge!("dagor_places", "Requests that a service takes at the same time, by service");
    describe_gauge!("dagor_links", "Connected links to instances, by service");
    describe_counter!("dagor_probes_total", "Requests above an instance's cut that were to find out whether it stands");
    describe_gauge!("dagor_gate_queuing_seconds", "Mean age of what left the queue in the last window, by gate");
    describe_gauge!("dagor_gate_overloaded", "1 while the last window was above its target, by gate");
    describe_gauge!("dagor_gate_cut_level", "How many of the 8192 levels are admitted whole, by gate");
    describe_counter!("dagor_gate_admitted_total", "Requests let through, by gate");
    describe_counter!("dagor_gate_refused_total", "Requests refused, by gate");
    describe_counter!("dagor_gate_would_refuse_total", "Requests that a dry run let through only because it is one");
    describe_counter!("dagor_gate_shared_total", "Requests let through above the cut by a minimum share, by gate");
    describe_gauge!("dagor_gate_capacity_per_second", "Requests completed per second while all places were taken");
    describe_counter!("dagor_gate_windows_total", "Windows closed, by gate");
    describe_gauge!("dagor_gate_fleet_cut_level", "How many of the 8192 levels the fleet admits whole, by gate");
    describe_gauge!("dagor_fleet_attached", "1 while a manager speaks to this gateway");
    describe_gauge!("dagor_fleet_accepting", "0 while managers want no logins here");
    describe_gauge!("dagor_fleet_directive_age_seconds", "Age of the directive in force; NaN without one");
    describe_counter!("dagor_fleet_directives_total", "Directives that came from managers");
    describe_counter!("dagor_fleet_sent_away_total", "Logins that were sent to another gateway");
    describe_counter!("dagor_fleet_arrived_total", "Clients that logged in because another gateway sent them");
    describe_counter!("dagor_fleet_moved_total", "Connected clients that were told to move elsewhere");
    describe_counter!("dagor_sample_written_total", "Requests told to the sample's file");
    describe_counter!("dagor_sample_dropped_total", "Requests missing in the sample: slow disk, or its size limit");
    describe_counter!("dagor_policy_applied_total", "Policies that came into force after the first");
    describe_counter!("dagor_policy_refused_total", "Policies that were refused");
    describe_gauge!("dagor_policy_failing", "1 while the newest policy on disk is refused");
}

impl Metrics {
    /// The metrics of this moment in Prometheus' text format.
    pub(super) fn render(&self, gateway: &Gateway) -> String {
        with_local_recorder(&self.recorder, || {
            self.process.collect();
            record_connections(gateway);
            record_tickets(gateway);
            record_marks(gateway);
            record_routes(gateway);
            record_presence(gateway);
            record_requests(gateway);
            record_sample(gateway);
            record_services(gateway);
            record_gate("gateway", &gateway.own_gate.snapshot());
            for (service, gate) in gateway.services.iter().zip(&gateway.gates) {
                record_gate(&service.name, &gate.snapshot());
                let level = gate.fleet_cut().whole_levels() as f64;
                gauge!("dagor_gate_fleet_cut_level", "gate" => service.name.clone()).set(level);
            }
            record_fleet(&gateway.fleet.counts(gateway.clock.now()));
            record_policy(&gateway.store.status());
        });
        self.recorder.handle().render()
    }
}

fn record_connections(gateway: &Gateway) {
    gauge!("dagor_connections").set(gateway.roster.len() as f64);
    gauge!("dagor_sockets").set(gateway.limits.open() as f64);
    gauge!("dagor_outgoing_bytes").set(gateway.budget.used() as f64);
    gauge!("dagor_outgoing_bytes_peak").set(gateway.budget.peak() as f64);
    gauge!("dagor_pushes_unacked").set(gateway.budget.unacked() as f64);
    counter!("dagor_aged_total").absolute(gateway.aged_total());
    for &reason in Reason::ALL {
        let total = gateway.closed_total(reason);
        if total > 0 {
            counter!("dagor_closed_total", "reason" => reason.name()).absolute(total);
        }
    }
}

fn record_tickets(gateway: &Gateway) {
    counter!("dagor_tickets_total", "result" => "valid").absolute(gateway.tickets.valid_total());
    for &fault in Fault::ALL {
        let total = gateway.tickets.fault_total(fault);
        if total > 0 {
            counter!("dagor_tickets_total", "result" => fault.name()).absolute(total);
        }
    }
    gauge!("dagor_ticket_keys_failing").set(f64::from(u8::from(gateway.tickets.is_failing())));
}

fn record_marks(gateway: &Gateway) {
    counter!("dagor_marks_total", "result" => "taken").absolute(gateway.marks.taken_total());
    for &fault in MarkFault::ALL {
        counter!("dagor_marks_total", "result" => fault.name()).absolute(gateway.marks.refused_total(fault));
    }
}

fn record_routes(gateway: &Gateway) {
    let stats = gateway.routes.stats();
    gauge!("dagor_routes_away").set(f64::from(u8::from(stats.away)));
    gauge!("dagor_routes_behind").set(f64::from(u8::from(stats.behind)));
    counter!("dagor_routes_restored_total").absolute(stats.restored_total);
    counter!("dagor_routes_outdated_total").absolute(stats.outdated_total);
    counter!("dagor_routes_closes_total", "result" => "told").absolute(stats.closes_told_total);
    counter!("dagor_routes_closes_total", "result" => "lost").absolute(stats.closes_lost_total);
    // Of what never happened this one alone has a series, so that a dashboard finds the name.
    counter!("dagor_routes_calls_total", "call" => "register", "result" => "answered").absolute(0);
    for CallCount { call, result, total } in gateway.registry.counts() {
        counter!("dagor_routes_calls_total", "call" => call, "result" => result).absolute(total);
    }
}

fn record_presence(gateway: &Gateway) {
    for (service, stats) in gateway.services.iter().zip(gateway.herald.stats()) {
        let name = || service.name.clone();
        gauge!("dagor_presence_waiting", "service" => name()).set(stats.waiting as f64);
        let events = [("told", stats.told_total), ("dropped", stats.dropped_total)];
        for (result, total) in events {
            counter!("dagor_presence_events_total", "service" => name(), "result" => result).absolute(total);
        }
        counter!("dagor_presence_failures_total", "service" => name()).absolute(stats.failures_total);
    }
}

fn record_requests(gateway: &Gateway) {
    for business in &gateway.store.current().businesses {
        for outcome in Outcome::all() {
            let total = gateway.ended_total(business.code, outcome);
            // What never happened has no series: there are two dozen outcomes for each business.
            if total > 0 || outcome == Outcome::Replied {
                let name = business.name.clone();
                counter!("dagor_requests_total", "business" => name, "outcome" => outcome.name()).absolute(total);
            }
        }
    }
    for outcome in Outcome::all() {
        let total = gateway.ended_unknown_total(outcome);
        if total > 0 {
            counter!("dagor_requests_total", "business" => "unknown", "outcome" => outcome.name()).absolute(total);
        }
    }
}

fn record_sample(gateway: &Gateway) {
    let (written, dropped) = gateway.sample.get().map_or((0, 0), |sample| {
        let summary = sample.summary();
        (summary.written, summary.dropped)
    });
    counter!("dagor_sample_written_total").absolute(written);
    counter!("dagor_sample_dropped_total").absolute(dropped);
}

fn record_services(gateway: &Gateway) {
    for (index, service) in gateway.services.iter().enumerate() {
        let instances = || gateway.worker_list().iter().filter_map(|worker| worker.instances().get(index)).flatten();
        let sum =
            |of: fn(&crate::gateway::dispatch::InstanceHandle) -> usize| instances().map(of).sum::<usize>() as f64;
        let name = || service.name.clone();
        gauge!("dagor_queue_waiting", "service" => name()).set(sum(|instance| instance.queue().waiting()));
        gauge!("dagor_in_flight", "service" => name()).set(sum(|instance| instance.queue().in_flight()));
        gauge!("dagor_places", "service" => name()).set(sum(|instance| instance.queue().places()));
        gauge!("dagor_links", "service" => name()).set(sum(|instance| usize::from(instance.link().is_connected())));
        let probes = instances().map(|instance| instance.link().probes()).sum();
        counter!("dagor_probes_total", "service" => name()).absolute(probes);
    }
}

fn record_gate(gate: &str, snapshot: &GateSnapshot) {
    let name = || gate.to_owned();
    gauge!("dagor_gate_queuing_seconds", "gate" => name()).set(snapshot.queuing.as_secs_f64());
    gauge!("dagor_gate_overloaded", "gate" => name()).set(f64::from(u8::from(snapshot.overloaded)));
    gauge!("dagor_gate_cut_level", "gate" => name()).set(snapshot.effective.whole_levels() as f64);
    counter!("dagor_gate_admitted_total", "gate" => name()).absolute(snapshot.admitted_total);
    counter!("dagor_gate_refused_total", "gate" => name()).absolute(snapshot.refused_total);
    counter!("dagor_gate_would_refuse_total", "gate" => name()).absolute(snapshot.would_refuse_total);
    counter!("dagor_gate_shared_total", "gate" => name()).absolute(snapshot.shared_total);
    gauge!("dagor_gate_capacity_per_second", "gate" => name()).set(snapshot.capacity_per_second.unwrap_or(f64::NAN));
    counter!("dagor_gate_windows_total", "gate" => name()).absolute(snapshot.windows);
}

fn record_fleet(counts: &FleetCounts) {
    let flag = |flag| f64::from(u8::from(flag));
    gauge!("dagor_fleet_attached").set(flag(counts.attached));
    gauge!("dagor_fleet_accepting").set(flag(counts.accepting));
    let age = counts.directive_age.map_or(f64::NAN, |age| age.as_secs_f64());
    gauge!("dagor_fleet_directive_age_seconds").set(age);
    counter!("dagor_fleet_directives_total").absolute(counts.directives);
    counter!("dagor_fleet_sent_away_total").absolute(counts.sent);
    counter!("dagor_fleet_arrived_total").absolute(counts.arrived);
    counter!("dagor_fleet_moved_total").absolute(counts.moved);
}

fn record_policy(status: &PolicyStatus) {
    counter!("dagor_policy_applied_total").absolute(status.applied_total);
    counter!("dagor_policy_refused_total").absolute(status.refused_total);
    gauge!("dagor_policy_failing").set(f64::from(u8::from(status.last_failure.is_some())));
}
