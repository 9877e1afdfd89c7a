//! A shutdown tells everyone, finishes what is under way, and ends in time.

use std::time::Duration;

use dagor::{
    clock::Clock,
    pb::client as pb,
    wire::{Kind, MAGIC, Reason},
};

use super::{
    admin::get,
    site::{MESSAGE, Plan, Site, until, within},
    talker::{Talker, control, ending, hello},
};

const DRAIN: Duration = Duration::from_secs(2);

fn draining() -> Plan {
    Plan { connections: "drain = \"2s\"", workers: 2, ..Plan::default() }
}

#[tokio::test]
async fn clients_are_told_to_move_then_finished_then_refused() {
    let Site { running, instance, .. } = Site::with(draining()).await;
    let (gateway, addresses) = (running.gateway.clone(), running.addresses);
    let mut idle = Talker::login(addresses.clients, "idle").await;
    let mut busy = Talker::login(addresses.clients, "busy").await;
    busy.request(MESSAGE, 1, "hold").await;
    until("the call is at the service", || instance.script.started().len() == 1).await;
    let shutdown = tokio::spawn(running.shutdown());

    for talker in [&mut idle, &mut busy] {
        let goaway: pb::Goaway = talker.expect(Kind::Goaway).await.message().unwrap();
        assert_eq!(goaway.reason, Reason::Draining.code());
        assert!(goaway.move_after_ms < 1000, "{}", goaway.move_after_ms);
    }
    assert_eq!(&idle.ask(MESSAGE, 1, "until then").await.payload[..], b"until then");
    assert_eq!(get(addresses.admin, "/ready").await, (503, "draining\n".into()));
    assert_eq!(get(addresses.admin, "/live").await.0, 200);
    let mut late = Talker::silent(addresses.clients).await;
    late.say(&[&MAGIC[..], &control(Kind::Hello, &hello("late"))].concat()).await;
    assert_eq!(late.refused().await.reason, Reason::Draining.code());

    assert_eq!(idle.refused().await.reason, Reason::Draining.code());
    instance.script.release(1);
    assert_eq!(ending(&busy.replied(1).await), (pb::Outcome::Replied, None));
    assert_eq!(busy.refused().await.reason, Reason::Draining.code());
    drop((idle, busy, late));
    within("shutdown", shutdown).await.unwrap();
    assert_eq!((gateway.roster.len(), gateway.limits.open(), gateway.budget.used()), (0, 0, 0));
}

#[tokio::test]
async fn a_shutdown_ends_in_time_whoever_stays() {
    let Site { running, instance, .. } = Site::with(draining()).await;
    let (clock, gateway) = (Clock::system(), running.gateway.clone());
    let mut busy = Talker::login(running.addresses.clients, "busy").await;
    let silent = Talker::silent(running.addresses.clients).await;
    busy.request(MESSAGE, 1, "hold").await;
    until("the call is at the service", || instance.script.started().len() == 1).await;
    let begun = clock.now();
    within("shutdown", running.shutdown()).await;
    let took = clock.now().since(begun);
    assert!(took >= DRAIN / 2 && took < DRAIN + Duration::from_secs(1), "{took:?}");
    assert_eq!((gateway.roster.len(), gateway.limits.open(), gateway.budget.used()), (0, 0, 0));
    drop((busy, silent));
}

#[tokio::test]
async fn a_shutdown_without_clients_takes_no_time() {
    let Site { running, .. } = Site::with(draining()).await;
    let clock = Clock::system();
    let begun = clock.now();
    within("shutdown", running.shutdown()).await;
    let took = clock.now().since(begun);
    assert!(took < DRAIN / 2, "{took:?}");
}
