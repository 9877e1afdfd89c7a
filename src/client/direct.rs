//! One connection without an outbox, for whoever wants a fresh try for each request and no promise beyond it: load
//! generators, probes, tests. A [`DirectClient`] to ask with, a [`Pushes`] to listen with; the connection ends when the
//! last `DirectClient` is dropped.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    ClientConfig, CloseReason, ConnectError, Connection, Goaway, Login, NewRequest, Pushes, Reply, RequestError,
    Session,
    driver::{Driver, Shared},
    transport::Link,
};
use crate::{
    clock::Clock,
    id::{BusinessCode, MessageId, OutboxId},
    pb::client::ConnectReason,
    wire::Flags,
};

/// A connection to a gateway. Clones share it; it ends when the last one is dropped.
#[derive(Clone, Debug)]
pub struct DirectClient {
    handle: Arc<Handle>,
    session: Arc<Session>,
}

/// Ends the connection when it is dropped.
#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        close(&self.0);
    }
}

fn close(shared: &Shared) {
    let mut inner = shared.lock();
    inner.connection.close_local();
    inner.wake_task();
}

impl DirectClient {
    /// Connects and logs in, on the system's clock. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// If that fails or takes longer than [`ClientConfig::connect_timeout`].
    pub async fn connect(config: ClientConfig) -> Result<(Self, Pushes), ConnectError> {
        Self::connect_with(config, Clock::system()).await
    }

    /// Connects and logs in. Many clients can share one clock.
    ///
    /// # Errors
    ///
    /// If that fails or takes longer than [`ClientConfig::connect_timeout`].
    pub async fn connect_with(config: ClientConfig, clock: Clock) -> Result<(Self, Pushes), ConnectError> {
        config.check()?;
        let limit = config.connect_timeout;
        match tokio::time::timeout(limit, login(config, clock)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(ConnectError::TimedOut(limit)),
        }
    }

    /// What the gateway granted at the login.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The code of the business with this name.
    pub fn business(&self, name: &str) -> Option<BusinessCode> {
        self.session.business_named(name).map(|business| business.code)
    }

    /// Sends a request at once; the reply is what the returned future resolves to. `timeout` is for this try; `None`
    /// takes the business's own.
    ///
    /// Dropping the future stops the waiting, not the request.
    pub fn request(&self, business: BusinessCode, payload: Bytes, timeout: Option<Duration>) -> Response {
        let shared = &self.handle.0;
        let now = shared.clock.now();
        let request = NewRequest { business, payload, timeout, flags: Flags::default() };
        let mut inner = shared.lock();
        match inner.connection.send_request(request, now) {
            Ok(id) => {
                let (ended, response) = oneshot::channel();
                inner.waiting.insert(id, ended);
                inner.wake_task();
                Response(Wait::Sent(response))
            }
            Err(error) => Response(Wait::NotSent(Some(error))),
        }
    }

    /// Sends a request and forgets it: there is no reply to it.
    ///
    /// # Errors
    ///
    /// If it was not sent.
    pub fn notify(&self, business: BusinessCode, payload: Bytes) -> Result<(), RequestError> {
        let shared = &self.handle.0;
        let now = shared.clock.now();
        let request = NewRequest { business, payload, timeout: None, flags: Flags::NO_REPLY_WANTED };
        let mut inner = shared.lock();
        inner.connection.send_request(request, now)?;
        inner.wake_task();
        Ok(())
    }

    /// The share of this client's requests of a business that pass at present, in thousandths, as far as the gateway has
    /// said so; 1000 if it has not.
    pub fn open_permille(&self, business: BusinessCode) -> u16 {
        let shared = &self.handle.0;
        let now = shared.clock.now();
        shared.lock().connection.open_permille(business, now)
    }

    /// The gateway's wish that this client moves, once it has one.
    pub fn goaway(&self) -> Option<Goaway> {
        self.handle.0.lock().goaway.clone()
    }

    /// Ends the connection for all clones. What the socket does not take at once is lost.
    pub fn close(&self) {
        close(&self.handle.0);
    }

    /// Waits for the end of the connection.
    pub async fn closed(&self) -> CloseReason {
        let shared = &self.handle.0;
        loop {
            // Made before the look, so that an end in between is not missed.
            let closed = shared.closed.notified();
            if let Some(reason) = shared.lock().ended.clone() {
                return reason;
            }
            closed.await;
        }
    }
}

async fn login(config: ClientConfig, clock: Clock) -> Result<(DirectClient, Pushes), ConnectError> {
    let address = config.gateways.first().ok_or(ConnectError::NoGateway)?;
    let link = Link::open(address, &config).await?;
    let login = Login {
        user: config.user,
        device: config.device,
        token: config.token,
        outbox: OutboxId(fastrand::u64(..)),
        oldest_unsettled: MessageId(0),
        ticket: Bytes::new(),
        gateways_tried: 0,
        reason: ConnectReason::New,
        heartbeat: config.heartbeat,
        timeout: config.connect_timeout,
        max_body_bytes: config.max_body_bytes,
        hold_back: config.hold_back,
    };
    let connection = Connection::new(&login, clock.now());
    let shared = Shared::new(connection, config.push_capacity, clock);
    let mut driver = Driver::new(Arc::clone(&shared), link);
    let session = poll_fn(|cx| driver.poll_login(cx)).await.map_err(ConnectError::Closed)?;
    tokio::spawn(driver);
    let pushes = Pushes::new(Arc::clone(&shared.pushes));
    Ok((DirectClient { handle: Arc::new(Handle(shared)), session }, pushes))
}

/// A request on its way; resolves to its reply.
#[derive(Debug)]
#[must_use = "the reply is lost; use `DirectClient::notify` if none is wanted"]
pub struct Response(Wait);

#[derive(Debug)]
enum Wait {
    Sent(oneshot::Receiver<Result<Reply, RequestError>>),
    NotSent(Option<RequestError>),
}

impl Future for Response {
    type Output = Result<Reply, RequestError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Wait::Sent(receiver) => Pin::new(receiver).poll(cx).map(|ended| {
                // The task is gone without a word only if its runtime is.
                ended.unwrap_or(Err(RequestError::Lost(CloseReason::Local)))
            }),
            Wait::NotSent(error) => match error.take() {
                Some(error) => Poll::Ready(Err(error)),
                None => Poll::Pending,
            },
        }
    }
}
