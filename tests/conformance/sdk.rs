//! The SDK of this package as the kit sees a client.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dagor::{
    client::{
        Agent, AgentStart, ClientConfig, ClientEvent, CloseReason, Command, Fate, Kept, LinkId, NewMessage,
        OutboxLimits, StopReason, Verdict,
    },
    clock::Timestamp,
    id::{MessageId, OutboxId},
};
use serde_json::{Value, json};

use crate::{
    case::{Case, Submission},
    runner::{Output, Subject},
};

/// Any time after 1970 does: without a store nobody asks.
const UNIX_MILLIS: u64 = 1;

pub(crate) struct Sdk {
    agent: Agent,
    /// The links that were dialled and not hung up.
    links: Vec<u64>,
}

impl Sdk {
    pub(crate) fn new(case: &Case, seed: u64) -> Self {
        let settings = &case.client;
        let config = ClientConfig {
            gateways: settings.gateways.clone(),
            device: settings.device.clone(),
            connect_timeout: Duration::from_millis(settings.login_ms),
            outbox: OutboxLimits { keep_for: Duration::from_millis(settings.keep_for_ms), ..OutboxLimits::default() },
            ..ClientConfig::new(String::new(), settings.user.clone())
        };
        let kept = Kept::new(OutboxId(settings.outbox));
        let start = AgentStart { kept, durable: false, seed, unix_millis: UNIX_MILLIS };
        Self { agent: Agent::new(config, start, Timestamp::ZERO), links: Vec::new() }
    }
}

impl Subject for Sdk {
    fn submit(&mut self, message: &Submission, now: Timestamp) {
        let new = NewMessage {
            wants_reply: !message.no_reply.unwrap_or_default(),
            try_timeout: message.timeout_ms.map(Duration::from_millis),
            keep_for: message.keep_for_ms.map(Duration::from_millis),
            ..NewMessage::new(message.business.clone(), message.payload.clone())
        };
        self.agent.submit(new, now).expect("the outbox takes it");
    }

    fn cancel(&mut self, id: u64, now: Timestamp) {
        self.agent.cancel(MessageId(id), now);
    }

    fn connected(&mut self, link: u64, now: Timestamp) {
        self.agent.handle_connected(LinkId(link), now);
    }

    fn received(&mut self, link: u64, bytes: &[u8], now: Timestamp) {
        self.agent.handle_bytes(LinkId(link), &mut BytesMut::from(bytes), now);
    }

    fn closed(&mut self, link: u64, reason: Option<u32>, now: Timestamp) {
        let reason = reason.map_or(CloseReason::Disconnected, |code| CloseReason::Refused {
            verdict: Verdict { code, detail: String::new(), retry_after: None },
            alternatives: Vec::new(),
        });
        self.agent.handle_disconnect(LinkId(link), reason, now);
    }

    fn next_timeout(&self) -> Option<Timestamp> {
        self.agent.poll_timeout()
    }

    fn timeout(&mut self, now: Timestamp) {
        self.agent.handle_timeout(now);
    }

    fn poll(&mut self, now: Timestamp) -> Option<Output> {
        for &link in &self.links {
            let mut bytes = BytesMut::new();
            if self.agent.poll_transmit(LinkId(link), &mut bytes, now) {
                return Some(Output::Bytes { link, bytes: bytes.freeze() });
            }
        }
        match self.agent.poll_command() {
            Some(Command::Dial { link: LinkId(link), address }) => {
                self.links.push(link);
                return Some(Output::Dial { link, address });
            }
            Some(Command::HangUp { link: LinkId(link) }) => {
                self.links.retain(|&other| other != link);
                return Some(Output::Close { link });
            }
            None => {}
        }
        self.agent.poll_event().map(|event| Output::Event(self.readable(event)))
    }
}

impl Sdk {
    /// An event as the cases write it; `null` for those that they leave to each client.
    fn readable(&self, event: ClientEvent) -> Value {
        match event {
            ClientEvent::Connected { gateway, .. } => json!({"event": "connected", "gateway": gateway}),
            ClientEvent::Pushed(push) => {
                let business = self.agent.session().and_then(|session| session.business(push.business));
                let name = business.map(|business| &business.name);
                json!({"event": "pushed", "business": name, "payload": text(&push.payload)})
            }
            ClientEvent::Stopped(reason) => json!({"event": "ended", "reason": reason_code(&reason)}),
            ClientEvent::Ended { id, fate } => settled(id, fate),
            ClientEvent::Connecting { .. }
            | ClientEvent::Waiting { .. }
            | ClientEvent::Moving { .. }
            | ClientEvent::Sent { .. }
            | ClientEvent::HeldBack { .. }
            | ClientEvent::Refused { .. }
            | ClientEvent::Unknown { .. } => Value::Null,
        }
    }
}

fn settled(MessageId(id): MessageId, fate: Fate) -> Value {
    let mut event = match fate {
        Fate::Replied(reply) => json!({"how": "replied", "reason": 0, "payload": text(&reply.payload)}),
        Fate::Settled => json!({"how": "replied", "reason": 0}),
        Fate::Failed(verdict) => json!({"how": "replied", "reason": verdict.code}),
        Fate::Rejected { verdict, may_have_run } => {
            json!({"how": "rejected", "reason": verdict.code, "may_have_run": may_have_run})
        }
        Fate::GivenUp { may_have_run, .. } => json!({"how": "given up", "may_have_run": may_have_run}),
        Fate::Kept => json!({"how": "kept"}),
    };
    event["event"] = json!("settled");
    event["id"] = json!(id);
    event
}

fn reason_code(reason: &StopReason) -> u32 {
    match reason {
        StopReason::Kicked(verdict) | StopReason::Refused(verdict) => verdict.code,
        StopReason::Replaced => dagor::wire::Reason::Replaced.code(),
        StopReason::Closed => 0,
    }
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
