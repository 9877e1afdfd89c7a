//! An agent, the gateways that it dials, and its store in one synchronous test, with a hand-moved time.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use dagor::{
    client::{
        Agent, AgentStart, ClientConfig, ClientEvent, CloseReason, Command, Fate, Kept, LinkId, NewMessage,
        OutboxLimits, Record, StopReason, SubmitError,
    },
    clock::Timestamp,
    id::{MessageId, OutboxId},
    pb::client as pb,
    wire::{Flags, Kind, Reason},
};

use crate::gateway::{Gateway, MESSAGE, welcome};

/// The other business of these tests.
pub(crate) const NOTE: &str = "note";

/// An agent and what is around it.
pub(crate) struct Stage {
    pub(crate) agent: Agent,
    pub(crate) now: Timestamp,
    /// Dialed, and not answered yet.
    pub(crate) dialed: VecDeque<(LinkId, String)>,
    pub(crate) gateways: BTreeMap<LinkId, Gateway>,
    pub(crate) hung_up: Vec<LinkId>,
    pub(crate) events: VecDeque<ClientEvent>,
    /// What the store holds, if there is one.
    pub(crate) kept: Option<Kept>,
    /// Whether records are kept as soon as there are any.
    pub(crate) store_works: bool,
}

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Arrived {
    pub(crate) id: u64,
    pub(crate) flags: Flags,
    pub(crate) body: pb::Request,
}

pub(crate) fn config(gateways: &[&str]) -> ClientConfig {
    let outbox = OutboxLimits { messages: 2000, bytes: 1 << 20, keep_for: Duration::from_secs(3600) };
    ClientConfig {
        gateways: gateways.iter().map(|&address| address.to_owned()).collect(),
        device: "phone".into(),
        outbox,
        ..ClientConfig::new("", "alice")
    }
}

/// Two businesses, 100 requests in flight, bodies of 1,000 bytes.
pub(crate) fn roomy() -> pb::Welcome {
    let business = |code: u16, name: &str| pb::Business { code: code.into(), name: name.into(), timeout_ms: 3000 };
    pb::Welcome {
        limits: Some(pb::Limits { max_body_bytes: 1000, max_in_flight: 100, keep_for_ms: 0 }),
        businesses: vec![business(MESSAGE.0, "message"), business(9, NOTE)],
        ticket: "ticket-1".into(),
        ..welcome()
    }
}

impl Stage {
    pub(crate) fn new(config: ClientConfig) -> Self {
        Self::with_kept(config, Kept::new(OutboxId(11)), false)
    }

    /// With a store that holds this.
    pub(crate) fn durable(config: ClientConfig, kept: Kept) -> Self {
        Self::with_kept(config, kept, true)
    }

    fn with_kept(config: ClientConfig, kept: Kept, durable: bool) -> Self {
        let now = Timestamp::from_nanos(1_000_000_000);
        let start = AgentStart { kept: kept.clone(), durable, seed: 5, unix_millis: 1_000_000 };
        let mut stage = Self {
            agent: Agent::new(config, start, now),
            now,
            dialed: VecDeque::new(),
            gateways: BTreeMap::new(),
            hung_up: Vec::new(),
            events: VecDeque::new(),
            kept: durable.then_some(kept),
            store_works: true,
        };
        stage.exchange();
        stage
    }

    /// One gateway, logged in.
    pub(crate) fn open() -> Self {
        let mut stage = Self::new(config(&["a:1"]));
        stage.login(&roomy());
        stage.events.clear();
        stage
    }

    /// Obeys, keeps, and moves all bytes both ways, until nothing moves any more.
    pub(crate) fn exchange(&mut self) {
        for _ in 0..1000 {
            let mut moved = self.keep();
            while let Some(command) = self.agent.poll_command() {
                moved = true;
                self.obey(command);
            }
            let links: Vec<_> = self.gateways.keys().copied().collect();
            for link in links {
                let Some(gateway) = self.gateways.get_mut(&link) else { continue };
                let unread = gateway.outgoing.len();
                self.agent.handle_bytes(link, &mut gateway.outgoing, self.now);
                // Part of a frame is left where it is.
                moved |= gateway.outgoing.len() < unread;
                moved |= self.agent.poll_transmit(link, &mut gateway.received, self.now);
            }
            self.events.extend(std::iter::from_fn(|| self.agent.poll_event()));
            if !moved {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    fn keep(&mut self) -> bool {
        let Some(kept) = self.kept.as_mut().filter(|_| self.store_works) else { return false };
        let mut through = None;
        while let Some(record) = self.agent.poll_record() {
            if let Record::Accepted(id, _) = &record {
                through = Some(*id);
            }
            kept.apply(record);
        }
        if let Some(through) = through {
            self.agent.handle_stored(through, self.now);
        }
        through.is_some()
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Dial { link, address } => self.dialed.push_back((link, address)),
            Command::HangUp { link } => {
                self.dialed.retain(|&(dialed, _)| dialed != link);
                self.gateways.remove(&link);
                self.hung_up.push(link);
            }
        }
    }

    /// Lets time pass, with every timer on the way going off when it should.
    pub(crate) fn pass(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(due) = self.agent.poll_timeout().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            self.agent.handle_timeout(self.now);
            assert!(self.agent.poll_timeout().is_none_or(|next| next > self.now), "a timer that stands still");
            self.exchange();
        }
        self.now = end;
    }

    /// Opens the stream that was dialed first.
    pub(crate) fn accept(&mut self) -> (LinkId, String) {
        let (link, address) = self.dialed.pop_front().expect("something was dialed");
        self.gateways.insert(link, Gateway::default());
        self.agent.handle_connected(link, self.now);
        self.exchange();
        (link, address)
    }

    /// Accepts and lets the client in; what its `Hello` said.
    pub(crate) fn login(&mut self, welcome: &pb::Welcome) -> (LinkId, pb::Hello) {
        let (link, _) = self.accept();
        let hello = self.hello(link);
        self.control(link, Kind::Welcome, welcome);
        (link, hello)
    }

    pub(crate) fn hello(&mut self, link: LinkId) -> pb::Hello {
        self.gateway(link).expect::<pb::Hello>(Kind::Hello).1
    }

    pub(crate) fn control(&mut self, link: LinkId, kind: Kind, message: &impl prost::Message) {
        self.gateway(link).control(kind, message);
        self.exchange();
    }

    pub(crate) fn gateway(&mut self, link: LinkId) -> &mut Gateway {
        self.gateways.get_mut(&link).expect("a link that is open")
    }

    /// The newest link.
    pub(crate) fn link(&self) -> LinkId {
        *self.gateways.last_key_value().expect("a link that is open").0
    }

    pub(crate) fn reply(&mut self, id: u64, reply: &pb::Reply) {
        let link = self.link();
        self.gateway(link).reply(id, reply);
        self.exchange();
    }

    pub(crate) fn refuse(&mut self, id: u64, reason: Reason, retry_after_ms: u32) {
        let outcome = pb::Outcome::Refused.into();
        self.reply(id, &pb::Reply { outcome, reason: reason.code(), retry_after_ms, ..pb::Reply::default() });
    }

    /// The stream breaks.
    pub(crate) fn cut(&mut self) {
        let link = self.link();
        self.agent.handle_disconnect(link, CloseReason::Disconnected, self.now);
        self.exchange();
    }

    pub(crate) fn submit(&mut self, payload: &'static str) -> u64 {
        self.submit_message(NewMessage::new("message", payload)).unwrap()
    }

    pub(crate) fn submit_many(&mut self, messages: usize) {
        for _ in 0..messages {
            self.submit("x");
        }
    }

    pub(crate) fn submit_message(&mut self, message: NewMessage) -> Result<u64, SubmitError> {
        let id = self.agent.submit(message, self.now);
        self.exchange();
        id.map(|id| id.0)
    }

    /// Every request that has arrived on the newest link; other frames are left out.
    pub(crate) fn arrived(&mut self) -> Vec<Arrived> {
        let link = self.link();
        let frames: Vec<_> = std::iter::from_fn(|| self.gateway(link).next()).collect();
        let requests = frames.into_iter().filter(|frame| frame.kind == Kind::Request);
        requests.map(|frame| Arrived { id: frame.id.0, flags: frame.flags, body: frame.message().unwrap() }).collect()
    }

    /// The ids of [`arrived`](Self::arrived).
    pub(crate) fn arrived_ids(&mut self) -> Vec<u64> {
        self.arrived().into_iter().map(|arrived| arrived.id).collect()
    }

    /// The fates so far, in their order.
    pub(crate) fn fates(&mut self) -> Vec<(u64, Fate)> {
        let mut fates = Vec::new();
        self.events.retain(|event| match event {
            ClientEvent::Ended { id: MessageId(id), fate } => {
                fates.push((*id, fate.clone()));
                false
            }
            _ => true,
        });
        fates
    }

    /// What it waits for: where the next try goes, and when.
    pub(crate) fn waiting(&mut self) -> (String, Duration) {
        let mut last = None;
        self.events.retain(|event| match event {
            ClientEvent::Waiting { address, delay, .. } => {
                last = Some((address.clone(), *delay));
                false
            }
            _ => true,
        });
        last.expect("it waits for its next try")
    }

    pub(crate) fn stopped(&self) -> Option<StopReason> {
        self.agent.stopped().cloned()
    }
}
