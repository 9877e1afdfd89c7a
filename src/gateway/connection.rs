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

/// What a waiting push costs beside its body, in bytes: without it, empty pushes would be free and have no bound.
const PUSH_BYTES: usize = HEADER_BYTES + size_of::<PendingPush>();

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
    /// What `pushes` is charged for.
    bytes: usize,
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

    /// Takes `now` in place of `before`, even beyond the limit: for bytes that are there anyway.
    pub fn replace(&self, before: usize, now: usize) {
        self.used.fetch_add(now, Ordering::Relaxed);
        self.give_back(before);
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
        let bytes = PUSH_BYTES + body.len();
        if outgoing.bytes + bytes > limit || !budget.try_take(bytes) {
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

    /// For the session: how it is to end, if somebody wants that. `waker` is woken when there is more, also of pushes.
    pub fn take_ending(&self, waker: &Waker) -> Option<Ending> {
        let mut outgoing = self.outgoing();
        match &outgoing.waker {
            Some(known) if known.will_wake(waker) => {}
            _ => outgoing.waker = Some(waker.clone()),
        }
        outgoing.ending.take()
    }

    /// For the session: the pushes that have come since the last call. While the socket takes nothing they stay here,
    /// where they are bounded.
    pub fn take_pushes(&self, budget: &ByteBudget) -> VecDeque<PendingPush> {
        let mut outgoing = self.outgoing();
        budget.give_back(mem::take(&mut outgoing.bytes));
        mem::take(&mut outgoing.pushes)
    }

    /// For the session, when it ends: nothing more is taken, and what waited gives its bytes back.
    pub fn shut(&self, budget: &ByteBudget) {
        let mut outgoing = self.outgoing();
        outgoing.closed = true;
        outgoing.waker = None;
        outgoing.pushes = VecDeque::new();
        budget.give_back(mem::take(&mut outgoing.bytes));
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
        let (connection, budget) = (connection(), ByteBudget::new(PUSH_BYTES + 10));
        let push = |bytes: usize, limit| connection.push(BusinessCode(9), Bytes::from(vec![0; bytes]), limit, &budget);
        assert_eq!(push(8, PUSH_BYTES + 8), Ok(()));
        assert_eq!(push(0, PUSH_BYTES + 8), Err(PushRefused::Full), "an empty push is not free");
        assert_eq!(push(3, 1000), Err(PushRefused::Full));
        assert_eq!(budget.used(), PUSH_BYTES + 8);
        assert_eq!((connection.take_pushes(&budget).len(), budget.used()), (1, 0));
    }

    #[test]
    fn a_connection_that_has_ended_takes_nothing_and_keeps_nothing() {
        let (connection, budget) = (connection(), ByteBudget::new(1000));
        connection.push(BusinessCode(9), Bytes::from_static(b"abc"), 1000, &budget).unwrap();
        connection.shut(&budget);
        assert_eq!(budget.used(), 0);
        let late = connection.push(BusinessCode(9), Bytes::from_static(b"abc"), 1000, &budget);
        assert_eq!(late, Err(PushRefused::Closed));
    }

    #[test]
    fn what_is_less_final_does_not_take_back_what_is_more() {
        let connection = connection();
        let (goaway, close, kick) = (
            Ending::Goaway(Reason::Draining, Duration::ZERO),
            Ending::Close(Reason::Draining),
            Ending::Kick(Reason::Kicked),
        );
        for ending in [&kick, &close, &goaway] {
            connection.end(ending.clone());
        }
        assert_eq!(connection.take_ending(Waker::noop()), Some(kick));
        assert_eq!(connection.take_ending(Waker::noop()), None);
    }

    #[test]
    fn names_come_back_apart() {
        let connection = connection();
        assert_eq!((connection.user(), connection.device()), ("alice", "phone"));
    }
}
