//! One gateway is filled past its mark, opens when it is drained, and gives its surplus away.

use std::{collections::BTreeMap, time::Duration};

use super::{
    begin,
    crowd::{Crowd, Entry, What, count},
    fleet::{DEVIATION, Fleet, INTERVAL, MANAGERS, NOT_BALANCED, Setup, deviation, name, open, until},
};

/// What is measured from outside comes later by the questions and by a busy machine.
const SLACK: Duration = Duration::from_millis(500);
/// How long giving away may take.
const BALANCES_WITHIN: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_gateway_sends_clients_on_opens_again_and_gives_its_surplus_away() {
    let (plan, _alone) = begin("full").await;
    // Closes at 90 % of it, opens below 80 %.
    let max = plan.clients * 5 / 8;
    let setup =
        Setup { connections: format!("max = {max}"), patient: true, placement: NOT_BALANCED, slow_routes: false };
    let mut fleet = Fleet::start(&setup).await;
    let mut crowd = Crowd::new();
    let first = [fleet.places[0].clients.to_string()];

    // Up to the mark, then past it.
    let (mark, filled) = (max * 88 / 100, max * 96 / 100);
    crowd.join(0..mark, &first, plan.starts_per_second()).await;
    crowd.until_connected().await;
    assert!(open(fleet.managers[0]).await.contains(&name(0)), "it is below its mark");
    crowd.join(mark..filled, &first, 1000.0).await;
    let told = until("the full gateway leaves the lists", async || {
        let mut named = 0;
        for &manager in &fleet.managers {
            named += usize::from(open(manager).await.contains(&name(0)));
        }
        named == 0
    })
    .await;
    println!("{filled} of {max} connections: in no list of {MANAGERS} managers after {told:?}");
    assert!(told <= 2 * INTERVAL + SLACK, "two report intervals");
    // The gateway itself is told with the same directive; its clients on the way there have arrived elsewhere.
    tokio::time::sleep(INTERVAL).await;

    let late = crowd.now();
    crowd.join(filled..plan.clients, &first, plan.starts_per_second()).await;
    crowd.until_connected().await;
    let log = crowd.log();
    report_refused(&log, filled..plan.clients, late);

    // Drained below the low mark, it opens.
    let leaves: Vec<_> =
        crowd.places().into_iter().filter(|(_, on)| *on == name(0)).map(|(number, _)| number).collect();
    let leaves = &leaves[..leaves.len() - max * 75 / 100];
    crowd.leave(leaves).await;
    let opened = until("it opens again", async || open(fleet.managers[0]).await.contains(&name(0))).await;
    println!("{} clients left it; open after {opened:?}", leaves.len());

    rebalance(&mut fleet, &crowd).await;
    let log = crowd.end().await;
    let lost = count(&log, |entry| matches!(entry.what, What::Lost { .. } | What::MessageRefused { .. }));
    assert_eq!(lost, 0, "nobody lost a connection");
    fleet.check(None);
}

/// Every client that came late was refused with somewhere to go, and got there at its first or second try.
fn report_refused(log: &[Entry], clients: std::ops::Range<usize>, from: Duration) {
    let (mut tries, mut refusals, mut nowhere) = (BTreeMap::<usize, usize>::new(), 0, 0);
    for entry in log.iter().filter(|entry| entry.at >= from && clients.contains(&entry.client)) {
        match &entry.what {
            What::Trying { .. } => *tries.entry(entry.client).or_default() += 1,
            What::Refused { alternatives, .. } => {
                refusals += 1;
                nowhere += usize::from(*alternatives == 0);
            }
            What::Connected { gateway } => assert_ne!(*gateway, name(0), "it is closed"),
            What::Lost { .. } | What::Moving | What::MessageRefused { .. } => {}
        }
    }
    let mut histogram = BTreeMap::<usize, usize>::new();
    tries.values().for_each(|tries| *histogram.entry(tries - 1).or_default() += 1);
    println!("{} came late: refused {refusals} times; connected at try after the refusal: {histogram:?}", tries.len());
    assert_eq!(nowhere, 0, "refusals that named nobody");
    assert!(histogram.keys().all(|tries| (1..=2).contains(tries)), "first or second try: {histogram:?}");
}

/// Starts both managers again with rebalancing, and waits for the balance.
async fn rebalance(fleet: &mut Fleet, crowd: &Crowd) {
    // No more at a time than the others can log in.
    fleet.write_manager("ramp = \"0s\"\nrebalance_above = 1.05\nrebalance_share = 0.1");
    let managers: Vec<_> = (0..MANAGERS).collect();
    managers.iter().for_each(|&manager| fleet.kill_manager(manager));
    fleet.manager_sees_all(&managers).await;
    let (before, from) = (fleet.connections().await, crowd.now());
    let mean = before.iter().sum::<u64>() as f64 / before.len() as f64;
    let surplus: f64 = before.iter().map(|&one| (one as f64 - mean).max(0.0)).sum();
    let (took, last) = fleet.until_balanced(crowd.clients().len(), BALANCES_WITHIN).await;
    let moved = count(&crowd.log(), |entry| entry.at >= from && entry.what == What::Moving);
    let off = deviation(&last) * 100.0;
    println!(
        "balanced from {before:?} to {last:?} in {took:?}: {off:.1} % off; {moved} moved of {surplus:.0} too many"
    );
    assert!(deviation(&last) <= DEVIATION, "the largest deviation from the mean: {off:.1} %");
}
