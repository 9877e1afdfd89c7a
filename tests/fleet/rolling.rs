//! All gateways are restarted, one after the other, under load: nothing is lost or done twice, and everybody has a place to
//! go.

use std::{collections::BTreeMap, time::Duration};

use super::{
    begin,
    crowd::{Crowd, Refusals, What, count, logins},
    fleet::{DEVIATION, Fleet, GATEWAYS, Setup, deviation},
    ledger::{Ending, Ledger},
    traffic::{Traffic, latencies, quantile},
};

/// How long it may take until the gateway that was restarted last has its part of the clients.
const BALANCES_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarting_all_gateways_loses_no_message_and_leaves_nobody_without_a_place() {
    let (plan, _alone) = begin("rolling").await;
    // Faster than by default, so that the end is soon.
    let placement = "ramp = \"0s\"\nrebalance_share = 0.1";
    let mut fleet =
        Fleet::start(&Setup { connections: String::new(), patient: false, placement, slow_routes: false }).await;
    let mut crowd = Crowd::new();
    crowd.join(0..plan.clients, &fleet.addresses(), plan.starts_per_second()).await;
    crowd.until_connected().await;
    let traffic = Traffic::start(crowd.clients(), plan.messages_per_second(), crowd.began());
    let before = crowd.now();
    tokio::time::sleep(plan.look).await;

    let mut order: Vec<_> = (0..GATEWAYS).collect();
    fastrand::Rng::with_seed(plan.seed).shuffle(&mut order);
    let began = crowd.now();
    for &gateway in &order {
        assert!(fleet.restart_gateway(gateway).await, "gateway {gateway} leaves by itself");
    }
    let connected = crowd.until_connected().await;
    let ended = crowd.now();
    println!(
        "restarted {order:?} in {:?}; all connected {connected:?} later: {:?}",
        ended - began,
        fleet.connections().await
    );
    // Whoever is told to move from here on stays where it is until it is welcome elsewhere, and may be refused for a moment.
    let restarted = crowd.log().len();
    let (balanced, connections) = fleet.until_balanced(plan.clients, BALANCES_WITHIN).await;
    let off = deviation(&connections) * 100.0;
    println!("balanced {balanced:?} later: {connections:?}, {off:.1} % off");
    assert!(deviation(&connections) <= DEVIATION, "the largest deviation from the mean: {off:.1} %");
    let sent = traffic.end().await;
    let log = crowd.end().await;

    let mut refused = BTreeMap::<(u32, bool), usize>::new();
    for entry in log[..restarted].iter().filter(|entry| entry.at >= began) {
        if let What::Refused { code, alternatives } = entry.what {
            *refused.entry((code, alternatives > 0)).or_default() += 1;
        }
    }
    println!("ended or refused, by reason and whether alternatives were named: {refused:?}");
    let during = |is: fn(&What) -> bool| count(&log, |entry| entry.at >= began && is(&entry.what));
    let moved = during(|what| *what == What::Moving);
    let lost = during(|what| matches!(what, What::Lost { .. }));
    println!("told to move {moved}, lost without a word {lost}");
    println!("{}", Refusals::of(&log, began));
    let took = logins(&log, began..ended);
    println!("{} logins: p50 {:?}, p99 {:?}", took.len(), quantile(&took, 0.5), quantile(&took, 0.99));
    for (what, when) in [("before", before..began), ("during", began..ended)] {
        let took = latencies(&sent, when, |one| one.message.business == "payment");
        println!("payments {what}: {}, p50 {:?}, p99 {:?}", took.len(), quantile(&took, 0.5), quantile(&took, 0.99));
    }
    let ledger = Ledger::read(&fleet.ledger, plan.clients);
    println!("{} messages, {} in the ledger", sent.len(), ledger.len());
    ledger.check(sent.iter().map(|one| &one.message));
    assert!(sent.iter().all(|one| one.message.ending == Ending::Replied), "no message is lost");
    assert_eq!(ledger.len(), sent.len(), "each once");
    assert!(took.len() >= plan.clients, "everybody had to log in again");
    let nowhere: usize = refused.iter().filter(|((_, named), _)| !named).map(|(_, count)| count).sum();
    assert_eq!(nowhere, 0, "refusals without a place to go: {refused:?}");
    assert!(connected < Duration::from_secs(10), "clients end connected");
    fleet.check(None);
}
