//! `dagor echo` as processes: told to leave, told twice, and killed.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use dagor::{
    gateway::link::{LinkEvent, OutgoingCall},
    id::{MessageId, OutboxId},
    request::Failure,
};

use crate::{
    instance::{Gateway, Scripted, serve},
    redis::{Durability, Redis},
    windows::numbered,
};

/// A demo service, ended when it is dropped.
struct Echo {
    process: Child,
    address: SocketAddr,
}

impl Echo {
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_dagor"))
            .args(["--log", "info", "echo", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .env("NO_COLOR", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let line = said.find(|line| line.contains("echo service listens")).expect("it says where it listens");
        let address = line.split("address=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        Self { process, address }
    }

    fn signal(&self, name: &str) {
        let told = Command::new("kill").args([format!("-{name}"), self.process.id().to_string()]).status().unwrap();
        assert!(told.success());
    }

    async fn ended(mut self) -> ExitStatus {
        tokio::task::spawn_blocking(move || self.process.wait().unwrap()).await.unwrap()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn at_the_first_signal_what_runs_is_answered_and_the_process_ends_well() {
    let echo = Echo::start(&["--work", "300ms", "--workers", "1"]);
    let mut gateway = Gateway::connect(echo.address).await;
    let running = gateway.link.dispatch(gateway.call("hello"), ());
    let waiting = gateway.link.dispatch(gateway.call("behind it"), ());
    // An answer that overtakes them shows that they were read: a copy with another payload.
    let conflict = OutgoingCall { message: MessageId(1), ..gateway.call("not hello") };
    assert_eq!(gateway.link.dispatch(conflict, ()).await, Err(Failure::Conflict));
    echo.signal("TERM");
    gateway.until(LinkEvent::Grants(0)).await;
    assert_eq!(running.await.unwrap().payload, "hello");
    assert_eq!(waiting.await.unwrap().payload, "behind it");
    gateway.until(LinkEvent::Lost).await;
    assert_eq!(echo.ended().await.code(), Some(0));
}

#[tokio::test]
async fn at_the_second_signal_the_process_ends_at_once() {
    let echo = Echo::start(&["--work", "1h"]);
    let mut gateway = Gateway::connect(echo.address).await;
    let running = gateway.link.dispatch(gateway.call("hello"), ());
    let conflict = OutgoingCall { message: MessageId(1), ..gateway.call("not hello") };
    assert_eq!(gateway.link.dispatch(conflict, ()).await, Err(Failure::Conflict));
    echo.signal("TERM");
    gateway.until(LinkEvent::Grants(0)).await;
    echo.signal("INT");
    assert_eq!(running.await, Err(Failure::Lost));
    assert_eq!(echo.ended().await.code(), Some(130));
}

#[tokio::test]
async fn an_instance_that_is_not_done_in_time_leaves_all_the_same() {
    let (script, mut log) = Scripted::new();
    let server = dagor::service::Server::new(script).leave_within(Duration::from_millis(300));
    let mut instance = serve(server).await;
    let gateway = Gateway::<()>::connect(instance.address).await;
    let running = gateway.link.dispatch(gateway.call("hold"), ());
    log.recv().await.unwrap();
    instance.leave.take().unwrap().send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(20), instance.served).await.expect("the deadline holds").unwrap();
    // The runtime of this test still holds the stream; a process would have ended.
    drop(running);
}

#[tokio::test]
async fn each_message_is_in_the_ledger_once_although_an_instance_is_killed_under_it() {
    let redis = Redis::start_with(Durability::Always);
    let url = redis.url();
    let arguments = ["--ledger", url.as_str(), "--work", "1ms", "--workers", "4"];
    let (mut first, second) = (Echo::start(&arguments), Echo::start(&arguments));
    let gateways = [Gateway::connect(first.address).await, Gateway::connect(second.address).await];
    let call = |gateway: usize, id: u64, payload: &'static str| {
        let call = OutgoingCall { outbox: OutboxId(9), ..numbered(&gateways[gateway], id, 1, payload) };
        gateways[gateway].link.dispatch(call, ())
    };
    let calls: Vec<_> = (1..=200).map(|id| (id, call(0, id, "hello"))).collect();
    // The first answer shows that it is in the middle of them.
    let mut calls = calls.into_iter();
    let (_, answer) = calls.next().unwrap();
    answer.await.unwrap();
    first.process.kill().unwrap();
    let mut lost = 0;
    for (id, answer) in calls {
        match answer.await {
            Ok(answer) => assert_eq!(answer.payload, "hello"),
            Err(Failure::Lost) => {
                lost += 1;
                let copy = tokio::time::timeout(Duration::from_secs(30), call(1, id, "hello")).await;
                assert_eq!(copy.expect("the lease of the dead ends").unwrap().payload, "hello", "{id}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(lost > 0, "it was killed too late");
    // What was answered by the dead is answered alike by the living.
    for id in 1..=200 {
        assert_eq!(call(1, id, "hello").await.unwrap().payload, "hello");
    }
    let ledger = redis.tell_all("LRANGE dagor:ledger:{user:ann} 0 -1");
    let mut written: Vec<_> = ledger.iter().filter(|line| line.ends_with(":ann")).collect();
    written.sort();
    let mut expected: Vec<_> = (1..=200).map(|id| format!("9:0000000000000009:{id}:ann")).collect();
    expected.sort();
    assert_eq!(written, expected.iter().collect::<Vec<_>>());
}
