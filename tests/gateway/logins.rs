//! Who may come in, what they are told, and what is left of them when they are gone: nothing.

use dagor::{
    client::{CloseReason, ConnectError, DirectClient},
    pb::client as pb,
    wire::{Kind, MAGIC, Reason},
};

use super::{
    site::{MESSAGE, Plan, Site, until, within},
    talker::{Talker, control, hello},
};

#[tokio::test]
async fn a_welcome_tells_what_the_connection_may_do() {
    let connections = "heartbeat = \"20s\"\nheartbeat_tolerance = \"50s\"\nmax_in_flight = 7\nmax_body = \"8KiB\"\n\
                       keep_for = \"10m\"\nmax = 5";
    let site = Site::with(Plan { connections, ..Plan::default() }).await;
    let mut alice = site.talker("alice").await;
    let welcome = alice.welcome.clone();
    assert_eq!((welcome.version, &welcome.gateway[..]), (1, "test"));
    assert_eq!((welcome.heartbeat_ms, welcome.tolerance_ms), (20_000, 50_000));
    let limits = pb::Limits { max_body_bytes: 8192, max_in_flight: 7, keep_for_ms: 600_000 };
    assert_eq!(welcome.limits, Some(limits));
    let businesses: Vec<_> = welcome.businesses.iter().map(|one| (one.code, &one.name[..], one.timeout_ms)).collect();
    let [login, rest @ ..] = &businesses[..] else { panic!("no businesses") };
    assert_eq!((login.0, login.1), (1, "login"));
    assert_eq!(rest, [(10, "payment", 30_000), (20, "message", 30_000), (30, "moments", 30_000)]);
    assert!(welcome.cuts.is_empty(), "everything is open");
    assert_eq!(&alice.ask(MESSAGE, 1, "hello").await.payload[..], b"hello");
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn a_client_that_comes_back_supersedes_its_own_old_connection() {
    let site = Site::with(Plan { workers: 2, ..Plan::default() }).await;
    let mut old = site.talker("alice").await;
    old.request(MESSAGE, 1, "hold").await;
    site.started(1).await;
    let mut new = site.talker("alice").await;
    assert!(new.welcome.connection_epoch > old.welcome.connection_epoch);
    site.script().release(1);
    assert_eq!(&old.replied(1).await.payload[..], b"hold", "what was under way is finished first");
    assert_eq!(old.refused().await.reason, Reason::Superseded.code());
    assert_eq!(&new.ask(MESSAGE, 2, "still here").await.payload[..], b"still here");
    assert_eq!(site.gateway().roster.len(), 1);
    drop((old, new));
    site.end().await;
}

#[tokio::test]
async fn another_installation_of_the_same_device_ends_the_old_one_for_good() {
    let site = Site::new().await;
    let mut old = site.talker("alice").await;
    let other = pb::Hello { outbox: 2, ..hello("alice") };
    let new = Talker::silent(site.clients()).await.greet(&other).await;
    let kick: pb::Kick = old.expect(Kind::Kick).await.message().unwrap();
    assert_eq!(kick.reason, Reason::Replaced.code());
    assert_eq!(old.next().await, None);
    drop((old, new));
    site.end().await;
}

#[tokio::test]
async fn devices_of_one_user_do_not_replace_each_other() {
    let site = Site::new().await;
    let phone = site.talker("alice").await;
    let tablet = pb::Hello { device: "tablet".into(), ..hello("alice") };
    let tablet = Talker::silent(site.clients()).await.greet(&tablet).await;
    assert_eq!(site.gateway().roster.len(), 2);
    drop(phone);
    until("the phone is gone", || site.gateway().roster.len() == 1).await;
    assert!(site.gateway().roster.get("alice", "tablet").is_some());
    drop(tablet);
    site.end().await;
}

#[tokio::test]
async fn a_full_gateway_refuses_at_the_door_until_somebody_leaves() {
    let site = Site::with(Plan { connections: "max = 1", ..Plan::default() }).await;
    let alice = site.talker("alice").await;
    let refused = Talker::silent(site.clients()).await.refused().await;
    assert_eq!(refused.reason, Reason::Limit.code());
    assert!(refused.retry_after_ms > 0);
    drop(alice);
    until("the place is free", || site.gateway().limits.open() == 0).await;
    drop(site.talker("bob").await);
    site.end().await;
}

/// These have sent their Hello before they are refused; it must not cost them the frame that says why.
#[tokio::test]
async fn clients_that_speak_first_hear_why_they_are_refused_at_the_door() {
    let site = Site::with(Plan { connections: "max = 1", ..Plan::default() }).await;
    let alice = site.talker("alice").await;
    for _ in 0..50 {
        let refused = within("refusal", DirectClient::connect(site.config("bob"))).await.map(|_| ()).unwrap_err();
        assert!(is_refused(&refused, Reason::Limit), "{refused:?}");
    }
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn logins_beyond_the_rate_are_told_when_to_come_again() {
    let site = Site::with(Plan { connections: "login_rate = \"1/min\"\nlogin_burst = 2", ..Plan::default() }).await;
    let connected = (site.talker("alice").await, site.talker("bob").await);
    // Whoever says nothing uses up nobody's login.
    let silent = Talker::silent(site.clients()).await;
    let mut late = Talker::silent(site.clients()).await;
    late.say(&[&MAGIC[..], &control(Kind::Hello, &hello("carol"))].concat()).await;
    let refused = late.refused().await;
    assert_eq!(refused.reason, Reason::Limit.code());
    // Spread over twice the wait, so that not all come at once.
    assert!((1..=120_000).contains(&refused.retry_after_ms), "{}", refused.retry_after_ms);
    drop((connected, silent));
    site.end().await;
}

#[tokio::test]
async fn a_frame_behind_the_hello_is_not_lost() {
    let site = Site::new().await;
    let mut alice = Talker::silent(site.clients()).await;
    let request = super::talker::request(MESSAGE, 1, 0, b"early");
    alice.say(&[&MAGIC[..], &control(Kind::Hello, &hello("alice")), &request].concat()).await;
    let mut alice = alice.welcomed().await;
    assert_eq!(&alice.replied(1).await.payload[..], b"early");
    drop(alice);
    site.end().await;
}

/// Whether a login failed with this reason.
pub(crate) fn is_refused(error: &ConnectError, reason: Reason) -> bool {
    matches!(error, ConnectError::Closed(CloseReason::Refused { verdict, .. }) if verdict.reason() == Some(reason))
}
