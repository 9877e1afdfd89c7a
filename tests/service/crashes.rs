//! An effect and its reply in one transaction: whatever dies, and whenever, the effect is there once if there is a reply.

use std::{sync::Arc, time::Duration};

use dagor::{
    request::Failure,
    service::{
        Handler, HandlerError, Reply, Request, Server,
        redis::{RedisSettings, RedisStore, pipe},
    },
};
use tokio::{
    runtime::Runtime,
    sync::{Semaphore, mpsc},
};

use crate::{
    instance::{Gateway, Instance, Scripted, serve},
    redis::{Durability, Redis},
    windows::numbered,
};

/// Longer than any of this takes; a test that waits for it fails.
const PATIENCE: Duration = Duration::from_secs(20);
const LEDGER: &str = "ledger";

/// Appends each message to a ledger, in one transaction with its reply. It stops before that if the message is `before`,
/// and behind it if it is `after`, until the test opens the gate.
struct Bookkeeper {
    store: RedisStore,
    gate: Arc<Semaphore>,
    stopped: mpsc::Sender<()>,
}

impl Bookkeeper {
    async fn stop(&self) {
        self.stopped.send(()).await.unwrap();
        self.gate.acquire().await.unwrap().forget();
    }
}

impl Handler for Bookkeeper {
    async fn handle(&self, request: Request) -> Result<Reply, HandlerError> {
        let mut effect = pipe();
        match &request.payload[..] {
            b"before" => self.stop().await,
            b"wrong" => drop(effect.incr(LEDGER, 1)),
            _ => (),
        }
        effect.rpush(LEDGER, request.key().to_string());
        if &request.payload[..] == b"half wrong" {
            effect.incr(LEDGER, 1);
        }
        let reply = self.store.commit(&request, &effect, Reply::new("written")).await?;
        if &request.payload[..] == b"twice" {
            return Ok(self.store.commit(&request, &effect, Reply::new("again")).await?);
        }
        if &request.payload[..] == b"after" {
            self.stop().await;
            return Err(HandlerError::failed("what is committed counts"));
        }
        Ok(reply)
    }
}

/// An instance that can be killed, and a gateway that is connected to it.
struct Site {
    _instance: Instance,
    gateway: Gateway,
    gate: Arc<Semaphore>,
    stopped: mpsc::Receiver<()>,
    runtime: Option<Runtime>,
}

impl Site {
    async fn over(redis: &Redis, settings: RedisSettings) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (gate, (stop, stopped), url) = (Arc::new(Semaphore::new(0)), mpsc::channel(16), redis.url());
        let opened = Arc::clone(&gate);
        let instance = runtime.spawn(async move {
            let store = RedisStore::connect(&url, settings).await.unwrap();
            serve(Server::new(Bookkeeper { store: store.clone(), gate: opened, stopped: stop }).store(store)).await
        });
        let instance = instance.await.unwrap();
        let gateway = Gateway::connect(instance.address).await;
        Self { _instance: instance, gateway, gate, stopped, runtime: Some(runtime) }
    }

    fn send(&self, id: u64, payload: &str) -> impl Future<Output = Result<String, Failure>> + use<> {
        let answer = self.gateway.link.dispatch(numbered(&self.gateway, id, 1, payload), ());
        async { answer.await.map(|answer| String::from_utf8(answer.payload.to_vec()).unwrap()) }
    }

    /// Sends the same until it is answered.
    async fn until_answered(&self, id: u64, payload: &str) -> String {
        let answered = async {
            loop {
                match self.send(id, payload).await {
                    Ok(answer) => return answer,
                    Err(Failure::RefusedByService { .. } | Failure::Lost) => tokio::task::yield_now().await,
                    Err(other) => panic!("{other}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.expect("the store came back")
    }

    fn kill(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if self.runtime.is_some() {
            self.kill();
        }
    }
}

fn hasty() -> RedisSettings {
    let (lease, timeout) = (Duration::from_millis(150), Duration::from_millis(100));
    RedisSettings { lease, timeout, ..RedisSettings::default() }
}

/// For a Redis that is only as slow as its disk.
fn patient() -> RedisSettings {
    RedisSettings { lease: PATIENCE, timeout: PATIENCE, ..RedisSettings::default() }
}

fn ledger(redis: &Redis) -> Vec<String> {
    let mut lines = redis.tell_all(&format!("LRANGE {LEDGER} 0 -1"));
    lines.retain(|line| line.starts_with('9'));
    lines
}

fn line(id: u64) -> String {
    format!("9:0000000000000003:{id}:ann")
}

#[tokio::test]
async fn an_instance_that_dies_before_the_commit_leaves_no_effect_and_a_copy_runs() {
    let redis = Redis::start();
    let mut first = Site::over(&redis, hasty()).await;
    let lost = first.send(1, "before");
    first.stopped.recv().await.unwrap();
    first.kill();
    assert_eq!(lost.await, Err(Failure::Lost));
    assert!(ledger(&redis).is_empty());
    let mut second = Site::over(&redis, hasty()).await;
    let copy = second.send(1, "before");
    second.stopped.recv().await.expect("the lease of the dead ends");
    second.gate.add_permits(1);
    assert_eq!(copy.await.unwrap(), "written");
    assert_eq!(ledger(&redis), [line(1)]);
}

#[tokio::test]
async fn an_instance_that_dies_after_the_commit_has_settled_the_message() {
    let redis = Redis::start();
    let mut first = Site::over(&redis, hasty()).await;
    let lost = first.send(1, "after");
    first.stopped.recv().await.unwrap();
    first.kill();
    assert_eq!(lost.await, Err(Failure::Lost));
    let second = Site::over(&redis, hasty()).await;
    assert_eq!(second.send(1, "after").await.unwrap(), "written");
    assert_eq!(second.send(1, "other").await, Err(Failure::Conflict));
    assert_eq!(ledger(&redis), [line(1)]);
}

#[tokio::test]
async fn what_is_committed_is_the_answer_whatever_the_handler_says_then() {
    let redis = Redis::start();
    let mut site = Site::over(&redis, hasty()).await;
    let answer = site.send(1, "after");
    site.stopped.recv().await.unwrap();
    site.gate.add_permits(1);
    assert_eq!(answer.await.unwrap(), "written");
}

#[tokio::test]
async fn a_commit_that_is_made_again_does_nothing_and_gives_the_first_reply() {
    let redis = Redis::start();
    let site = Site::over(&redis, hasty()).await;
    assert_eq!(site.send(1, "twice").await.unwrap(), "written");
    assert_eq!(ledger(&redis), [line(1)]);
}

#[tokio::test]
async fn a_copy_at_another_instance_waits_as_long_as_the_first_lives() {
    let redis = Redis::start();
    let mut first = Site::over(&redis, hasty()).await;
    let second = Site::over(&redis, hasty()).await;
    let held = first.send(1, "before");
    first.stopped.recv().await.unwrap();
    let copy = second.send(1, "before");
    let record = || redis.tell("HGET dagor:window:{user:ann}:0000000000000003:9 m1");
    // Three renewals are a lease.
    for _ in 0..4 {
        let before = record();
        let changed = async {
            while record() == before {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, changed).await.expect("the lease is renewed");
    }
    first.gate.add_permits(1);
    assert_eq!(held.await.unwrap(), "written");
    assert_eq!(copy.await.unwrap(), "written");
    assert_eq!(ledger(&redis), [line(1)]);
}

#[tokio::test]
async fn who_lost_its_hold_on_a_message_commits_nothing() {
    let redis = Redis::start();
    let mut site = Site::over(&redis, RedisSettings::default()).await;
    let held = site.send(1, "before");
    site.stopped.recv().await.unwrap();
    assert_eq!(redis.tell("FLUSHALL"), "+OK");
    site.gate.add_permits(1);
    assert_eq!(held.await, Err(Failure::Lost), "unknown, so that it is sent again");
    assert!(ledger(&redis).is_empty());
    site.gate.add_permits(1);
    assert_eq!(site.send(1, "before").await.unwrap(), "written");
    assert_eq!(ledger(&redis), [line(1)]);
}

#[tokio::test]
async fn while_redis_is_away_messages_are_refused_and_none_runs() {
    let mut redis = Redis::start();
    let site = Site::over(&redis, hasty()).await;
    redis.kill();
    for id in 1..=3 {
        let Err(Failure::RefusedByService { detail, retry_after }) = site.send(id, "x").await else {
            panic!("it cannot be claimed")
        };
        assert_eq!((detail.as_str(), retry_after), ("the idempotency store does not answer", Duration::from_secs(1)));
    }
    redis.start_again();
    assert_eq!(site.until_answered(1, "x").await, "written");
    assert_eq!(ledger(&redis), [line(1)]);
}

#[tokio::test]
async fn a_redis_that_hangs_before_the_claim_runs_nothing() {
    let redis = Redis::start();
    let site = Site::over(&redis, hasty()).await;
    assert_eq!(redis.tell("CLIENT PAUSE 60000 WRITE"), "+OK");
    let refused = tokio::time::timeout(PATIENCE, site.send(1, "x")).await.expect("it has a time-out");
    assert!(matches!(refused, Err(Failure::RefusedByService { .. })), "{refused:?}");
    assert_eq!(redis.tell("CLIENT UNPAUSE"), "+OK");
    assert_eq!(site.until_answered(1, "x").await, "written");
    assert_eq!(ledger(&redis), [line(1)]);
}

#[tokio::test]
async fn a_redis_that_hangs_in_the_commit_leaves_it_unknown_and_a_copy_finds_out() {
    let redis = Redis::start();
    let mut site = Site::over(&redis, hasty()).await;
    let answer = site.send(1, "before");
    site.stopped.recv().await.unwrap();
    assert_eq!(redis.tell("CLIENT PAUSE 60000 WRITE"), "+OK");
    site.gate.add_permits(1);
    let answer = tokio::time::timeout(PATIENCE, answer).await.expect("it has a time-out");
    assert_eq!(answer, Err(Failure::Lost), "nobody knows");
    assert_eq!(redis.tell("CLIENT UNPAUSE"), "+OK");
    site.gate.add_permits(100);
    assert_eq!(site.until_answered(1, "before").await, "written");
    assert_eq!(ledger(&redis), [line(1)], "neither the late commits nor the copy did it twice");
}

#[tokio::test]
async fn what_was_replied_survives_a_crash_of_a_redis_that_writes_before_it_answers() {
    let mut redis = Redis::start_with(Durability::Always);
    let site = Site::over(&redis, patient()).await;
    for id in 1..=20 {
        assert_eq!(site.send(id, "x").await.unwrap(), "written");
    }
    redis.start_again();
    for id in 1..=21 {
        assert_eq!(site.until_answered(id, "x").await, "written");
    }
    assert_eq!(ledger(&redis), (1..=21).map(line).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_effect_that_redis_refuses_is_a_failure_and_what_is_half_done_is_not_done_again() {
    let redis = Redis::start();
    let site = Site::over(&redis, patient()).await;
    site.send(1, "x").await.unwrap();
    for _ in 0..2 {
        let Err(Failure::Failed { detail }) = site.send(2, "wrong").await else { panic!("a list is no number") };
        assert!(detail.starts_with("command 1 of the effect is refused: "), "{detail}");
    }
    assert_eq!(ledger(&redis), [line(1)]);
    for _ in 0..2 {
        let failed = site.send(3, "half wrong").await;
        assert_eq!(failed, Err(Failure::Failed { detail: "the effect is incomplete".into() }));
    }
    assert_eq!(ledger(&redis), [line(1), line(3)]);
}

#[tokio::test]
async fn a_commit_without_a_claim_is_an_error_of_whoever_put_the_server_together() {
    let redis = Redis::start();
    let store = RedisStore::connect(&redis.url(), hasty()).await.unwrap();
    let (stopped, _) = mpsc::channel(1);
    let instance = serve(Server::new(Bookkeeper { store, gate: Arc::new(Semaphore::new(0)), stopped })).await;
    let gateway = Gateway::connect(instance.address).await;
    let failed = gateway.ask("x").await;
    assert_eq!(failed, Err(Failure::Failed { detail: "the server does not use this store".into() }));
    assert!(ledger(&redis).is_empty());
}

#[tokio::test]
async fn an_answer_without_transaction_is_given_even_if_it_cannot_be_stored() {
    let redis = Redis::start();
    let store = RedisStore::connect(&redis.url(), hasty()).await.unwrap();
    let (script, mut log) = Scripted::new();
    let server = Server::new(script.clone()).store(store);
    let memory = server.memory();
    let instance = serve(server).await;
    let gateway = Gateway::<()>::connect(instance.address).await;
    let answer = gateway.link.dispatch(gateway.call("hold"), ());
    log.recv().await.unwrap();
    assert_eq!(redis.tell("CLIENT PAUSE 60000 WRITE"), "+OK");
    script.open(1);
    let answer = tokio::time::timeout(PATIENCE, answer).await.expect("it has a time-out");
    assert_eq!(answer.unwrap().payload, "hold");
    let stats = memory.store_stats();
    assert_eq!((stats.claimed, stats.unstored), (1, 1));
}
