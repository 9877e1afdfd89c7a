//! Behind the gate the most important goes first, and never more than the service has granted.

use dagor::{pb::client::Outcome, wire::Reason};

use super::{
    site::{MESSAGE, MOMENTS, PAYMENT, Plan, Site, until, within},
    talker::{ending, request},
};

/// One call at a time, two may wait.
const NARROW: Plan = Plan {
    service: "",
    connections: "",
    queue: "capacity = 2",
    moments: "",
    workers: 1,
    instance: |server| server.workers(1).buffer(0),
};

#[tokio::test]
async fn the_more_important_goes_first_and_pushes_the_less_important_out() {
    let site = Site::with(NARROW).await;
    let (mut alice, link) = (site.talker("alice").await, site.links().remove(0));
    alice.request(MOMENTS, 1, "hold").await;
    site.started(1).await;
    alice.request(MOMENTS, 2, "waits").await;
    alice.request(MOMENTS, 3, "gives way").await;
    until("two wait", || link.queue().waiting() == 2).await;
    alice.request(PAYMENT, 4, "pushes in").await;
    let pushed_out = alice.replied(3).await;
    assert_eq!(ending(&pushed_out), (Outcome::Refused, Some(Reason::PushedOut)));
    assert!(pushed_out.retry_after_ms > 0);
    let no_better = alice.ask(MOMENTS, 5, "comes too late").await;
    assert_eq!(ending(&no_better), (Outcome::Refused, Some(Reason::QueueFull)));
    site.script().release(1);
    for id in [1, 4, 2] {
        assert_eq!(ending(&alice.replied(id).await), (Outcome::Replied, None));
    }
    assert_eq!(site.script().started(), ["hold", "pushes in", "waits"]);
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn what_waits_past_its_timeout_is_refused_and_never_runs() {
    let site = Site::with(NARROW).await;
    let mut alice = site.talker("alice").await;
    alice.request(MESSAGE, 1, "hold").await;
    site.started(1).await;
    alice.say(&request(MESSAGE, 2, 100, b"never")).await;
    assert_eq!(ending(&alice.replied(2).await), (Outcome::Refused, Some(Reason::Expired)));
    site.script().release(1);
    assert_eq!(ending(&alice.replied(1).await), (Outcome::Replied, None));
    assert_eq!(site.script().started(), ["hold"]);
    drop(alice);
    site.end().await;
}

/// This instance refuses whatever comes beyond its grants.
#[tokio::test]
async fn no_more_calls_are_unanswered_than_were_granted() {
    let instance = |server: dagor::service::Server<_>| server.workers(4).buffer(0).queue(0);
    let site = Site::with(Plan { instance, ..Plan::default() }).await;
    let (alice, _pushes) = site.client("alice").await;
    let link = site.links().remove(0);
    let asked: Vec<_> = (0..60).map(|_| alice.request(MESSAGE, "hold".into(), None)).collect();
    site.started(4).await;
    until("all places are taken", || link.queue().waiting() == 56).await;
    assert_eq!((link.queue().in_flight(), link.link().pending(), link.link().grants()), (4, 4, Some(4)));
    site.script().release(60);
    for response in asked {
        within("reply", response).await.unwrap();
    }
    assert_eq!(site.script().most_at_a_time(), 4);
    drop(alice);
    site.end().await;
}
