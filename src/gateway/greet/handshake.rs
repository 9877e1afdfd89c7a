//! From the first byte to `Welcome`: which transport it is, the WebSocket upgrade, the `Hello`, and the answer to it.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::net::TcpStream;
use tower_service::Service;

use super::{Accepted, Established, Greeting, Rejection, Silent};
use crate::{
    admission::{Cause, Refusal, UserHash},
    clock::{Timestamp, unix_millis},
    gateway::{
        counters::Outcome,
        deadline::Deadline,
        sample::{Ended, Sample},
        scratch,
        session::{Parts, Session},
        transport::{LEAVE_TIME, Received, Transport, poll_read},
        worker::Worker,
    },
    id::{BusinessCode, MessageId},
    layer::limit::{Permit, Refused},
    pb::client::Hello,
    wire::{
        Frame, Kind, MAGIC, Reason, VERSION, decode, encode_control,
        websocket::{Upgrade, UpgradeError},
    },
};

/// Bytes reserved for the first read of a connection: a `Hello`, or a browser's upgrade request.
const FIRST_READ_BYTES: usize = 512;

/// Reads the client's part of the handshake, has it decided, and answers.
pub(super) async fn run<S>(silent: Silent<S>) -> Result<(), Rejection>
where
    S: Service<Greeting, Response = Established, Error = Rejection>,
{
    let Silent { accepted, permit, until, deadline, mut inner, worker } = silent;
    let Accepted { socket, peer, .. } = accepted;
    let input = BytesMut::with_capacity(FIRST_READ_BYTES);
    let mut handshake = Handshake { input, deadline, worker: worker.clone() };
    let mut transport = handshake.transport(socket).await?;
    let decided = match handshake.hello(&mut transport, &worker).await {
        Ok(frame) => {
            let decided = decide(frame, peer, until, &worker, &mut inner);
            handshake.in_time(decided).await
        }
        Err(rejection) => Err(rejection),
    };
    match decided {
        Ok(established) => {
            handshake.welcome(transport, established, permit);
            Ok(())
        }
        Err(rejection) => {
            handshake.refuse(&mut transport, &rejection).await;
            Err(rejection)
        }
    }
}

async fn decide<S>(
    frame: Frame,
    peer: std::net::SocketAddr,
    deadline: Timestamp,
    worker: &Worker,
    inner: &mut S,
) -> Result<Established, Rejection>
where
    S: Service<Greeting, Response = Established, Error = Rejection>,
{
    if worker.gateway.is_draining() {
        return Err(Rejection::Elsewhere(worker.gateway.fleet.leaving(worker.clock.now())));
    }
    let hello: Hello = frame.message().map_err(|_| Rejection::Handshake(Reason::Malformed))?;
    if !hello.versions.contains(&VERSION) {
        return Err(Rejection::Login { reason: Reason::Version, detail: "this gateway speaks version 1 only" });
    }
    let arrived = worker.clock.now();
    // Before anything is looked at that costs more.
    worker.gateway.fleet.admit(&hello, arrived)?;
    poll_fn(|cx| inner.poll_ready(cx)).await?;
    let sampled = sampled(&hello, worker);
    let ticket = worker.gateway.tickets.read(&hello, unix_millis());
    let decided = inner.call(Greeting { hello, ticket, peer, arrived, deadline }).await;
    let decided = decided.map_err(|rejection| match rejection {
        Rejection::Refused(refusal) if refusal.cause == Cause::ManagerCap => {
            Rejection::Elsewhere(worker.gateway.fleet.come_back(arrived))
        }
        Rejection::Refused(refusal) if refusal.cause == Cause::Limit => {
            let rate = worker.table().policy.connections.login_rate;
            let retry_after = worker.gateway.turns.take(arrived, rate, fastrand::f64());
            Rejection::Refused(Refusal { retry_after, ..refusal })
        }
        other => other,
    });
    // A client that has gone before it was decided on has no outcome.
    let outcome = match &decided {
        Ok(_) => Some(Outcome::Replied),
        Err(rejection) => rejection.reason().map(Outcome::Failed),
    };
    if let Some(((sample, user), outcome)) = sampled.zip(outcome)
        && let Some(login) = worker.table().policy.business(BusinessCode::LOGIN)
    {
        sample.tell(Ended { business: &login.name, user, arrived, outcome }, worker.clock.now());
    }
    decided
}

/// The sample that this login is in, if it is in one.
fn sampled<'a>(hello: &Hello, worker: &'a Worker) -> Option<(&'a Sample, UserHash)> {
    let sample = worker.sample.as_ref()?;
    let user = worker.gateway.priority_key.user(hello.user.as_bytes());
    sample.has(user, MessageId(hello.outbox)).then_some((sample, user))
}

struct Handshake {
    /// What was read and not used yet.
    input: BytesMut,
    deadline: Deadline,
    worker: Arc<Worker>,
}

impl Handshake {
    /// Finds out how the client speaks: the magic, or an HTTP request for a WebSocket.
    async fn transport(&mut self, socket: TcpStream) -> Result<Transport, Rejection> {
        loop {
            let seen = self.input.len().min(MAGIC.len());
            if self.input[..seen] == MAGIC[..seen] {
                if seen == MAGIC.len() {
                    self.input.advance(seen);
                    return Ok(Transport::raw(socket));
                }
            } else if self.input[..seen] == b"GET "[..seen] {
                match Upgrade::parse(&self.input) {
                    Ok(None) => {}
                    Ok(Some(upgrade)) => return self.upgrade(socket, &upgrade).await,
                    Err(error) => return self.not_an_upgrade(socket, error).await,
                }
            } else {
                return self.turn_away(socket, Reason::Malformed).await;
            }
            match self.read(&socket).await {
                Ok(()) => {}
                Err(Rejection::Handshake(reason)) => return self.turn_away(socket, reason).await,
                Err(gone) => return Err(gone),
            }
        }
    }

    async fn upgrade(&mut self, socket: TcpStream, upgrade: &Upgrade) -> Result<Transport, Rejection> {
        // RFC 6455 §4.1: a client waits for the response before it sends anything else.
        if self.input.len() > upgrade.consumed {
            return self.turn_away(socket, Reason::Malformed).await;
        }
        self.input.clear();
        let transport = Transport::websocket(socket);
        self.write(&transport, &mut BytesMut::from(&upgrade.response()[..])).await?;
        Ok(transport)
    }

    async fn not_an_upgrade(&mut self, socket: TcpStream, error: UpgradeError) -> Result<Transport, Rejection> {
        let mut transport = Transport::raw(socket);
        self.write(&transport, &mut BytesMut::from(&error.response()[..])).await?;
        self.leave(&mut transport).await;
        Err(Rejection::Handshake(Reason::Malformed))
    }

    /// Refuses a client whose transport is not known: the frame is all that can be said.
    async fn turn_away(&mut self, socket: TcpStream, reason: Reason) -> Result<Transport, Rejection> {
        let rejection = Rejection::Handshake(reason);
        self.refuse(&mut Transport::raw(socket), &rejection).await;
        Err(rejection)
    }

    /// Reads the client's first frame, which must be a `Hello`.
    async fn hello(&mut self, transport: &mut Transport, worker: &Worker) -> Result<Frame, Rejection> {
        let limit = worker.table().policy.connections.max_body_before_login;
        loop {
            match decode(&mut self.input, limit) {
                Ok(Some(frame)) if frame.kind == Kind::Hello => return Ok(frame),
                Ok(Some(_)) => return Err(Rejection::Handshake(Reason::Unexpected)),
                Ok(None) => self.receive(transport).await?,
                Err(crate::wire::DecodeError::TooLarge { .. }) => return Err(Rejection::Handshake(Reason::TooLarge)),
                Err(_) => return Err(Rejection::Handshake(Reason::Malformed)),
            }
        }
    }

    /// Starts the session, whose first frame is the `Welcome`.
    fn welcome(self, transport: Transport, established: Established, permit: Permit) {
        let Established { presence, pulse, welcome, terms } = established;
        let (worker, read_ahead) = (self.worker.clone(), self.input);
        tokio::spawn(Session::new(Parts { transport, presence, pulse, permit, worker, read_ahead, welcome, terms }));
    }

    /// Tells the client why, then closes so that it can read it.
    async fn refuse(&mut self, transport: &mut Transport, rejection: &Rejection) {
        let Some(refused) = rejection.told() else { return };
        self.deadline = self.worker.deadlines.at(self.worker.clock.now() + LEAVE_TIME);
        let mut bytes = scratch::with(|scratch| {
            scratch.control(Kind::Refused, &refused);
            transport.framed(scratch)
        });
        if let Some(reason) = rejection.reason() {
            transport.put_close(reason, &mut bytes);
        }
        if self.write(transport, &mut bytes).await.is_ok() {
            self.leave(transport).await;
        }
    }

    /// Waits for the client to close its side, but no longer than the deadline.
    async fn leave(&mut self, transport: &mut Transport) {
        let Self { deadline, .. } = self;
        poll_fn(|cx| {
            if Pin::new(&mut *deadline).poll(cx).is_ready() {
                return Poll::Ready(());
            }
            scratch::with(|scratch| transport.poll_leave(cx, scratch))
        })
        .await;
    }

    /// What the layers below decide, unless the client's time is up before.
    async fn in_time(
        &mut self,
        decided: impl Future<Output = Result<Established, Rejection>>,
    ) -> Result<Established, Rejection> {
        tokio::select! {
            biased;
            decided = decided => decided,
            () = &mut self.deadline => Err(Rejection::Handshake(Reason::HandshakeTimeout)),
        }
    }

    async fn read(&mut self, socket: &TcpStream) -> Result<(), Rejection> {
        let Self { input, deadline, .. } = self;
        input.reserve(FIRST_READ_BYTES);
        let received = poll_fn(|cx| match Pin::new(&mut *deadline).poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(Rejection::Handshake(Reason::HandshakeTimeout))),
            Poll::Pending => poll_read(socket, cx, input).map_err(|_| Rejection::Gone),
        });
        known(received.await?)
    }

    async fn receive(&mut self, transport: &mut Transport) -> Result<(), Rejection> {
        let Self { input, deadline, .. } = self;
        input.reserve(FIRST_READ_BYTES);
        let received = poll_fn(|cx| match Pin::new(&mut *deadline).poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(Rejection::Handshake(Reason::HandshakeTimeout))),
            Poll::Pending => {
                scratch::with(|scratch| transport.poll_receive(cx, input, scratch)).map_err(|_| Rejection::Gone)
            }
        });
        known(received.await?)
    }

    async fn write(&mut self, transport: &Transport, bytes: &mut BytesMut) -> Result<(), Rejection> {
        let Self { deadline, .. } = self;
        poll_fn(|cx| {
            while !bytes.is_empty() {
                match transport.poll_write(cx, bytes) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Rejection::Gone)),
                    Poll::Ready(Ok(written)) => bytes.advance(written),
                    Poll::Pending => {
                        ready!(Pin::new(&mut *deadline).poll(cx));
                        return Poll::Ready(Err(Rejection::Gone));
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }
}

fn known(received: Received) -> Result<(), Rejection> {
    match received {
        Received::Bytes => Ok(()),
        Received::End => Err(Rejection::Gone),
        Received::Malformed(reason) => Err(Rejection::Handshake(reason)),
    }
}

/// Says `Refused` to a client whose transport is not known, as plain TCP reads it, in one try: a socket that does not
/// even take the first bytes has nobody behind it. Whether it took them.
pub(super) fn say(socket: &TcpStream, told: &crate::pb::client::Refused) -> bool {
    let mut bytes = BytesMut::new();
    encode_control(&mut bytes, Kind::Refused, told);
    socket.try_write(&bytes).is_ok()
}

/// Tells a client that was refused before its permit. Its `Hello` is on the way, so the socket is held until the client
/// has read why, for a bounded number of clients.
pub fn refuse_at_the_door(worker: &Arc<Worker>, refused: Refused<Accepted>, told: &crate::pb::client::Refused) {
    let socket = refused.request.socket;
    if !say(&socket, told) {
        return;
    }
    let Ok(farewell) = worker.farewells.clone().try_acquire_owned() else { return };
    let deadline = worker.deadlines.at(worker.clock.now() + LEAVE_TIME);
    let mut handshake = Handshake { input: BytesMut::new(), deadline, worker: worker.clone() };
    tokio::spawn(async move {
        handshake.leave(&mut Transport::raw(socket)).await;
        drop(farewell);
    });
}
