//! Whatever gateways, networks and stores do and whenever, an agent keeps its promises: every accepted message ends
//! exactly once, no id is used twice, and everything is bounded.

use std::{collections::BTreeSet, time::Duration};

use bytes::BufMut;
use dagor::{
    client::{ClientConfig, CloseReason, Kept, LinkId, NewMessage, OutboxLimits},
    id::{MessageId, OutboxId},
    pb::client as pb,
    wire::Kind,
};
use proptest::prelude::*;

use crate::{
    gateway::{Gateway, MESSAGE},
    pair::SECOND,
    stage::{Stage, config, roomy},
};

const MOST_MESSAGES: usize = 12;

#[derive(Clone, Debug)]
enum Act {
    Submit { wants_reply: bool, keep_for: u64, bytes: usize },
    Cancel(u64),
    Accept,
    Unreachable,
    Welcome { max_in_flight: u32, keep_for_ms: u32 },
    Refused(u32, u32),
    Kick,
    Goaway(u32, u32),
    Reply { back: u64, outcome: i32, reason: u32, through: u64 },
    Refusals(Vec<(u64, u32, u32)>),
    Settled(u64),
    Push(u64, u8),
    Ping,
    Cut(u32, u32),
    Bytes(Vec<u8>),
    Break,
    Pass(u64),
    StoreWorks(bool),
    StoreFails,
    Restart,
}

/// Codes that say something, and any others.
fn reason() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => prop::sample::select(vec![0, 6, 7, 20, 21, 22, 23, 24, 101, 110, 118, 119, 130, 131, 200, 201, 300]),
        1 => any::<u32>()
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let reply = (0_u64..6, -1..4, reason(), 0_u64..30);
    prop_oneof![
        20 => (any::<bool>(), 1_u64..200, 0_usize..300)
            .prop_map(|(wants_reply, keep_for, bytes)| Act::Submit { wants_reply, keep_for, bytes }),
        2 => (0_u64..40).prop_map(Act::Cancel),
        12 => Just(Act::Accept),
        2 => Just(Act::Unreachable),
        12 => (0_u32..9, 0_u32..90_000)
            .prop_map(|(max_in_flight, keep_for_ms)| Act::Welcome { max_in_flight, keep_for_ms }),
        2 => (reason(), any::<u32>()).prop_map(|(reason, hint)| Act::Refused(reason, hint % 100_000)),
        1 => Just(Act::Kick),
        2 => (reason(), any::<u32>()).prop_map(|(reason, after)| Act::Goaway(reason, after % 10_000)),
        20 => reply.prop_map(|(back, outcome, reason, through)| Act::Reply { back, outcome, reason, through }),
        4 => prop::collection::vec((0_u64..30, reason(), any::<u32>()), 0..9).prop_map(Act::Refusals),
        3 => any::<u64>().prop_map(Act::Settled),
        4 => (any::<u64>(), 0_u8..4).prop_map(|(id, key)| Act::Push(id, key)),
        2 => Just(Act::Ping),
        2 => (0_u32..1200, any::<u32>()).prop_map(|(open, valid)| Act::Cut(open, valid)),
        2 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Act::Bytes),
        5 => Just(Act::Break),
        15 => (0_u64..20_000).prop_map(Act::Pass),
        3 => any::<bool>().prop_map(Act::StoreWorks),
        1 => Just(Act::StoreFails),
        2 => Just(Act::Restart),
    ]
}

/// An agent whose store outlives it, and what it has promised.
struct Life {
    stage: Stage,
    /// Accepted and not ended.
    open: BTreeSet<u64>,
    /// Every id that was accepted and may have been sent.
    used: BTreeSet<u64>,
    /// Whether the process can die and find its outbox again.
    durable: bool,
}

fn settings() -> ClientConfig {
    let outbox = OutboxLimits { messages: MOST_MESSAGES, bytes: 4000, keep_for: Duration::from_secs(3600) };
    ClientConfig { outbox, ..config(&["a:1", "b:1"]) }
}

impl Life {
    fn new(durable: bool) -> Self {
        let stage = match durable {
            true => Stage::durable(settings(), Kept::new(OutboxId(11))),
            false => Stage::new(settings()),
        };
        Self { stage, open: BTreeSet::new(), used: BTreeSet::new(), durable }
    }

    fn newest(&mut self) -> Option<(LinkId, &mut Gateway)> {
        self.stage.gateways.iter_mut().next_back().map(|(&link, gateway)| (link, gateway))
    }

    fn say(&mut self, kind: Kind, message: &impl prost::Message) {
        if let Some((_, gateway)) = self.newest() {
            gateway.control(kind, message);
        }
    }

    fn apply(&mut self, act: Act) -> Result<(), TestCaseError> {
        match act {
            Act::Submit { wants_reply, keep_for, bytes } => return self.submit(wants_reply, keep_for, bytes),
            Act::Cancel(id) => drop(self.stage.agent.cancel(MessageId(id), self.stage.now)),
            Act::Accept if !self.stage.dialed.is_empty() => drop(self.stage.accept()),
            Act::Unreachable => {
                if let Some((link, _)) = self.stage.dialed.pop_front() {
                    let reason = CloseReason::Unreachable("no route".into());
                    self.stage.agent.handle_disconnect(link, reason, self.stage.now);
                }
            }
            Act::Welcome { max_in_flight, keep_for_ms } => {
                let limits = Some(pb::Limits { max_body_bytes: 250, max_in_flight, keep_for_ms });
                self.say(Kind::Welcome, &pb::Welcome { limits, ..roomy() });
            }
            Act::Refused(reason, retry_after_ms) => {
                self.say(Kind::Refused, &pb::Refused { reason, retry_after_ms, ..pb::Refused::default() });
            }
            Act::Kick => self.say(Kind::Kick, &pb::Kick::default()),
            Act::Goaway(reason, move_after_ms) => {
                self.say(Kind::Goaway, &pb::Goaway { reason, move_after_ms, ..pb::Goaway::default() });
            }
            Act::Reply { back, outcome, reason, through } => self.reply(back, outcome, reason, through),
            Act::Refusals(list) => {
                let refused = list.into_iter().map(|(message_id, reason, hint)| pb::RefusedRequest {
                    message_id,
                    reason,
                    retry_after_ms: hint % 50_000,
                });
                self.say(Kind::Refusals, &pb::Refusals { refused: refused.collect(), cuts: Vec::new() });
            }
            Act::Settled(settled_through) => self.say(Kind::Settled, &pb::Settled { settled_through }),
            Act::Push(id, key) => {
                let push = pb::Push { dedupe_key: vec![key].into(), ..pb::Push::default() };
                if let Some((_, gateway)) = self.newest() {
                    gateway.send(Kind::Push, id, &push);
                }
            }
            Act::Ping => self.say(Kind::Ping, &pb::Ping::default()),
            Act::Cut(open_permille, valid_ms) => {
                let cuts = vec![pb::ResolvedCut { business: MESSAGE.0.into(), open_permille, valid_ms }];
                self.say(Kind::Pong, &pb::Pong { cuts, ..pb::Pong::default() });
            }
            Act::Bytes(bytes) => {
                if let Some((_, gateway)) = self.newest() {
                    gateway.outgoing.put_slice(&bytes);
                }
            }
            Act::Break => {
                if let Some(link) = self.newest().map(|(link, _)| link) {
                    self.stage.agent.handle_disconnect(link, CloseReason::Disconnected, self.stage.now);
                }
            }
            Act::Pass(millis) => self.stage.pass(Duration::from_millis(millis)),
            Act::StoreWorks(works) => self.stage.store_works = works,
            Act::StoreFails => {
                for id in self.stage.agent.handle_store_failure() {
                    self.open.remove(&id.0);
                }
            }
            Act::Restart => self.restart(),
            Act::Accept => {}
        }
        Ok(())
    }

    fn submit(&mut self, wants_reply: bool, keep_for: u64, bytes: usize) -> Result<(), TestCaseError> {
        let message = NewMessage::new("message", vec![0; bytes]).keep_for(Duration::from_secs(keep_for));
        let message = if wants_reply { message } else { message.without_reply() };
        if let Ok(id) = self.stage.agent.submit(message, self.stage.now) {
            prop_assert!(self.used.insert(id.0), "id {} was used twice", id);
            self.open.insert(id.0);
        }
        Ok(())
    }

    fn reply(&mut self, back: u64, outcome: i32, reason: u32, settled_through: u64) {
        let last = self.used.last().copied().unwrap_or_default();
        let reply = pb::Reply { outcome, reason, settled_through, ..pb::Reply::default() };
        if let Some((_, gateway)) = self.newest() {
            gateway.reply(last.saturating_sub(back), &reply);
        }
    }

    /// The process dies and starts again: what the store has not kept was not accepted, as far as the app knows.
    fn restart(&mut self) {
        if !self.durable {
            return;
        }
        let kept = self.stage.kept.clone().expect("a store");
        let ended = self.stage.fates();
        for (id, _) in ended {
            self.open.remove(&id);
        }
        self.open = kept.messages.keys().map(|id| id.0).collect();
        // What the store does not know was never sent.
        self.used.retain(|&id| id <= kept.reserved_through.0);
        let now = self.stage.now;
        self.stage = Stage::durable(settings(), kept);
        // The clock of a process begins where it likes.
        self.stage.now = self.stage.now.max(now);
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        self.stage.exchange();
        for (id, fate) in self.stage.fates() {
            prop_assert!(self.open.remove(&id), "{} ended twice, or was never accepted: {}", id, fate);
        }
        let unsettled: Vec<_> = self.stage.agent.unsettled_ids().map(|id| id.0).collect();
        prop_assert!(unsettled.iter().eq(self.open.iter()), "{:?} are held, {:?} are open", unsettled, self.open);
        prop_assert!(self.open.len() <= MOST_MESSAGES && self.stage.agent.unsettled_bytes() <= 4000);
        prop_assert!(self.stage.dialed.len() + self.stage.gateways.len() <= 2, "more than two links");
        self.stage.events.clear();
        self.check_wire()
    }

    /// What goes out is whole frames, of messages that are open or were.
    fn check_wire(&mut self) -> Result<(), TestCaseError> {
        for gateway in self.stage.gateways.values_mut() {
            while let Some(frame) = gateway.next() {
                if frame.kind == Kind::Request {
                    prop_assert!(self.used.contains(&frame.id.0), "{} was never accepted", frame.id);
                    let request: pb::Request = frame.clone().message().expect("a request");
                    let oldest = request.oldest_unsettled;
                    prop_assert!(oldest > 0 && oldest <= frame.id.0 && frame.id.0 <= oldest + 1023);
                    prop_assert!(request.after < frame.id.0);
                }
            }
            prop_assert!(gateway.received.is_empty(), "half a frame");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_accepted_message_ends_exactly_once_and_no_id_is_used_twice(
        durable: bool, acts in prop::collection::vec(act(), 0..120),
    ) {
        let mut life = Life::new(durable);
        for act in acts {
            life.apply(act)?;
            life.check()?;
        }
        // Without a store that works the last of them cannot be known to be kept.
        life.stage.store_works = true;
        life.check()?;
        life.stage.pass(300 * SECOND);
        life.check()?;
        prop_assert!(life.open.is_empty(), "{:?} never ended", life.open);
    }
}
