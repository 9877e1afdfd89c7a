//! Reads every frame that a gateway writes on one connection, in the order of writing, and holds what it says of settled
//! messages against what their service has said.

use std::collections::BTreeSet;

use bytes::BytesMut;
use dagor::{
    gateway::link::Answer,
    pb::client as pb,
    request::Failure,
    wire::{Kind, decode},
};

use crate::trace::Trace;

/// What was said on one connection.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    /// What the client has named, at the most.
    oldest: u64,
    /// The service has answered, whether or not it is written.
    answered: BTreeSet<u64>,
    /// Of those the ones whose reply is written, or not wanted.
    written: BTreeSet<u64>,
}

impl Audit {
    /// The client names its oldest unsettled id.
    pub(crate) fn raise(&mut self, oldest: u64) {
        if oldest > self.oldest {
            self.oldest = oldest;
            self.answered = self.answered.split_off(&oldest);
            self.written = self.written.split_off(&oldest);
        }
    }

    /// A try has ended in this way.
    pub(crate) fn ended(&mut self, id: u64, no_reply_wanted: bool, result: &Result<Answer, Failure>) {
        match result {
            Ok(_) | Err(Failure::Failed { .. }) => {
                self.answered.insert(id);
                if no_reply_wanted && result.is_ok() {
                    self.written.insert(id);
                }
            }
            Err(_) => {}
        }
    }

    /// These bytes go out now.
    pub(crate) fn written(&mut self, bytes: &[u8], trace: &mut Trace) {
        let mut bytes = BytesMut::from(bytes);
        while let Ok(Some(frame)) = decode(&mut bytes, usize::MAX) {
            let (kind, id) = (frame.kind, frame.id.0);
            let through = match kind {
                Kind::Reply => {
                    let Ok(reply) = frame.message::<pb::Reply>() else { continue };
                    if reply.outcome() == pb::Outcome::Replied {
                        if !self.answered.contains(&id) && id >= self.oldest {
                            trace.violated(format!("a reply to {id}, which its service has not given here"));
                        }
                        self.written.insert(id);
                    }
                    reply.settled_through
                }
                Kind::Settled => frame.message::<pb::Settled>().map_or(0, |settled| settled.settled_through),
                Kind::Goaway => frame.message::<pb::Goaway>().map_or(0, |goaway| goaway.settled_through),
                _ => 0,
            };
            if through > 0 {
                self.check(through, kind, trace);
            }
        }
        if !bytes.is_empty() {
            trace.violated("a gateway wrote a part of a frame".into());
        }
    }

    fn check(&self, through: u64, kind: Kind, trace: &mut Trace) {
        if self.oldest == 0 || through > self.oldest + 1_024 {
            return trace.violated(format!("{kind:?} settles through {through}, and the oldest is {}", self.oldest));
        }
        if let Some(id) = (self.oldest..=through).find(|id| !self.written.contains(id)) {
            let oldest = self.oldest;
            trace.violated(format!("{kind:?} settles {oldest} through {through}, and {id} has no answer written here"));
        }
    }
}
