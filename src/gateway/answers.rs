//! What a client is told of its requests. Outcomes come in and frames go out: no socket, no clock.
//!
//! An id counts as answered when its answer is in the outgoing bytes, not before; and what is settled is told once in a
//! turn, behind everything that it covers.

use std::time::Duration;

use bytes::Bytes;

use super::{link::Answer, scratch::Scratch, settlement::Settlement};
use crate::{
    clock::{Timestamp, whole_millis_u32},
    id::{BusinessCode, MessageId},
    pb::client as pb,
    request::Failure,
    wire::{Flags, Kind, Reason, encode, reason::Advice},
};

/// When to try again after a refusal that no controller forecasts, in milliseconds.
pub const RETRY_AFTER_MS: u32 = 1000;

/// A reply that is to be written.
#[derive(Debug)]
pub struct Last {
    /// Of the request.
    pub id: MessageId,
    /// Of the request.
    pub business: BusinessCode,
    /// What is said.
    pub reply: pb::Reply,
    /// When it was there.
    pub now: Timestamp,
}

/// How a request ended.
#[derive(Debug)]
pub struct Ended {
    /// Of the request.
    pub id: MessageId,
    /// Of the request.
    pub business: BusinessCode,
    /// The client wants no reply of the service.
    pub no_reply_wanted: bool,
    /// The service's answer, or what is said instead.
    pub result: Result<Answer, pb::Reply>,
    /// When it was there.
    pub now: Timestamp,
}

/// Takes in how a request ended, and returns its reply if it gets one. Refusals go into one frame if the client reads
/// that.
pub fn finish(
    ended: Ended,
    reads_refusals: bool,
    settlement: Option<&mut Settlement>,
    scratch: &mut Scratch,
) -> Option<Last> {
    let Ended { id, business, no_reply_wanted, result, now } = ended;
    let last = |reply| Some(Last { id, business, reply, now });
    match result {
        Ok(_) if no_reply_wanted => {
            answered(settlement, id);
            None
        }
        Ok(answer) => last(pb::Reply { payload: answer.payload, ..pb::Reply::default() }),
        Err(reply) if reads_refusals && is_plain_refusal(&reply) => {
            put_refusal(id, reply, scratch);
            None
        }
        Err(reply) => last(reply),
    }
}

/// Writes a reply.
pub fn put(last: Last, settlement: Option<&mut Settlement>, scratch: &mut Scratch) {
    put_reply(last.id, last.business, &last.reply, scratch);
    if last.reply.outcome() == pb::Outcome::Replied {
        answered(settlement, last.id);
    }
}

/// Ends what a turn says of requests: the refusals, and the last reply with what is settled by now and a ticket, unless
/// that is empty. Where no reply can tell it, a frame of its own does.
pub fn settle(last: Option<Last>, ticket: Bytes, mut settlement: Option<&mut Settlement>, scratch: &mut Scratch) {
    scratch.put_refusals();
    let Some(mut last) = last else {
        if let Some(settled) = settlement.and_then(Settlement::tell) {
            scratch.control(Kind::Settled, &pb::Settled { settled_through: settled.0 });
        }
        return;
    };
    // The reply is among what it covers: both arrive, or neither does.
    if last.reply.outcome() == pb::Outcome::Replied {
        answered(settlement.as_deref_mut(), last.id);
    }
    last.reply.settled_through = settlement.and_then(Settlement::tell).unwrap_or_default().0;
    last.reply.ticket = ticket;
    put_reply(last.id, last.business, &last.reply, scratch);
}

/// Refuses a request that did not get as far as the request stack.
pub fn refuse(id: MessageId, business: BusinessCode, reason: Reason, reads_refusals: bool, scratch: &mut Scratch) {
    let reply = pb::Reply {
        outcome: pb::Outcome::Refused.into(),
        reason: reason.code(),
        retry_after_ms: retry_after_ms(reason),
        ..pb::Reply::default()
    };
    if reads_refusals {
        put_refusal(id, reply, scratch);
    } else {
        put_reply(id, business, &reply, scratch);
    }
}

/// The one place that turns a failure into a reply.
pub fn failed(failure: Failure) -> pb::Reply {
    let reason = Reason::from(&failure).code();
    let (outcome, detail, retry_after) = match failure {
        Failure::Refused(refusal) => (pb::Outcome::Refused, String::new(), refusal.retry_after),
        Failure::RefusedByService { detail, retry_after } => (pb::Outcome::Refused, detail, retry_after),
        Failure::Misplaced { detail } => (pb::Outcome::Refused, detail, Duration::ZERO),
        Failure::Conflict | Failure::Stale => (pb::Outcome::Refused, String::new(), Duration::ZERO),
        // The handler has answered, even if only that it failed: it would not help to send this again.
        Failure::Failed { detail } => (pb::Outcome::Replied, detail, Duration::ZERO),
        Failure::TimedOut | Failure::Lost => (pb::Outcome::Unknown, String::new(), Duration::ZERO),
    };
    let retry_after_ms = whole_millis_u32(retry_after);
    pb::Reply { outcome: outcome.into(), reason, detail, retry_after_ms, ..pb::Reply::default() }
}

fn answered(settlement: Option<&mut Settlement>, id: MessageId) {
    if let Some(settlement) = settlement {
        settlement.answered(id);
    }
}

/// When to try again after this. Where it is of no use, or is known to the client by another sign, nothing is said.
fn retry_after_ms(reason: Reason) -> u32 {
    match (reason, reason.advice()) {
        // As soon as the message before it is answered.
        (Reason::Behind, _) | (_, Advice::Stop) => 0,
        (_, Advice::BackOff | Advice::Reconnect | Advice::GoElsewhere) => RETRY_AFTER_MS,
    }
}

/// Without words of its own, which a frame of many refusals has no place for.
fn is_plain_refusal(reply: &pb::Reply) -> bool {
    reply.outcome() == pb::Outcome::Refused && reply.detail.is_empty()
}

fn put_refusal(id: MessageId, reply: pb::Reply, scratch: &mut Scratch) {
    let pb::Reply { reason, retry_after_ms, cuts, .. } = reply;
    scratch.refuse(pb::RefusedRequest { message_id: id.0, reason, retry_after_ms }, cuts);
}

fn put_reply(id: MessageId, business: BusinessCode, reply: &pb::Reply, scratch: &mut Scratch) {
    let written = encode(&mut scratch.output, Kind::Reply, Flags::default(), business, id, reply);
    debug_assert!(written.is_ok(), "payloads and details are bounded far below what a frame can carry");
}
