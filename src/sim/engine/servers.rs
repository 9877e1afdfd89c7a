//! The life of a call: it is sent, lands at a server, waits, is worked on, and its answer goes back to whoever made it.

use std::time::Duration;

use super::{
    agenda::Event,
    random::{Purpose, for_one, fraction, mix, number},
    table::{Owner, Steps},
    world::World,
};
use crate::{
    clock::Timestamp,
    sim::{
        front::{Entered, Out},
        guard::{Ended, Refused},
        measure::{Fate, Left},
        scenario::Balance,
    },
};

impl World<'_> {
    /// The number of a call's maker among the callers of a service.
    pub(super) fn caller_of(&self, user: u32, owner: Owner, service: usize) -> usize {
        match owner {
            Owner::Task => (self.users.spread(user) % self.scenario.entry.gateways as u64) as usize,
            Owner::Call(parent) => {
                let key = self.calls[parent].instance;
                let by = self.instances[key].service;
                self.callers.number(service, by, key - self.first_instance[by])
            }
        }
    }

    /// Sends a call to an instance, unless its caller knows better.
    pub(super) fn send_call(&mut self, now: Timestamp, key: u32) {
        let state = &self.calls[key];
        let (service, caller) = (state.group.service, state.caller);
        if let Err(Refused { retry_after }) = self.callers.may_send(now, service, caller, &state.call) {
            self.recorder.refused_by_caller(self.tasks[state.task as usize].created);
            let state = &mut self.calls[key];
            (state.ended, state.hint, state.local, state.feedback) = (Ended::Refused, retry_after, true, None);
            self.agenda.put(now, Event::Back { call: key });
            return;
        }
        let instance = self.choose(service, key);
        let state = &mut self.calls[key];
        (state.instance, state.local) = (instance, false);
        self.agenda.put(now + self.scenario.entry.hop, Event::Land { call: key });
    }

    fn choose(&mut self, service: usize, key: u32) -> usize {
        let settings = &self.scenario.services[service];
        let (first, count) = (self.first_instance[service], settings.instances);
        if count == 1 {
            return first;
        }
        let state = &self.calls[key];
        first
            + match settings.balance {
                Balance::Random => {
                    let resend = u64::from(state.call.resend) << 32 | u64::from(state.attempt);
                    let drawn = mix(state.call.task ^ state.path ^ mix(resend));
                    (number(self.seed, Purpose::Instance, drawn) % count as u64) as usize
                }
                Balance::RoundRobin => {
                    let turn = &mut self.turns[service];
                    *turn = (*turn + 1) % count;
                    *turn
                }
                Balance::UserHash => (self.users.spread(state.call.user) >> 32) as usize % count,
                Balance::LeastLoaded => {
                    let load = |index: &usize| self.instances[first + index].load();
                    (0..count).min_by_key(load).unwrap_or(0)
                }
            }
    }

    /// A call reaches its server.
    pub(super) fn land(&mut self, now: Timestamp, key: u32) {
        let state = &mut self.calls[key];
        state.call.arrived = now;
        let call = state.call;
        let (service, caller) = (state.group.service, state.caller);
        let instance = &mut self.instances[state.instance];
        if let Some(wanted) = self.callers.wanted(service, caller) {
            instance.front.heard(now, caller, self.callers.count(service), wanted);
        }
        instance.window.at(now, instance.front.cut());
        let entered = instance.front.arrive(now, key, &call, instance.behind());
        if matches!(entered, Entered::RefusedAtTheGate(_) | Entered::Full(_) | Entered::TooLate(_)) {
            self.recorder.refused_on_arrival(self.tasks[state.task as usize].created);
        }
        if !matches!(entered, Entered::RefusedAtTheGate(_)) {
            instance.window.admitted_at_the_gate(call.value);
            self.recorder.admitted(now);
        }
        match entered {
            Entered::Goes => {
                instance.window.joined(call.value);
                self.start(now, key);
            }
            Entered::Waits(pushed_out) => {
                instance.window.joined(call.value);
                pushed_out.into_iter().for_each(|out| self.is_out(now, out));
            }
            Entered::RefusedAtTheGate(refused) => {
                instance.window.refused_at_the_gate(call.value);
                self.answer(now, key, Ended::Refused, refused.retry_after);
            }
            Entered::Full(refused) => {
                instance.window.found_no_room(call.value);
                self.answer(now, key, Ended::Refused, refused.retry_after);
            }
            Entered::TooLate(refused) => self.answer(now, key, Ended::Refused, refused.retry_after),
        }
    }

    fn draw_service_time(&mut self, key: u32) {
        let state = &mut self.calls[key];
        let service = state.group.service;
        let mean = self.scenario.services[service].time.as_secs_f64() * state.call.cost;
        let mut random = for_one(self.seed, Purpose::Service, mix(state.call.task) ^ state.path);
        state.service_time = self.times[service].draw(&mut random, mean);
    }

    /// A call that left the queue unserved goes back.
    fn is_out(&mut self, now: Timestamp, Out { key, expired, refused }: Out) {
        self.left_queue(now, key, if expired { Left::Expired } else { Left::Dropped });
        self.answer(now, key, Ended::Refused, refused.retry_after);
    }

    fn left_queue(&mut self, now: Timestamp, key: u32, how: Left) {
        let state = &self.calls[key];
        let created = self.tasks[state.task as usize].created;
        self.recorder.left_queue(now, created, state.call.business, now.since(state.call.arrived), how);
    }

    /// A call goes to a worker.
    fn start(&mut self, now: Timestamp, key: u32) {
        self.left_queue(now, key, Left::Started);
        self.draw_service_time(key);
        let state = &mut self.calls[key];
        state.started = now;
        let task = &mut self.tasks[state.task as usize];
        self.recorder.worked(task.created, state.service_time);
        if task.trying && task.attempt == state.attempt {
            task.work += state.service_time;
        }
        if let Some(finish) = self.instances[state.instance].start(now, key, state.service_time) {
            self.agenda.put(finish, Event::Done { call: key });
        }
    }

    /// Gives free places of an instance to calls that wait.
    pub(super) fn serve(&mut self, now: Timestamp, key: usize) {
        while let Some((call, finish)) = self.instances[key].next_inside(now) {
            self.agenda.put(finish, Event::Done { call });
        }
        loop {
            let instance = &mut self.instances[key];
            match instance.front.next(now, instance.behind()) {
                Some(Ok(call)) => self.start(now, call),
                Some(Err(out)) => self.is_out(now, out),
                None => return,
            }
        }
    }

    pub(super) fn tick_instance(&mut self, now: Timestamp, key: usize) {
        let instance = &mut self.instances[key];
        let out = instance.front.tick(now, instance.behind());
        if let Some(counts) = instance.window.close(now, instance.front.cut()) {
            self.recorder.window(now, counts);
        }
        out.into_iter().for_each(|out| self.is_out(now, out));
        self.serve(now, key);
    }

    /// A worker is done with a call.
    pub(super) fn done(&mut self, now: Timestamp, key: u32) {
        let state = &self.calls[key];
        let (call, instance, started) = (state.call, state.instance, state.started);
        let task = &self.tasks[state.task as usize];
        let wanted = task.trying && task.attempt == state.attempt && now <= call.deadline;
        let server = &mut self.instances[instance];
        server.finish();
        server.front.completed(now, &call, started.since(call.arrived), now.since(started), wanted);
        self.serve(now, instance);
        if now > call.deadline {
            return self.answer(now, key, Ended::TimedOut, None);
        }
        self.advance_call(now, key);
    }

    /// The answer to a call leaves its server.
    pub(super) fn answer(&mut self, now: Timestamp, key: u32, ended: Ended, hint: Option<Duration>) {
        let state = &mut self.calls[key];
        if state.told {
            return;
        }
        (state.told, state.ended, state.hint) = (true, ended, hint);
        let service = state.group.service;
        if self.callers.listen(service) && ended != Ended::TimedOut {
            let front = &mut self.instances[state.instance].front;
            let feedback = front.feedback(now, state.caller, self.callers.count(service));
            state.feedback = Some(feedback);
        }
        self.agenda.put(now + self.scenario.entry.hop, Event::Back { call: key });
    }

    /// The answer reaches whoever made the call.
    pub(super) fn back(&mut self, now: Timestamp, key: u32) {
        if !self.calls[key].local {
            self.tell_caller(now, key);
        }
        let state = &self.calls[key];
        let (ended, owner, task_key) = (state.ended, state.owner, state.task);
        let task = &mut self.tasks[task_key as usize];
        let current = task.trying && task.attempt == state.attempt;
        let wanted = match owner {
            Owner::Task => current,
            Owner::Call(parent) => !self.calls[parent].told,
        };
        let again = ended == Ended::Refused && now < state.call.deadline && state.call.resend < state.group.resends;
        if wanted && again {
            return self.send_again(now, key);
        }
        let hint = state.hint;
        match (owner, ended) {
            _ if !wanted => {}
            (Owner::Task, Ended::Replied) => {
                task.steps.open -= 1;
                task.served += 1;
                self.advance_task(now, task_key);
            }
            (Owner::Call(parent), Ended::Replied) => {
                task.served += u32::from(current);
                self.calls[parent].steps.open -= 1;
                self.advance_call(now, parent);
            }
            // At the deadline a refusal is a missed answer.
            (Owner::Task, Ended::Refused) if now < task.deadline => self.fail(now, task_key, Fate::Refused, hint),
            (Owner::Task, Ended::Refused | Ended::TimedOut) => self.fail(now, task_key, Fate::Missed, hint),
            (Owner::Call(parent), Ended::Refused | Ended::TimedOut) => self.answer(now, parent, ended, hint),
        }
        self.forget_call(key);
    }

    /// Makes a refused call again, as a new one: calls of the old one may still be under way.
    fn send_again(&mut self, now: Timestamp, key: u32) {
        let mut again = self.calls[key].clone();
        again.call.resend += 1;
        (again.told, again.children, again.steps, again.feedback) = (false, 0, Steps::default(), None);
        let again = self.add_call(again);
        self.send_call(now, again);
        self.forget_call(key);
    }

    fn tell_caller(&mut self, now: Timestamp, key: u32) {
        let state = &self.calls[key];
        let service = state.group.service;
        if !self.callers.listen(service) {
            return;
        }
        let entry = &self.scenario.entry;
        let lot = state.call.task ^ state.path ^ u64::from(state.attempt) << 40 ^ u64::from(state.call.resend) << 50;
        let lost =
            entry.feedback_loss > 0.0 && fraction(number(self.seed, Purpose::Feedback, lot)) < entry.feedback_loss;
        let feedback = state.feedback.filter(|_| !lost);
        if entry.feedback_delay.is_zero() {
            self.callers.ended(now, service, state.caller, &state.call, state.ended, feedback);
        } else {
            let note = self.callers.keep(service, state.caller, state.call, state.ended, feedback);
            self.agenda.put(now + entry.feedback_delay, Event::Heard { note });
        }
    }
}
