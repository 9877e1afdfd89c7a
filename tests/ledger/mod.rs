//! What clients were told of their messages, and how often each stands in the ledger of the demo service.

use std::{collections::HashMap, time::Duration};

use dagor::client::{Fate, Receipt};
use tokio::time::Instant;

use crate::redis::Redis;

/// Of ten messages, which business each has.
pub(crate) const MIX: [&str; 10] =
    ["payment", "message", "message", "moments", "message", "message", "moments", "message", "moments", "moments"];

/// The name of a client's user.
pub(crate) fn user(number: usize) -> String {
    format!("u{number:05}")
}

/// What a client was told of a message at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It was run.
    Replied,
    /// Given up; it may have run.
    Unknown,
    /// Given up; it certainly was not run.
    NotRun,
}

/// A message that has ended.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) user: usize,
    pub(crate) id: u64,
    pub(crate) business: &'static str,
    pub(crate) ending: Ending,
    pub(crate) took: Duration,
}

/// Waits for the end of a message with this text.
pub(crate) async fn fate(user: usize, business: &'static str, text: String, receipt: Receipt) -> Message {
    let (id, begun) = (receipt.id(), Instant::now());
    let ending = match receipt.await {
        Fate::Replied(reply) => {
            assert_eq!(reply.payload, text, "the reply of another message");
            Ending::Replied
        }
        Fate::GivenUp { may_have_run: true, .. } => Ending::Unknown,
        Fate::GivenUp { may_have_run: false, .. } => Ending::NotRun,
        other @ (Fate::Settled | Fate::Failed(_) | Fate::Rejected { .. } | Fate::Kept) => {
            panic!("message {id:?} of {user}: {other}")
        }
    };
    Message { user, id: id.0, business, ending, took: begun.elapsed() }
}

/// How often each message stands in the ledger.
pub(crate) struct Ledger(HashMap<(usize, u64), usize>);

impl Ledger {
    /// Reads the ledgers of all users.
    pub(crate) fn read(redis: &Redis, users: usize) -> Self {
        let mut times = HashMap::new();
        for number in 0..users {
            let name = user(number);
            for line in redis.tell_all(&format!("LRANGE dagor:ledger:{{user:{name}}} 0 -1")) {
                // BUSINESS:OUTBOX:MESSAGE:USER; the other lines say how long things are.
                let mut parts = line.rsplit(':');
                if parts.next() == Some(name.as_str()) {
                    let id = parts.next().and_then(|id| id.parse().ok()).expect("a message id");
                    *times.entry((number, id)).or_default() += 1;
                }
            }
        }
        Self(times)
    }

    /// How many messages it has.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn times(&self, message: &Message) -> usize {
        self.0.get(&(message.user, message.id)).copied().unwrap_or(0)
    }

    /// What clients were told is what was done, and nothing was done twice.
    pub(crate) fn check<'a>(&self, messages: impl IntoIterator<Item = &'a Message>) {
        for message in messages {
            let times = self.times(message);
            match message.ending {
                Ending::Replied => assert_eq!(times, 1, "{message:?} was replied to"),
                Ending::NotRun => assert_eq!(times, 0, "{message:?} was said not to have run"),
                Ending::Unknown => assert!(times <= 1, "{message:?} was run {times} times"),
            }
        }
        assert_eq!(self.0.values().filter(|&&times| times > 1).count(), 0, "nothing is done twice");
    }
}
