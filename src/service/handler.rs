//! What a logic service implements: one request in, one reply or error out.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;

use super::{
    batch::MAX_PAYLOAD_BYTES,
    mark::Mark,
    push::Gateway,
    window::{CallKey, Fingerprint, WindowKey},
};
use crate::{
    admission::Value,
    clock::{Clock, Timestamp, whole_millis_u32},
    id::{BusinessCode, MessageId, OutboxId},
    pb::service as pb,
};

/// Answers requests. See the [module](super) for an example.
///
/// The future is polled once where its call was read and only moves to a task of its own if it is not ready then, so a
/// handler that answers at once costs no task. A handler that computes for long should do so in
/// [`tokio::task::spawn_blocking`]; until it first waits it holds up the other calls of its gateway's stream.
///
/// How a call ends decides what becomes of its message:
///
/// | the handler | the client gets | a copy of the message |
/// |---|---|---|
/// | returns a [`Reply`] | the reply | gets the same reply |
/// | [`Failed`](HandlerError::Failed), or panics | the failure, which is final | gets the same failure |
/// | [`Misplaced`](HandlerError::Misplaced) | a rejection, which is final | gets the same rejection |
/// | [`Refused`](HandlerError::Refused) | a refusal: certainly not run | runs |
/// | [`Unknown`](HandlerError::Unknown) | the word that it may have run | runs |
///
/// A panic ends nothing but its call.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    ///
    /// # Errors
    ///
    /// Whatever keeps the handler from replying; the variants of [`HandlerError`] say what the client may do next.
    fn handle(&self, request: Request) -> impl Future<Output = Result<Reply, HandlerError>> + Send;
}

impl<H: Handler> Handler for Arc<H> {
    fn handle(&self, request: Request) -> impl Future<Output = Result<Reply, HandlerError>> + Send {
        (**self).handle(request)
    }
}

/// One request of a user.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asks.
    pub user: String,
    /// On which of the user's devices.
    pub device: String,
    /// The client's outbox. (user, outbox, business, message) names the request across tries.
    pub outbox: OutboxId,
    /// The client's number of the message.
    pub message: MessageId,
    /// The policy's code of the business.
    pub business: BusinessCode,
    /// The policy's name of the business.
    pub business_name: String,
    /// The importance, lower is more important.
    pub value: Value,
    /// When it arrived at this instance.
    pub arrived: Timestamp,
    /// When its answer is of no use any more.
    pub deadline: Timestamp,
    /// The client has sent this message before.
    pub resent: bool,
    /// Whether anybody will see the reply.
    pub reply_wanted: bool,
    /// The client's lowest unsettled message of this business; a lower one is settled and must not run again.
    pub oldest_unsettled: MessageId,
    /// The client's bytes.
    pub payload: Bytes,
    pub(crate) key: CallKey,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) clock: Clock,
    pub(crate) gateway: Option<Arc<Gateway>>,
    /// What was committed with its effect; `None` while no store holds the message for this call.
    pub(crate) commit: Option<Arc<OnceLock<Bytes>>>,
}

impl Request {
    /// Reads a call that arrived at this time.
    pub(super) fn read(call: pb::Call, arrived: Timestamp, clock: &Clock, gateway: Option<Arc<Gateway>>) -> Self {
        // A code that no policy can hold is no business.
        let business = BusinessCode(u16::try_from(call.business).unwrap_or(0));
        let (outbox, message) = (OutboxId(call.outbox), MessageId(call.message_id));
        let window = WindowKey { user: call.user.as_str().into(), outbox, business };
        Self {
            user: call.user,
            device: call.device,
            outbox,
            message,
            business,
            business_name: call.business_name,
            value: Value::from_bits(call.value),
            arrived,
            deadline: arrived + Duration::from_millis(call.timeout_ms.into()),
            resent: call.resent,
            reply_wanted: !call.no_reply_wanted,
            oldest_unsettled: MessageId(call.oldest_unsettled_of_business),
            key: CallKey { window, message },
            fingerprint: Fingerprint::of(&call.payload),
            payload: call.payload,
            clock: clock.clone(),
            gateway,
            commit: None,
        }
    }

    /// Names the message across its tries: commit it with the effect, and the effect happens exactly once.
    pub fn key(&self) -> &CallKey {
        &self.key
    }

    /// How long the answer is still of use.
    pub fn time_left(&self) -> Duration {
        self.deadline.since(self.clock.now())
    }

    /// The gateway that the request came through, to push through; `None` if it did not introduce itself.
    pub fn gateway(&self) -> Option<&Arc<Gateway>> {
        self.gateway.as_ref()
    }
}

/// A handler's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// What the client gets.
    pub payload: Bytes,
    /// Where the client stands from now on, if that changes. A copy of the message repeats it.
    pub mark: Option<Mark>,
}

impl Reply {
    /// A reply with this payload.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self { payload: payload.into(), mark: None }
    }

    /// The client stands elsewhere from now on.
    #[must_use]
    pub const fn mark(mut self, mark: Mark) -> Self {
        self.mark = Some(mark);
        self
    }
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandlerError {
    /// The handler ran and failed, for good: every copy gets the same answer, the client settles the message.
    #[error("failed: {detail}")]
    Failed {
        /// What the client is told.
        detail: String,
    },
    /// This user may not claim this business, which counts against the user. Final.
    #[error("misplaced: {detail}")]
    Misplaced {
        /// What the client is told.
        detail: String,
    },
    /// Certainly nothing was done; the client sends the same message again, and it runs.
    #[error("refused: {detail}")]
    Refused {
        /// What the client is told.
        detail: String,
        /// When that makes sense.
        retry_after: Duration,
    },
    /// Nobody knows whether it had an effect, such as after a time-out of a database. The client sends the same message
    /// again, and it runs again: only for a handler that then finds out, because it commits the
    /// [key](Request::key) with its effect.
    #[error("unknown: {detail}")]
    Unknown {
        /// For the log; the client is only told that the outcome is unknown.
        detail: String,
    },
}

impl HandlerError {
    /// A [`HandlerError::Failed`].
    pub fn failed(detail: impl Into<String>) -> Self {
        Self::Failed { detail: detail.into() }
    }

    /// A [`HandlerError::Misplaced`].
    pub fn misplaced(detail: impl Into<String>) -> Self {
        Self::Misplaced { detail: detail.into() }
    }

    /// A [`HandlerError::Refused`].
    pub fn refused(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self::Refused { detail: detail.into(), retry_after }
    }

    /// A [`HandlerError::Unknown`].
    pub fn unknown(detail: impl Into<String>) -> Self {
        Self::Unknown { detail: detail.into() }
    }
}

/// What of an error's detail goes to the client, in bytes.
const MAX_DETAIL_BYTES: usize = 1024;

/// The answer on the wire, which lacks its call's id and the handler's time.
pub(super) fn answer(result: Result<Reply, HandlerError>) -> pb::Answer {
    let error = match result {
        Ok(reply) if reply.payload.len() <= MAX_PAYLOAD_BYTES => {
            let mark = reply.mark.map(|mark| mark.0);
            return pb::Answer { payload: reply.payload, mark, ..pb::Answer::default() };
        }
        Ok(_) => HandlerError::failed("the reply is too large"),
        Err(error) => error,
    };
    let (outcome, mut detail, retry_after) = match error {
        HandlerError::Failed { detail } => (pb::AnswerOutcome::Failed, detail, Duration::ZERO),
        HandlerError::Misplaced { detail } => (pb::AnswerOutcome::Misplaced, detail, Duration::ZERO),
        HandlerError::Refused { detail, retry_after } => (pb::AnswerOutcome::Refused, detail, retry_after),
        HandlerError::Unknown { detail } => (pb::AnswerOutcome::Unknown, detail, Duration::ZERO),
    };
    detail.truncate(detail.floor_char_boundary(MAX_DETAIL_BYTES));
    pb::Answer {
        outcome: outcome.into(),
        detail,
        retry_after_ms: whole_millis_u32(retry_after),
        ..pb::Answer::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_that_no_client_could_receive_is_a_failure() {
        let largest = answer(Ok(Reply::new(vec![0; MAX_PAYLOAD_BYTES])));
        assert_eq!((largest.outcome(), largest.payload.len()), (pb::AnswerOutcome::Replied, MAX_PAYLOAD_BYTES));
        let larger = answer(Ok(Reply::new(vec![0; MAX_PAYLOAD_BYTES + 1])));
        assert_eq!((larger.outcome(), larger.payload.len()), (pb::AnswerOutcome::Failed, 0));
    }

    #[test]
    fn a_long_detail_is_cut_between_characters() {
        let failed = answer(Err(HandlerError::failed("é".repeat(1000))));
        assert_eq!(failed.detail, "é".repeat(MAX_DETAIL_BYTES / 2));
    }
}
