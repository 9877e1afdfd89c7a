//! What keeps a Redis that is away or slow from holding anybody up: a bound on what waits for it, a rest after it failed,
//! and the counts of both.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Fault;
use crate::{clock::Timestamp, registry::CallCount};

/// After a failure calls fail at once for this long; then one is let through to find out.
const REST: Duration = Duration::from_millis(250);

/// What is asked of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Register,
    Unregister,
    Restore,
    Lookup,
    Homes,
    Renew,
}

impl Call {
    const ALL: [Self; 6] = [Self::Register, Self::Unregister, Self::Restore, Self::Lookup, Self::Homes, Self::Renew];

    const fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Unregister => "unregister",
            Self::Restore => "restore",
            Self::Lookup => "lookup",
            Self::Homes => "homes",
            Self::Renew => "renew",
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Answered,
    Late,
    Busy,
    Resting,
    Failed,
}

impl Ended {
    const ALL: [Self; 5] = [Self::Answered, Self::Late, Self::Busy, Self::Resting, Self::Failed];

    const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Late => "late",
            Self::Busy => "busy",
            Self::Resting => "resting",
            Self::Failed => "failed",
        }
    }
}

/// Bounds and counts of one connection.
#[derive(Debug)]
pub(super) struct Bounds {
    timeout: Duration,
    in_flight: Arc<Semaphore>,
    rest: Rest,
    counts: [[AtomicU64; Ended::ALL.len()]; Call::ALL.len()],
}

impl Bounds {
    pub(super) fn new(in_flight: usize, timeout: Duration) -> Self {
        Self {
            timeout,
            in_flight: Arc::new(Semaphore::new(in_flight.min(Semaphore::MAX_PERMITS))),
            rest: Rest::default(),
            counts: Default::default(),
        }
    }

    /// Lets a call through, or fails at once.
    pub(super) fn admit(&self, call: Call, now: Timestamp) -> Result<OwnedSemaphorePermit, Fault> {
        // First, because the one that is let through to find out must have its place.
        let Ok(permit) = self.in_flight.clone().try_acquire_owned() else {
            self.count(call, Ended::Busy);
            return Err(Fault::Busy);
        };
        self.check_rest(call, now)?;
        Ok(permit)
    }

    /// Fails at once if Redis has just failed somebody else; for what is bounded by a queue of its own.
    pub(super) fn check_rest(&self, call: Call, now: Timestamp) -> Result<(), Fault> {
        if self.rest.admits(now) {
            return Ok(());
        }
        self.count(call, Ended::Resting);
        Err(Fault::Resting)
    }

    /// Bounds the answer to a call that began at `now`, and learns from how it ends.
    pub(super) async fn answer<T>(
        &self,
        call: Call,
        now: Timestamp,
        asked: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let answered = tokio::time::timeout(self.timeout, asked).await;
        let answered = answered.unwrap_or(Err(Fault::TimedOut(self.timeout)));
        let (ended, away_since) = match &answered {
            Ok(_) => (Ended::Answered, None),
            Err(Fault::TimedOut(timeout)) => (Ended::Late, Some(now + *timeout)),
            // What one user's key has to do with is no fault of the server: it answered.
            Err(Fault::Redis(error)) if matches!(error.code(), Some("ERR" | "WRONGTYPE")) => (Ended::Failed, None),
            Err(Fault::Redis(_)) => (Ended::Failed, Some(now)),
            Err(_) => (Ended::Failed, None),
        };
        match away_since {
            Some(since) => self.rest.begin(since),
            None => self.rest.end(),
        }
        self.count(call, ended);
        answered
    }

    /// Counts what found no place in a queue of its own.
    pub(super) fn count_busy(&self, call: Call) {
        self.count(call, Ended::Busy);
    }

    fn count(&self, call: Call, ended: Ended) {
        self.counts[call as usize][ended as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// What has happened so far.
    pub(super) fn counts(&self) -> Vec<CallCount> {
        let all = Call::ALL.iter().flat_map(|&call| Ended::ALL.iter().map(move |&ended| (call, ended)));
        let counted = all.map(|(call, ended)| CallCount {
            call: call.name(),
            result: ended.name(),
            total: self.counts[call as usize][ended as usize].load(Ordering::Relaxed),
        });
        counted.filter(|count| count.total > 0).collect()
    }
}

/// Nobody waits for a Redis that has just failed somebody else.
#[derive(Debug, Default)]
struct Rest {
    /// In nanoseconds; 0 while it works.
    until: AtomicU64,
}

impl Rest {
    /// Whether a call may be made. At the end of a rest one alone may.
    fn admits(&self, now: Timestamp) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        let next = (now + REST).as_nanos();
        until == 0
            || until <= now.as_nanos()
                && self.until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn begin(&self, now: Timestamp) {
        self.until.store((now + REST).as_nanos(), Ordering::Relaxed);
    }

    fn end(&self) {
        if self.until.load(Ordering::Relaxed) != 0 {
            self.until.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000);

    fn bounds() -> Bounds {
        Bounds::new(2, Duration::from_millis(10))
    }

    #[test]
    fn no_more_wait_than_are_allowed() {
        let bounds = bounds();
        let places = [bounds.admit(Call::Register, NOW).unwrap(), bounds.admit(Call::Register, NOW).unwrap()];
        assert!(matches!(bounds.admit(Call::Register, NOW), Err(Fault::Busy)));
        drop(places);
        drop(bounds.admit(Call::Register, NOW).unwrap());
        assert_eq!(bounds.counts(), [CallCount { call: "register", result: "busy", total: 1 }]);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_late_answer_one_call_at_a_time_finds_out() {
        let bounds = bounds();
        let never = bounds.answer(Call::Lookup, NOW, std::future::pending::<Result<(), Fault>>());
        assert!(matches!(never.await, Err(Fault::TimedOut(_))));
        assert!(matches!(bounds.admit(Call::Lookup, NOW), Err(Fault::Resting)));
        let later = NOW + Duration::from_millis(10) + REST;
        drop(bounds.admit(Call::Lookup, later).unwrap());
        assert!(matches!(bounds.admit(Call::Lookup, later), Err(Fault::Resting)), "one is on its way");
        bounds.answer(Call::Lookup, later, async { Ok(()) }).await.unwrap();
        drop(bounds.admit(Call::Lookup, later).unwrap());
    }

    #[tokio::test]
    async fn a_refused_command_is_no_reason_to_rest() {
        let bounds = bounds();
        let refused = bounds.answer(Call::Lookup, NOW, async { Err::<(), _>(Fault::Unexpected) });
        refused.await.unwrap_err();
        drop(bounds.admit(Call::Lookup, NOW).unwrap());
    }
}
