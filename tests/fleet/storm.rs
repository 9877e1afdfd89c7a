//! A gateway is killed under load: its routes end, its clients come back spread over the others, and those notice little.

use std::{ops::Range, sync::Arc, time::Duration};

use dagor::service::{Push, PushError, Router};
use tokio::time::Instant;

use super::{
    Plan, begin,
    crowd::{Crowd, What, count, logins, peak_logins},
    curve::{Curve, USEFUL},
    fleet::{Fleet, GATEWAYS, NOT_BALANCED, Setup, name, registry},
    ledger::Ledger,
    traffic::{Sent, Traffic, latencies, quantile},
};

/// A dead gateway's routes are gone by then: its lease, what a reader remembers of it, and a question more.
const ROUTES_GONE_WITHIN: Duration = Duration::from_millis(6_000 + 500 + 500);
/// 95 % are back within the spread that their gateway told last and this, from the kill.
const BACK_BEYOND_SPREAD: Duration = Duration::from_secs(2);
/// What is watched after the kill, at the least: until the routes are gone.
const STORM: Duration = Duration::from_secs(8);
/// Pushes go to so many of those who came back.
const PUSHED: usize = 50;

/// The logins that each gateway takes per second: so few that it takes seconds to take a gateway's clients in.
fn login_rate(plan: &Plan) -> usize {
    (plan.clients / 40).max(60)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_killed_gateway_come_back_spread_and_the_others_notice_little() {
    let (plan, _alone) = begin("storm").await;
    let rate = login_rate(&plan);
    let heartbeat = if plan.clients > 1000 { 10 } else { 2 };
    let limits = format!("login_rate = \"{rate}/s\"\nlogin_burst = {rate}\nheartbeat = \"{heartbeat}s\"");
    let mut fleet =
        Fleet::start(&Setup { connections: limits, patient: false, placement: NOT_BALANCED, slow_routes: false }).await;
    let victim = fastrand::Rng::with_seed(plan.seed).usize(..GATEWAYS);
    let mut crowd = Crowd::new();
    crowd.join(0..plan.clients, &fleet.addresses(), (GATEWAYS * rate) as f64 * 0.8).await;
    let connected = crowd.until_connected().await;
    println!("{} clients connected {connected:?} after the last began: {:?}", plan.clients, fleet.connections().await);
    let traffic = Traffic::start(crowd.clients(), plan.messages_per_second(), crowd.began());
    // Every client, busy as it is, has heard from its gateway how long to spread now that all are there.
    tokio::time::sleep(plan.look.max(Duration::from_secs(2 * heartbeat + 1))).await;

    // Whoever is there now; and one user who will stay away.
    let witness = plan.clients;
    crowd.join(witness..witness + 1, &[fleet.places[victim].clients.to_string()], 1.0).await;
    crowd.until_connected().await;
    let spread = crowd.clients().last().unwrap().1.session().unwrap().spread;
    let router = Router::new(Arc::new(registry(fleet.routes.url())));
    router.push(push(witness)).await.expect("it is connected");
    let lost: Vec<_> =
        crowd.places().into_iter().filter(|(number, on)| *on == name(victim) && *number < witness).collect();
    let lost: Vec<_> = lost.into_iter().map(|(number, _)| number).collect();

    let mut redis = vec![(Duration::ZERO, redis_calls(&fleet))];
    let killed = crowd.now();
    let at = Instant::now();
    fleet.kill_gateway(victim);
    crowd.leave(&[witness]).await;
    let mut gone = None;
    let mut looks = tokio::time::interval(Duration::from_millis(100));
    while at.elapsed() < STORM || crowd.places().len() < plan.clients {
        looks.tick().await;
        let pushed = router.push(push(witness)).await;
        match pushed {
            Err(PushError::NotConnected) => gone = gone.or(Some(at.elapsed())),
            Err(PushError::Unreachable) => assert!(gone.is_none(), "its route came back"),
            other => panic!("a push to a dead gateway: {other:?}"),
        }
        if redis.last().is_none_or(|(last, _)| at.elapsed() - *last >= Duration::from_millis(500)) {
            redis.push((at.elapsed(), redis_calls(&fleet)));
        }
    }
    let after = crowd.now();
    let watched = after - killed;
    tokio::time::sleep(plan.look).await;
    push_to_all_back(&mut crowd, &fleet, &router, witness, &lost).await;
    let sent = traffic.end().await;
    let log = crowd.end().await;

    let mut curve = Curve::new(&log, &lost, killed, watched, Duration::from_millis(500));
    let stayed = |one: &Sent| lost.binary_search(&one.message.user).is_err();
    curve.add_payments(
        sent.iter().filter(|one| one.message.business == "payment" && one.connected && stayed(one)),
        killed,
    );
    curve.add_redis(&redis);
    println!("{curve}");
    let gone = gone.expect("its routes end");
    println!("spread {spread:?}; routes gone after {gone:?}");
    let [half, most, all] = [0.5, 0.95, 1.0].map(|share| curve.back(share));
    println!("back: 50 % after {half:?}, 95 % after {most:?}, all {} after {all:?}", lost.len());
    println!("the longest wait that one of them had drawn from its spread: {:?}", curve.longest_wait());
    let storm = killed..killed + all + Duration::from_secs(1);
    report_latencies(&sent, stayed, killed, &storm, after);
    let took = logins(&log, storm.clone());
    println!("login of who came back: p50 {:?}, p99 {:?}", quantile(&took, 0.5), quantile(&took, 0.99));
    let refused = count(&log, |entry| entry.at >= killed && matches!(entry.what, What::Refused { .. }));
    println!("logins refused meanwhile: {refused}");
    let peaks: Vec<_> = (0..GATEWAYS).map(|number| peak_logins(&log, &name(number), killed)).collect();
    println!("most logins within a second: {peaks:?} of {rate}/s and a burst of {rate}");

    let ledger = Ledger::read(&fleet.ledger, plan.clients);
    ledger.check(sent.iter().map(|one| &one.message));
    assert!(gone <= ROUTES_GONE_WITHIN, "routes end with the lease: {gone:?}");
    assert_eq!(curve.are_back(), lost.len(), "all are back");
    assert!(most <= spread + BACK_BEYOND_SPREAD, "95 % back after {most:?}, told to spread over {spread:?}");
    assert!(peaks.iter().all(|&peak| peak <= 2 * rate), "logins per second: {peaks:?}");
    fleet.check(Some(victim));
}

pub(crate) fn push(number: usize) -> Push {
    Push::to_user(super::ledger::user(number), "message", "hello")
}

/// The one who had stayed away comes back and is found; so are the others.
async fn push_to_all_back(crowd: &mut Crowd, fleet: &Fleet, router: &Router, witness: usize, lost: &[usize]) {
    assert_eq!(router.push(push(witness)).await, Err(PushError::NotConnected));
    crowd.join(witness..witness + 1, &fleet.addresses(), 1.0).await;
    crowd.until_connected().await;
    // What was looked up counts for a second, and who is not found is looked up once more.
    router.push(push(witness)).await.expect("it is back");
    let step = (lost.len() / PUSHED).max(1);
    for &number in lost.iter().step_by(step) {
        router.push(push(number)).await.unwrap_or_else(|error| panic!("{number} is back: {error}"));
    }
}

/// What those who kept their connections saw: before, during and after.
fn report_latencies(
    sent: &[Sent],
    stayed: impl Fn(&Sent) -> bool,
    killed: Duration,
    storm: &Range<Duration>,
    after: Duration,
) {
    let times = [("before", Duration::ZERO..killed), ("during", storm.clone()), ("after", after..Duration::MAX)];
    for (what, when) in times {
        let took = latencies(sent, when.clone(), |one| one.message.business == "payment" && stayed(one));
        let all = sent.iter().filter(|one| one.message.business == "payment" && when.contains(&one.at) && stayed(one));
        let (count, good) = all.fold((0, 0), |(count, good), one| (count + 1, good + usize::from(one.is_good(USEFUL))));
        println!(
            "payments of the others {what}: {good} of {count} good, p50 {:?}, p99 {:?}",
            quantile(&took, 0.5),
            quantile(&took, 0.99)
        );
    }
}

/// How many commands the Redis of the routes has run.
fn redis_calls(fleet: &Fleet) -> u64 {
    let lines = fleet.routes.tell_all("INFO commandstats");
    let calls = |line: &String| line.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok();
    lines.iter().filter_map(calls).sum()
}
