//! What an app holds: a [`Client`] to submit with, [`Pushes`] and [`Events`] to listen to, and a [`Receipt`] for each
//! message.

use std::{
    collections::BTreeMap,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    Agent, AgentStart, ClientConfig, ConnectError, Events, Fate, Kept, NewMessage, Pushes, Session, StopReason,
    SubmitError, Token,
    store::{Store, StoreError},
    task::{Shared, Task},
};
use crate::{
    clock::{self, Clock},
    id::{MessageId, OutboxId},
};

/// How long a client whose last handle was dropped still has for what is not settled.
const DRAIN_AFTER_DROP: Duration = Duration::ZERO;

/// A client of an app: it accepts messages at any time, connected or not, and sees to it that each is answered.
///
/// Clones share it. It ends when it is [closed](Self::close), or when the last clone is dropped; to be sure that what was
/// submitted is answered, wait for the receipts or close it with time to drain.
#[derive(Clone, Debug)]
pub struct Client(Arc<Handle>);

/// Ends the client when it is dropped.
#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        let now = self.0.clock.now();
        let mut inner = self.0.lock();
        inner.agent.close(DRAIN_AFTER_DROP, now);
        inner.wake_task();
    }
}

/// Why a client was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What it was told cannot be.
    #[error(transparent)]
    Config(#[from] ConnectError),
    /// The outbox cannot be had.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Client {
    /// Starts a client whose outbox is in memory: it survives every loss of a connection, but not the end of the
    /// process. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// If the configuration cannot be used. That there is no connection yet is no error.
    pub fn start(config: ClientConfig) -> Result<(Self, Pushes, Events), StartError> {
        config.check()?;
        let kept = Kept::new(OutboxId(fastrand::u64(..)));
        Ok(spawn(config, kept, None, Clock::system()))
    }

    /// Starts a client whose outbox is in a store, and sends what a client before it has left there. Reads the store at
    /// once, on this thread. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// If the configuration cannot be used, or the store cannot be read.
    pub fn start_with(config: ClientConfig, mut store: impl Store) -> Result<(Self, Pushes, Events), StartError> {
        config.check()?;
        let kept = store.load()?;
        Ok(spawn(config, kept, Some(Box::new(store)), Clock::system()))
    }

    /// Accepts a message. When this returns it is in the outbox and, with a store, kept there; it is sent as soon as
    /// there is a connection. The receipt tells its fate, and need not be waited for.
    ///
    /// Dropping this future does not take the message back.
    ///
    /// # Errors
    ///
    /// If it was not accepted: then it certainly is not run.
    pub async fn submit(&self, message: NewMessage) -> Result<Receipt, SubmitError> {
        let (receipt, accepted) = self.put(message)?;
        match accepted {
            None => Ok(receipt),
            Some(accepted) => match accepted.await {
                Ok(Ok(())) => Ok(receipt),
                Ok(Err(why)) => Err(SubmitError::Store(why)),
                // The task is gone without a word only if its runtime is.
                Err(_) => Err(SubmitError::Stopped(StopReason::Closed.to_string())),
            },
        }
    }

    #[expect(clippy::type_complexity, reason = "two ends of the same call")]
    fn put(
        &self,
        message: NewMessage,
    ) -> Result<(Receipt, Option<oneshot::Receiver<Result<(), String>>>), SubmitError> {
        let shared = &self.0.0;
        let now = shared.clock.now();
        let mut inner = shared.lock();
        if inner.has_ended {
            return Err(SubmitError::Stopped(StopReason::Closed.to_string()));
        }
        let id = inner.agent.submit(message, now)?;
        let (fate, receipt) = Receipt::pair(id);
        inner.receipts.insert(id, fate);
        let accepted = inner.agent.is_durable().then(|| {
            let (kept, accepted) = oneshot::channel();
            inner.acceptances.insert(id, kept);
            accepted
        });
        inner.wake_task();
        Ok((receipt, accepted))
    }

    /// Gives a message up; `false` if it has ended before.
    pub fn cancel(&self, id: MessageId) -> bool {
        let shared = &self.0.0;
        let now = shared.clock.now();
        let mut inner = shared.lock();
        let cancelled = inner.agent.cancel(id, now);
        inner.wake_task();
        cancelled
    }

    /// The receipts of what the store gave back at the start, by id. Each is handed out once.
    pub fn restored(&self) -> BTreeMap<MessageId, Receipt> {
        mem::take(&mut self.0.0.lock().restored)
    }

    /// How many messages are not settled.
    pub fn unsettled(&self) -> usize {
        self.0.0.lock().agent.unsettled()
    }

    /// What the gateway granted, while there is a connection.
    pub fn session(&self) -> Option<Arc<Session>> {
        self.0.0.lock().agent.session().cloned()
    }

    /// Why nothing more is sent, once that is so.
    pub fn stopped(&self) -> Option<StopReason> {
        self.0.0.lock().agent.stopped().cloned()
    }

    /// Connects again after another client had taken over the outbox, or after the gateway has refused the login, with a
    /// new token if there is one; `false` if it has not stopped, or for good.
    pub fn restart(&self, token: Option<Token>) -> bool {
        let shared = &self.0.0;
        let now = shared.clock.now();
        let mut inner = shared.lock();
        let restarted = inner.agent.restart(token, now);
        inner.wake_task();
        restarted
    }

    /// Accepts nothing more, waits until everything is settled, for `drain` at the most, and ends the client for all
    /// clones. Returns how many messages were not settled: without a store they are given up, with one they stay there.
    pub async fn close(&self, drain: Duration) -> usize {
        let shared = &self.0.0;
        let now = shared.clock.now();
        {
            let mut inner = shared.lock();
            inner.agent.close(drain, now);
            inner.wake_task();
        }
        loop {
            // Made before the look, so that an end in between is not missed.
            let ended = shared.ended.notified();
            {
                let inner = shared.lock();
                if inner.has_ended {
                    return inner.agent.left();
                }
            }
            ended.await;
        }
    }
}

fn spawn(config: ClientConfig, kept: Kept, store: Option<Box<dyn Store>>, clock: Clock) -> (Client, Pushes, Events) {
    let start =
        AgentStart { kept, durable: store.is_some(), seed: fastrand::u64(..), unix_millis: clock::unix_millis() };
    let agent = Agent::new(config.clone(), start, clock.now());
    let shared = Shared::new(agent, &config, clock);
    let pushes = Pushes::new(Arc::clone(&shared.pushes));
    let events = Events::new(Arc::clone(&shared.events));
    tokio::spawn(Task::new(Arc::clone(&shared), config, store));
    (Client(Arc::new(Handle(shared))), pushes, events)
}

/// Resolves to the fate of a message. Dropping it changes nothing about the message.
#[derive(Debug)]
pub struct Receipt {
    id: MessageId,
    fate: oneshot::Receiver<Fate>,
}

impl Receipt {
    /// The receipt of a message, and where its fate is told.
    pub(super) fn pair(id: MessageId) -> (oneshot::Sender<Fate>, Self) {
        let (told, fate) = oneshot::channel();
        (told, Self { id, fate })
    }

    /// The message's id, which events name.
    pub fn id(&self) -> MessageId {
        self.id
    }
}

impl Future for Receipt {
    type Output = Fate;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Fate> {
        // Without a word the client has ended and left the message in its store.
        Pin::new(&mut self.fate).poll(cx).map(|fate| fate.unwrap_or(Fate::Kept))
    }
}
