//! What becomes of the tries of one message, with windows in the instance and with windows in Redis: the same.

use std::time::Duration;

use bytes::Bytes;
use dagor::{
    gateway::link::OutgoingCall,
    id::MessageId,
    request::Failure,
    service::{
        Server, WindowSettings,
        redis::{RedisSettings, RedisStore},
    },
};
use tokio::sync::mpsc;

use crate::{
    instance::{Gateway, Instance, Scripted, serve},
    redis::Redis,
};

/// The places of an instance: as many calls run, and as many wait.
const PLACES: u64 = 8;

/// An instance, and a gateway that is connected to it.
struct Site {
    script: Scripted,
    log: mpsc::Receiver<String>,
    instance: Instance,
    gateway: Gateway,
    /// Ends with the site.
    _redis: Option<Redis>,
}

impl Site {
    async fn in_memory() -> Self {
        let (script, log) = Scripted::new();
        let instance = serve(small(script.clone()).windows(WindowSettings::default())).await;
        let gateway = Gateway::connect(instance.address).await;
        Self { script, log, instance, gateway, _redis: None }
    }

    async fn in_redis() -> Self {
        let redis = Redis::start();
        let store = RedisStore::connect(&redis.url(), RedisSettings::default()).await.unwrap();
        let (script, log) = Scripted::new();
        let instance = serve(small(script.clone()).store(store)).await;
        let gateway = Gateway::connect(instance.address).await;
        Self { script, log, instance, gateway, _redis: Some(redis) }
    }

    fn call<'a>(&self, id: u64, oldest: u64, payload: &'a str) -> OutgoingCall<'a> {
        numbered(&self.gateway, id, oldest, payload)
    }

    async fn ask(&self, id: u64, oldest: u64, payload: &str) -> Result<Bytes, Failure> {
        self.gateway.link.dispatch(self.call(id, oldest, payload), ()).await.map(|answer| answer.payload)
    }

    /// What the handler was given so far.
    fn ran(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.log.try_recv().ok()).collect()
    }
}

fn small(script: Scripted) -> Server<Scripted> {
    Server::new(script).workers(PLACES as usize).queue(PLACES as usize)
}

pub(crate) fn numbered<'a>(gateway: &Gateway, id: u64, oldest: u64, payload: &'a str) -> OutgoingCall<'a> {
    OutgoingCall { message: MessageId(id), oldest_unsettled: MessageId(oldest), ..gateway.call(payload) }
}

/// Runs each of these tests with windows in memory and in Redis.
macro_rules! both {
    ($($name:ident)*) => {
        mod in_memory {
            $(#[tokio::test] async fn $name() { super::$name(super::Site::in_memory().await).await })*
        }
        mod in_redis {
            $(#[tokio::test] async fn $name() { super::$name(super::Site::in_redis().await).await })*
        }
    };
}

both! {
    a_copy_of_a_replied_message_gets_the_same_bytes_and_runs_nothing
    a_copy_of_a_running_message_waits_for_it
    a_copy_on_another_stream_gets_the_answer_of_the_first_whose_stream_is_gone
    another_payload_under_the_same_id_is_a_conflict
    what_is_settled_is_stale
    ids_out_of_order_all_run
    a_failure_a_rejection_and_a_panic_are_final
    what_the_handler_refused_runs_when_it_comes_again
    a_copy_of_a_message_that_was_refused_here_runs_when_it_comes_again
    a_leaving_instance_answers_copies_of_what_it_finishes
}

async fn a_copy_of_a_replied_message_gets_the_same_bytes_and_runs_nothing(mut site: Site) {
    for _ in 0..3 {
        assert_eq!(site.ask(1, 1, "hello").await.unwrap(), "hello");
    }
    assert_eq!(site.ran(), ["hello"]);
}

async fn a_copy_of_a_running_message_waits_for_it(mut site: Site) {
    let first = site.gateway.link.dispatch(site.call(1, 1, "hold"), ());
    let copies = [(); 3].map(|()| site.gateway.link.dispatch(site.call(1, 1, "hold"), ()));
    // What is answered behind them shows that they were read.
    site.ask(2, 1, "behind").await.unwrap();
    site.script.open(1);
    assert_eq!(first.await.unwrap().payload, "hold");
    for copy in copies {
        assert_eq!(copy.await.unwrap().payload, "hold");
    }
    let mut ran = site.ran();
    ran.sort();
    assert_eq!(ran, ["behind", "hold"]);
}

async fn a_copy_on_another_stream_gets_the_answer_of_the_first_whose_stream_is_gone(mut site: Site) {
    drop(site.gateway.link.dispatch(site.call(1, 1, "hold"), ()));
    assert_eq!(site.log.recv().await.unwrap(), "hold");
    let other = Gateway::connect(site.instance.address).await;
    site.gateway = other;
    let copy = site.gateway.link.dispatch(site.call(1, 1, "hold"), ());
    site.ask(2, 1, "behind").await.unwrap();
    site.script.open(1);
    assert_eq!(copy.await.unwrap().payload, "hold");
    assert_eq!(site.ran(), ["behind"]);
}

async fn another_payload_under_the_same_id_is_a_conflict(mut site: Site) {
    site.ask(1, 1, "hello").await.unwrap();
    assert_eq!(site.ask(1, 1, "bye").await, Err(Failure::Conflict));
    let running = site.gateway.link.dispatch(site.call(2, 1, "hold"), ());
    site.ask(3, 1, "behind").await.unwrap();
    assert_eq!(site.ask(2, 1, "let go").await, Err(Failure::Conflict));
    site.script.open(1);
    running.await.unwrap();
    assert!(!site.ran().contains(&"bye".to_owned()));
}

async fn what_is_settled_is_stale(mut site: Site) {
    site.ask(1, 1, "one").await.unwrap();
    site.ask(5, 4, "five").await.unwrap();
    for (id, oldest) in [(1, 1), (3, 3)] {
        assert_eq!(site.ask(id, oldest, "one").await, Err(Failure::Stale));
    }
    site.ask(4, 4, "four").await.unwrap();
    assert_eq!(site.ran(), ["one", "five", "four"]);
}

async fn ids_out_of_order_all_run(mut site: Site) {
    for id in [1000, 3, 1, 2] {
        site.ask(id, 1, &id.to_string()).await.unwrap();
    }
    assert_eq!(site.ran(), ["1000", "3", "1", "2"]);
}

async fn a_failure_a_rejection_and_a_panic_are_final(mut site: Site) {
    for _ in 0..2 {
        assert_eq!(site.ask(1, 1, "fail").await, Err(Failure::Failed { detail: "no such room".into() }));
        assert_eq!(site.ask(2, 1, "misplace").await, Err(Failure::Misplaced { detail: "not a guest".into() }));
        assert_eq!(site.ask(3, 1, "panic").await, Err(Failure::Failed { detail: "the handler panicked".into() }));
    }
    assert_eq!(site.ran(), ["fail", "misplace", "panic"]);
}

async fn what_the_handler_refused_runs_when_it_comes_again(mut site: Site) {
    let refused = Failure::RefusedByService { detail: "later".into(), retry_after: Duration::from_millis(70) };
    for _ in 0..2 {
        assert_eq!(site.ask(1, 1, "refuse").await, Err(refused.clone()));
        assert_eq!(site.ask(2, 1, "doubt").await, Err(Failure::Lost), "nobody knows");
    }
    assert_eq!(site.ran(), ["refuse", "doubt", "refuse", "doubt"]);
}

async fn a_copy_of_a_message_that_was_refused_here_runs_when_it_comes_again(mut site: Site) {
    let send = |id| site.gateway.link.dispatch(site.call(id, 1, "hold"), ());
    let placed: Vec<_> = (1..=2 * PLACES).map(send).collect();
    let late = 2 * PLACES + 1;
    let Err(Failure::RefusedByService { detail, .. }) = site.ask(late, 1, "late").await else { panic!("no room") };
    assert_eq!(detail, "the instance's queue is full");
    site.script.open(placed.len());
    for call in placed {
        call.await.unwrap();
    }
    assert_eq!(site.ask(late, 1, "late").await.unwrap(), "late");
    assert_eq!(site.ran().last().unwrap(), "late");
}

async fn a_leaving_instance_answers_copies_of_what_it_finishes(mut site: Site) {
    let first = site.gateway.link.dispatch(site.call(1, 1, "hold"), ());
    let copy = site.gateway.link.dispatch(site.call(1, 1, "hold"), ());
    assert_eq!(site.log.recv().await.unwrap(), "hold");
    site.instance.leave.take().unwrap().send(()).unwrap();
    site.gateway.until(dagor::gateway::link::LinkEvent::Grants(0)).await;
    site.script.open(1);
    assert_eq!(first.await.unwrap().payload, "hold");
    assert_eq!(copy.await.unwrap().payload, "hold");
    site.instance.served.await.unwrap();
}
