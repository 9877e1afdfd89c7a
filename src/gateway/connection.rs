//! What the rest of the gateway knows of a connection: who it is, and a way to put something into its outgoing queue or
//! to end it. The session alone touches the socket.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
    time::Duration,
};

use bytes::Bytes;

use crate::{
    admission::UserHash,
    gateway::roster::Member,
    id::{BusinessCode, Epoch, OutboxId},
    wire::{HEADER_BYTES, Reason},
};

/// A logged-in client. One allocation holds its names; everything that refers to the connection shares it.
#[derive(Debug)]
pub struct Connection {
    /// User and device, one behind the other.
    names: Box<str>,
    user_bytes: u8,
    /// Index into the policy's tiers.
    pub tier: u8,
    /// What the user's level and grains come from.
    pub user_hash: UserHash,
    /// The number of this login.
    pub epoch: Epoch,
    /// The client's outbox.
    pub outbox: OutboxId,
    outgoing: Mutex<Outgoing>,
}

/// A push that waits to be written.
#[derive(Debug)]
pub struct PendingPush {
    /// Goes into the frame's header.
    pub business: BusinessCode,
    /// The encoded body, shared by everyone who gets the same push.
    pub body: Bytes,
}

/// What another task wants of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Tell the client to move within this time; keep serving.
    Goaway(Reason, Duration),
    /// Finish what is in flight, then close.
    Close(Reason),
    /// Close for good: the client must not come back.
    Kick(Reason),
}

/// Why a push was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushRefused {
    /// The connection has ended.
    Closed,
    /// The outgoing queue of the connection, or of the process, is full.
    Full,
}

impl Ending {
    const fn finality(&self) -> u8 {
        match self {
            Self::Goaway(..) => 0,
            Self::Close(_) => 1,
            Self::Kick(_) => 2,
        }
    }
}

#[derive(Debug, Default)]
struct Outgoing {
    pushes: VecDeque<PendingPush>,
    /// Bytes of the frames in `pushes`.
    bytes: usize,
    /// Bytes that the session holds because the socket did not take them.
    unsent: usize,
    ending: Option<Ending>,
    waker: Option<Waker>,
    closed: bool,
}

/// Bytes that wait to be written on all connections together.
#[derive(Debug)]
pub struct ByteBudget {
    used: AtomicUsize,
    limit: AtomicUsize,
}

impl ByteBudget {
    /// A budget of `limit` bytes.
    pub const fn new(limit: usize) -> Self {
        Self { used: AtomicUsize::new(0), limit: AtomicUsize::new(limit) }
    }

    /// Changes the limit; what is in use stays.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes `bytes`, unless that passes the limit.
    pub fn try_take(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.limit.load(Ordering::Relaxed);
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    /// Takes `bytes` in any case: they are there already.
    pub fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns what was taken.
    pub fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Connection {
    /// A connection that nothing has been sent to.
    ///
    /// # Panics
    ///
    /// If `user` is longer than [`crate::id::MAX_NAME_BYTES`], which login has checked.
    pub fn new(user: &str, device: &str, tier: u8, user_hash: UserHash, epoch: Epoch, outbox: OutboxId) -> Arc<Self> {
        let user_bytes = u8::try_from(user.len()).expect("login has checked the length");
        let mut names = String::with_capacity(user.len() + device.len());
        names.push_str(user);
        names.push_str(device);
        let names = names.into_boxed_str();
        Arc::new(Self { names, user_bytes, tier, user_hash, epoch, outbox, outgoing: Mutex::default() })
    }

    /// Queues a push of `business`. `limit` bounds the bytes that wait on this connection.
    ///
    /// # Errors
    ///
    /// If the connection has ended, or the push finds no room in its queue or in `budget`.
    pub fn push(
        &self,
        business: BusinessCode,
        body: Bytes,
        limit: usize,
        budget: &ByteBudget,
    ) -> Result<(), PushRefused> {
        let mut outgoing = self.outgoing();
        if outgoing.closed {
            return Err(PushRefused::Closed);
        }
        let bytes = HEADER_BYTES + body.len();
        if outgoing.bytes + outgoing.unsent + bytes > limit || !budget.try_take(bytes) {
            return Err(PushRefused::Full);
        }
        outgoing.bytes += bytes;
        outgoing.pushes.push_back(PendingPush { business, body });
        wake(outgoing);
        Ok(())
    }

    /// Asks the session to end. What is more final is not taken back by what is less.
    pub fn end(&self, ending: Ending) {
        let mut outgoing = self.outgoing();
        if outgoing.ending.as_ref().is_none_or(|wanted| wanted.finality() <= ending.finality()) {
            outgoing.ending = Some(ending);
        }
        wake(outgoing);
    }

    /// For the session: what has come since the last call. `waker` is woken when there is more. While the session has
    /// bytes that the socket did not take, the pushes stay here, where they are bounded.
    pub fn take_outgoing(&self, waker: &Waker, budget: &ByteBudget) -> (VecDeque<PendingPush>, Option<Ending>) {
        let mut outgoing = self.outgoing();
        match &outgoing.waker {
            Some(known) if known.will_wake(waker) => {}
            _ => outgoing.waker = Some(waker.clone()),
        }
        let ending = outgoing.ending.take();
        if outgoing.unsent > 0 {
            return (VecDeque::new(), ending);
        }
        budget.give_back(mem::take(&mut outgoing.bytes));
        (mem::take(&mut outgoing.pushes), ending)
    }

    /// For the session: how many bytes it holds because the socket did not take them.
    pub fn set_unsent(&self, bytes: usize, budget: &ByteBudget) {
        let mut outgoing = self.outgoing();
        if !outgoing.closed {
            budget.take(bytes);
            budget.give_back(mem::replace(&mut outgoing.unsent, bytes));
        }
    }

    /// For the session, when it ends: nothing more is taken, and what waited gives its bytes back.
    pub fn shut(&self, budget: &ByteBudget) {
        let mut outgoing = self.outgoing();
        outgoing.closed = true;
        outgoing.waker = None;
        outgoing.pushes = VecDeque::new();
        budget.give_back(mem::take(&mut outgoing.bytes) + mem::take(&mut outgoing.unsent));
    }

    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the session after the lock is gone, so that it does not run into it.
fn wake(outgoing: MutexGuard<'_, Outgoing>) {
    let waker = outgoing.waker.clone();
    drop(outgoing);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Member for Connection {
    fn user(&self) -> &str {
        &self.names[..usize::from(self.user_bytes)]
    }

    fn device(&self) -> &str {
        &self.names[usize::from(self.user_bytes)..]
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::PriorityKey;

    fn connection() -> Arc<Connection> {
        let hash = PriorityKey([0; 16]).user(b"alice");
        Connection::new("alice", "phone", 0, hash, Epoch(1), OutboxId(1))
    }

    #[test]
    fn pushes_are_bounded_by_connection_and_by_process() {
        let (connection, budget) = (connection(), ByteBudget::new(50));
        let push = |frame: usize, limit| {
            connection.push(BusinessCode(9), Bytes::from(vec![0; frame - HEADER_BYTES]), limit, &budget)
        };
        assert_eq!(push(30, 30), Ok(()));
        assert_eq!(push(16, 30), Err(PushRefused::Full));
        assert_eq!(push(21, 100), Err(PushRefused::Full));
        assert_eq!(budget.used(), 30);
        let (pushes, ending) = connection.take_outgoing(Waker::noop(), &budget);
        assert_eq!((pushes.len(), ending, budget.used()), (1, None, 0));
    }

    #[test]
    fn what_the_socket_does_not_take_counts_and_holds_the_pushes_back() {
        let (connection, budget) = (connection(), ByteBudget::new(50));
        let push = || connection.push(BusinessCode(9), Bytes::from_static(b"abcd"), 50, &budget);
        connection.set_unsent(30, &budget);
        assert_eq!((push(), push()), (Ok(()), Err(PushRefused::Full)));
        connection.end(Ending::Kick(Reason::Kicked));
        let (pushes, ending) = connection.take_outgoing(Waker::noop(), &budget);
        assert_eq!((pushes.len(), ending, budget.used()), (0, Some(Ending::Kick(Reason::Kicked)), 50));
        connection.set_unsent(0, &budget);
        assert_eq!(connection.take_outgoing(Waker::noop(), &budget).0.len(), 1);
        connection.set_unsent(7, &budget);
        connection.shut(&budget);
        connection.set_unsent(9, &budget);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_connection_that_has_ended_takes_nothing_and_keeps_nothing() {
        let (connection, budget) = (connection(), ByteBudget::new(50));
        connection.push(BusinessCode(9), Bytes::from_static(b"abc"), 50, &budget).unwrap();
        connection.shut(&budget);
        assert_eq!(budget.used(), 0);
        let late = connection.push(BusinessCode(9), Bytes::from_static(b"abc"), 50, &budget);
        assert_eq!(late, Err(PushRefused::Closed));
    }

    #[test]
    fn what_is_less_final_does_not_take_back_what_is_more() {
        let (connection, budget) = (connection(), ByteBudget::new(10));
        let goaway = Ending::Goaway(Reason::Draining, Duration::ZERO);
        let (close, kick) = (Ending::Close(Reason::Draining), Ending::Kick(Reason::Kicked));
        for ending in [&kick, &close, &goaway] {
            connection.end(ending.clone());
        }
        assert_eq!(connection.take_outgoing(Waker::noop(), &budget).1, Some(kick));
        assert_eq!(connection.take_outgoing(Waker::noop(), &budget).1, None);
    }

    #[test]
    fn names_come_back_apart() {
        let connection = connection();
        assert_eq!((connection.user(), connection.device()), ("alice", "phone"));
    }
}
