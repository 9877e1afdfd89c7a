//! A worker: runs one call after the other, each claimed before its handler starts and settled before it is answered.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use prost::Message as _;

use super::{
    desk::{Arrival, Desk, Job, Outbox, Seat, expired, leaving, refused},
    handler::{self, Handler, HandlerError, Request},
    memory::{Ends, ends},
    store::{Ended, IdempotencyStore, Standing, Try},
    window::CallKey,
};
use crate::pb::service as pb;

/// A lease is renewed this many times in its length, so that one renewal may be lost.
const RENEWALS_PER_LEASE: u32 = 3;
/// How often an answer is offered to the store before it is given to the client without.
const SETTLE_TRIES: u32 = 3;
/// The pause after the first of these; it doubles.
const SETTLE_PAUSE: Duration = Duration::from_millis(50);
/// How soon a call looks again at a message that another instance holds; it doubles up to the second.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const NEXT_LOOK_AT_MOST: Duration = Duration::from_millis(200);
/// The hint when the store does not answer: time for it to come back or be replaced, not so long that nobody notices.
const RETRY_WITHOUT_STORE: Duration = Duration::from_secs(1);
/// The hint when a window in the store is full: its client is about to settle something.
const RETRY_WHEN_FULL: Duration = Duration::from_secs(1);

/// A call at work and where its answer goes.
pub(super) struct Running {
    /// `None` if the call waits elsewhere now.
    pub(super) answer: BoxFuture<'static, Option<pb::Answer>>,
    outbox: Arc<Outbox>,
}

impl Running {
    /// A call that has a worker.
    pub(super) fn start<H: Handler>(handler: &Arc<H>, desk: &Arc<Desk>, job: Job) -> Self {
        let outbox = Arc::clone(&job.outbox);
        let (handler, desk) = (Arc::clone(handler), Arc::clone(desk));
        let answer = match desk.store.clone() {
            None => async move { Some(remembered(&*handler, &desk, job).await) }.boxed(),
            Some(store) => stored(handler, desk, store, job).boxed(),
        };
        Self { answer, outbox }
    }
}

/// Runs a worker until nothing waits.
pub(super) async fn work<H: Handler>(handler: Arc<H>, desk: Arc<Desk>, mut seat: Seat, first: Running) {
    let mut next = Some(first);
    while let Some(Running { answer, outbox }) = next {
        if let Some(answer) = answer.await {
            outbox.send(answer);
        }
        next = seat.next().map(|job| Running::start(&handler, &desk, job));
        // Handlers that never wait must not keep this thread from everything else.
        tokio::task::coop::consume_budget().await;
    }
}

/// Runs a call whose message only this instance remembers.
async fn remembered<H: Handler>(handler: &H, desk: &Desk, job: Job) -> pb::Answer {
    let key = job.request.key.clone();
    let mut answer = run(handler, job.request).await;
    desk.memory.settle(desk.clock.now(), &key, &answer);
    answer.id = job.id;
    answer
}

/// Runs a call whose message all instances remember, or finds out why it must not run.
async fn stored<H: Handler>(
    handler: Arc<H>,
    desk: Arc<Desk>,
    store: Arc<dyn IdempotencyStore>,
    mut job: Job,
) -> Option<pb::Answer> {
    let claimed = tries(&job.request);
    let standing = store.claim(&claimed).await;
    desk.memory.note(|stats| stats.count(&standing));
    let answer = match known(standing) {
        Word::Run => {
            let commit = Arc::new(OnceLock::new());
            job.request.commit = Some(Arc::clone(&commit));
            let ran = renewing(&*store, &claimed.key, run(&*handler, job.request.clone())).await;
            settle(&desk, &*store, &claimed.key, commit.get(), ran).await
        }
        Word::Held => match Arc::clone(&desk.aside).try_acquire_owned() {
            Ok(place) => {
                tokio::spawn(async move {
                    stand_aside(handler, desk, store, job).await;
                    drop(place);
                });
                return None;
            }
            Err(_) => refused("too many calls wait for other instances", RETRY_WITHOUT_STORE),
        },
        Word::Answered(answer) => answer,
    };
    Some(desk.end(&job, answer))
}

fn tries(request: &Request) -> Try {
    Try { key: request.key.clone(), oldest_unsettled: request.oldest_unsettled, payload: request.fingerprint }
}

/// What a store's word on a message means for a call.
enum Word {
    Run,
    Held,
    Answered(pb::Answer),
}

fn known(standing: Result<Standing, super::store::StoreError>) -> Word {
    let outcome = match standing {
        Ok(Standing::Free) => return Word::Run,
        Ok(Standing::Held) => return Word::Held,
        Ok(Standing::Settled(answer)) => return Word::Answered(decode(&answer)),
        Ok(Standing::Full) => {
            return Word::Answered(refused("too many replies are not settled", RETRY_WHEN_FULL));
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a call is refused");
            return Word::Answered(refused("the idempotency store does not answer", RETRY_WITHOUT_STORE));
        }
        Ok(Standing::Stale) => pb::AnswerOutcome::Stale,
        Ok(Standing::Conflict) => pb::AnswerOutcome::Conflict,
    };
    Word::Answered(pb::Answer { outcome: outcome.into(), ..pb::Answer::default() })
}

/// Waits, without a worker, until another instance has answered or given up this call's message.
async fn stand_aside<H: Handler>(handler: Arc<H>, desk: Arc<Desk>, store: Arc<dyn IdempotencyStore>, job: Job) {
    let (outbox, message) = (Arc::clone(&job.outbox), tries(&job.request));
    let mut pause = FIRST_LOOK;
    let answer = loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(NEXT_LOOK_AT_MOST);
        if desk.clock.now() >= job.request.deadline {
            break expired();
        }
        if desk.is_leaving() {
            break leaving();
        }
        match known(store.look(&message).await) {
            Word::Held => (),
            Word::Answered(answer) => break answer,
            Word::Run => {
                match desk.place(job) {
                    Arrival::Runs(seat, job) => {
                        let running = Running::start(&handler, &desk, job);
                        tokio::spawn(work(handler, desk, seat, running));
                    }
                    Arrival::Waits => (),
                    Arrival::Answered(answer) => outbox.send(answer),
                }
                return;
            }
        }
    };
    outbox.send(desk.end(&job, answer));
}

/// Runs the handler; the answer lacks its call's id.
async fn run<H: Handler>(handler: &H, request: Request) -> pb::Answer {
    let clock = request.clock.clone();
    let begun = clock.now();
    // The handler's own code runs inside, also what comes before its first wait.
    let handled = AssertUnwindSafe(async { handler.handle(request).await }).catch_unwind().await;
    let mut answer = handled.map_or_else(|_| panicked(), handler::answer);
    if answer.outcome() == pb::AnswerOutcome::Unknown {
        tracing::warn!(detail = answer.detail, "the outcome of a call is unknown");
    }
    answer.handler_us = u32::try_from(clock.now().since(begun).as_micros()).unwrap_or(u32::MAX);
    answer
}

/// The panic's text stays in this process's log, where the panic hook has put it.
fn panicked() -> pb::Answer {
    handler::answer(Err(HandlerError::failed("the handler panicked")))
}

/// Keeps the message for as long as the work on it takes.
async fn renewing<T>(store: &dyn IdempotencyStore, key: &CallKey, work: impl Future<Output = T>) -> T {
    let renewals = async {
        loop {
            tokio::time::sleep(store.lease() / RENEWALS_PER_LEASE).await;
            if let Err(error) = store.renew(key).await {
                tracing::warn!(error = &error as &dyn std::error::Error, %key, "a lease is not renewed");
            }
        }
    };
    tokio::select! {
        biased;
        done = work => done,
        never = renewals => never,
    }
}

/// Brings how a call ended into the store; returns what the client is told.
async fn settle(
    desk: &Desk,
    store: &dyn IdempotencyStore,
    key: &CallKey,
    committed: Option<&Bytes>,
    answer: pb::Answer,
) -> pb::Answer {
    if let Some(committed) = committed {
        return pb::Answer { handler_us: answer.handler_us, ..decode(committed) };
    }
    let ended = match ends(&answer) {
        Ends::ForGood => offer(desk, store, key, &answer).await,
        Ends::Not => store.release(key).await.unwrap_or_else(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, %key, "held until its lease ends");
            Ended::Done
        }),
    };
    match (ended, ends(&answer)) {
        (Ended::Done, _) | (Ended::Lapsed, Ends::Not) => answer,
        (Ended::Settled(earlier), _) => decode(&earlier),
        // Another instance runs it, or ran it: its answer counts.
        (Ended::Lapsed, Ends::ForGood) => handler::answer(Err(HandlerError::unknown("the lease lapsed"))),
    }
}

/// Stores an answer. If that fails, the client gets it all the same: it settles the message then, and sends no copy that
/// would run.
async fn offer(desk: &Desk, store: &dyn IdempotencyStore, key: &CallKey, answer: &pb::Answer) -> Ended {
    let encoded = encode(answer);
    let mut pause = SETTLE_PAUSE;
    for tries_left in (0..SETTLE_TRIES).rev() {
        match store.settle(key, encoded.clone()).await {
            Ok(ended) => return ended,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, %key, tries_left, "an answer is not stored");
            }
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    desk.memory.note(|stats| stats.unstored += 1);
    Ended::Done
}

/// An answer as stores keep it: without what belongs to one call.
pub(super) fn encode(answer: &pb::Answer) -> Bytes {
    pb::Answer { id: 0, handler_us: 0, ..answer.clone() }.encode_to_vec().into()
}

/// An answer as a store gave it back.
pub(super) fn decode(answer: &Bytes) -> pb::Answer {
    pb::Answer::decode(answer.clone()).unwrap_or_else(|error| {
        tracing::error!(%error, "the idempotency store holds what is no answer");
        handler::answer(Err(HandlerError::failed("the stored answer cannot be read")))
    })
}
