//! Who asks for what, where, and how it ends.

use std::time::Duration;

use dagor::{
    admission::{Cost, places::Arrival, queue::Ticket},
    clock::Timestamp,
    id::MessageId,
};

use super::{BUSINESSES, Event, Request, SHARD, TICK, Value, World};

impl World {
    pub(super) fn load(&self) -> f64 {
        let now = self.elapsed();
        self.setup.load.iter().rev().find(|(from, _)| *from <= now).map_or(0.0, |(_, load)| *load)
    }

    pub(super) fn await_arrival(&mut self, gateway: usize) {
        let rate = self.load() * self.setup.capacity * self.setup.shares[gateway] * self.own_part(gateway);
        if rate > 0.0 {
            let gap = -self.random.f64().max(f64::MIN_POSITIVE).ln() / rate;
            // Looks again soon where nearly nothing comes: the load may change.
            self.put(Duration::from_secs_f64(gap), Event::Arrive(gateway));
        } else {
            self.put(TICK, Event::Arrive(gateway));
        }
    }

    /// The part of a gateway's load that is not another gateway's twins.
    pub(super) fn own_part(&self, gateway: usize) -> f64 {
        if gateway == 0 { 1.0 - self.twinned() * self.others() / self.setup.shares[0] } else { 1.0 }
    }

    pub(super) fn others(&self) -> f64 {
        self.setup.shares[1..].iter().sum()
    }

    /// The part of the other gateways' requests that have a twin at the first.
    pub(super) fn twinned(&self) -> f64 {
        (0.5 * self.setup.shares[0] / self.others()).min(1.0)
    }

    pub(super) fn arrive_at(&mut self, gateway: usize) {
        let draw = self.random.f64();
        let mut sum = 0.0;
        let business = BUSINESSES.iter().position(|(_, part)| {
            sum += part;
            draw < sum
        });
        let business = business.unwrap_or(BUSINESSES.len() - 1);
        let user = self.random.usize(..self.setup.users);
        let message = MessageId(self.random.u64(..));
        let since_epoch = self.now.since(Timestamp::ZERO);
        let place = self.key.user(&user.to_le_bytes());
        let value = place.value(BUSINESSES[business].0, since_epoch, (0, 127), message);
        let has_twin = gateway > 0 && self.random.f64() < self.twinned();
        let id = self.requests.len() as u32;
        self.request(gateway, value, business, has_twin.then_some(id + 1));
        if has_twin {
            self.request(0, value, business, Some(id));
        }
        self.enter(id);
        if has_twin {
            self.enter(id + 1);
        }
    }

    pub(super) fn request(&mut self, gateway: usize, value: Value, business: usize, twin: Option<u32>) {
        self.requests.push(Request {
            gateway,
            value,
            business,
            arrived: self.now,
            placed: self.now,
            deadline: self.now + self.setup.timeout,
            twin,
            served: None,
        });
    }

    pub(super) fn enter(&mut self, id: u32) {
        let request = self.requests[id as usize];
        let (now, at) = (self.now, request.gateway);
        let mine = self.gateways[at].gate.admits(request.value);
        let others = self.gateways.iter().enumerate().filter(|(other, _)| *other != at);
        let differs = others.filter(|(_, other)| other.gate.admits(request.value) != mine).count();
        let differs = differs as f64 / (self.gateways.len() - 1) as f64;
        let second = self.second();
        second.offered += 1.0;
        second.cut_differs += differs;
        second.arrived[request.business] += 1.0;
        let gateway = &mut self.gateways[at];
        let Ok(admission) = gateway.gate.decide(SHARD, now, request.value, Cost::ONE) else {
            return self.end(id, false);
        };
        let ticket = Ticket {
            level: admission.standing(request.value),
            ..Ticket::new(request.value, request.arrived, request.deadline)
        };
        match gateway.places.enter(now, ticket, id, &gateway.gate, SHARD) {
            Arrival::Goes => self.go(id),
            Arrival::Waits(_, pushed_out) => {
                if let Some(left) = pushed_out {
                    self.end(left.item, false);
                }
            }
            Arrival::Refused(_) => self.end(id, false),
        }
    }

    pub(super) fn end(&mut self, id: u32, served: bool) {
        let request = &mut self.requests[id as usize];
        request.served = Some(served);
        let (arrived, business) = (request.arrived, request.business);
        if served {
            self.second_of(arrived).served[business] += 1.0;
        }
    }

    /// Looks at how those ended that came at two gateways at once.
    pub(super) fn compare_twins(&mut self) {
        for at in 0..self.requests.len() {
            let request = self.requests[at];
            let Some(twin) = request.twin.map(|twin| self.requests[twin as usize]).filter(|_| request.gateway > 0)
            else {
                continue;
            };
            if let (Some(one), Some(other)) = (request.served, twin.served) {
                let second = self.second_of(request.arrived);
                second.twins += 1.0;
                second.twins_differ += f64::from(u8::from(one != other));
            }
        }
    }
}
