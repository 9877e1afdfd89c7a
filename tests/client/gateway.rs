//! A gateway that says what a test tells it to: only bytes in and bytes out, no decisions of its own.

use bytes::BytesMut;
use dagor::{
    id::{BusinessCode, MessageId},
    pb::client as pb,
    wire::{self, Flags, Frame, Kind},
};
use prost::Message;

/// The business that every test requests.
pub(crate) const MESSAGE: BusinessCode = BusinessCode(7);

/// The gateway's end.
#[derive(Default)]
pub(crate) struct Gateway {
    /// What the client sent.
    pub(crate) received: BytesMut,
    /// What the client gets.
    pub(crate) outgoing: BytesMut,
}

/// Heartbeats of 10 s, a tolerance of 25 s, bodies up to 100 bytes, two requests in flight, one business.
pub(crate) fn welcome() -> pb::Welcome {
    pb::Welcome {
        version: 1,
        gateway: "gateway-1".into(),
        incarnation: 9,
        connection_epoch: 4,
        heartbeat_ms: 10_000,
        tolerance_ms: 25_000,
        limits: Some(pb::Limits { max_body_bytes: 100, max_in_flight: 2, keep_for_ms: 0 }),
        businesses: vec![pb::Business {
            code: MESSAGE.0.into(),
            name: "message".into(),
            timeout_ms: 3000,
            ..pb::Business::default()
        }],
        ..pb::Welcome::default()
    }
}

pub(crate) fn replied(payload: &'static str) -> pb::Reply {
    pb::Reply { payload: payload.into(), ..pb::Reply::default() }
}

impl Gateway {
    /// The next frame of the client, if a whole one is there.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        wire::decode(&mut self.received, 4096).unwrap()
    }

    /// The next frame of the client, which must be of this kind.
    pub(crate) fn expect<M: Message + Default>(&mut self, kind: Kind) -> (MessageId, M) {
        let frame = self.next().unwrap();
        assert_eq!(frame.kind, kind);
        (frame.id, frame.message().unwrap())
    }

    pub(crate) fn control(&mut self, kind: Kind, message: &impl Message) {
        wire::encode_control(&mut self.outgoing, kind, message);
    }

    pub(crate) fn reply(&mut self, id: u64, reply: &pb::Reply) {
        self.send(Kind::Reply, id, reply);
    }

    pub(crate) fn push(&mut self, id: u64, payload: &'static str) {
        self.send(Kind::Push, id, &pb::Push { payload: payload.into(), ..pb::Push::default() });
    }

    pub(crate) fn send(&mut self, kind: Kind, id: u64, message: &impl Message) {
        wire::encode(&mut self.outgoing, kind, Flags::default(), MESSAGE, MessageId(id), message).unwrap();
    }
}
