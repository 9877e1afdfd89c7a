//! The life of a task: it arrives, is tried, makes its calls, and succeeds, or fails and is perhaps tried again.

use std::time::Duration;

use super::{
    agenda::Event,
    random::mix,
    table::{CallState, Next, Owner, Steps, Task},
    world::World,
};
use crate::{
    admission::Value,
    clock::Timestamp,
    sim::{
        guard::{Call, Ended},
        measure::Fate,
        scenario::{self, Business, Wait},
    },
};

impl World<'_> {
    pub(super) fn arrive(&mut self, now: Timestamp, source: usize) {
        let (business, user) = self.streams[source].draw(&self.users);
        let number = self.task_number;
        self.task_number += 1;
        let task = Task {
            number,
            business,
            user,
            value: Value::default(),
            created: now,
            attempt: 0,
            trying: false,
            over: false,
            deadline: now,
            steps: Steps::default(),
            served: 0,
            work: Duration::ZERO,
            children: 0,
        };
        self.recorder.arrived(now, business, user);
        self.tasks_open += 1;
        let key = self.tasks.insert(task) as u32;
        self.send_task(now, key);
        self.await_arrival(source);
    }

    /// Begins a try. Its value is the gateway's of this moment: the grain stays, the user's level has moved on.
    pub(super) fn send_task(&mut self, now: Timestamp, key: u32) {
        let task = &mut self.tasks[key as usize];
        let Business { timeout, priority, .. } = self.scenario.businesses[task.business];
        task.value = self.users.value(task.user, priority, task.number, now, self.levels);
        task.trying = true;
        task.deadline = now + timeout;
        task.steps = Steps::default();
        (task.served, task.work) = (0, Duration::ZERO);
        self.recorder.tried(task.created);
        self.agenda.put(task.deadline, Event::Deadline { task: key, attempt: task.attempt });
        self.advance_task(now, key);
    }

    /// Makes the calls that are due for a task.
    pub(super) fn advance_task(&mut self, now: Timestamp, key: u32) {
        let scenario = self.scenario;
        loop {
            let task = &mut self.tasks[key as usize];
            let plan = &scenario.businesses[task.business].calls;
            let step = task.steps.step;
            match task.steps.next(plan) {
                Next::Call(group, number) => {
                    let path = mix((step as u64) << 32 | u64::from(number));
                    self.make_call(now, key, Owner::Task, group, path);
                }
                Next::Wait => return,
                Next::Done => return self.succeed(now, key),
            }
        }
    }

    /// Makes the calls that are due for a call whose own work is done.
    pub(super) fn advance_call(&mut self, now: Timestamp, key: u32) {
        let scenario = self.scenario;
        loop {
            let state = &mut self.calls[key];
            let plan = &scenario.services[self.instances[state.instance].service].calls;
            let step = state.steps.step;
            match state.steps.next(plan) {
                Next::Call(group, number) => {
                    let (task, path) = (state.task, state.path);
                    let path = mix(path ^ ((step as u64 + 1) << 32 | u64::from(number)));
                    self.make_call(now, task, Owner::Call(key), group, path);
                }
                Next::Wait => return,
                Next::Done => return self.answer(now, key, Ended::Replied, None),
            }
        }
    }

    fn make_call(&mut self, now: Timestamp, task_key: u32, owner: Owner, group: scenario::Calls, path: u64) {
        let task = &self.tasks[task_key as usize];
        let (deadline, attempt, cost) = match owner {
            Owner::Task => (task.deadline, task.attempt, self.scenario.businesses[task.business].cost),
            Owner::Call(parent) => {
                let parent = &self.calls[parent];
                (parent.call.deadline, parent.attempt, parent.call.cost)
            }
        };
        let begun = self.finishes_begun && (task.served > 0 || matches!(owner, Owner::Call(_)));
        let call = Call {
            value: if begun { task.value.begun() } else { task.value },
            business: task.business,
            user: task.user,
            task: task.number,
            served_before: task.served,
            resend: 0,
            arrived: now,
            deadline,
            cost,
        };
        let caller = self.caller_of(task.user, owner, group.service);
        let key = self.add_call(CallState {
            call,
            task: task_key,
            attempt,
            owner,
            group,
            path,
            instance: 0,
            caller,
            service_time: Duration::ZERO,
            started: now,
            steps: Steps::default(),
            told: false,
            gone: false,
            children: 0,
            ended: Ended::Refused,
            local: false,
            hint: None,
            feedback: None,
        });
        self.send_call(now, key);
    }

    fn succeed(&mut self, now: Timestamp, key: u32) {
        let task = &mut self.tasks[key as usize];
        (task.trying, task.over) = (false, true);
        self.recorder.ended(now, task.ended(), Fate::Succeeded);
        self.tasks_open -= 1;
        self.forget_task(key);
    }

    pub(super) fn time_is_up(&mut self, now: Timestamp, key: u32, attempt: u32) {
        // The task may be long gone, and another one in its place; that one's deadline is of another time.
        let current = self.tasks.get(key as usize);
        if current.is_some_and(|task| task.trying && task.attempt == attempt && task.deadline == now) {
            self.fail(now, key, Fate::Missed, None);
        }
    }

    /// The present try has failed.
    pub(super) fn fail(&mut self, now: Timestamp, key: u32, fate: Fate, hint: Option<Duration>) {
        let task = &mut self.tasks[key as usize];
        task.trying = false;
        task.attempt += 1;
        let client = &self.scenario.clients[self.users.client(task.user)];
        let again = match fate {
            Fate::Refused => client.on_refusal,
            Fate::Missed => client.on_timeout,
            Fate::Succeeded => false,
        };
        let wait = match client.after {
            Wait::Fixed(wait) => wait,
            Wait::Hint(unhinted) => hint.unwrap_or(unhinted),
        };
        let next = now + wait;
        if again && task.attempt <= client.resends && next < task.created + client.patience {
            self.agenda.put(next, Event::Send { task: key });
            return;
        }
        task.over = true;
        self.recorder.ended(now, task.ended(), fate);
        self.tasks_open -= 1;
        self.forget_task(key);
    }

    /// Puts a call into the table; its owners are kept as long as it is there.
    pub(super) fn add_call(&mut self, call: CallState) -> u32 {
        self.tasks[call.task as usize].children += 1;
        if let Owner::Call(parent) = call.owner {
            self.calls[parent].children += 1;
        }
        self.calls.insert(call)
    }

    /// Forgets a call whose answer has arrived, and whatever was only kept for it.
    pub(super) fn forget_call(&mut self, key: u32) {
        self.calls[key].gone = true;
        let mut next = Some(key);
        while let Some(key) = next.filter(|key| self.calls[*key].gone && self.calls[*key].children == 0) {
            let CallState { owner, task, .. } = self.calls.remove(key);
            next = match owner {
                Owner::Task => None,
                Owner::Call(parent) => {
                    self.calls[parent].children -= 1;
                    Some(parent)
                }
            };
            self.tasks[task as usize].children -= 1;
            self.forget_task(task);
        }
    }

    /// Forgets a task that nothing refers to any more.
    fn forget_task(&mut self, key: u32) {
        let task = &self.tasks[key as usize];
        if task.over && task.children == 0 {
            self.tasks.remove(key as usize);
        }
    }
}
