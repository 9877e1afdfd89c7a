//! Carries bytes between a [`Connection`] and its socket: one task per connection, which holds no lock while it waits.
//!
//! Handles put requests straight into the connection under its lock and wake the task, which then writes everything
//! that has gathered in one go. So a request costs one `oneshot` and no channel, and what waits is bounded where the
//! protocol bounds it: in the connection.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::BytesMut;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, Sleep},
};
use tracing::{debug, info};

use super::{
    CloseReason, Connection, Event, Goaway, Push, Reply, RequestError, Session, latest::Latest, transport::Link,
};
use crate::{
    clock::{Clock, Timestamp},
    id::MessageId,
};

/// Less than this unsent, in bytes, and more is taken from the connection.
const REFILL_BELOW_BYTES: usize = 4 * 1024;

/// What the handles and the task of a connection have in common.
#[derive(Debug)]
pub(super) struct Shared {
    inner: Mutex<Inner>,
    pub(super) clock: Clock,
    pub(super) closed: Notify,
    pub(super) pushes: Arc<Latest<Push>>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) connection: Connection,
    pub(super) waiting: HashMap<MessageId, oneshot::Sender<Result<Reply, RequestError>>>,
    pub(super) goaway: Option<Goaway>,
    pub(super) ended: Option<CloseReason>,
    welcomed: Option<Arc<Session>>,
    task: Option<Waker>,
}

impl Shared {
    pub(super) fn new(connection: Connection, push_capacity: usize, clock: Clock) -> Arc<Self> {
        let inner =
            Inner { connection, waiting: HashMap::new(), goaway: None, ended: None, welcomed: None, task: None };
        let pushes = Arc::new(Latest::new(push_capacity));
        Arc::new(Self { inner: Mutex::new(inner), clock, closed: Notify::new(), pushes })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing under this lock can panic half-way; a poisoned one is as good as any.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Makes the task look at the connection again. Several calls before it does cost one wake-up.
    pub(super) fn wake_task(&mut self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    fn dispatch_events(&mut self, shared: &Shared) {
        while let Some(event) = self.connection.poll_event() {
            match event {
                Event::Welcomed(session) => self.welcomed = Some(session),
                Event::Ended { id, result } => {
                    if let Some(waiting) = self.waiting.remove(&id) {
                        // A caller that has stopped waiting is none of our concern.
                        let _gone = waiting.send(result);
                    }
                }
                // Without an outbox nothing waits for these.
                Event::Late { .. }
                | Event::SettledThrough(_)
                | Event::Ticket(_)
                | Event::Spread(_)
                | Event::Alternatives(_) => {}
                Event::Pushed(push) => shared.pushes.put(push),
                Event::MoveWanted(goaway) => {
                    info!(reason = %goaway.verdict, "the gateway wants this client to move");
                    self.goaway = Some(goaway);
                }
                Event::Closed(reason) => self.end(reason, shared),
            }
        }
    }

    fn end(&mut self, reason: CloseReason, shared: &Shared) {
        debug!(%reason, "connection ended");
        self.ended = Some(reason);
        shared.pushes.end();
        shared.closed.notify_waiters();
    }
}

/// The task of one connection.
#[derive(Debug)]
pub(super) struct Driver {
    shared: Arc<Shared>,
    link: Link,
    received: BytesMut,
    unsent: BytesMut,
    timer: Pin<Box<Sleep>>,
    armed: Timestamp,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, link: Link) -> Self {
        let unsent = BytesMut::from(link.preamble());
        let timer = Box::pin(tokio::time::sleep_until(Instant::from_std(shared.clock.instant_of(Timestamp::MAX))));
        Self { shared, link, received: BytesMut::new(), unsent, timer, armed: Timestamp::MAX }
    }

    /// Ready when logged in, or when that has failed.
    pub(super) fn poll_login(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arc<Session>, CloseReason>> {
        let ended = self.poll(cx);
        if let Some(session) = self.shared.lock().welcomed.take() {
            return Poll::Ready(Ok(session));
        }
        ended.map(Err)
    }

    /// Ready when the connection has ended.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        self.poll_receive(cx);
        self.poll_timer(cx);
        self.poll_transmit(cx);
        let mut inner = self.shared.lock();
        inner.dispatch_events(&self.shared);
        let Some(reason) = inner.ended.clone() else { return Poll::Pending };
        drop(inner);
        self.link.poll_goodbye(cx);
        Poll::Ready(reason)
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) {
        // Ends: the runtime makes a socket "pending" when this task has had its share.
        while let Poll::Ready(received) = self.link.poll_receive(cx, &mut self.received) {
            let now = self.shared.clock.now();
            let mut inner = self.shared.lock();
            let end = received.is_err();
            match received {
                Ok(()) => inner.connection.handle_bytes(&mut self.received, now),
                Err(reason) => inner.connection.handle_disconnect(reason),
            }
            inner.dispatch_events(&self.shared);
            if end || inner.ended.is_some() {
                break;
            }
        }
        if self.received.is_empty() {
            // Gives the memory back; payloads that are still in use keep theirs.
            self.received = BytesMut::new();
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) {
        loop {
            let Some(due) = self.shared.lock().connection.poll_timeout() else { return };
            // A timer that is too early finds nothing to do and is set again: cheaper than moving it with every frame.
            if due < self.armed {
                self.timer.as_mut().reset(Instant::from_std(self.shared.clock.instant_of(due)));
                self.armed = due;
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return;
            }
            self.armed = Timestamp::MAX;
            let now = self.shared.clock.now();
            self.shared.lock().connection.handle_timeout(now);
        }
    }

    fn poll_transmit(&mut self, cx: &mut Context<'_>) {
        loop {
            let more = self.refill(cx);
            match self.link.poll_send(cx, &mut self.unsent) {
                Poll::Ready(Ok(())) if more => {}
                Poll::Ready(Ok(())) | Poll::Pending => break,
                Poll::Ready(Err(reason)) => {
                    self.shared.lock().connection.handle_disconnect(reason);
                    break;
                }
            }
        }
        if self.unsent.is_empty() {
            self.unsent = BytesMut::new();
        }
    }

    /// Takes what the connection wants to send, while little is unsent, so that the connection's own bound holds. `false`
    /// when there is certainly no more; whatever comes then wakes this task.
    fn refill(&mut self, cx: &mut Context<'_>) -> bool {
        let mut inner = self.shared.lock();
        inner.task = Some(cx.waker().clone());
        self.unsent.len() >= REFILL_BELOW_BYTES || inner.connection.poll_transmit(&mut self.unsent)
    }
}

impl Drop for Driver {
    /// Where the runtime ends before the connection does, nobody is left waiting.
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        inner.connection.close_local();
        inner.dispatch_events(&self.shared);
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Driver::poll(&mut self, cx).map(|_| ())
    }
}
