//! What an instance remembers of the messages that it ran: every call claims its message here before anything else, and
//! whoever runs it hands the answer to the copies.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    desk::{Job, Outbox, lock, refused},
    store::StoreStats,
    window::{Bound, CallKey, Claim, End, Known, WindowSettings, WindowStats, Windows},
};
use crate::{clock::Timestamp, pb::service as pb};

/// What an instance remembers. Clones share it.
#[derive(Clone, Debug)]
pub struct Memory {
    windows: Arc<Mutex<Windows<Job, pb::Answer>>>,
    store: Arc<Mutex<StoreStats>>,
}

/// What a call becomes.
pub(super) enum Claimed {
    /// It is to run.
    Run(Job),
    /// It gets the answer of the one that runs.
    Waits,
    /// It has its answer.
    Answered(Arc<Outbox>, pb::Answer),
}

/// Whether an answer ends its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// It is the answer of every copy.
    ForGood,
    /// A copy runs.
    Not,
}

/// Whether this answer ends its message: the one place that says so.
pub(super) fn ends(answer: &pb::Answer) -> Ends {
    match answer.outcome() {
        pb::AnswerOutcome::Replied | pb::AnswerOutcome::Failed | pb::AnswerOutcome::Misplaced => Ends::ForGood,
        pb::AnswerOutcome::Refused
        | pb::AnswerOutcome::Expired
        | pb::AnswerOutcome::Stale
        | pb::AnswerOutcome::Conflict
        | pb::AnswerOutcome::Unknown => Ends::Not,
    }
}

impl Memory {
    /// Remembers within these bounds.
    pub(super) fn new(settings: WindowSettings) -> Self {
        Self { windows: Arc::new(Mutex::new(Windows::new(settings))), store: Arc::default() }
    }

    /// Remembers only what runs; the rest is in a store.
    pub(super) fn of_running() -> Self {
        Self::new(WindowSettings { keep: Duration::ZERO, ..WindowSettings::default() })
    }

    /// What this instance remembers itself, and what happened so far. With a store that is only what runs.
    pub fn stats(&self) -> WindowStats {
        lock(&self.windows).stats()
    }

    /// What the store has said so far; nothing without one.
    pub fn store_stats(&self) -> StoreStats {
        *lock(&self.store)
    }

    /// Counts what a store said or did.
    pub(super) fn note(&self, change: impl FnOnce(&mut StoreStats)) {
        change(&mut lock(&self.store));
    }

    /// A call asks for its message.
    pub(super) fn claim(&self, job: Job) -> Claimed {
        let (now, key, oldest) = (job.request.arrived, job.request.key.clone(), job.request.oldest_unsettled);
        let fingerprint = job.request.fingerprint;
        match lock(&self.windows).claim(now, &key, oldest, fingerprint, job) {
            Claim::Run(job) => Claimed::Run(job),
            Claim::Waits => Claimed::Waits,
            Claim::Known(job, known) => Claimed::Answered(job.outbox, pb::Answer { id: job.id, ..answer(known) }),
        }
    }

    /// A message that ran here has this answer, which its copies get; it is remembered if it ends the message.
    pub(super) fn settle(&self, now: Timestamp, key: &CallKey, answer: &pb::Answer) {
        match ends(answer) {
            Ends::ForGood => {
                let end = End::Final(answer.clone(), answer.payload.len() + answer.detail.len());
                let copies = lock(&self.windows).finish(now, key, end);
                send(copies, answer);
            }
            Ends::Not => self.answer_copies(now, key, answer),
        }
    }

    /// A message has this answer, which its copies get; nothing of it is remembered here.
    pub(super) fn answer_copies(&self, now: Timestamp, key: &CallKey, answer: &pb::Answer) {
        send(self.forget(now, key), answer);
    }

    /// A message will not run; returns its copies.
    pub(super) fn forget(&self, now: Timestamp, key: &CallKey) -> Vec<Job> {
        lock(&self.windows).finish(now, key, End::NoEffect)
    }

    /// Drops what has rested for long enough.
    pub(super) fn sweep(&self, now: Timestamp) {
        lock(&self.windows).sweep(now);
    }
}

fn send(copies: Vec<Job>, answer: &pb::Answer) {
    for copy in copies {
        copy.outbox.send(pb::Answer { id: copy.id, ..answer.clone() });
    }
}

/// What a known message answers with, which lacks the call's id.
fn answer(known: Known<pb::Answer>) -> pb::Answer {
    let outcome = match known {
        Known::Replied(answer) => return answer,
        Known::Stale => pb::AnswerOutcome::Stale,
        Known::Conflict => pb::AnswerOutcome::Conflict,
        Known::Refused { bound, retry_after } => return refused(why(bound), retry_after),
    };
    pb::Answer { outcome: outcome.into(), ..pb::Answer::default() }
}

fn why(bound: Bound) -> &'static str {
    match bound {
        Bound::Copies => "too many copies of this message wait",
        Bound::ReplyBytes => "too many replies are not settled",
        Bound::Windows => "too many outboxes are remembered",
        Bound::TotalBytes => "too many bytes are remembered",
    }
}
