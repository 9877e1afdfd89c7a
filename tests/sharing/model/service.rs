//! Places, the service behind them, and how it splits them.

use std::time::Duration;

use dagor::{
    admission::{Cost, Cut, places::Answered},
    service::split_grants,
};

use super::{Event, RESPLIT_EVERY, SHARD, TICK, Work, World};

impl World {
    /// A request has a place: its call goes to the service.
    pub(super) fn go(&mut self, id: u32) {
        let now = self.now;
        self.requests[id as usize].placed = now;
        let waited = now.since(self.requests[id as usize].arrived).as_secs_f64();
        let second = self.second();
        second.longest_wait = second.longest_wait.max(waited);
        let gateway = &mut self.gateways[self.requests[id as usize].gateway];
        gateway.unanswered += 1;
        gateway.peak = gateway.peak.max(gateway.demand());
        if self.busy < self.workers {
            self.work_on(id);
        } else {
            self.inside.push_back(id);
        }
    }

    pub(super) fn work_on(&mut self, id: u32) {
        self.busy += 1;
        let mean = self.setup.workers as f64 / self.setup.capacity;
        let takes = match self.setup.work {
            Work::Even => mean,
            Work::Exponential => -self.random.f64().max(f64::MIN_POSITIVE).ln() * mean,
        };
        // Counted where it is done.
        let begins = self.elapsed();
        self.spread_work(begins, takes);
        self.put(Duration::from_secs_f64(takes), Event::Done(id));
    }

    /// Adds work to the seconds in which it is done.
    pub(super) fn spread_work(&mut self, mut from: f64, mut takes: f64) {
        while takes > 0.0 {
            let at = from as usize;
            let part = takes.min((at + 1) as f64 - from).max(1e-9);
            if let Some(second) = self.seconds.get_mut(at) {
                second.worked += part;
            }
            (from, takes) = (from + part, takes - part);
        }
    }

    pub(super) fn done(&mut self, id: u32) {
        self.busy -= 1;
        let request = self.requests[id as usize];
        self.end(id, self.now <= request.deadline);
        self.start_inside();
        let (now, at) = (self.now, request.gateway);
        let gateway = &mut self.gateways[at];
        gateway.unanswered -= 1;
        let answered = Answered { cost: Cost::ONE, placed: request.placed };
        gateway.places.release(Some(answered), || now, &gateway.gate, SHARD);
        self.split();
        self.take_grant(at);
        self.grant(at);
    }

    pub(super) fn start_inside(&mut self) {
        while self.busy < self.workers
            && let Some(next) = self.inside.pop_front()
        {
            if self.requests[next as usize].deadline > self.now {
                self.work_on(next);
            } else {
                // Answered as expired.
                self.end(next, false);
                let (now, at) = (self.now, self.requests[next as usize].gateway);
                let gateway = &mut self.gateways[at];
                gateway.unanswered -= 1;
                gateway.places.release(None, || now, &gateway.gate, SHARD);
                self.grant(at);
            }
        }
    }

    /// Free places go to the best of those that wait.
    pub(super) fn grant(&mut self, at: usize) {
        loop {
            let (now, gateway) = (self.now, &mut self.gateways[at]);
            match gateway.places.grant(now, &gateway.gate, SHARD) {
                Some((left, Ok(()))) => self.go(left.item),
                Some((left, Err(_))) => self.end(left.item, false),
                None => return,
            }
        }
    }

    pub(super) fn split(&mut self) {
        if self.now >= self.split_again {
            self.split_now();
        }
    }

    pub(super) fn split_now(&mut self) {
        self.split_again = self.now + RESPLIT_EVERY;
        let total = self.workers + (self.workers / 2).max(2);
        let demands: Vec<_> = self.gateways.iter().map(|gateway| gateway.peak).collect();
        for (at, grant) in split_grants(total, &demands).into_iter().enumerate() {
            let gateway = &mut self.gateways[at];
            let was_short = gateway.peak > gateway.granted;
            gateway.peak = gateway.demand();
            let more = grant > gateway.granted && was_short;
            gateway.granted = grant;
            if more {
                self.take_grant(at);
                self.grant(at);
            }
        }
    }

    pub(super) fn take_grant(&mut self, at: usize) {
        let gateway = &mut self.gateways[at];
        gateway.places.set_places(gateway.granted);
    }

    pub(super) fn tick(&mut self, at: usize) {
        let (now, gateway) = (self.now, &mut self.gateways[at]);
        let out = gateway.places.expire(now, &gateway.gate, SHARD);
        out.iter().for_each(|(left, _)| self.end(left.item, false));
        self.grant(at);
        let gateway = &mut self.gateways[at];
        let waiting = gateway.places.waiting();
        if waiting > gateway.waiting || waiting == 0 {
            // News, even if no call carries it.
            gateway.waiting = waiting;
            gateway.peak = gateway.peak.max(gateway.demand());
        }
        gateway.gate.tick(now, Some(gateway.places.backlog(now)));
        let (fleet, cut) = (gateway.gate.fleet_cut(), gateway.gate.effective_cut());
        let workers = self.workers as f64;
        let second = self.second();
        if fleet != Cut::OPEN {
            second.under_fleet += 1.0;
            second.braked += f64::from(u8::from(cut < fleet));
        }
        if at == 0 {
            second.workers += workers * TICK.as_secs_f64();
        }
        self.put(TICK, Event::Tick(at));
    }
}
