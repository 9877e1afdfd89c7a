//! One user's connection: sends without ever waiting, hears what became of each request, and comes back when it is lost.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, oneshot};

use super::{
    books::Books,
    error::reason_name,
    login::{self, Identity, LOGIN_WITHIN, Session, log_in},
    pending::{Origin, Pending},
    socket::{Closing, Reader, Target, Writer},
    tally::Ending,
};
use crate::{
    clock::{Clock, Timestamp, whole_millis_u32},
    id::{BusinessCode, MessageId},
    pb::client::{Kick, Outcome, Ping, Pong, PushAck, Refused, Reply, Request, Welcome},
    wire::{self, Flags, Frame, Kind},
};

/// Beyond the timeout, how long to wait for word on a request before it counts as lost.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(5);

/// A connection whose gateway does not read takes no more requests beyond this many unwritten bytes.
const MAX_UNWRITTEN_BYTES: usize = 1 << 20;

/// Heartbeats of a gateway that names none.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Between tries to come back, doubling from the first to the last.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LAST_BACKOFF: Duration = Duration::from_secs(8);

/// What all connections of a thread share.
pub(super) struct Common {
    pub(super) target: Target,
    pub(super) clock: Clock,
    pub(super) timeout: Duration,
    pub(super) payload: Bytes,
    pub(super) books: RefCell<Books>,
}

/// One user's connection.
pub(super) struct Link {
    common: Rc<Common>,
    identity: Identity,
    state: RefCell<State>,
    outgoing: Notify,
    up: Cell<bool>,
}

struct State {
    unwritten: BytesMut,
    pending: Pending,
    /// On a quiet line, and on any.
    ping_every: Duration,
    asks_every: Duration,
    tolerance: Duration,
    last_sent: Timestamp,
    last_pinged: Timestamp,
    last_received: Timestamp,
    last_push: MessageId,
    acknowledged_push: MessageId,
}

impl Link {
    pub(super) fn new(common: Rc<Common>, identity: Identity, session: &Session) -> Self {
        let state = RefCell::new(State::new(&session.welcome, common.clock.now()));
        Self { common, identity, state, outgoing: Notify::new(), up: Cell::new(true) }
    }

    /// Whose connection it is: a number in the population.
    pub(super) fn user(&self) -> u64 {
        self.identity.user as u64
    }

    /// Whether requests can be sent now.
    pub(super) fn is_up(&self) -> bool {
        self.up.get()
    }

    /// Hands a request to the connection; gives it back if the connection is down or full.
    pub(super) fn send(&self, business: BusinessCode, origin: Origin, now: Timestamp) -> Result<(), Origin> {
        let mut state = self.state.borrow_mut();
        if !self.up.get() || state.unwritten.len() > MAX_UNWRITTEN_BYTES {
            return Err(origin);
        }
        let oldest = state.pending.oldest().0;
        let request = Request {
            timeout_ms: whole_millis_u32(self.common.timeout),
            oldest_unsettled: oldest,
            oldest_unsettled_of_business: oldest,
            after: 0,
            payload: self.common.payload.clone(),
        };
        let id = state.pending.push(origin, now);
        wire::encode(&mut state.unwritten, Kind::Request, Flags::default(), business, id, &request)
            .expect("a payload's size is checked on the command line");
        state.last_sent = now;
        self.outgoing.notify_one();
        Ok(())
    }

    /// Sends a request and waits for its end, which comes within the timeout and [`LOST_AFTER`].
    pub(super) async fn call(&self, business: BusinessCode) -> Ending {
        let (answer, ending) = oneshot::channel();
        let now = self.common.clock.now();
        match self.send(business, Origin::Caller(answer), now) {
            Ok(()) => ending.await.unwrap_or(Ending::Lost),
            Err(_) => Ending::Unsent,
        }
    }

    /// Runs the connection, and the ones after it, for as long as the future is polled.
    pub(super) async fn run(self: Rc<Self>, mut session: Session) {
        loop {
            let why = self.drive(session).await;
            self.went_down(&why);
            session = self.come_back().await;
            *self.state.borrow_mut() = State::new(&session.welcome, self.common.clock.now());
            self.up.set(true);
        }
    }

    /// Regular duties: heartbeats, acknowledgements, requests that nobody will answer any more.
    pub(super) fn tend(&self, now: Timestamp) {
        if !self.up.get() {
            return;
        }
        let patience = self.common.timeout + LOST_AFTER;
        loop {
            let overdue = self.state.borrow_mut().pending.take_overdue(now, patience);
            let Some(origin) = overdue else { break };
            self.ended(origin, Ending::Lost, now);
        }
        let mut state = self.state.borrow_mut();
        if state.keep_alive(now) {
            self.outgoing.notify_one();
        }
    }

    /// Until the connection ends; says why.
    async fn drive(&self, session: Session) -> String {
        let Session { mut reader, mut writer, mut inbox, .. } = session;
        tokio::select! {
            why = self.receive(&mut reader, &mut inbox) => why,
            error = self.transmit(&mut writer) => in_words(&error),
            () = self.silence() => "nothing received within the heartbeat's tolerance".to_owned(),
        }
    }

    /// Until nothing has been received for as long as the gateway tolerates.
    async fn silence(&self) {
        loop {
            let left = {
                let state = self.state.borrow();
                state.tolerance.saturating_sub(self.common.clock.now().since(state.last_received))
            };
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }

    async fn transmit(&self, writer: &mut Writer) -> io::Error {
        loop {
            self.outgoing.notified().await;
            let frames = self.state.borrow_mut().unwritten.split();
            if frames.is_empty() {
                continue;
            }
            if let Err(error) = writer.send(frames).await {
                return error;
            }
        }
    }

    async fn receive(&self, reader: &mut Reader, inbox: &mut BytesMut) -> String {
        loop {
            let now = self.common.clock.now();
            self.state.borrow_mut().last_received = now;
            loop {
                match wire::decode(inbox, login::MAX_BODY_BYTES) {
                    Ok(Some(frame)) => {
                        if let Err(why) = self.handle(frame, now) {
                            return why;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return error.to_string(),
                }
            }
            match reader.receive(inbox).await {
                Ok(true) => {}
                Ok(false) => return "closed by the gateway".to_owned(),
                Err(error) => return in_words(&error),
            }
        }
    }

    /// Takes in one frame; an error says why the connection ends.
    fn handle(&self, frame: Frame, now: Timestamp) -> Result<(), String> {
        let malformed = |error: wire::DecodeError| error.to_string();
        match frame.kind {
            Kind::Reply => {
                let id = frame.id;
                self.answered(id, &frame.message().map_err(malformed)?, now);
            }
            Kind::Push => self.state.borrow_mut().last_push = frame.id,
            Kind::Ping => {
                wire::encode_control(&mut self.state.borrow_mut().unwritten, Kind::Pong, &Pong::default());
                self.outgoing.notify_one();
            }
            // A gateway that wants its clients to move serves them until it closes.
            Kind::Pong | Kind::Goaway | Kind::Settled => {}
            Kind::Refused => return Err(reason_name(frame.message::<Refused>().map_err(malformed)?.reason)),
            Kind::Kick => return Err(reason_name(frame.message::<Kick>().map_err(malformed)?.reason)),
            // A `Hello` from here asks for no `Refusals`.
            Kind::Hello | Kind::Welcome | Kind::Request | Kind::PushAck | Kind::Refusals => {
                return Err(format!("an unexpected {:?} frame", frame.kind));
            }
        }
        Ok(())
    }

    fn answered(&self, id: MessageId, reply: &Reply, now: Timestamp) {
        // Nobody waits any more for a reply that was given up as lost.
        let Some(origin) = self.state.borrow_mut().pending.take(id) else { return };
        let ending = match Outcome::try_from(reply.outcome) {
            Ok(Outcome::Replied) if reply.reason == 0 => Ending::Replied,
            // A handler's failure stands beside the refusals, by its reason.
            Ok(Outcome::Replied | Outcome::Refused) => Ending::Refused(reply.reason),
            Ok(Outcome::Unknown) | Err(_) => Ending::Unknown,
        };
        self.ended(origin, ending, now);
    }

    fn ended(&self, origin: Origin, ending: Ending, now: Timestamp) {
        match origin {
            Origin::Schedule(offer) => self.common.books.borrow_mut().end(offer, ending, now),
            // A caller that has gone needs no answer.
            Origin::Caller(answer) => drop(answer.send(ending)),
        }
    }

    fn went_down(&self, why: &str) {
        self.up.set(false);
        tracing::debug!(user = self.identity.user, device = self.identity.device, why, "connection lost");
        self.common.books.borrow_mut().connection_ended(why);
        let now = self.common.clock.now();
        let pending = self.state.borrow_mut().pending.drain();
        for origin in pending {
            self.ended(origin, Ending::Lost, now);
        }
    }

    async fn come_back(&self) -> Session {
        let mut backoff = FIRST_BACKOFF;
        loop {
            tokio::time::sleep(backoff.mul_f64(0.5 + fastrand::f64())).await;
            let login = log_in(self.common.target, &self.identity, Closing::Graceful);
            if let Ok(Ok(session)) = tokio::time::timeout(LOGIN_WITHIN, login).await {
                return session;
            }
            backoff = (backoff * 2).min(LAST_BACKOFF);
        }
    }
}

/// The same words for the same fault, so that they can be counted.
fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::Other => error.to_string(),
        kind => kind.to_string(),
    }
}

impl State {
    fn new(welcome: &Welcome, now: Timestamp) -> Self {
        let or_default = |millis: u32| match millis {
            0 => HEARTBEAT,
            millis => Duration::from_millis(millis.into()),
        };
        let heartbeat = or_default(welcome.heartbeat_ms);
        Self {
            unwritten: BytesMut::new(),
            pending: Pending::default(),
            ping_every: heartbeat / 2,
            asks_every: heartbeat * 2,
            tolerance: or_default(welcome.tolerance_ms).max(heartbeat),
            last_sent: now,
            last_pinged: now,
            last_received: now,
            last_push: MessageId(0),
            acknowledged_push: MessageId(0),
        }
    }

    /// Writes what is due to keep the connection; false if nothing is.
    fn keep_alive(&mut self, now: Timestamp) -> bool {
        let pushed = self.last_push > self.acknowledged_push;
        if pushed {
            self.acknowledged_push = self.last_push;
            wire::encode_control(&mut self.unwritten, Kind::PushAck, &PushAck { push_id: self.last_push.0 });
        }
        // The gateway answers a ping, so that one without other traffic is still heard; and a busy client asks it over which
        // time to spread its return.
        let silent = now.since(self.last_sent.min(self.last_received)) >= self.ping_every;
        let asks = now.since(self.last_pinged) >= self.asks_every;
        if silent && self.unwritten.is_empty() || asks {
            let next_interval_ms = whole_millis_u32(self.ping_every);
            wire::encode_control(
                &mut self.unwritten,
                Kind::Ping,
                &Ping { last_push_id: self.last_push.0, next_interval_ms },
            );
            (self.last_sent, self.last_pinged) = (now, now);
        }
        pushed || silent || asks
    }
}
