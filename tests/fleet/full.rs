//! One gateway is filled past its mark, opens when it is drained, and gives its surplus away.

use std::{collections::BTreeMap, time::Duration};

use super::{
    begin,
    crowd::{Crowd, Entry, What, count},
    fleet::{Fleet, GATEWAYS, INTERVAL, MANAGERS, Setup, name, open, until},
};

/// What is measured from outside comes later by the questions and by a busy machine.
const SLACK: Duration = Duration::from_millis(500);
/// How far the fullest gateway may be above the mean in the end.
const DEVIATION: f64 = 0.05;
/// With fewer clients the balance is not looked at.
const ENOUGH_TO_BALANCE: usize = 2_000;
/// How long giving away may take.
const BALANCES_WITHIN: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_gateway_sends_clients_on_opens_again_and_gives_its_surplus_away() {
    let (plan, _alone) = begin("full").await;
    // Closes at 90 % of it, opens below 80 %.
    let max = plan.clients * 5 / 8;
    let setup = Setup { connections: format!("max = {max}"), patient: true, slow_routes: false };
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

    // Who moves draws where to: of a few hundred clients chance alone leaves more than what is to be seen.
    if plan.clients >= ENOUGH_TO_BALANCE {
        rebalance(&mut fleet, &crowd).await;
    }
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

/// Starts both managers again with rebalancing, which is off by default, and waits for the balance.
async fn rebalance(fleet: &mut Fleet, crowd: &Crowd) {
    // No more at a time than the others can log in.
    fleet.write_manager("ramp = \"0s\"\nrebalance_above = 1.05\nrebalance_share = 0.1");
    let managers: Vec<_> = (0..MANAGERS).collect();
    managers.iter().for_each(|&manager| fleet.kill_manager(manager));
    fleet.manager_sees_all(&managers).await;
    let before = fleet.connections().await;
    let began = tokio::time::Instant::now();
    let mut last = before.clone();
    while began.elapsed() < BALANCES_WITHIN {
        tokio::time::sleep(INTERVAL / 2).await;
        let now = fleet.connections().await;
        let settled = now == last && crowd.places().len() == crowd.clients().len();
        last = now;
        if settled && deviation(&last).1 <= DEVIATION {
            break;
        }
    }
    let (below, above) = deviation(&last);
    println!(
        "balanced from {before:?} to {last:?} in {:?}: {:.1} % below the mean, {:.1} % above",
        began.elapsed(),
        below * 100.0,
        above * 100.0
    );
    assert!(above <= DEVIATION, "the largest deviation from the mean");
    // Who moves draws where to; below the mean there is what chance leaves.
    let mean = last.iter().sum::<u64>() as f64 / GATEWAYS as f64;
    assert!(below <= DEVIATION + 3.0 / mean.sqrt(), "the largest deviation from the mean");
}

/// How far the emptiest is below the mean, and the fullest above, as shares of it.
fn deviation(connections: &[u64]) -> (f64, f64) {
    let mean = connections.iter().sum::<u64>() as f64 / connections.len() as f64;
    let (least, most) = (connections.iter().min().unwrap(), connections.iter().max().unwrap());
    (1.0 - *least as f64 / mean, *most as f64 / mean - 1.0)
}
