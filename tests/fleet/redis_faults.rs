//! The Redis of the routes is stopped, loses everything, or takes a second for each answer. Who is connected does not notice.
//! Who comes is let in: a login waits for Redis no longer than its timeout, and goes on with the epoch behind the one that it
//! asked for. All routes are there soon after Redis is well again, written from the gateways' rosters.

use std::{ops::Range, sync::Arc, time::Duration};

use dagor::{
    clock::Clock,
    registry::Registry as _,
    service::{PushError, Router},
};
use futures_util::{StreamExt as _, stream};
use tokio::{process::Command, task::block_in_place, time::Instant};

use super::{
    Plan, begin,
    crowd::{Crowd, Refusals, What, count, logins},
    fleet::{Fleet, NOT_BALANCED, Setup, registry, until},
    ledger::{Ending, Ledger, user},
    storm::push,
    traffic::{Traffic, latencies, quantile},
};

/// All routes are there again by then.
const WHOLE_WITHIN: Duration = Duration::from_secs(5);
/// A login waits for Redis no longer than this, which is the default of `[routes] timeout`, and a login takes a while by itself.
const LOGS_IN_WITHIN: Duration = Duration::from_millis(250 + 750);
/// What an answer takes while Redis is slow.
const SLOW: Duration = Duration::from_secs(1);
/// So many come during each fault.
const NEWCOMERS: usize = 40;
/// Users for whom somebody asks `dagor route`, and to whom something is pushed.
const ASKED: usize = 5;
const PUSHED: usize = 50;
/// Messages per second at the least.
const RATE: f64 = 300.0;
/// Of fewer messages the 99th percentile is what one hiccup of the machine makes it; it is printed only.
const ENOUGH_MESSAGES: usize = 5_000;

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Away, then there again with what it had written.
    Stopped,
    /// Away, then there with nothing.
    Emptied,
    /// Each answer takes a second.
    Slow,
}

/// What was seen of one of them.
struct Seen {
    fault: Fault,
    before: Range<Duration>,
    during: Range<Duration>,
    /// From its end until every client was found.
    whole: Duration,
    found: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_that_cannot_be_written_cost_nobody_anything_and_are_all_there_soon_after() {
    let (plan, _alone) = begin("redis faults").await;
    let mut fleet =
        Fleet::start(&Setup { connections: String::new(), patient: true, placement: NOT_BALANCED, slow_routes: true })
            .await;
    let mut crowd = Crowd::new();
    crowd.join(0..plan.clients, &fleet.addresses(), plan.starts_per_second()).await;
    crowd.until_connected().await;
    let per_second = plan.messages_per_second().max(RATE);
    let traffic = Traffic::start(crowd.clients(), per_second, crowd.began());
    until("every client is found", async || missing(&fleet, &crowd).await == 0).await;

    let mut seen = Vec::new();
    for fault in [Fault::Stopped, Fault::Emptied, Fault::Slow] {
        seen.push(endure(fault, &plan, &mut fleet, &mut crowd).await);
    }
    fleet.until_whole().await;
    let sent = traffic.end().await;
    let clients = crowd.clients().len();
    let log = crowd.end().await;

    for Seen { fault, before, during, whole, found } in &seen {
        let (newcomers, length) = (logins(&log, during.clone()), during.end - during.start);
        println!("{fault:?} for {length:?}; then all {found} clients were found after {whole:?}");
        println!("  logins meanwhile: {}, {}", newcomers.len(), percentiles(&newcomers));
        for (what, when) in [("before", before), ("during", during)] {
            let took = latencies(&sent, when.clone(), |_| true);
            println!("  messages {what}: {}, {}", took.len(), percentiles(&took));
        }
    }
    let lost = count(&log, |entry| matches!(entry.what, What::Lost { .. }));
    let refused = count(&log, |entry| matches!(entry.what, What::Refused { .. }));
    let moved = count(&log, |entry| entry.what == What::Moving);
    println!(
        "{clients} clients, {} messages; lost connections {lost}, logins refused {refused}, moved {moved}",
        sent.len()
    );
    println!("{}", Refusals::of(&log, Duration::ZERO));
    assert_eq!((lost, refused, moved), (0, 0, 0), "lost, refused, moved");
    assert!(sent.iter().all(|one| one.message.ending == Ending::Replied), "every message was replied to");
    Ledger::read(&fleet.ledger, plan.clients).check(sent.iter().map(|one| &one.message));
    for Seen { fault, before, during, whole, .. } in seen {
        assert!(whole <= WHOLE_WITHIN, "{fault:?}: all routes again after {whole:?}");
        let slowest = quantile(&logins(&log, during.clone()), 1.0);
        assert!(slowest <= LOGS_IN_WITHIN, "{fault:?}: a login took {slowest:?}");
        let [before, during] = [before, during].map(|when| latencies(&sent, when, |_| true));
        if before.len() >= ENOUGH_MESSAGES {
            let [before, during] = [before, during].map(|took| quantile(&took, 0.99));
            let bound = (2 * before).max(before + Duration::from_millis(10));
            assert!(during <= bound, "{fault:?}: messages' p99 {before:?} before, {during:?} during it");
        }
    }
    fleet.check(None);
}

/// Goes through one fault, with newcomers in the middle half of it.
async fn endure(fault: Fault, plan: &Plan, fleet: &mut Fleet, crowd: &mut Crowd) -> Seen {
    let quiet = crowd.now();
    tokio::time::sleep(plan.look).await;
    let began = crowd.now();
    match fault {
        Fault::Stopped | Fault::Emptied => fleet.routes.kill(),
        Fault::Slow => fleet.slow_routes_by(SLOW),
    }
    tokio::time::sleep(plan.look / 4).await;
    let next = crowd.clients().len();
    let per_second = NEWCOMERS as f64 / (plan.look / 2).as_secs_f64();
    crowd.join(next..next + NEWCOMERS, &fleet.addresses(), per_second).await;
    crowd.until_connected().await;
    ask_in_vain(fleet).await;
    tokio::time::sleep((began + plan.look).saturating_sub(crowd.now())).await;

    // Other tasks of this thread would wait for the process to start.
    match fault {
        Fault::Stopped => block_in_place(|| fleet.routes.start_again()),
        Fault::Emptied => block_in_place(|| fleet.routes.start_empty()),
        Fault::Slow => fleet.slow_routes_by(Duration::ZERO),
    }
    let during = began..crowd.now();
    // To read all routes is work for this machine, so it is not done before the gateways say that they are there.
    let mut whole = until("gateways have written their routes", async || fleet.routes_are_written().await).await;
    whole += until("every client is found", async || missing(fleet, crowd).await == 0).await;
    ask_and_push(fleet, crowd).await;
    Seen { fault, before: quiet..began, during, whole, found: crowd.places().len() }
}

/// A service that looks for somebody meanwhile is told in time that it cannot know.
async fn ask_in_vain(fleet: &Fleet) {
    let router = Router::new(Arc::new(registry(fleet.routes_url())));
    let began = Instant::now();
    let pushed = router.push(push(0)).await;
    println!("a push meanwhile: {pushed:?} after {:?}", began.elapsed());
    assert_eq!(pushed, Err(PushError::NoRoutes));
}

/// How many clients have no route to the gateway where they are.
async fn missing(fleet: &Fleet, crowd: &Crowd) -> usize {
    let (registry, clock) = (&registry(fleet.routes.url()), &Clock::system());
    let looked_up = stream::iter(crowd.places()).map(|(number, gateway)| async move {
        let routes = registry.lookup(&user(number), clock.now()).await.unwrap_or_default();
        routes.len() == 1 && routes[0].home.gateway == gateway
    });
    let is_found: Vec<_> = looked_up.buffer_unordered(256).collect().await;
    assert_eq!(is_found.len(), crowd.clients().len(), "all are connected");
    is_found.iter().filter(|found| !**found).count()
}

/// What people see, and what services do with it.
async fn ask_and_push(fleet: &Fleet, crowd: &Crowd) {
    let places = crowd.places();
    for (&number, gateway) in places.iter().step_by((places.len() / ASKED).max(1)) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dagor"));
        command.args(["route", &user(number), "--redis", &fleet.routes.url(), "--json"]);
        let shown = command.output().await.unwrap();
        let routes: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        assert_eq!(routes[0]["gateway"], **gateway, "{number}");
    }
    let router = Router::new(Arc::new(registry(fleet.routes.url())));
    for &number in places.keys().step_by((places.len() / PUSHED).max(1)) {
        router.push(push(number)).await.unwrap_or_else(|error| panic!("{number} is connected: {error}"));
    }
}

fn percentiles(sorted: &[Duration]) -> String {
    let [half, most, all] = [0.5, 0.99, 1.0].map(|share| quantile(sorted, share));
    format!("p50 {half:?}, p99 {most:?}, slowest {all:?}")
}
