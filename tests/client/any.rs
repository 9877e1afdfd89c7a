//! Whatever a gateway sends and whenever, a connection keeps its promises.

use std::{collections::BTreeSet, time::Duration};

use bytes::BufMut;
use dagor::{
    client::{CloseReason, Event},
    id::MessageId,
    pb::client as pb,
    wire::{Flags, Kind},
};
use proptest::prelude::*;

use crate::{
    gateway::MESSAGE,
    pair::{Pair, request},
};

#[derive(Clone, Debug)]
enum Act {
    Request,
    Notify,
    Reply { id: u64, outcome: i32 },
    Push(u64),
    Ping,
    Pong,
    Cut { open_permille: u32, valid_ms: u32 },
    Goaway,
    Kick,
    Bytes(Vec<u8>),
    Pass(Duration),
    Disconnect,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        20 => Just(Act::Request),
        5 => Just(Act::Notify),
        20 => (0_u64..20, -1..4).prop_map(|(id, outcome)| Act::Reply { id, outcome }),
        5 => any::<u64>().prop_map(Act::Push),
        5 => Just(Act::Ping),
        5 => Just(Act::Pong),
        3 => (0..1200_u32, any::<u32>()).prop_map(|(open_permille, valid_ms)| Act::Cut { open_permille, valid_ms }),
        2 => Just(Act::Goaway),
        1 => Just(Act::Kick),
        2 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Act::Bytes),
        10 => (0_u64..8000).prop_map(|millis| Act::Pass(Duration::from_millis(millis))),
        1 => Just(Act::Disconnect),
    ]
}

/// Does `act`; the id of a request that was taken and wants a reply.
fn apply(pair: &mut Pair, act: Act) -> Option<MessageId> {
    match act {
        Act::Request => return pair.request("hello").ok(),
        Act::Notify => {
            let _taken_or_not = pair.client.send_request(request("hello", Flags::NO_REPLY_WANTED), pair.now);
        }
        Act::Reply { id, outcome } => pair.gateway.reply(id, &pb::Reply { outcome, ..pb::Reply::default() }),
        Act::Push(id) => pair.gateway.push(id, "ding"),
        Act::Ping => pair.gateway.control(Kind::Ping, &pb::Ping::default()),
        Act::Pong => pair.gateway.control(Kind::Pong, &pb::Pong::default()),
        Act::Cut { open_permille, valid_ms } => {
            let cuts = vec![pb::ResolvedCut { business: MESSAGE.0.into(), open_permille, valid_ms }];
            pair.gateway.control(Kind::Pong, &pb::Pong { cuts, ..pb::Pong::default() });
        }
        Act::Goaway => pair.gateway.control(Kind::Goaway, &pb::Goaway::default()),
        Act::Kick => pair.gateway.control(Kind::Kick, &pb::Kick::default()),
        Act::Bytes(bytes) => pair.gateway.outgoing.put_slice(&bytes),
        Act::Pass(by) => pair.pass(by),
        Act::Disconnect => pair.client.handle_disconnect(CloseReason::Disconnected),
    }
    pair.exchange();
    None
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_request_ends_once_and_the_close_comes_last(acts in prop::collection::vec(act(), 0..60)) {
        let mut pair = Pair::open();
        let mut taken: BTreeSet<_> = acts.into_iter().filter_map(|act| apply(&mut pair, act)).collect();
        pair.client.close_local();
        pair.exchange();
        while pair.gateway.next().is_some() {}
        prop_assert!(pair.gateway.received.is_empty(), "the client sent half a frame");

        let events: Vec<_> = std::iter::from_fn(|| pair.client.poll_event()).collect();
        for event in &events {
            if let Event::Ended { id, .. } = event {
                prop_assert!(taken.remove(id), "request {} ended twice", id);
            }
        }
        prop_assert!(taken.is_empty(), "{:?} never ended", taken);
        let closes = events.iter().filter(|event| matches!(event, Event::Closed(_))).count();
        prop_assert_eq!(closes, 1);
        prop_assert!(matches!(events.last(), Some(Event::Closed(_))));
    }
}
