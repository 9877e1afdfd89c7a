//! One connection, from `Hello` to its end: bytes and time come in, bytes and events go out. No socket, no clock, no
//! task; `handle_*` pushes in, `poll_*` pulls out, and whoever owns the socket repeats that.
//!
//! ```text
//!   Greeting ── Welcome ──▶ Open ── Refused, Kick, lost heartbeat, close() ──▶ Closed
//!      └────────── Refused, Kick, no answer in time ─────────────────────────────┘
//! ```
//!
//! Every request that was taken ends in exactly one [`Event::Ended`], and the last event is [`Event::Closed`].

use std::{collections::VecDeque, mem, sync::Arc};

use bytes::BytesMut;

use super::{
    CloseReason, Event, Login, NewRequest, ProtocolError, RequestError, Session, Verdict, cuts::Cuts, event::Try,
    open::Open, session,
};
use crate::{
    clock::Timestamp,
    id::{BusinessCode, MessageId},
    pb::client as pb,
    wire::{self, DecodeError, Frame, Kind},
};

/// Room for events that an idle connection keeps; more is given back.
const IDLE_EVENTS: usize = 4;

/// One connection's state.
#[derive(Debug)]
pub struct Connection {
    state: State,
    /// The largest body that is read, in bytes.
    max_body_bytes: usize,
    outgoing: BytesMut,
    events: VecDeque<Event>,
}

#[derive(Debug)]
enum State {
    Greeting { deadline: Timestamp, cuts: Cuts },
    Open(Box<Open>),
    Closed(CloseReason),
}

impl Connection {
    /// Starts with the `Hello` of `login` ready to be sent.
    pub fn new(login: &Login, now: Timestamp) -> Self {
        let mut outgoing = BytesMut::new();
        wire::encode_control(&mut outgoing, Kind::Hello, &login.hello());
        let cuts = Cuts::new(login.outbox, login.hold_back);
        let state = State::Greeting { deadline: now + login.timeout, cuts };
        Self { state, max_body_bytes: login.max_body_bytes, outgoing, events: VecDeque::new() }
    }

    /// Sends a request once logged in, and returns its id. Ids are consecutive from 1; one that was held back has used one
    /// up.
    ///
    /// # Errors
    ///
    /// If it was not sent: every error returned here means "certainly not run".
    pub fn send_request(&mut self, request: NewRequest, now: Timestamp) -> Result<MessageId, RequestError> {
        match &mut self.state {
            State::Greeting { .. } => Err(RequestError::UnknownBusiness(request.business)),
            State::Open(open) => open.send_request(request, &mut self.outgoing, now),
            State::Closed(reason) => Err(RequestError::Closed(reason.clone())),
        }
    }

    /// Sends one try of a message of an outbox once logged in. It ends in an [`Event::Ended`], unless a
    /// [`Event::SettledThrough`] comes first, or its owner forgets it.
    ///
    /// # Errors
    ///
    /// If it was not sent.
    pub(super) fn send_try(&mut self, message: Try, now: Timestamp) -> Result<(), RequestError> {
        match &mut self.state {
            State::Greeting { .. } => Err(RequestError::UnknownBusiness(message.business)),
            State::Open(open) => open.send_try(message, &mut self.outgoing, now),
            State::Closed(reason) => Err(RequestError::Closed(reason.clone())),
        }
    }

    /// Ends a try without an event: its owner has its answer, or wants none any more.
    pub(super) fn forget_try(&mut self, id: MessageId) {
        if let State::Open(open) = &mut self.state {
            open.forget_try(id);
        }
    }

    /// Moves what is to be sent to the end of `out`; `false` if there was nothing.
    pub fn poll_transmit(&mut self, out: &mut BytesMut) -> bool {
        if self.outgoing.is_empty() {
            return false;
        }
        let bytes = mem::take(&mut self.outgoing);
        if out.is_empty() {
            *out = bytes;
        } else {
            out.extend_from_slice(&bytes);
        }
        true
    }

    /// Takes every whole frame out of `buffer`.
    pub fn handle_bytes(&mut self, buffer: &mut BytesMut, now: Timestamp) {
        let before = buffer.len();
        while !self.is_closed() {
            match wire::decode(buffer, self.max_body_bytes) {
                Ok(Some(frame)) => self.handle_frame(frame, now).unwrap_or_else(|reason| self.close(reason)),
                Ok(None) => break,
                Err(error) => self.close(error.into()),
            }
        }
        if let State::Open(open) = &mut self.state {
            // A frame of an unknown kind was skipped, but it was received all the same.
            if buffer.len() < before {
                open.received(now);
            }
            open.acknowledge_pushes(&mut self.outgoing, now);
        }
    }

    /// The stream ended, with the reason if there is more to say than that.
    pub fn handle_disconnect(&mut self, reason: CloseReason) {
        self.close(reason);
    }

    /// Does what is due by `now`: gives up what has waited too long, pings when it has been quiet.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let ended = match &mut self.state {
            State::Greeting { deadline, .. } => (now >= *deadline).then_some(CloseReason::LoginTimedOut),
            State::Open(open) => open.handle_timeout(&mut self.outgoing, &mut self.events, now),
            State::Closed(_) => None,
        };
        if let Some(reason) = ended {
            self.close(reason);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None` once closed.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        match &self.state {
            State::Greeting { deadline, .. } => Some(*deadline),
            State::Open(open) => Some(open.next_timeout()),
            State::Closed(_) => None,
        }
    }

    /// The next thing to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if event.is_none() && self.events.capacity() > IDLE_EVENTS {
            self.events = VecDeque::new();
        }
        event
    }

    /// Ends the connection from this side. What [`poll_transmit`](Self::poll_transmit) still holds may be sent.
    pub fn close_local(&mut self) {
        self.close(CloseReason::Local);
    }

    /// What the gateway granted, while the connection is open.
    pub fn session(&self) -> Option<&Arc<Session>> {
        match &self.state {
            State::Open(open) => Some(open.session()),
            State::Greeting { .. } | State::Closed(_) => None,
        }
    }

    /// The share of this client's requests of a business that pass at present, in thousandths, as far as the gateway has
    /// said so; 1000 if it has not.
    pub fn open_permille(&self, business: BusinessCode, now: Timestamp) -> u16 {
        match &self.state {
            State::Open(open) => open.open_permille(business, now),
            State::Greeting { .. } | State::Closed(_) => 1000,
        }
    }

    fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed(_))
    }

    fn handle_frame(&mut self, frame: Frame, now: Timestamp) -> Result<(), CloseReason> {
        match (&mut self.state, frame.kind) {
            (_, Kind::Refused) => Err(refused(frame.message()?)),
            (_, Kind::Kick) => Err(kicked(frame.message()?)),
            (State::Greeting { cuts, .. }, Kind::Welcome) => {
                let cuts = mem::take(cuts);
                self.open(frame.message()?, cuts, now)
            }
            (State::Open(open), _) => open.handle_frame(frame, &mut self.outgoing, &mut self.events, now),
            (State::Greeting { .. } | State::Closed(_), kind) => Err(ProtocolError::Unexpected(kind).into()),
        }
    }

    fn open(&mut self, welcome: pb::Welcome, cuts: Cuts, now: Timestamp) -> Result<(), CloseReason> {
        if welcome.version != wire::VERSION {
            return Err(ProtocolError::Version(welcome.version).into());
        }
        let open = Open::new(welcome, cuts, now);
        self.events.push_back(Event::Welcomed(Arc::clone(open.session())));
        self.state = State::Open(Box::new(open));
        Ok(())
    }

    fn close(&mut self, reason: CloseReason) {
        match mem::replace(&mut self.state, State::Closed(reason.clone())) {
            State::Greeting { .. } => {}
            State::Open(open) => self.events.extend(
                open.into_unanswered().map(|id| Event::Ended { id, result: Err(RequestError::Lost(reason.clone())) }),
            ),
            State::Closed(first) => {
                self.state = State::Closed(first);
                return;
            }
        }
        self.events.push_back(Event::Closed(reason));
    }
}

fn refused(refused: pb::Refused) -> CloseReason {
    let verdict = Verdict::new(refused.reason, refused.detail, refused.retry_after_ms);
    CloseReason::Refused { verdict, alternatives: session::alternatives(refused.alternatives) }
}

fn kicked(kick: pb::Kick) -> CloseReason {
    CloseReason::Kicked(Verdict::new(kick.reason, kick.detail, 0))
}

impl From<DecodeError> for CloseReason {
    fn from(error: DecodeError) -> Self {
        Self::Protocol(error.into())
    }
}

impl From<ProtocolError> for CloseReason {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}
