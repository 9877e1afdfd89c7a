//! Carries bytes, time and records between an [`Agent`] and its sockets, clock and store: one task per client, which
//! holds no lock while it waits.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    sync::{Notify, oneshot},
    task::JoinHandle,
    time::{Instant, Sleep},
};
use tracing::debug;

use super::{
    Agent, ClientConfig, ClientEvent, CloseReason, Command, ConnectError, Fate, LinkId, Push, Receipt, Record,
    StopReason,
    latest::Latest,
    store::{Store, StoreError},
    transport::Link,
};
use crate::{
    clock::{Clock, Timestamp},
    id::MessageId,
};

/// Less than this unsent, in bytes, and more is taken from the agent.
const REFILL_BELOW_BYTES: usize = 4 * 1024;

/// What the handles and the task of a client have in common.
#[derive(Debug)]
pub(super) struct Shared {
    inner: Mutex<Inner>,
    pub(super) clock: Clock,
    pub(super) ended: Notify,
    pub(super) pushes: Arc<Latest<Push>>,
    pub(super) events: Arc<Latest<ClientEvent>>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) agent: Agent,
    /// Who waits for the fate of a message.
    pub(super) receipts: HashMap<MessageId, oneshot::Sender<Fate>>,
    /// The receipts of what was there at the start, until somebody asks for them.
    pub(super) restored: BTreeMap<MessageId, Receipt>,
    /// Who waits until a message is kept.
    pub(super) acceptances: BTreeMap<MessageId, oneshot::Sender<Result<(), String>>>,
    /// Nothing will happen any more.
    pub(super) has_ended: bool,
    task: Option<Waker>,
}

impl Shared {
    pub(super) fn new(agent: Agent, config: &ClientConfig, clock: Clock) -> Arc<Self> {
        let ids = agent.unsettled_ids();
        // Now, and not when they are asked for: by then some may have ended.
        let (receipts, restored) =
            ids.map(|id| (id, Receipt::pair(id))).map(|(id, (fate, it))| ((id, fate), (id, it))).unzip();
        let acceptances = BTreeMap::new();
        let inner = Inner { agent, receipts, restored, acceptances, has_ended: false, task: None };
        Arc::new(Self {
            inner: Mutex::new(inner),
            clock,
            ended: Notify::new(),
            pushes: Arc::new(Latest::new(config.push_capacity)),
            events: Arc::new(Latest::new(config.event_capacity)),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing under this lock can panic half-way; a poisoned one is as good as any.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dispatch_events(&self, inner: &mut Inner) {
        while let Some(event) = inner.agent.poll_event() {
            match event {
                ClientEvent::Pushed(push) => self.pushes.put(push),
                ClientEvent::Ended { id, fate } => {
                    if let Some(receipt) = inner.receipts.remove(&id) {
                        // A caller that has stopped waiting is none of our concern.
                        let _gone = receipt.send(fate.clone());
                    }
                    self.events.put(ClientEvent::Ended { id, fate });
                }
                other => self.events.put(other),
            }
        }
    }
}

impl Inner {
    /// Makes the task look at the agent again. Several calls before it does cost one wake-up.
    pub(super) fn wake_task(&mut self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    fn take_records(&mut self) -> Vec<Record> {
        std::iter::from_fn(|| self.agent.poll_record()).collect()
    }

    fn stored(&mut self, through: MessageId, now: Timestamp) {
        self.agent.handle_stored(through, now);
        let later = self.acceptances.split_off(&MessageId(through.0 + 1));
        for accepted in mem::replace(&mut self.acceptances, later).into_values() {
            let _gone = accepted.send(Ok(()));
        }
    }

    fn store_failed(&mut self, why: &str) {
        for id in self.agent.handle_store_failure() {
            self.receipts.remove(&id);
            if let Some(accepted) = self.acceptances.remove(&id) {
                let _gone = accepted.send(Err(why.to_owned()));
            }
        }
    }
}

type Dialing = Pin<Box<dyn Future<Output = Result<Link, ConnectError>> + Send>>;

/// One of the agent's links.
struct Socket {
    link: LinkId,
    stream: Stream,
    received: BytesMut,
    unsent: BytesMut,
}

enum Stream {
    Dialing(Dialing),
    Open(Link),
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("link", &self.link).finish_non_exhaustive()
    }
}

type Kept = (Box<dyn Store>, Result<(), StoreError>);

/// Where the store is.
#[derive(Debug)]
enum Keeping {
    /// There is none, or it has failed.
    Nothing,
    Idle(Box<dyn Store>),
    Busy {
        write: JoinHandle<Kept>,
        through: MessageId,
    },
}

impl fmt::Debug for dyn Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

/// The task of one client.
#[derive(Debug)]
pub(super) struct Task {
    shared: Arc<Shared>,
    config: Arc<ClientConfig>,
    sockets: Vec<Socket>,
    keeping: Keeping,
    timer: Pin<Box<Sleep>>,
    armed: Timestamp,
}

impl Task {
    pub(super) fn new(shared: Arc<Shared>, config: ClientConfig, store: Option<Box<dyn Store>>) -> Self {
        let timer = Box::pin(tokio::time::sleep_until(Instant::from_std(shared.clock.instant_of(Timestamp::MAX))));
        Self {
            shared,
            config: Arc::new(config),
            sockets: Vec::new(),
            keeping: store.map_or(Keeping::Nothing, Keeping::Idle),
            timer,
            armed: Timestamp::MAX,
        }
    }

    /// Ready when the client was closed and everything is kept.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.lock().task = Some(cx.waker().clone());
        loop {
            self.poll_timer(cx);
            let mut moved = self.poll_store(cx);
            moved |= self.obey(cx);
            for index in 0..self.sockets.len() {
                moved |= self.poll_socket(index, cx);
            }
            let mut inner = self.shared.lock();
            self.shared.dispatch_events(&mut inner);
            if !moved {
                let idle = !matches!(self.keeping, Keeping::Busy { .. });
                let closed = matches!(inner.agent.stopped(), Some(StopReason::Closed));
                return if closed && idle { Poll::Ready(()) } else { Poll::Pending };
            }
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) {
        loop {
            let Some(due) = self.shared.lock().agent.poll_timeout() else { return };
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
            self.shared.lock().agent.handle_timeout(now);
        }
    }

    /// One write at a time, with everything that has gathered meanwhile. `true` if something has moved.
    fn poll_store(&mut self, cx: &mut Context<'_>) -> bool {
        match mem::replace(&mut self.keeping, Keeping::Nothing) {
            Keeping::Nothing => false,
            Keeping::Idle(store) => self.write(store),
            Keeping::Busy { mut write, through } => match Pin::new(&mut write).poll(cx) {
                Poll::Pending => {
                    self.keeping = Keeping::Busy { write, through };
                    false
                }
                Poll::Ready(written) => {
                    self.written(written.map_err(|_| StoreError::Failed), through);
                    true
                }
            },
        }
    }

    fn write(&mut self, mut store: Box<dyn Store>) -> bool {
        let records = self.shared.lock().take_records();
        if records.is_empty() {
            self.keeping = Keeping::Idle(store);
            return false;
        }
        let accepted = records.iter().filter_map(|record| match record {
            Record::Accepted(id, _) => Some(*id),
            Record::Settled(_) | Record::GivenUp(_) | Record::Ticket(_) | Record::Reserved(_) => None,
        });
        let through = accepted.max().unwrap_or(MessageId(0));
        let write = tokio::task::spawn_blocking(move || {
            let kept = store.keep(&records);
            (store, kept)
        });
        self.keeping = Keeping::Busy { write, through };
        true
    }

    fn written(&mut self, written: Result<Kept, StoreError>, through: MessageId) {
        let now = self.shared.clock.now();
        let mut inner = self.shared.lock();
        match written {
            Ok((store, Ok(()))) => {
                inner.stored(through, now);
                self.keeping = Keeping::Idle(store);
            }
            Ok((_, Err(error))) | Err(error) => inner.store_failed(&chain(&error)),
        }
    }

    /// Does what the agent commands. `true` if there was anything.
    fn obey(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        while let Some(command) = { self.shared.lock().agent.poll_command() } {
            any = true;
            match command {
                Command::Dial { link, address } => self.dial(link, address),
                Command::HangUp { link } => self.hang_up(link, cx),
            }
        }
        any
    }

    fn dial(&mut self, link: LinkId, address: String) {
        debug!(%address, "connecting");
        let config = Arc::clone(&self.config);
        let dialing: Dialing = Box::pin(async move { Link::open(&address, &config).await });
        let stream = Stream::Dialing(dialing);
        self.sockets.push(Socket { link, stream, received: BytesMut::new(), unsent: BytesMut::new() });
    }

    fn hang_up(&mut self, link: LinkId, cx: &mut Context<'_>) {
        let Some(index) = self.sockets.iter().position(|socket| socket.link == link) else { return };
        let mut socket = self.sockets.swap_remove(index);
        if let Stream::Open(stream) = &mut socket.stream {
            let _best_effort = stream.poll_send(cx, &mut socket.unsent);
            stream.poll_goodbye(cx);
        }
    }

    /// `true` if something has moved.
    fn poll_socket(&mut self, index: usize, cx: &mut Context<'_>) -> bool {
        let socket = &mut self.sockets[index];
        match &mut socket.stream {
            Stream::Dialing(dialing) => match dialing.as_mut().poll(cx) {
                Poll::Pending => false,
                Poll::Ready(opened) => {
                    socket.opened(opened, &self.shared);
                    true
                }
            },
            Stream::Open(_) => socket.poll_receive(cx, &self.shared) | socket.poll_transmit(cx, &self.shared),
        }
    }
}

impl Socket {
    fn opened(&mut self, opened: Result<Link, ConnectError>, shared: &Shared) {
        let now = shared.clock.now();
        let mut inner = shared.lock();
        match opened {
            Ok(link) => {
                self.unsent.extend_from_slice(link.preamble());
                self.stream = Stream::Open(link);
                inner.agent.handle_connected(self.link, now);
            }
            Err(error) => {
                self.stream = Stream::Dialing(Box::pin(std::future::pending()));
                inner.agent.handle_disconnect(self.link, CloseReason::Unreachable(chain(&error)), now);
            }
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, shared: &Shared) -> bool {
        let Stream::Open(link) = &mut self.stream else { return false };
        // One read at a time: commands that follow from it come first. The runtime makes a socket "pending" when this
        // task has had its share.
        let Poll::Ready(received) = link.poll_receive(cx, &mut self.received) else { return false };
        let now = shared.clock.now();
        let mut inner = shared.lock();
        match received {
            Ok(()) => inner.agent.handle_bytes(self.link, &mut self.received, now),
            Err(reason) => inner.agent.handle_disconnect(self.link, reason, now),
        }
        if self.received.is_empty() {
            // Gives the memory back; payloads that are still in use keep theirs.
            self.received = BytesMut::new();
        }
        true
    }

    fn poll_transmit(&mut self, cx: &mut Context<'_>, shared: &Shared) -> bool {
        let Stream::Open(link) = &mut self.stream else { return false };
        let more = self.unsent.len() < REFILL_BELOW_BYTES && {
            let now = shared.clock.now();
            shared.lock().agent.poll_transmit(self.link, &mut self.unsent, now)
        };
        match link.poll_send(cx, &mut self.unsent) {
            Poll::Pending => more,
            Poll::Ready(Ok(())) => {
                self.unsent = BytesMut::new();
                more
            }
            Poll::Ready(Err(reason)) => {
                let now = shared.clock.now();
                self.unsent.clear();
                shared.lock().agent.handle_disconnect(self.link, reason, now);
                true
            }
        }
    }
}

impl Drop for Task {
    /// Where the runtime ends before the client does, nobody is left waiting.
    fn drop(&mut self) {
        let now = self.shared.clock.now();
        let mut inner = self.shared.lock();
        inner.agent.close(Duration::ZERO, now);
        self.shared.dispatch_events(&mut inner);
        inner.has_ended = true;
        inner.receipts.clear();
        inner.acceptances.clear();
        drop(inner);
        self.shared.pushes.end();
        self.shared.events.end();
        self.shared.ended.notify_waiters();
    }
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Task::poll(&mut self, cx)
    }
}

/// An error with what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}
