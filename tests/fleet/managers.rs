//! Managers are killed, one after the other and then both: nobody who is connected notices, and nobody is refused.

use std::time::Duration;

use super::{
    begin,
    crowd::{Crowd, Refusals, What, count},
    fleet::{Fleet, INTERVAL, MANAGERS, NOT_BALANCED, Setup},
    ledger::{Ending, Ledger},
    traffic::Traffic,
};

/// A process has to start, on a machine that is busy.
const STARTS_WITHIN: Duration = Duration::from_secs(2);
/// So many come while both are away.
const NEWCOMERS: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_managers_cost_no_client_its_connection_and_new_ones_see_the_fleet_at_once() {
    let (plan, _alone) = begin("managers").await;
    let mut fleet =
        Fleet::start(&Setup { connections: String::new(), patient: true, placement: NOT_BALANCED, slow_routes: false })
            .await;
    let mut crowd = Crowd::new();
    let addresses = fleet.addresses();
    crowd.join(0..plan.clients, &addresses, plan.starts_per_second()).await;
    crowd.until_connected().await;
    let traffic = Traffic::start(crowd.clients(), plan.messages_per_second(), crowd.began());

    let mut order: Vec<_> = (0..MANAGERS).collect();
    fastrand::Rng::with_seed(plan.seed).shuffle(&mut order);
    let mut pictures = Vec::new();
    for &manager in &order {
        fleet.kill_manager(manager);
        tokio::time::sleep(plan.look).await;
        pictures.push((format!("manager {manager}"), fleet.manager_sees_all(&[manager]).await));
    }
    for &manager in &order {
        fleet.kill_manager(manager);
    }
    crowd.join(plan.clients..plan.clients + NEWCOMERS, &addresses, plan.starts_per_second()).await;
    let newcomers = crowd.until_connected().await;
    tokio::time::sleep(plan.look).await;
    pictures.push(("both".to_owned(), fleet.manager_sees_all(&order).await));
    tokio::time::sleep(plan.look).await;

    let sent = traffic.end().await;
    let log = crowd.end().await;
    for (what, took) in &pictures {
        println!("{what} killed: new ones name all gateways {took:?} after their start");
    }
    println!("{NEWCOMERS} newcomers without a manager: connected {newcomers:?} after the last began");
    let lost = count(&log, |entry| matches!(entry.what, What::Lost { .. }));
    let refused = count(&log, |entry| matches!(entry.what, What::Refused { .. }));
    let moved = count(&log, |entry| entry.what == What::Moving);
    println!("{} messages; lost connections {lost}, logins refused {refused}, moved {moved}", sent.len());
    let messages = Refusals::of(&log, Duration::ZERO);
    println!("{messages}");
    assert_eq!((lost, refused, moved, messages.count()), (0, 0, 0, 0), "lost, refused, moved, messages refused");
    assert!(sent.iter().all(|one| one.message.ending == Ending::Replied), "every message was replied to");
    Ledger::read(&fleet.ledger, plan.clients).check(sent.iter().map(|one| &one.message));
    for (what, took) in &pictures {
        assert!(*took <= 2 * INTERVAL + STARTS_WITHIN, "{what}: two report intervals, but {took:?}");
    }
    fleet.check(None);
}
