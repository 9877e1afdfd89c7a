//! A sound policy comes into force without a connection being lost; a faulty one changes nothing.

use std::fs;

use dagor::{
    admission::{Cut, Level},
    wire::Reason,
};

use super::{
    admin::get,
    site::{MESSAGE, MOMENTS, PAYMENT, Plan, Site, policy, until},
    talker::{Talker, ending},
};

/// Admits priorities up to 20 whole and nothing of the others.
fn cap(site: &Site) {
    site.gateway().gates[0].set_manager_cap(Cut::through(Level::new(20, 127)));
}

async fn reason(alice: &mut Talker, id: &mut u64, business: dagor::id::BusinessCode) -> Option<Reason> {
    *id += 1;
    ending(&alice.ask(business, *id, "x").await).1
}

#[tokio::test]
async fn another_policy_decides_on_the_next_request_of_a_connection_that_stays() {
    let site = Site::with(Plan { workers: 2, ..Plan::default() }).await;
    let (mut alice, mut id) = (site.talker("alice").await, 0);
    cap(&site);
    assert_eq!(reason(&mut alice, &mut id, PAYMENT).await, None);
    assert_eq!(reason(&mut alice, &mut id, MESSAGE).await, None);
    assert_eq!(reason(&mut alice, &mut id, MOMENTS).await, Some(Reason::ManagerCap));
    let revision = site.gateway().store.current().revision;
    fs::write(site.policy_path(), policy(&Plan::default(), [30, 20, 10])).unwrap();
    let tables = || site.gateway().worker_list().iter().map(|worker| worker.table().policy.revision);
    until("the new policy is in force", || tables().all(|inforce| inforce != revision)).await;
    assert_eq!(reason(&mut alice, &mut id, PAYMENT).await, Some(Reason::ManagerCap));
    assert_eq!(reason(&mut alice, &mut id, MESSAGE).await, None);
    assert_eq!(reason(&mut alice, &mut id, MOMENTS).await, None);
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn a_faulty_policy_changes_nothing_and_shows_where_it_is_wrong() {
    let site = Site::new().await;
    let (mut alice, mut id) = (site.talker("alice").await, 0);
    let revision = site.gateway().store.current().revision;
    let sound = policy(&Plan::default(), [10, 20, 30]);
    let faulty = sound.replace("priority = 20", "priority = 99");
    let line = 1 + faulty.lines().position(|line| line == "priority = 99").unwrap();
    fs::write(site.policy_path(), faulty).unwrap();
    until("the fault is noticed", || site.gateway().store.status().last_failure.is_some()).await;
    assert_eq!(site.gateway().store.current().revision, revision);
    assert_eq!(reason(&mut alice, &mut id, MESSAGE).await, None);

    let admin = site.running.addresses.admin;
    let status: serde_json::Value = serde_json::from_str(&get(admin, "/v1/status").await.1).unwrap();
    let failure = status["policy"]["last_failure"].as_str().unwrap();
    assert!(failure.contains(&format!("policy.toml:{line}:12")), "{failure}");
    assert_eq!(status["policy"]["revision"], revision.to_string());
    let metrics = get(admin, "/metrics").await.1;
    assert!(
        metrics.contains("dagor_policy_failing 1") && metrics.contains("dagor_policy_refused_total 1"),
        "{metrics}"
    );

    fs::write(site.policy_path(), sound).unwrap();
    until("all is well again", || site.gateway().store.status().last_failure.is_none()).await;
    drop(alice);
    site.end().await;
}
