//! The gateway's own gate is a gate like the others: its queuing time is the lateness of a 10 ms timer on each worker,
//! its load is what all services' gates decide plus the logins, and its cut is in force at all of them.

use std::{sync::Arc, time::Duration};

use super::{Admission, Cause, Cost, Cut, Gate, GateSettings, GateSnapshot, Refusal, Value};
use crate::clock::Timestamp;

/// A timer that is this late had no idle moment in the whole period before it: the worker was busy throughout.
const BUSY: Duration = Duration::from_millis(10);

/// Protects the gateway process itself, and decides on logins.
///
/// Its totals count the decisions of all services' gates as well. Its capacity is what it let through per second while
/// the workers were busy.
#[derive(Debug)]
pub struct OwnGate {
    gate: Arc<Gate>,
}

impl OwnGate {
    /// The own gate of a gateway with `shards` workers and these services' gates.
    pub fn new(settings: GateSettings, shards: usize, services: Vec<Arc<Gate>>) -> Self {
        let gate = Arc::new(Gate::with_cause(settings, shards, Cause::GatewayCut));
        gate.watch(services);
        Self { gate }
    }

    /// Replaces the services' gates. What the removed ones decided in the present window is not judged any more.
    pub fn set_services(&self, services: Vec<Arc<Gate>>) {
        self.gate.watch(services);
        self.gate.pass_on();
    }

    /// The gate that decides on logins, for a layer. The manager's cap on it is the login cut.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Whether a login of this value goes on.
    ///
    /// # Errors
    ///
    /// Refuses what is not below the own cut or the manager's login cut.
    ///
    /// # Panics
    ///
    /// If there is no such shard.
    pub fn decide(&self, shard: usize, now: Timestamp, value: Value) -> Result<Admission, Refusal> {
        self.gate.decide(shard, now, value, Cost::ONE)
    }

    /// How late the 10 ms timer of this worker was.
    ///
    /// # Panics
    ///
    /// If there is no such shard.
    pub fn lateness(&self, shard: usize, lateness: Duration) {
        self.gate.sample(shard, lateness);
        if lateness >= BUSY {
            self.gate.limited(shard, BUSY + lateness);
        }
    }

    /// Closes the window if it is due, and puts the own cut in force at all services' gates.
    pub fn tick(&self, now: Timestamp) {
        self.gate.tick(now, None);
        self.gate.pass_on();
    }

    /// The manager's cap on logins.
    pub fn set_login_cap(&self, cut: Cut) {
        self.gate.set_manager_cap(cut);
    }

    /// Takes new settings; the cut stays where it is.
    pub fn reconfigure(&self, settings: GateSettings) {
        self.gate.reconfigure(settings);
        self.gate.pass_on();
    }

    /// The gate at this moment.
    pub fn snapshot(&self) -> GateSnapshot {
        self.gate.snapshot()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::{GateMode, Level};

    const SECOND: Duration = Duration::from_secs(1);

    fn value(business: u8) -> Value {
        Value::new(Level::new(business, 0), 0)
    }

    /// One second in which all workers were late, with one request of each business from 0 to 9.
    fn late_second(own: &OwnGate, service: &Gate, from: Timestamp) {
        own.tick(from);
        for business in 0..10 {
            let _ = service.decide(0, from, value(business), Cost::ONE);
        }
        own.lateness(0, Duration::from_millis(50));
        own.tick(from + SECOND);
    }

    #[test]
    fn late_timers_close_the_gates_of_all_services() {
        let services = [(); 2].map(|()| Arc::new(Gate::new(GateSettings::dagor_v3(), 1)));
        let own = OwnGate::new(GateSettings::dagor_v3(), 1, services.to_vec());
        late_second(&own, &services[0], Timestamp::ZERO);
        for service in &services {
            let refusal = service.decide(0, Timestamp::ZERO, value(9), Cost::ONE).unwrap_err();
            assert_eq!(refusal.cause, Cause::GatewayCut);
            assert!(service.admits(value(8)));
        }
    }

    #[test]
    fn logins_are_load_and_are_refused_by_the_own_cut() {
        let own = OwnGate::new(GateSettings::dagor_v3(), 1, Vec::new());
        own.tick(Timestamp::ZERO);
        for business in 0..10 {
            own.decide(0, Timestamp::ZERO, value(business)).unwrap();
        }
        own.lateness(0, Duration::from_millis(50));
        own.tick(Timestamp::ZERO + SECOND);
        assert_eq!(own.decide(0, Timestamp::ZERO, value(9)).unwrap_err().cause, Cause::GatewayCut);
    }

    #[test]
    fn the_login_cap_does_not_touch_the_services() {
        let service = Arc::new(Gate::new(GateSettings::dagor_v3(), 1));
        let own = OwnGate::new(GateSettings::dagor_v3(), 1, vec![service.clone()]);
        own.set_login_cap(Cut::CLOSED);
        own.tick(Timestamp::ZERO);
        assert_eq!(own.decide(0, Timestamp::ZERO, value(0)).unwrap_err().cause, Cause::ManagerCap);
        assert!(service.admits(value(63)));
    }

    #[test]
    fn in_a_dry_run_the_services_keep_their_own_cuts() {
        let service = Arc::new(Gate::new(GateSettings::dagor_v3(), 1));
        let settings = GateSettings { mode: GateMode::DryRun, ..GateSettings::dagor_v3() };
        let own = OwnGate::new(settings, 1, vec![service.clone()]);
        late_second(&own, &service, Timestamp::ZERO);
        assert!(service.admits(value(63)));
    }

    #[test]
    fn a_service_that_is_added_later_gets_the_cut_and_brings_no_old_load() {
        let service = Arc::new(Gate::new(GateSettings::dagor_v3(), 1));
        let own = OwnGate::new(GateSettings::dagor_v3(), 1, vec![service.clone()]);
        late_second(&own, &service, Timestamp::ZERO);
        let late = Arc::new(Gate::new(GateSettings::dagor_v3(), 1));
        late.decide(0, Timestamp::ZERO, value(1), Cost::ONE).unwrap();
        own.set_services(vec![service, late.clone()]);
        assert!(!late.admits(value(9)));
        assert_eq!(own.snapshot().admitted_total, 10);
    }
}
