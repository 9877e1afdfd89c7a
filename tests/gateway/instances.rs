//! An instance may die at any moment; its calls end, and the connections of the clients stay.

use dagor::{
    admission::{Cut, Level},
    pb::client::Outcome,
    wire::Reason,
};

use super::{
    site::{MESSAGE, MOMENTS, Plan, Site, until, within},
    strict::Strict,
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

#[tokio::test]
async fn what_an_instance_has_said_that_it_refuses_is_not_sent_to_it() {
    let cut = Cut::through(Level::new(20, 127));
    let site = Site::in_front_of(Strict { cut }.start().await, Plan { workers: 2, ..Plan::default() }).await;
    let mut alice = site.talker("alice").await;
    assert_eq!(ending(&alice.ask(MESSAGE, 1, "x").await), (Outcome::Replied, None));
    // A request may be the probe of its quarter of a second, or come when the cut has lapsed: it is answered, and the
    // answer brings the cut again.
    let refused = within("a refusal", async {
        for id in 2.. {
            let reply = alice.ask(MOMENTS, id, "x").await;
            if ending(&reply) != (Outcome::Replied, None) {
                return reply;
            }
        }
        panic!("all ids are used up")
    })
    .await;
    assert_eq!(ending(&refused), (Outcome::Refused, Some(Reason::InstanceCut)));
    assert!(refused.retry_after_ms >= 1000, "{refused:?}");
    assert_eq!((refused.cuts[0].business, refused.cuts[0].open_permille), (30, 0));
    assert_eq!(ending(&alice.ask(MESSAGE, 1000, "x").await), (Outcome::Replied, None));
    // Only one of the workers has heard of it.
    assert_eq!(site.gateway().instance_cut(0, site.gateway().clock.now()), cut);
    drop(alice);
    site.end().await;
}
