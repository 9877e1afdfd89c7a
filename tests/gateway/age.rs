//! A connection that has lasted for as long as the policy wants is moved elsewhere, served until then, and ended at last.

use std::time::Duration;

use dagor::{
    client::{Client, Fate, NewMessage},
    pb::client as pb,
    policy::Policy,
    wire::{Kind, Reason},
};

use super::{
    site::{MESSAGE, Site, until, within},
    talker::ending,
};

/// Ages that no policy file may say: a test would wait for a minute.
fn set_age(site: &Site, seconds: u64) {
    let store = &site.gateway().store;
    let mut policy = Policy::clone(&store.current());
    policy.connections.max_age = Some(Duration::from_secs(seconds));
    store.put(policy, 0);
}

#[tokio::test]
async fn a_client_of_age_is_told_to_move_and_its_connection_is_finished_if_it_stays() {
    let site = Site::new().await;
    set_age(&site, 1);
    let mut alice = site.talker("alice").await;
    alice.request(MESSAGE, 1, "hold").await;
    let goaway: pb::Goaway = alice.expect(Kind::Goaway).await.message().unwrap();
    assert_eq!((goaway.reason, goaway.detail.as_str()), (Reason::Aged.code(), "aged"));
    assert!(goaway.move_after_ms <= 1000 && goaway.alternatives.is_empty(), "{goaway:?}");
    site.script().release(1);
    assert_eq!(ending(&alice.replied(1).await), (pb::Outcome::Replied, None));
    assert_eq!(alice.refused().await.reason, Reason::Aged.code());
    assert_eq!((site.gateway().aged_total(), site.gateway().closed_total(Reason::Aged)), (1, 1));
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn an_age_that_is_set_later_holds_for_who_is_connected() {
    let site = Site::new().await;
    let mut alice = site.talker("alice").await;
    set_age(&site, 1);
    let goaway: pb::Goaway = alice.expect(Kind::Goaway).await.message().unwrap();
    assert_eq!(goaway.reason, Reason::Aged.code());
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn a_client_that_knows_one_gateway_logs_in_there_again_and_loses_nothing() {
    let site = Site::new().await;
    set_age(&site, 3);
    let (client, _pushes, _events) = Client::start(site.config("alice")).unwrap();
    until("the first login", || client.session().is_some()).await;
    let first = client.session().unwrap().epoch;
    let mut receipts = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    within("another login", async {
        while client.session().is_none_or(|session| session.epoch == first) {
            ticks.tick().await;
            receipts.push(client.submit(NewMessage::new("message", "x")).await.unwrap());
        }
    })
    .await;
    assert!(receipts.len() > 10, "{}", receipts.len());
    for receipt in receipts {
        assert!(matches!(within("a fate", receipt).await, Fate::Replied(_)));
    }
    assert!(site.gateway().aged_total() >= 1);
    within("close", client.close(Duration::ZERO)).await;
    drop(client);
    site.end().await;
}
