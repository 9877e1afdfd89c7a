//! An instance may die at any moment; its calls end, and the connections of the clients stay.

use dagor::{pb::client::Outcome, wire::Reason};

use super::{
    site::{MESSAGE, Plan, Site, until},
    talker::ending,
};

#[tokio::test]
async fn a_lost_instance_leaves_unknown_outcomes_then_refusals_until_it_is_back() {
    let mut site = Site::with(Plan { instance: |server| server.workers(1).buffer(0), ..Plan::default() }).await;
    let (mut alice, link) = (site.talker("alice").await, site.links().remove(0));
    alice.request(MESSAGE, 1, "hold").await;
    site.started(1).await;
    alice.request(MESSAGE, 2, "waits").await;
    until("one waits", || link.queue().waiting() == 1).await;
    site.instance.kill();
    let mut endings = Vec::new();
    for _ in 0..2 {
        let frame = alice.next().await.unwrap();
        endings.push((frame.id.0, ending(&frame.message().unwrap())));
    }
    endings.sort_unstable_by_key(|&(id, _)| id);
    let expected = [(1, (Outcome::Unknown, Some(Reason::Lost))), (2, (Outcome::Refused, Some(Reason::NoInstance)))];
    assert_eq!(endings, expected);

    let reply = alice.ask(MESSAGE, 3, "anybody?").await;
    assert_eq!(ending(&reply), (Outcome::Refused, Some(Reason::NoInstance)));
    assert!(reply.retry_after_ms > 0);

    site.instance.restart().await;
    site.linked().await;
    assert_eq!(&alice.ask(MESSAGE, 4, "hello again").await.payload[..], b"hello again");
    assert_eq!((link.queue().in_flight(), link.link().pending()), (0, 0));
    drop(alice);
    site.end().await;
}
