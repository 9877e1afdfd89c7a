//! The registry on the far side of a network: the real one in memory, whose calls arrive late, are lost, or find nobody. A
//! model beside it are the leases: one for each run of a gateway, without which its routes do not count.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use dagor::{
    clock::Timestamp,
    id::{Epoch, Incarnation, OutboxId},
    registry::{Held, Home, Login, MemoryRegistry, Registered, Registry, Restored, Route},
};
use futures_util::FutureExt as _;

use crate::{
    bugs::Bug,
    client::USERS,
    trace::Count,
    world::{CLIENTS, Event, World},
};

/// How long a gateway's routes count after its last word.
const ROUTE_LEASE: Duration = Duration::from_secs(6);
/// The longest that a renewal is on its way.
const RENEWAL_AT_MOST: Duration = Duration::from_secs(10);

/// What a gateway asks.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Register {
        device: usize,
        asked: Epoch,
        outbox: OutboxId,
        link: usize,
    },
    Unregister {
        device: usize,
        epoch: Epoch,
    },
    /// Of a connection that is there.
    Restore {
        device: usize,
        epoch: Epoch,
        outbox: OutboxId,
    },
    Renew,
    /// The gateway ends in an orderly way.
    Release,
}

/// The registry, and what must be in it.
#[derive(Debug)]
pub(crate) struct Routes {
    /// One for each user: which users share a shard is drawn at random, and must not decide what a seed does.
    registries: BTreeMap<&'static str, MemoryRegistry>,
    /// The last login of each device that the registry granted and nobody has taken back.
    expected: [Option<(Epoch, Incarnation)>; CLIENTS],
    leases: BTreeMap<Incarnation, Timestamp>,
    pub(crate) dead: BTreeMap<Incarnation, Timestamp>,
    pub(crate) away_until: Timestamp,
}

fn registries() -> BTreeMap<&'static str, MemoryRegistry> {
    USERS.iter().map(|&user| (user, MemoryRegistry::new())).collect()
}

impl Routes {
    pub(crate) fn new() -> Self {
        Self {
            registries: registries(),
            expected: [None; CLIENTS],
            leases: BTreeMap::new(),
            dead: BTreeMap::new(),
            away_until: Timestamp::ZERO,
        }
    }

    /// It starts again, and has lost everything.
    pub(crate) fn empty(&mut self) {
        self.registries = registries();
        self.expected = [None; CLIENTS];
        self.leases.clear();
    }

    fn lookup(&self, device: usize, now: Timestamp) -> Option<Route> {
        let routes = self.registries[USERS[device]].lookup(USERS[device], now).now_or_never();
        let routes = routes.and_then(Result::ok).unwrap_or_default();
        routes.into_iter().find(|route| *route.device == *name(device))
    }

    fn register(&mut self, device: usize, home: &Arc<Home>, asked: Epoch, now: Timestamp) -> Option<Registered> {
        let name = name(device);
        let login = Login { user: USERS[device], device: &name, home, asked };
        self.registries[USERS[device]].register(login, now).now_or_never()?.ok()
    }

    fn restore(&mut self, device: usize, home: &Arc<Home>, epoch: Epoch, now: Timestamp) -> Option<Restored> {
        let name = name(device);
        let held = Held { user: USERS[device], device: &name, home, epoch };
        self.registries[USERS[device]].restore(held, now).now_or_never()?.ok()
    }

    fn unregister(&mut self, device: usize, home: &Arc<Home>, epoch: Epoch, now: Timestamp) -> bool {
        let name = name(device);
        let held = Held { user: USERS[device], device: &name, home, epoch };
        let deleted = self.registries[USERS[device]].unregister(held, now).now_or_never();
        deleted.and_then(Result::ok).unwrap_or(false)
    }
}

fn name(device: usize) -> String {
    format!("d{device}")
}

impl World {
    pub(crate) fn ask_registry(&mut self, g: usize, op: Op) {
        let (at, home, run) = (self.now + self.delay(), self.gateways[g].home.clone(), self.gateways[g].run);
        self.schedule(at, Event::Route { gateway: g, run, home, op });
    }

    /// A connection's end takes its route back, sooner or later.
    pub(crate) fn unregister(&mut self, g: usize, device: usize, epoch: Epoch) {
        let late = !self.calm && self.random.u32(0..8) == 0;
        let takes = if late { self.millis(1_000, 20_000) } else { self.millis(1, 20) };
        if late {
            self.trace.count(Count::LateClose);
        }
        let (home, run) = (self.gateways[g].home.clone(), self.gateways[g].run);
        self.schedule(self.now + takes, Event::Route { gateway: g, run, home, op: Op::Unregister { device, epoch } });
    }

    pub(crate) fn renew_lease(&mut self, g: usize) {
        self.ask_registry(g, Op::Renew);
    }

    /// Something arrives at the registry.
    pub(crate) fn route(&mut self, g: usize, run: u32, home: &Arc<Home>, op: Op) {
        if self.now < self.routes.away_until {
            return;
        }
        match op {
            Op::Register { device, asked, outbox, link } => {
                let Some(registered) = self.register(device, home, asked) else { return };
                let (at, epoch) = (self.now + self.delay(), registered.epoch);
                self.schedule(at, Event::Registered { gateway: g, run, link, epoch });
                self.close_previous(device, &registered, home, outbox);
            }
            Op::Unregister { device, epoch } => self.take_back(device, epoch, home),
            Op::Restore { device, epoch, outbox } => self.restore(g, run, home, device, epoch, outbox),
            Op::Renew => {
                let before = self.routes.leases.insert(home.incarnation, self.now + ROUTE_LEASE);
                if before.is_none_or(|until| until <= self.now) {
                    let at = self.now + self.delay();
                    self.schedule(at, Event::Restore { gateway: g, run });
                }
            }
            Op::Release => self.release(home),
        }
    }

    fn restore(&mut self, g: usize, run: u32, home: &Arc<Home>, device: usize, epoch: Epoch, outbox: OutboxId) {
        let Some(restored) = self.routes.restore(device, home, epoch, self.now) else { return };
        let is_here = self.routes.expected[device].is_some_and(|(_, incarnation)| incarnation == home.incarnation);
        match restored {
            Restored::Written { previous } => {
                self.trace.count(Count::Restored);
                let newest = self.routes.expected[device].filter(|&(held, _)| is_here && held >= epoch);
                self.routes.expected[device] = newest.or(Some((epoch, home.incarnation)));
                self.close_previous(device, &Registered { epoch, previous }, home, outbox);
            }
            Restored::Newer => {
                self.trace.count(Count::Outdated);
                let at = self.now + self.delay();
                self.schedule(at, Event::Outdated { gateway: g, run, device, epoch });
            }
        }
        self.check_route(device);
    }

    /// With a gateway that has ended its routes are gone, and no one else's.
    fn release(&mut self, home: &Arc<Home>) {
        self.routes.leases.remove(&home.incarnation);
        for registry in self.routes.registries.values() {
            registry.release(home).now_or_never();
        }
        for device in 0..CLIENTS {
            let expected = &mut self.routes.expected[device];
            *expected = expected.filter(|&(_, incarnation)| incarnation != home.incarnation);
            self.check_route(device);
        }
    }

    fn register(&mut self, device: usize, home: &Arc<Home>, asked: Epoch) -> Option<Registered> {
        let before = self.routes.expected[device];
        let registered = self.routes.register(device, home, asked, self.now)?;
        let epoch = registered.epoch;
        self.trace.note(self.now, "registered", [device as u64, epoch.0, home.incarnation.0]);
        if epoch <= asked || before.is_some_and(|(held, _)| epoch <= held) {
            self.trace.violated(format!("epoch {epoch} was granted after {before:?}, asked {asked}"));
        }
        self.routes.expected[device] = Some((epoch, home.incarnation));
        self.check_route(device);
        Some(registered)
    }

    /// The gateway where the device was until now is asked to close what is older: a model, of a message that may be late.
    fn close_previous(&mut self, device: usize, registered: &Registered, home: &Arc<Home>, outbox: OutboxId) {
        let epoch = registered.epoch;
        let elsewhere = |route: &&Route| route.home.incarnation != home.incarnation;
        if let Some(previous) = registered.previous.as_ref().filter(elsewhere) {
            let incarnation = previous.home.incarnation.0;
            let (gateway, run) = ((incarnation / 1_000) as usize, (incarnation % 1_000) as u32);
            let at = self.now + self.delay();
            self.schedule(at, Event::Supersede { gateway, run, device, epoch, outbox });
        }
    }

    /// A close arrives, however old it is.
    fn take_back(&mut self, device: usize, epoch: Epoch, by: &Arc<Home>) {
        let now = self.now;
        let unfenced = self.routes.lookup(device, now).filter(|_| self.bug == Some(Bug::UnfencedDelete));
        let (home, told) = unfenced.map_or((Arc::clone(by), epoch), |route| (route.home, route.epoch));
        self.trace.note(now, "unregistered", [device as u64, epoch.0, by.incarnation.0]);
        if self.routes.unregister(device, &home, told, now) {
            let expected = self.routes.expected[device].take();
            if expected != Some((epoch, by.incarnation)) {
                self.trace.violated(format!(
                    "the close of connection {epoch} at incarnation {} took away the route of {expected:?}",
                    by.incarnation
                ));
            }
        }
        self.check_route(device);
    }

    fn check_route(&mut self, device: usize) {
        let route = self.routes.lookup(device, self.now).map(|route| (route.epoch, route.home.incarnation));
        if route != self.routes.expected[device] {
            let expected = self.routes.expected[device];
            self.trace.violated(format!("the route of device {device} is {route:?}, not {expected:?}"));
        }
    }

    /// A service pushes something to a device: what a reader of routes does.
    pub(crate) fn push_to(&mut self, device: usize) {
        let now = self.now;
        let Some(route) = self.routes.lookup(device, now).filter(|_| now >= self.routes.away_until) else { return };
        let incarnation = route.home.incarnation;
        if self.routes.leases.get(&incarnation).is_none_or(|&until| until <= now) {
            return self.trace.count(Count::LeaseLapsed);
        }
        if let Some(&died) = self.routes.dead.get(&incarnation)
            && now.since(died) > ROUTE_LEASE + RENEWAL_AT_MOST
        {
            self.trace.violated(format!("a route leads to incarnation {incarnation}, which died at {died}"));
        }
        let g = (incarnation.0 / 1_000) as usize;
        if self.gateways[g].is_up() && self.gateways[g].home.incarnation == incarnation {
            self.push(g, USERS[device], &name(device));
        }
    }
}
