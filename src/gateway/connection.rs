//! What the rest of the gateway knows of a connection: who it is, and a way to put something into its outgoing queue or
//! to end it. The session alone touches the socket.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    },
    task::Waker,
    time::Duration,
};

use bytes::Bytes;

use crate::{
    admission::UserHash,
    gateway::{marks::Slot, roster::Member},
    id::{BusinessCode, Epoch, OutboxId},
    pb::service::Mark,
    wire::{HEADER_BYTES, Reason},
};

/// A logged-in client. One allocation holds its names; everything that refers to the connection shares it.
#[derive(Debug)]
pub struct Connection {
    /// User and device, one behind the other.
    names: Box<str>,
    user_bytes: u8,
    /// In which life of the registry its route was written; 0 if in none.
    routed_in: AtomicU8,
    /// A later login of its device has taken its place, here or elsewhere.
    replaced: AtomicBool,
    /// Index into the policy's tiers.
    pub tier: u8,
    /// What the user's level and grains come from.
    pub user_hash: UserHash,
    /// The number of this login.
    pub epoch: Epoch,
    /// The client's outbox.
    pub outbox: OutboxId,
    /// Where a logic service has put it.
    pub mark: Slot,
    outgoing: Mutex<Outgoing>,
}

/// A push that waits to be written.
#[derive(Debug)]
pub struct PendingPush {
    /// Goes into the frame's header.
    pub business: BusinessCode,
    /// The encoded body, shared by everyone who gets the same push.
    pub body: Bytes,
    /// Where the client stands once this is written, if its service says so.
    pub mark: Option<Arc<Mark>>,
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

/// What bounds the pushes of one connection.
#[derive(Clone, Copy, Debug)]
pub struct PushLimits {
    /// Bytes that may wait to be written.
    pub bytes: usize,
    /// Pushes that may wait or be unacknowledged.
    pub unacked: usize,
}

/// Why a push was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushRefused {
    /// The connection has ended.
    Closed,
    /// The outgoing queue of the connection, or of the process, is full, or the client acknowledges nothing.
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
    /// The last push that the client has acknowledged, of those that the session took.
    acked: u64,
    /// Pushes that the session took since.
    unacked: u32,
    /// Nothing of `unsent` was taken since somebody looked last.
    stuck: bool,
    ending: Option<Ending>,
    waker: Option<Waker>,
    closed: bool,
}

/// Bytes that wait to be written on all connections together, and pushes that no client has acknowledged.
#[derive(Debug)]
pub struct ByteBudget {
    used: AtomicUsize,
    peak: AtomicUsize,
    limit: AtomicUsize,
    unacked: AtomicUsize,
}

impl ByteBudget {
    /// A budget of `limit` bytes.
    pub const fn new(limit: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
            unacked: AtomicUsize::new(0),
        }
    }

    /// Changes the limit; what is in use stays.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The most that were ever in use.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Pushes that were taken to be written and are not acknowledged.
    pub fn unacked(&self) -> usize {
        self.unacked.load(Ordering::Relaxed)
    }

    /// Whether more than half is used up: then nobody is waited for who takes nothing.
    pub fn is_scarce(&self) -> bool {
        self.used() > self.limit.load(Ordering::Relaxed) / 2
    }

    /// Takes `bytes`, unless that passes the limit.
    pub fn try_take(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.limit.load(Ordering::Relaxed);
        if fits {
            self.note_peak(before + bytes);
        } else {
            self.give_back(bytes);
        }
        fits
    }

    /// Takes `bytes` in any case: they are there already.
    pub fn take(&self, bytes: usize) {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        self.note_peak(before + bytes);
    }

    /// A peak is rare, and a look costs no other thread anything.
    fn note_peak(&self, used: usize) {
        if used > self.peak() {
            self.peak.fetch_max(used, Ordering::Relaxed);
        }
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
        let (routed_in, mark, outgoing) = (AtomicU8::new(0), Slot::default(), Mutex::default());
        let replaced = AtomicBool::new(false);
        Arc::new(Self { names, user_bytes, routed_in, replaced, tier, user_hash, epoch, outbox, mark, outgoing })
    }

    /// In which life of the registry its route was written; 0 if in none.
    pub fn routed_in(&self) -> u8 {
        self.routed_in.load(Ordering::Relaxed)
    }

    /// Its route was written in this life of the registry; 0 if it was not.
    pub fn set_routed_in(&self, life: u8) {
        self.routed_in.store(life, Ordering::Relaxed);
    }

    /// Queues a push.
    ///
    /// # Errors
    ///
    /// If the connection has ended, or the push finds no room in its queue or in `budget`.
    pub fn push(&self, push: PendingPush, limits: PushLimits, budget: &ByteBudget) -> Result<(), PushRefused> {
        let mut outgoing = self.outgoing();
        if outgoing.closed {
            return Err(PushRefused::Closed);
        }
        let bytes = HEADER_BYTES + push.body.len();
        let is_full = outgoing.bytes + outgoing.unsent + bytes > limits.bytes
            || outgoing.pushes.len() + outgoing.unacked as usize >= limits.unacked;
        if is_full || !budget.try_take(bytes) {
            return Err(PushRefused::Full);
        }
        outgoing.bytes += bytes;
        outgoing.pushes.push_back(push);
        wake(outgoing);
        Ok(())
    }

    /// Whether a later login of its device has taken its place.
    pub fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Relaxed)
    }

    /// Whether it has ended, and nobody finds it any more.
    pub fn is_closed(&self) -> bool {
        self.outgoing().closed
    }

    /// Asks the session to end. What is more final is not taken back by what is less.
    pub fn end(&self, ending: Ending) {
        if let Ending::Close(Reason::Superseded) | Ending::Kick(Reason::Replaced) = ending {
            self.replaced.store(true, Ordering::Relaxed);
        }
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
        let pushes = mem::take(&mut outgoing.pushes);
        outgoing.unacked += pushes.len() as u32;
        budget.unacked.fetch_add(pushes.len(), Ordering::Relaxed);
        (pushes, ending)
    }

    /// For the session: the client has every push up to this one. One that the session has not taken yet it cannot have.
    pub fn acknowledge(&self, push_id: u64, budget: &ByteBudget) {
        let mut outgoing = self.outgoing();
        let news = push_id.saturating_sub(outgoing.acked).min(outgoing.unacked.into());
        outgoing.acked += news;
        outgoing.unacked -= news as u32;
        budget.unacked.fetch_sub(news as usize, Ordering::Relaxed);
    }

    /// Whether the client has taken nothing since the last call although something waits for it.
    pub fn is_stuck(&self) -> bool {
        let mut outgoing = self.outgoing();
        let waits = outgoing.unsent > 0;
        mem::replace(&mut outgoing.stuck, waits) && waits
    }

    /// For the session: how many bytes it holds because the socket did not take them.
    pub fn set_unsent(&self, bytes: usize, budget: &ByteBudget) {
        let mut outgoing = self.outgoing();
        if !outgoing.closed {
            outgoing.stuck &= bytes >= outgoing.unsent;
            let before = mem::replace(&mut outgoing.unsent, bytes);
            // The difference alone: counted twice for a moment, it would seem scarce to others.
            if bytes > before {
                budget.take(bytes - before);
            } else {
                budget.give_back(before - bytes);
            }
        }
    }

    /// For the session, when it ends: nothing more is taken, and what waited gives its bytes back.
    pub fn shut(&self, budget: &ByteBudget) {
        let mut outgoing = self.outgoing();
        outgoing.closed = true;
        outgoing.waker = None;
        outgoing.pushes = VecDeque::new();
        budget.unacked.fetch_sub(mem::take(&mut outgoing.unacked) as usize, Ordering::Relaxed);
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

    const fn push_of(body: Bytes) -> PendingPush {
        PendingPush { business: BusinessCode(9), body, mark: None }
    }

    const fn bytes(bytes: usize) -> PushLimits {
        PushLimits { bytes, unacked: 1000 }
    }

    #[test]
    fn pushes_are_bounded_by_what_is_not_acknowledged() {
        let (connection, budget) = (connection(), ByteBudget::new(1000));
        let limits = PushLimits { bytes: 1000, unacked: 2 };
        let push = || connection.push(push_of(Bytes::from_static(b"a")), limits, &budget);
        assert_eq!([push(), push(), push()], [Ok(()), Ok(()), Err(PushRefused::Full)]);
        assert_eq!(connection.take_outgoing(Waker::noop(), &budget).0.len(), 2);
        assert_eq!((push(), budget.unacked()), (Err(PushRefused::Full), 2));
        connection.acknowledge(1, &budget);
        assert_eq!((push(), push(), budget.unacked()), (Ok(()), Err(PushRefused::Full), 1));
        connection.shut(&budget);
        assert_eq!((budget.unacked(), budget.used()), (0, 0));
    }

    #[test]
    fn an_acknowledgement_of_what_was_not_sent_or_was_acknowledged_changes_nothing() {
        let (connection, budget) = (connection(), ByteBudget::new(1000));
        let limits = PushLimits { bytes: 1000, unacked: 2 };
        let push = || connection.push(push_of(Bytes::from_static(b"a")), limits, &budget);
        connection.acknowledge(u64::MAX, &budget);
        for sent in 1..=2 {
            assert_eq!(push(), Ok(()));
            connection.take_outgoing(Waker::noop(), &budget);
            assert_eq!(budget.unacked(), sent, "nothing was acknowledged in advance");
        }
        connection.acknowledge(2, &budget);
        connection.acknowledge(1, &budget);
        assert_eq!(budget.unacked(), 0);
    }

    #[test]
    fn a_client_is_stuck_that_takes_nothing_from_one_look_to_the_next() {
        let (connection, budget) = (connection(), ByteBudget::new(100));
        assert!(!connection.is_stuck() && !connection.is_stuck(), "nothing waits for it");
        connection.set_unsent(60, &budget);
        assert!(budget.is_scarce() && !connection.is_stuck());
        connection.set_unsent(59, &budget);
        assert!(!connection.is_stuck(), "it has taken something");
        connection.set_unsent(59, &budget);
        connection.set_unsent(70, &budget);
        assert!(connection.is_stuck(), "more behind it is no progress");
        connection.set_unsent(0, &budget);
        assert!(!connection.is_stuck() && !budget.is_scarce());
    }

    #[test]
    fn pushes_are_bounded_by_connection_and_by_process() {
        let (connection, budget) = (connection(), ByteBudget::new(50));
        let push = |frame: usize, limit| {
            connection.push(push_of(Bytes::from(vec![0; frame - HEADER_BYTES])), bytes(limit), &budget)
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
        let push = || connection.push(push_of(Bytes::from_static(b"abcd")), bytes(50), &budget);
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
        connection.push(push_of(Bytes::from_static(b"abc")), bytes(50), &budget).unwrap();
        connection.shut(&budget);
        assert_eq!(budget.used(), 0);
        let late = connection.push(push_of(Bytes::from_static(b"abc")), bytes(50), &budget);
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
