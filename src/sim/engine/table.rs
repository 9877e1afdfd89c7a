//! Tasks and calls that are under way. A task is tried once or more; a try makes calls, and a call may make calls of its
//! own. Each is kept until nothing refers to it any more.

use std::{
    ops::{Index, IndexMut},
    time::Duration,
};

use slab::Slab;

use crate::{
    admission::Value,
    clock::Timestamp,
    sim::{
        guard::{Call, Ended, Feedback},
        measure::EndedTask,
        scenario,
    },
};

/// How far the calls of a try or of a call have come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Steps {
    /// Which group of calls is being made.
    pub(super) step: usize,
    /// How many calls of it have been made.
    pub(super) made: u32,
    /// How many of these are not answered.
    pub(super) open: u32,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Next {
    /// Make this call, the one with this number in its step.
    Call(scenario::Calls, u32),
    /// Wait for an answer.
    Wait,
    /// Everything was answered.
    Done,
}

impl Steps {
    /// Goes on through the plan.
    pub(super) fn next(&mut self, plan: &[scenario::Calls]) -> Next {
        loop {
            let Some(calls) = plan.get(self.step) else { return Next::Done };
            if self.made < calls.times && (calls.parallel || self.open == 0) {
                self.made += 1;
                self.open += 1;
                return Next::Call(*calls, self.made - 1);
            }
            if self.open > 0 {
                return Next::Wait;
            }
            *self = Self { step: self.step + 1, ..Self::default() };
        }
    }
}

/// A task of a user.
#[derive(Clone, Debug)]
pub(super) struct Task {
    /// Counted from 0 over the run.
    pub(super) number: u64,
    pub(super) business: usize,
    pub(super) user: u32,
    /// At the present try.
    pub(super) value: Value,
    pub(super) created: Timestamp,
    /// Counted up when a try ends.
    pub(super) attempt: u32,
    /// A try is under way.
    pub(super) trying: bool,
    /// Nothing is to come any more.
    pub(super) over: bool,
    pub(super) deadline: Timestamp,
    pub(super) steps: Steps,
    /// Calls that were answered in this try.
    pub(super) served: u32,
    /// Work spent on this try.
    pub(super) work: Duration,
    /// Calls of this task, of all tries and depths.
    pub(super) children: u32,
}

impl Task {
    /// What the books need to know at its end.
    pub(super) fn ended(&self) -> EndedTask {
        EndedTask { created: self.created, business: self.business, user: self.user, work: self.work }
    }
}

/// Who waits for the answer to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Task,
    Call(u32),
}

/// A call under way.
#[derive(Clone, Debug)]
pub(super) struct CallState {
    pub(super) call: Call,
    /// Key of its task.
    pub(super) task: u32,
    /// The try that it belongs to.
    pub(super) attempt: u32,
    pub(super) owner: Owner,
    /// The group of calls that it is one of.
    pub(super) group: scenario::Calls,
    /// What tells this call of a task from the others; the same in each try.
    pub(super) path: u64,
    /// Key of its instance.
    pub(super) instance: usize,
    /// Number among those who call this service.
    pub(super) caller: usize,
    pub(super) service_time: Duration,
    pub(super) started: Timestamp,
    pub(super) steps: Steps,
    /// Its answer is on its way or has arrived.
    pub(super) told: bool,
    /// Its answer has arrived; only its children keep it.
    pub(super) gone: bool,
    /// Calls that refer to this one.
    pub(super) children: u32,
    pub(super) ended: Ended,
    /// It was refused by its caller and never sent.
    pub(super) local: bool,
    pub(super) hint: Option<Duration>,
    pub(super) feedback: Option<Feedback>,
}

/// All calls under way, by key.
#[derive(Debug, Default)]
pub(super) struct Calls(Slab<CallState>);

impl Calls {
    pub(super) fn insert(&mut self, call: CallState) -> u32 {
        self.0.insert(call) as u32
    }

    pub(super) fn remove(&mut self, key: u32) -> CallState {
        self.0.remove(key as usize)
    }
}

impl Index<u32> for Calls {
    type Output = CallState;

    fn index(&self, key: u32) -> &CallState {
        &self.0[key as usize]
    }
}

impl IndexMut<u32> for Calls {
    fn index_mut(&mut self, key: u32) -> &mut CallState {
        &mut self.0[key as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWICE: scenario::Calls = scenario::Calls { service: 0, times: 2, parallel: false, resends: 0 };
    const TOGETHER: scenario::Calls = scenario::Calls { service: 1, parallel: true, ..TWICE };

    #[test]
    fn calls_in_a_row_wait_for_each_other_and_parallel_ones_do_not() {
        let plan = [TWICE, TOGETHER];
        let mut steps = Steps::default();
        assert_eq!(steps.next(&plan), Next::Call(TWICE, 0));
        assert_eq!(steps.next(&plan), Next::Wait);
        steps.open = 0;
        assert_eq!(steps.next(&plan), Next::Call(TWICE, 1));
        steps.open = 0;
        assert_eq!(steps.next(&plan), Next::Call(TOGETHER, 0));
        assert_eq!(steps.next(&plan), Next::Call(TOGETHER, 1));
        assert_eq!(steps.next(&plan), Next::Wait);
        steps.open = 0;
        assert_eq!(steps.next(&plan), Next::Done);
    }
}
