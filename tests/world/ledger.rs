//! Every message from the app's hand to its end, as somebody sees it who sees everything: what was promised is checked
//! when something happens to a message, not later.

use std::collections::BTreeMap;

use dagor::{
    client::{Fate, GiveUp},
    wire::Reason,
};

use crate::trace::{Count, Trace};

/// The business whose messages keep the order of the outbox.
pub(crate) const IN_ORDER: u16 = 4;

/// One message.
#[derive(Debug)]
pub(crate) struct Message {
    client: usize,
    outbox: u64,
    id: u64,
    business: u16,
    wants_reply: bool,
    /// The app was told that it is in the outbox.
    accepted: bool,
    /// The app was told its end, in this run of the client.
    told: Option<u32>,
    /// Its end is on its way to the store, or there.
    settling: bool,
    /// It went with a client that had no store.
    lost: bool,
    effects: u32,
    /// Which runs of which instances had an effect, where nothing outlives them.
    effects_in: Vec<(usize, u32)>,
    /// A handler answered that it failed.
    failed: bool,
    /// Somebody was told that it certainly was not run.
    not_run: bool,
}

/// All messages of a world; their places are in their payloads.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    messages: Vec<Message>,
    places: BTreeMap<(u64, u64), usize>,
}

/// What a reply has besides the place, so that queues get full.
const REPLY_PADDING: usize = 40;

/// The payload of the message with this place.
pub(crate) fn payload(place: usize, padding: usize) -> Vec<u8> {
    let mut payload = (place as u64).to_be_bytes().to_vec();
    payload.resize(8 + padding, 0);
    payload
}

/// The place in a payload.
pub(crate) fn place_in(payload: &[u8]) -> usize {
    payload.first_chunk::<8>().map_or(usize::MAX, |bytes| u64::from_be_bytes(*bytes) as usize)
}

/// What a service replies to this payload.
pub(crate) fn reply_to(payload: &[u8]) -> Vec<u8> {
    [&payload[..8], &[b'.'; REPLY_PADDING]].concat()
}

impl Ledger {
    /// The place of the next message.
    pub(crate) fn next(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn submitted(&mut self, client: usize, outbox: u64, id: u64, business: u16, wants_reply: bool) {
        self.places.insert((outbox, id), self.messages.len());
        self.messages.push(Message {
            client,
            outbox,
            id,
            business,
            wants_reply,
            accepted: false,
            told: None,
            settling: false,
            lost: false,
            effects: 0,
            effects_in: Vec::new(),
            failed: false,
            not_run: false,
        });
    }

    fn at(&mut self, outbox: u64, id: u64) -> Option<&mut Message> {
        self.places.get(&(outbox, id)).map(|&place| &mut self.messages[place])
    }

    pub(crate) fn accepted(&mut self, outbox: u64, id: u64) {
        if let Some(message) = self.at(outbox, id) {
            message.accepted = true;
        }
    }

    pub(crate) fn settling(&mut self, outbox: u64, id: u64) {
        if let Some(message) = self.at(outbox, id) {
            message.settling = true;
        }
    }

    /// A handler's effect took place. `lives` is the run of the instance that remembers it, `None` if a store does.
    pub(crate) fn effect(&mut self, payload: &[u8], key: (u64, u64), lives: Option<(usize, u32)>, trace: &mut Trace) {
        trace.count(Count::Effects);
        let place = place_in(payload);
        let Some(message) = self.messages.get_mut(place) else {
            return trace.violated(format!("an effect of a message that nobody sent: {place}"));
        };
        if (message.outbox, message.id) != key {
            trace.violated(format!(
                "message {place} was accepted as {}/{} and has an effect as {}/{}",
                message.outbox, message.id, key.0, key.1
            ));
        }
        if message.not_run {
            trace.violated(format!("message {place} has an effect after it was told to be certainly not run"));
        }
        let twice = match lives {
            None => message.effects > 0,
            Some(run) => message.effects_in.contains(&run),
        };
        if twice {
            trace.violated(format!("message {place} ({}/{}) has its effect twice", key.0, key.1));
        }
        message.effects_in.extend(lives);
        message.effects += 1;
    }

    /// An effect took place of a business whose messages keep their order. What its client holds before it has had its own.
    pub(crate) fn in_order(&self, (outbox, id): (u64, u64), held: impl Iterator<Item = u64>, trace: &mut Trace) {
        for before in held.take_while(|&held| held < id) {
            let Some(&place) = self.places.get(&(outbox, before)) else { continue };
            let message = &self.messages[place];
            if message.business == IN_ORDER && message.effects == 0 && !message.failed {
                trace.violated(format!("message {outbox}/{id} has its effect before message {before}"));
            }
        }
    }

    /// A handler ran and failed, without an effect.
    pub(crate) fn failed(&mut self, payload: &[u8]) {
        if let Some(message) = self.messages.get_mut(place_in(payload)) {
            message.failed = true;
        }
    }

    /// An app is told how a message ended, in this run of its client.
    pub(crate) fn ended(&mut self, outbox: u64, id: u64, run: u32, fate: &Fate, trace: &mut Trace) {
        let Some(message) = self.places.get(&(outbox, id)).map(|&place| &mut self.messages[place]) else {
            return trace.violated(format!("message {outbox}/{id} ended and was never handed over"));
        };
        if message.told == Some(run) {
            trace.violated(format!("message {outbox}/{id} ended twice: {fate}"));
        }
        let known = message.told.is_some() || message.settling && message.told.is_none() && !message.accepted;
        if message.told.is_some() {
            trace.count(Count::ToldAgain);
        }
        let broken = match fate {
            Fate::Replied(reply) => {
                trace.count(Count::Replied);
                let place = self.places[&(outbox, id)] as u64;
                if reply.payload[..] != reply_to(&place.to_be_bytes()) {
                    Some("replied with another message's reply")
                } else if message.effects == 0 {
                    Some("replied and has no effect")
                } else {
                    None
                }
            }
            Fate::Settled => {
                trace.count(Count::Settled);
                let done = message.effects > 0 || message.failed;
                (!done || message.wants_reply).then_some("settled and not done, or its reply is wanted")
            }
            Fate::Failed(_) => {
                trace.count(Count::Failed);
                (!message.failed).then_some("told to have failed, and no handler has")
            }
            Fate::Rejected { verdict, may_have_run } => {
                trace.count(Count::Rejected);
                message.not_run |= !may_have_run;
                match verdict.reason() {
                    Some(Reason::Stale) => {
                        trace.count(Count::Stale);
                        // Only a crash that lost the record of its end can bring a settled message back.
                        (!known && !message.settling).then_some("stale, and never ended before")
                    }
                    Some(Reason::Conflict) => {
                        trace.count(Count::Conflict);
                        Some("a conflict: its id was used for another")
                    }
                    _ => Some("rejected without a cause"),
                }
            }
            Fate::GivenUp { why, may_have_run } => {
                trace.count(match why {
                    GiveUp::Expired => Count::Expired,
                    GiveUp::Cancelled => Count::Cancelled,
                    GiveUp::Closed => Count::Closed,
                });
                message.not_run |= !may_have_run;
                None
            }
            Fate::Kept => Some("kept, and the client was not closed"),
        };
        message.told = Some(run);
        if let Some(broken) = broken {
            trace.violated(format!("message {outbox}/{id}: {broken} ({fate})"));
        }
        if message.not_run && message.effects > 0 {
            trace.violated(format!("message {outbox}/{id} has an effect and is told to be certainly not run"));
        }
    }

    /// A client is gone; `kept` says which messages its store still has, `None` without one.
    pub(crate) fn died(&mut self, outbox: u64, kept: Option<&dyn Fn(u64) -> bool>, trace: &mut Trace) {
        for (&(_, id), &place) in self.places.range((outbox, 0)..=(outbox, u64::MAX)) {
            let message = &mut self.messages[place];
            let open = message.told.is_none() && !message.lost;
            match kept {
                Some(kept) if open && !kept(id) => {
                    if message.accepted && !message.settling {
                        trace.violated(format!("message {outbox}/{id} was accepted, and the store has lost it"));
                    }
                    // Nobody was told that it is in the outbox, or its end came with the crash.
                    message.lost = true;
                }
                None if open => {
                    message.lost = true;
                    trace.count(Count::LostWithApp);
                }
                Some(_) | None => {}
            }
        }
    }

    /// The first message that has not ended.
    pub(crate) fn open(&self) -> Option<String> {
        let open = self.messages.iter().find(|message| message.accepted && message.told.is_none() && !message.lost);
        open.map(|message| format!("{message:?} of client {}", message.client))
    }
}
