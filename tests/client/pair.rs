//! A client's connection and a gateway in one synchronous test, with a hand-moved time.

use std::time::Duration;

use bytes::Bytes;
use dagor::{
    client::{CloseReason, Connection, Event, Login, NewRequest, RequestError, Token, Verdict},
    clock::Timestamp,
    id::{MessageId, OutboxId},
    pb::client::ConnectReason,
    wire::{Flags, Kind},
};

use crate::gateway::{Gateway, MESSAGE, welcome};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A client's connection and its gateway, joined by two buffers.
pub(crate) struct Pair {
    pub(crate) client: Connection,
    pub(crate) gateway: Gateway,
    pub(crate) now: Timestamp,
}

impl Pair {
    pub(crate) fn greeting() -> Self {
        Self::greeting_with(true)
    }

    fn greeting_with(hold_back: bool) -> Self {
        let login = Login {
            user: "alice".into(),
            device: "phone".into(),
            token: Token::default(),
            outbox: OutboxId(11),
            oldest_unsettled: MessageId(0),
            ticket: Bytes::new(),
            gateways_tried: 0,
            reason: ConnectReason::New,
            heartbeat: 5 * SECOND,
            timeout: 10 * SECOND,
            max_body_bytes: 1000,
            hold_back,
        };
        let now = Timestamp::ZERO;
        let mut pair = Self { client: Connection::new(&login, now), gateway: Gateway::default(), now };
        pair.exchange();
        pair
    }

    pub(crate) fn open() -> Self {
        Self::greeting().welcomed()
    }

    /// Open, with a client that holds nothing back.
    pub(crate) fn insisting() -> Self {
        Self::greeting_with(false).welcomed()
    }

    fn welcomed(mut self) -> Self {
        let pair = &mut self;
        pair.gateway.next().unwrap();
        pair.gateway.control(Kind::Welcome, &welcome());
        pair.exchange();
        assert!(matches!(pair.client.poll_event(), Some(Event::Welcomed(_))));
        self
    }

    /// Moves all bytes both ways.
    pub(crate) fn exchange(&mut self) {
        self.client.handle_bytes(&mut self.gateway.outgoing, self.now);
        self.client.poll_transmit(&mut self.gateway.received);
    }

    /// Lets time pass, with every timer on the way going off when it should.
    pub(crate) fn pass(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(due) = self.client.poll_timeout().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            self.client.handle_timeout(self.now);
            assert!(self.client.poll_timeout().is_none_or(|next| next > self.now), "a timer that stands still");
            self.exchange();
        }
        self.now = end;
    }

    pub(crate) fn request(&mut self, payload: &'static str) -> Result<MessageId, RequestError> {
        let request = request(payload, Flags::default());
        let id = self.client.send_request(request, self.now);
        self.exchange();
        id
    }

    pub(crate) fn ended(&mut self) -> (MessageId, Result<String, RequestError>) {
        match self.client.poll_event() {
            Some(Event::Ended { id, result }) => {
                (id, result.map(|reply| String::from_utf8(reply.payload.to_vec()).unwrap()))
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn late(&mut self) -> (MessageId, Result<String, Verdict>) {
        let Some(Event::Late { id, result }) = self.client.poll_event() else { panic!("nothing came late") };
        (id, result.map(|reply| String::from_utf8(reply.payload.to_vec()).unwrap()))
    }

    pub(crate) fn closed(&mut self) -> CloseReason {
        let Some(Event::Closed(reason)) = self.client.poll_event() else { panic!("not closed") };
        assert_eq!(self.client.poll_event(), None, "the close is the last event");
        assert_eq!(self.client.poll_timeout(), None);
        reason
    }
}

pub(crate) fn request(payload: impl Into<Bytes>, flags: Flags) -> NewRequest {
    NewRequest { business: MESSAGE, payload: payload.into(), timeout: None, flags }
}
