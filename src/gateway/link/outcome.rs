//! What each of a service's outcomes means to the client: the one place that maps them.

use std::time::Duration;

use super::pending::Answer;
use crate::{
    admission::{Cause, Cut, Refusal, Value},
    clock::Timestamp,
    pb::service as pb,
    request::Failure,
};

/// What of a service's words goes to the client, in bytes. The SDK keeps to it; other services may not.
const MAX_DETAIL_BYTES: usize = 1024;

/// Reads an answer to a call of this value, which came just now.
///
/// # Errors
///
/// What the service said instead of a reply.
pub fn outcome(answer: pb::Answer, value: Value, received: Timestamp) -> Result<Answer, Failure> {
    let pb::Answer { mut detail, handler_us, payload, .. } = answer;
    detail.truncate(detail.floor_char_boundary(MAX_DETAIL_BYTES));
    let retry_after = Duration::from_millis(answer.retry_after_ms.into());
    match pb::AnswerOutcome::try_from(answer.outcome) {
        Ok(pb::AnswerOutcome::Replied) => Ok(Answer { payload, handler_us, received }),
        Ok(pb::AnswerOutcome::Refused) => Err(Failure::RefusedByService { detail, retry_after }),
        Ok(pb::AnswerOutcome::Failed) => Err(Failure::Failed { detail }),
        Ok(pb::AnswerOutcome::Misplaced) => Err(Failure::Misplaced { detail }),
        Ok(pb::AnswerOutcome::Expired) => {
            Err(Refusal { cause: Cause::Expired, value, cut: Cut::OPEN, retry_after }.into())
        }
        Ok(pb::AnswerOutcome::Stale) => Err(Failure::Stale),
        Ok(pb::AnswerOutcome::Conflict) => Err(Failure::Conflict),
        Ok(pb::AnswerOutcome::Unknown) => Err(Failure::Lost),
        // A service that is newer than this gateway: it may have run.
        Err(_) => Err(Failure::Failed { detail: format!("unknown outcome {}", answer.outcome) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(outcome_code: i32) -> Result<Answer, Failure> {
        let answer =
            pb::Answer { outcome: outcome_code, detail: "why".into(), retry_after_ms: 250, ..pb::Answer::default() };
        outcome(answer, Value::from_bits(9), Timestamp::ZERO)
    }

    #[test]
    fn a_long_detail_is_cut_between_characters() {
        let failed = pb::AnswerOutcome::Failed.into();
        let answer = pb::Answer { outcome: failed, detail: "é".repeat(1000), ..pb::Answer::default() };
        let cut = Failure::Failed { detail: "é".repeat(MAX_DETAIL_BYTES / 2) };
        assert_eq!(outcome(answer, Value::from_bits(9), Timestamp::ZERO), Err(cut));
    }

    #[test]
    fn every_outcome_says_whether_the_call_may_have_run() {
        let detail = || "why".to_owned();
        let retry_after = Duration::from_millis(250);
        assert!(read(0).is_ok());
        assert_eq!(read(1), Err(Failure::RefusedByService { detail: detail(), retry_after }));
        assert_eq!(read(2), Err(Failure::Failed { detail: detail() }));
        assert_eq!(read(3), Err(Failure::Misplaced { detail: detail() }));
        let expired = Refusal { cause: Cause::Expired, value: Value::from_bits(9), cut: Cut::OPEN, retry_after };
        assert_eq!(read(4), Err(Failure::Refused(expired)));
        assert_eq!(read(5), Err(Failure::Stale));
        assert_eq!(read(6), Err(Failure::Conflict));
        assert_eq!(read(7), Err(Failure::Lost));
        assert_eq!(read(99), Err(Failure::Failed { detail: "unknown outcome 99".into() }));
    }
}
