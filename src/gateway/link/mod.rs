//! The gateway's side of the link to one instance of a logic service: one stream, on which calls made in one round of
//! the scheduler travel together and answers come in any order. Every call is resolved exactly once, and none waits
//! longer than its deadline.
//!
//! ```text
//! dispatch ─▶ batch ─▶ Outgoing ══▶ instance        one per (gateway worker, instance); everything
//!     └─ place ─▶ pending ◀─ driver ◀══ answers     but the socket is behind one lock that nobody
//!                   └─▶ LinkCall                    contends for, as all of it runs on one worker
//! ```

mod backoff;
mod driver;
mod outcome;
mod pending;
mod shared;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

pub(super) use self::backoff::Backoff;
pub use self::{
    outcome::outcome,
    pending::{Answer, Guard},
};
use self::{pending::CallKey, shared::Shared};
use crate::{
    admission::{Cut, Passage, Value},
    clock::{Clock, Timestamp},
    id::{BusinessCode, Incarnation, MessageId, OutboxId},
    request::Failure,
};

/// How long past its deadline a call keeps its place when the instance answers nothing.
const LINGER: Duration = Duration::from_secs(10);

/// Whom to dial and how to introduce oneself.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// host:port of the instance.
    pub address: String,
    /// What this gateway calls itself.
    pub gateway: String,
    /// This run of it.
    pub incarnation: Incarnation,
    /// host:port where this gateway takes pushes; empty for nowhere.
    pub push_address: String,
}

/// What happens to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// Calls can be dispatched. No grants were sent yet: the static limit applies.
    Connected,
    /// How many calls may be unanswered from now on.
    Grants(usize),
    /// The stream is gone; it is being dialed again unless the link was shut down.
    Lost,
}

/// One call, as it is before it has an id. The names are copied by [`LinkHandle::dispatch`].
#[derive(Clone, Debug)]
pub struct OutgoingCall<'a> {
    /// Who asks.
    pub user: &'a str,
    /// On which device.
    pub device: &'a str,
    /// The client's outbox.
    pub outbox: OutboxId,
    /// The client's number of the message.
    pub message: MessageId,
    /// The policy's code of the business.
    pub business: BusinessCode,
    /// The policy's name of the business.
    pub business_name: &'a str,
    /// The importance.
    pub value: Value,
    /// When the answer is of no use any more.
    pub deadline: Timestamp,
    /// The client has sent this message before.
    pub resent: bool,
    /// Whether anybody will see the reply.
    pub reply_wanted: bool,
    /// The client's lowest unsettled message of this business.
    pub oldest_unsettled: MessageId,
    /// The client's bytes.
    pub payload: Bytes,
}

/// A link to one instance.
#[derive(Debug)]
pub struct Link;

impl Link {
    /// Dials the instance, again and again until the last handle is gone or [`LinkHandle::shutdown`] was called.
    ///
    /// `G` is the guard of a call's place: it is kept until the instance is done with the call. `events` is called from
    /// the link's task, with no lock held.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn spawn<G: Guard>(
        config: LinkConfig,
        clock: Clock,
        events: impl FnMut(LinkEvent) + Send + 'static,
    ) -> LinkHandle<G> {
        let shared = Arc::new(Shared::new(clock));
        let lifeline = Lifeline::default();
        let task = driver::drive(config, Arc::clone(&shared), events, lifeline.stop.clone(), lifeline.tried.clone());
        let ended = (lifeline.tried.clone().drop_guard(), lifeline.stopped.clone().drop_guard());
        tokio::spawn(async move {
            task.await;
            drop(ended);
        });
        let lifeline = Arc::new(lifeline);
        LinkHandle { shared, lifeline }
    }
}

/// Ends the link's task with the last handle.
#[derive(Debug, Default)]
struct Lifeline {
    /// The instance has been dialed once, with or without success.
    tried: CancellationToken,
    stop: CancellationToken,
    stopped: CancellationToken,
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Dispatches calls on a link. Clones share it.
pub struct LinkHandle<G> {
    shared: Arc<Shared<G>>,
    lifeline: Arc<Lifeline>,
}

impl<G> Clone for LinkHandle<G> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), lifeline: Arc::clone(&self.lifeline) }
    }
}

impl<G: Guard> fmt::Debug for LinkHandle<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkHandle").field("connected", &self.is_connected()).finish_non_exhaustive()
    }
}

impl<G: Guard> LinkHandle<G> {
    /// Whether a call would be sent now.
    pub fn is_connected(&self) -> bool {
        self.shared.is_connected()
    }

    /// Waits until the instance has been dialed for the first time, whatever came of it.
    pub async fn tried(&self) {
        self.lifeline.tried.cancelled().await;
    }

    /// Sends a call. The future resolves to its answer, at the latest when [`LinkHandle::sweep`] finds its deadline
    /// passed; dropping it discards the answer and keeps `place` taken until the instance is done.
    ///
    /// Without a connection, or with too many calls pending, the call is refused and `place` freed.
    pub fn dispatch(&self, call: OutgoingCall<'_>, place: G) -> LinkCall<G> {
        LinkCall { state: CallState::from(self.shared.dispatch(call, place)), shared: Arc::clone(&self.shared) }
    }

    /// How many calls wait at this worker for a place on this link; goes along with the next calls, or with the next
    /// [`LinkHandle::sweep`] if there are none.
    pub fn set_waiting(&self, calls: usize) {
        self.shared.set_waiting(calls);
    }

    /// Resolves what is past its deadline and sends what could not go along with a call. The link's worker calls this
    /// every 10 ms.
    pub fn sweep(&self, now: Timestamp) {
        self.shared.sweep(now);
    }

    /// The admission threshold that the instance sent; open if it did not send it within the last second.
    pub fn instance_cut(&self, now: Timestamp) -> Cut {
        self.shared.instance_cut(now)
    }

    /// Whether a call of this value goes on to the instance, as far as the instance's own cut is concerned.
    ///
    /// # Errors
    ///
    /// The cut, if the instance would refuse it.
    pub fn decide(&self, now: Timestamp, value: Value) -> Result<Passage, Cut> {
        self.shared.decide(now, value)
    }

    /// How many calls above the instance's cut have passed to find out whether it still stands.
    pub fn probes(&self) -> u64 {
        self.shared.probes()
    }

    /// How many calls the instance lets this link have unanswered; `None` if it never said.
    pub fn grants(&self) -> Option<usize> {
        self.shared.grants()
    }

    /// How many calls the instance is not done with.
    pub fn pending(&self) -> usize {
        self.shared.held()
    }

    /// Takes no more calls, waits until none is pending, and closes the stream; after `within` closes it anyway, and
    /// what is still pending is lost.
    pub async fn shutdown(&self, within: Duration) {
        let graceful = async {
            self.shared.drained().await;
            self.shared.end_stream();
            self.lifeline.stopped.cancelled().await;
        };
        if self.shared.drain() {
            let _ = tokio::time::timeout(within, graceful).await;
        }
        self.lifeline.stop.cancel();
        self.lifeline.stopped.cancelled().await;
    }
}

/// A call under way.
#[must_use = "dropping it discards the answer"]
pub struct LinkCall<G: Guard> {
    shared: Arc<Shared<G>>,
    state: CallState,
}

#[derive(Debug)]
enum CallState {
    Pending(CallKey),
    Refused(Failure),
    Done,
}

impl From<Result<CallKey, Failure>> for CallState {
    fn from(dispatched: Result<CallKey, Failure>) -> Self {
        dispatched.map_or_else(Self::Refused, Self::Pending)
    }
}

impl<G: Guard> fmt::Debug for LinkCall<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkCall").field("state", &self.state).finish_non_exhaustive()
    }
}

impl<G: Guard> Future for LinkCall<G> {
    type Output = Result<Answer, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = match std::mem::replace(&mut self.state, CallState::Done) {
            CallState::Pending(key) => match self.shared.poll(key, cx.waker()) {
                Poll::Ready(result) => result,
                Poll::Pending => {
                    self.state = CallState::Pending(key);
                    return Poll::Pending;
                }
            },
            CallState::Refused(failure) => Err(failure),
            CallState::Done => return Poll::Pending,
        };
        Poll::Ready(result)
    }
}

impl<G: Guard> Drop for LinkCall<G> {
    fn drop(&mut self) {
        if let CallState::Pending(key) = self.state {
            self.shared.abandon(key);
        }
    }
}
