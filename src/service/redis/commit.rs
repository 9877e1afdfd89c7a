//! A handler's effect and its reply in one transaction: both happen, once for each message, or neither.

use std::time::Duration;

use bytes::Bytes;
use redis::{Arg, Pipeline, ScriptInvocation};

use super::{RedisStore, StoreFault};
use crate::{
    clock::expiry_millis,
    service::{
        batch::MAX_PAYLOAD_BYTES,
        handler::{HandlerError, Reply, Request, answer},
        mark::Mark,
        worker::{decode, encode},
    },
};

/// How often a commit is tried while nobody knows whether it happened. Trying again is harmless: what is committed stays.
const TRIES: u32 = 3;
/// The pause after the first of these; it doubles.
const PAUSE: Duration = Duration::from_millis(50);
/// More words than that a Lua script cannot hand to one command.
const MOST_WORDS: usize = 7000;

/// Why an effect was not committed, or nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The call has no claim in this store: it was not given to [`Server::store`](crate::service::Server::store), or the
    /// request is not the one that the handler got. Nothing was done.
    #[error("the server does not use this store")]
    NotClaimed,
    /// Another instance holds the message, because this one did not renew its lease in time, or Redis lost its data.
    /// Nothing was done here.
    #[error("the lease of the message lapsed")]
    Lapsed,
    /// Redis refused the first command, or it has no words or too many. Nothing was done.
    #[error("command {number} of the effect is refused: {reason}")]
    Refused {
        /// Counted from 1.
        number: usize,
        /// What Redis said.
        reason: String,
    },
    /// No client could receive the reply. Nothing was done.
    #[error("the reply is too large")]
    ReplyTooLarge,
    /// Redis refused a command after others were done, and does not undo those. The message is settled as failed, so that
    /// nothing is done twice.
    #[error("the effect is incomplete, command {number} failed: {reason}")]
    Broken {
        /// Counted from 1.
        number: usize,
        /// What Redis said.
        reason: String,
    },
    /// Redis did not answer: the effect and its reply are committed, or neither is.
    #[error("nobody knows whether the effect was committed")]
    Unknown(#[source] StoreFault),
}

impl From<CommitError> for HandlerError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::NotClaimed
            | CommitError::Refused { .. }
            | CommitError::ReplyTooLarge
            | CommitError::Broken { .. } => Self::failed(error.to_string()),
            CommitError::Lapsed | CommitError::Unknown(_) => Self::unknown(error.to_string()),
        }
    }
}

impl RedisStore {
    /// Runs the commands of `effect` and stores `reply`, in one transaction, unless the message has a reply already. The
    /// reply that counts comes back, and is the answer to the call whatever the handler returns from then on.
    ///
    /// The results of the commands are not seen: what decides on the effect is read before, through
    /// [`RedisStore::connection`]. In Redis Cluster every key must contain the [`RedisStore::hash_tag`] of the request's
    /// user.
    ///
    /// # Errors
    ///
    /// See [`CommitError`]; each becomes the right [`HandlerError`] with `?`.
    pub async fn commit(&self, request: &Request, effect: &Pipeline, reply: Reply) -> Result<Reply, CommitError> {
        let commit = request.commit.as_ref().ok_or(CommitError::NotClaimed)?;
        if reply.payload.len() > MAX_PAYLOAD_BYTES {
            return Err(CommitError::ReplyTooLarge);
        }
        let replied = encode(&answer(Ok(reply)));
        let broken = encode(&answer(Err(HandlerError::failed("the effect is incomplete"))));
        let mut script = self.0.commit.key(self.window(&request.key.window));
        script.arg(request.key.message.0).arg(&self.0.owner).arg(&replied[..]).arg(&broken[..]);
        script.arg(expiry_millis(self.0.settings.keep));
        write(effect, &mut script)?;
        let counts = match self.ask_until_known(request, &script).await? {
            Outcome::Done => replied,
            Outcome::Settled(earlier) => earlier,
            Outcome::Broken { number, reason } => {
                commit.get_or_init(|| broken);
                return Err(CommitError::Broken { number, reason });
            }
        };
        let answer = decode(commit.get_or_init(|| counts));
        Ok(Reply { payload: answer.payload, mark: answer.mark.map(Mark) })
    }

    async fn ask_until_known(&self, request: &Request, script: &ScriptInvocation<'_>) -> Result<Outcome, CommitError> {
        let (mut pause, mut tries_left) = (PAUSE, TRIES);
        loop {
            let fault = match self.ask(script).await {
                Ok((word, rest)) => return outcome(&word, rest),
                Err(fault) => fault,
            };
            tries_left -= 1;
            if tries_left == 0 || request.time_left().is_zero() {
                return Err(CommitError::Unknown(fault));
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
}

/// Appends each command to the script's arguments: how many words, and the words.
fn write(effect: &Pipeline, script: &mut ScriptInvocation<'_>) -> Result<(), CommitError> {
    for (number, command) in (1..).zip(effect.cmd_iter()) {
        let words = command.args_iter().len();
        if !(1..=MOST_WORDS).contains(&words) {
            let reason = format!("{words} words are none or too many");
            return Err(CommitError::Refused { number, reason });
        }
        script.arg(words);
        for word in command.args_iter() {
            match word {
                Arg::Simple(word) => script.arg(word),
                // A cursor, which starts at 0.
                _ => script.arg(0),
            };
        }
    }
    Ok(())
}

/// What became of an effect, if anything.
enum Outcome {
    Done,
    /// The message had this answer before.
    Settled(Bytes),
    Broken {
        number: usize,
        reason: String,
    },
}

fn outcome(word: &str, rest: Vec<Vec<u8>>) -> Result<Outcome, CommitError> {
    let text =
        |index: usize| rest.get(index).map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default();
    let (number, reason) = (text(0).parse().unwrap_or(0), text(1));
    match word {
        "done" => Ok(Outcome::Done),
        "settled" => Ok(Outcome::Settled(rest.into_iter().next().unwrap_or_default().into())),
        "broken" => Ok(Outcome::Broken { number, reason }),
        "refused" => Err(CommitError::Refused { number, reason }),
        "lapsed" => Err(CommitError::Lapsed),
        _ => Err(CommitError::Unknown(StoreFault::Unexpected(word.to_owned()))),
    }
}
