//! Tells a trace of one request in so many. Which ones is fixed by user and message, so that the resends of a request are
//! in the sample with it, and no worker has to agree with another.

use std::{
    num::NonZeroU32,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use super::counters::Outcome;
use crate::{
    admission::UserHash,
    clock::Timestamp,
    id::MessageId,
    trace::{self, Line, Sink},
    wire::Reason,
};

/// A trace ends at this size, so that a gateway which runs for months does not fill the disk: about 20 million requests.
pub const MAX_TRACE_BYTES: u64 = 1 << 30;

/// A sample that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleLog {
    /// Where the trace goes.
    pub file: PathBuf,
    /// One request in this many.
    pub one_in: NonZeroU32,
}

/// One worker's part of a sample.
#[derive(Debug)]
pub struct Sample {
    /// Only the worker's own thread tells; the lock is for the type alone.
    sink: Mutex<Sink>,
    one_in: NonZeroU32,
    began: Timestamp,
}

/// A request that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// Its business's name.
    pub business: &'a str,
    /// Its user's place.
    pub user: UserHash,
    /// When it came.
    pub arrived: Timestamp,
    /// What became of it.
    pub outcome: Outcome,
}

impl Sample {
    /// A part whose times count from `began`.
    pub fn new(sink: Sink, one_in: NonZeroU32, began: Timestamp) -> Self {
        Self { sink: Mutex::new(sink), one_in, began }
    }

    /// For another worker.
    pub fn another(&self) -> Self {
        Self::new(self.sink().clone(), self.one_in, self.began)
    }

    /// Whether this message of this user is to be told.
    pub fn has(&self, user: UserHash, message: MessageId) -> bool {
        user.grain(message).is_multiple_of(self.one_in.get())
    }

    /// Tells that a request ended at `now`. Never waits.
    pub fn tell(&self, ended: Ended<'_>, now: Timestamp) {
        self.sink().tell(&Line {
            at: ended.arrived.since(self.began),
            business: ended.business,
            user: number(ended.user),
            outcome: outcome(ended.outcome),
            latency: now.since(ended.arrived),
            stands_for: self.one_in.get(),
        });
    }

    /// Hands on what was told, so that the trace of a quiet gateway is not far behind either.
    pub fn flush(&self) {
        self.sink().flush();
    }

    /// What has become of the lines of all workers.
    pub fn summary(&self) -> trace::Summary {
        self.sink().summary()
    }

    fn sink(&self) -> std::sync::MutexGuard<'_, Sink> {
        // Whatever a panic left behind is text.
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same number for a user for as long as the key is the same. It tells neither the user's name nor where the user
/// stands, which the upper half of its place says.
fn number(user: UserHash) -> u64 {
    user.bits() & u64::from(u32::MAX)
}

const fn outcome(outcome: Outcome) -> trace::Outcome<'static> {
    match outcome {
        Outcome::Replied => trace::Outcome::Ok,
        Outcome::Failed(Reason::TimedOut | Reason::Lost) => trace::Outcome::Unknown,
        Outcome::Failed(reason) => trace::Outcome::Refused(reason.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Recorder;

    fn sample(one_in: u32) -> Sample {
        let file = tempfile::NamedTempFile::new().unwrap();
        let recorder = Recorder::create(file.path(), u64::MAX).unwrap();
        Sample::new(recorder.sink(), NonZeroU32::new(one_in).unwrap(), Timestamp::ZERO)
    }

    #[test]
    fn the_sample_has_its_share_of_the_messages_of_a_user_and_of_the_users() {
        let sample = sample(10);
        let user = |number: u64| UserHash::from_bits(number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let of_one = (0..10_000).filter(|&id| sample.has(user(1), MessageId(id))).count();
        let of_many = (0..10_000).filter(|&number| sample.has(user(number), MessageId(1))).count();
        for count in [of_one, of_many] {
            assert!((900..1100).contains(&count), "{count}");
        }
    }

    #[test]
    fn a_sample_of_one_in_one_has_everything() {
        let sample = sample(1);
        assert!((0..1000).all(|id| sample.has(UserHash::from_bits(id), MessageId(id))));
    }

    #[test]
    fn an_answer_that_never_came_is_unknown_and_not_refused() {
        assert_eq!(outcome(Outcome::Failed(Reason::TimedOut)), trace::Outcome::Unknown);
        assert_eq!(outcome(Outcome::Failed(Reason::ServiceCut)), trace::Outcome::Refused("service_cut"));
        assert_eq!(outcome(Outcome::Replied), trace::Outcome::Ok);
    }
}
