//! What a link's handles, its calls and its task share. No foreign code (guards, wakers, events) runs under the lock.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio_stream::Stream;

use super::{
    Answer, OutgoingCall,
    outcome::outcome,
    pending::{CallKey, Guard, Pending, Released},
};
use crate::{
    admission::{Cause, Cut, Passage, Refusal, Upstream, Value},
    clock::{Clock, Timestamp},
    pb::service as pb,
    request::Failure,
    service::batch::take_batch,
};

/// When a call that finds no connection may try again: by then a restarted instance is usually back.
const RETRY_WHEN_AWAY: Duration = Duration::from_secs(1);

/// The state of a link.
#[derive(Debug)]
pub(super) struct Shared<G> {
    clock: Clock,
    state: Mutex<State<G>>,
    writer: AtomicWaker,
    drained: Notify,
}

#[derive(Debug)]
struct State<G> {
    phase: Phase,
    is_open: bool,
    /// Counts the streams; the one with an older number ends.
    stream: u64,
    introduction: Option<pb::Caller>,
    batch: VecDeque<pb::Call>,
    pending: Pending<G>,
    waiting: u32,
    told_waiting: u32,
    tell_waiting: bool,
    upstream: Upstream,
    grants: Option<usize>,
}

/// What may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing: there is no stream.
    Away,
    /// Calls.
    Connected,
    /// No more calls: they are being finished.
    Draining,
    /// Nothing any more.
    Ending,
}

impl Phase {
    const fn is_ending(self) -> bool {
        matches!(self, Self::Draining | Self::Ending)
    }
}

impl<G: Guard> Shared<G> {
    /// A link that has no stream yet.
    pub(super) fn new(clock: Clock) -> Self {
        let state = State {
            phase: Phase::Away,
            is_open: false,
            stream: 0,
            introduction: None,
            batch: VecDeque::new(),
            pending: Pending::new(),
            waiting: 0,
            told_waiting: 0,
            tell_waiting: false,
            upstream: Upstream::new(),
            grants: None,
        };
        Self { clock, state: Mutex::new(state), writer: AtomicWaker::new(), drained: Notify::new() }
    }

    /// Locks, also after a panic elsewhere: what runs under the lock leaves no half-made change.
    fn lock(&self) -> MutexGuard<'_, State<G>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.lock().phase == Phase::Connected
    }

    pub(super) fn grants(&self) -> Option<usize> {
        self.lock().grants
    }

    pub(super) fn held(&self) -> usize {
        self.lock().pending.held()
    }

    pub(super) fn set_waiting(&self, calls: usize) {
        self.lock().waiting = u32::try_from(calls).unwrap_or(u32::MAX);
    }

    pub(super) fn instance_cut(&self, now: Timestamp) -> Cut {
        self.lock().upstream.cut(now)
    }

    pub(super) fn decide(&self, now: Timestamp, value: Value) -> Result<Passage, Cut> {
        self.lock().upstream.decide(now, value)
    }

    pub(super) fn probes(&self) -> u64 {
        self.lock().upstream.probes()
    }

    /// Adds a call to the batch; the first one wakes the writer, which takes all that have come by the time it runs.
    pub(super) fn dispatch(&self, call: OutgoingCall<'_>, place: G) -> Result<CallKey, Failure> {
        let now = self.clock.now();
        let mut state = self.lock();
        let cause = match state.phase {
            Phase::Connected if state.pending.is_full() => Some(Cause::Limit),
            Phase::Connected => None,
            Phase::Away | Phase::Draining | Phase::Ending => Some(Cause::NoInstance),
        };
        if let Some(cause) = cause {
            return Err(refused(cause, call.value));
        }
        let key = state.pending.insert(call.value, call.deadline, place);
        state.batch.push_back(encode(call, key, now));
        let is_first = state.batch.len() == 1;
        drop(state);
        if is_first {
            self.writer.wake();
        }
        Ok(key)
    }

    pub(super) fn poll(&self, key: CallKey, waker: &Waker) -> Poll<Result<Answer, Failure>> {
        self.lock().pending.poll(key, waker)
    }

    pub(super) fn abandon(&self, key: CallKey) {
        self.lock().pending.abandon(key);
    }

    pub(super) fn sweep(&self, now: Timestamp) {
        let mut released = Released::default();
        let mut state = self.lock();
        state.pending.sweep(now, &mut released);
        // A backlog that grows or ends is news even if no call carries it; one that shrinks goes with the next call.
        let is_news = state.waiting > state.told_waiting || (state.waiting == 0 && state.told_waiting > 0);
        state.tell_waiting = is_news && state.phase == Phase::Connected;
        let wake = state.tell_waiting && state.batch.is_empty();
        self.settle(state, released);
        if wake {
            self.writer.wake();
        }
    }

    /// Begins a stream, which sends `introduction` first.
    pub(super) fn begin_stream(self: &Arc<Self>, introduction: pb::Caller) -> Outgoing<G> {
        let mut state = self.lock();
        state.stream += 1;
        state.introduction = Some(introduction);
        state.told_waiting = 0;
        Outgoing { stream: state.stream, shared: Arc::clone(self) }
    }

    /// The stream that was begun is open; whether the link still wants it.
    pub(super) fn connected(&self) -> bool {
        let mut state = self.lock();
        if state.phase == Phase::Away {
            state.phase = Phase::Connected;
            state.is_open = true;
        }
        state.is_open
    }

    /// The stream is gone. What was not yet handed to it certainly did not run; the rest is lost. Whether the stream
    /// had been open.
    pub(super) fn lost(&self) -> bool {
        let mut released = Released::default();
        let mut state = self.lock();
        state.stream += 1;
        if state.phase == Phase::Connected {
            state.phase = Phase::Away;
        }
        state.grants = None;
        state.upstream.forget();
        let State { batch, pending, .. } = &mut *state;
        for call in batch.drain(..) {
            let failure = refused(Cause::NoInstance, Value::from_bits(call.value));
            pending.resolve(CallKey::from_id(call.id), Err(failure), &mut released);
        }
        pending.resolve_all(&Failure::Lost, &mut released);
        let was_open = std::mem::take(&mut state.is_open);
        self.settle(state, released);
        // The stream ends when it is polled; nothing else would make it poll.
        self.writer.wake();
        was_open
    }

    /// Resolves a batch of answers; returns the grants if there are new ones.
    pub(super) fn receive(&self, answers: pb::Answers) -> Option<usize> {
        let now = self.clock.now();
        let mut released = Released::default();
        let mut state = self.lock();
        // Only a cut that is sent again binds for longer.
        if let Some(cut) = answers.cut {
            state.upstream.hear(Cut::from_bits(cut), now);
        }
        let grants = answers.grants.map(|grants| grants as usize);
        state.grants = grants.or(state.grants);
        for answer in answers.answers {
            let key = CallKey::from_id(answer.id);
            if let Some(value) = state.pending.value(key) {
                state.pending.resolve(key, outcome(answer, value, now), &mut released);
            }
        }
        self.settle(state, released);
        grants
    }

    /// Takes no more calls; whether there is a stream on which to finish the others.
    pub(super) fn drain(&self) -> bool {
        let mut state = self.lock();
        state.phase = match state.phase {
            Phase::Connected => Phase::Draining,
            Phase::Away => Phase::Ending,
            phase @ (Phase::Draining | Phase::Ending) => phase,
        };
        state.is_open
    }

    /// Completes when nothing is pending.
    pub(super) async fn drained(&self) {
        loop {
            let drained = self.drained.notified();
            if self.held() == 0 {
                return;
            }
            drained.await;
        }
    }

    /// Lets the stream end.
    pub(super) fn end_stream(&self) {
        self.lock().phase = Phase::Ending;
        self.writer.wake();
    }

    /// Whether the link is over once its stream is.
    pub(super) fn is_ending(&self) -> bool {
        self.lock().phase.is_ending()
    }

    /// Unlocks and lets go what a change released.
    fn settle(&self, state: MutexGuard<'_, State<G>>, released: Released<G>) {
        let drained = state.phase.is_ending() && state.pending.held() == 0;
        drop(state);
        released.settle();
        if drained {
            self.drained.notify_waiters();
        }
    }
}

fn refused(cause: Cause, value: Value) -> Failure {
    Refusal { cause, value, cut: Cut::OPEN, retry_after: RETRY_WHEN_AWAY }.into()
}

fn encode(call: OutgoingCall<'_>, key: CallKey, now: Timestamp) -> pb::Call {
    // Zero would be no time at all; less than a millisecond is still some.
    let timeout = call.deadline.since(now).as_millis().max(1);
    pb::Call {
        id: key.id(),
        user: call.user.to_owned(),
        device: call.device.to_owned(),
        outbox: call.outbox.0,
        business: call.business.0.into(),
        business_name: call.business_name.to_owned(),
        message_id: call.message.0,
        value: call.value.bits(),
        timeout_ms: u32::try_from(timeout).unwrap_or(u32::MAX),
        resent: call.resent,
        no_reply_wanted: !call.reply_wanted,
        oldest_unsettled_of_business: call.oldest_unsettled.0,
        payload: call.payload,
    }
}

/// The calls of one stream, a batch each time that it is polled.
#[derive(Debug)]
pub(super) struct Outgoing<G> {
    shared: Arc<Shared<G>>,
    stream: u64,
}

impl<G: Guard> Stream for Outgoing<G> {
    type Item = pb::Calls;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<pb::Calls>> {
        let mut state = self.shared.lock();
        if state.stream != self.stream || state.phase == Phase::Ending {
            return Poll::Ready(None);
        }
        // Under the lock, so that a stream that has ended never takes the place of its successor's waker.
        self.shared.writer.register(cx.waker());
        let calls = take_batch(&mut state.batch, |call| call.payload.len());
        let caller = state.introduction.take();
        if calls.is_empty() && caller.is_none() && !state.tell_waiting {
            return Poll::Pending;
        }
        (state.told_waiting, state.tell_waiting) = (state.waiting, false);
        Poll::Ready(Some(pb::Calls { calls, waiting: state.waiting, caller }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::upstream::BINDS_FOR;

    #[test]
    fn a_cut_binds_for_a_second_and_answers_without_one_do_not_prolong_it() {
        let clock = Clock::manual(Timestamp::ZERO);
        let shared = Shared::<()>::new(clock.clone());
        shared.receive(pb::Answers { cut: Some(7), ..pb::Answers::default() });
        clock.advance(BINDS_FOR);
        shared.receive(pb::Answers::default());
        assert_eq!(shared.instance_cut(clock.now()), Cut::from_bits(7));
        clock.advance(Duration::from_nanos(1));
        assert_eq!(shared.instance_cut(clock.now()), Cut::OPEN);
    }
}
