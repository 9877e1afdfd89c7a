//! Several gateways in front of one service, with everything that is real. `tests/sharing` has the same on a virtual clock,
//! with more of it, and what became of each request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use dagor::{
    admission::{Cut, PriorityKey},
    client::{ClientConfig, DirectClient},
    gateway::Gateway,
    id::{BusinessCode, MessageId},
    service::EchoConfig,
};
use tokio::{task::JoinSet, time::Instant};

use super::fleet::{Site, addresses, end, managers, policy, within};

const MESSAGE: BusinessCode = BusinessCode(20);
const MOMENTS: BusinessCode = BusinessCode(30);
/// Users, each at both gateways.
const USERS: usize = 50;
/// The service serves so many requests per second.
const CAPACITY: f64 = 100.0;
/// Twice as much is offered, most of it at one gateway.
const OFFERED: [f64; 2] = [0.9 * 2.0 * CAPACITY, 0.1 * 2.0 * CAPACITY];
/// What is promised after three reports: of the requests, the part that is decided differently at most, and of the capacity, the
/// part that is used at least. A call of 40 ms takes a little longer by a real clock, and more on a busy machine; the part that
/// is promised, 0.95, is asserted on the virtual clock.
const ALIKE: f64 = 0.01;
const USED: f64 = 0.9;
/// How long it takes until clients are connected and the gateways have reported three times, and how long is looked at.
const SETTLING: Duration = Duration::from_secs(4);
const LOOKING: Duration = Duration::from_secs(10);

/// Requests of all users at this gateway, evenly at this rate, whatever becomes of them.
async fn offer(place: std::net::SocketAddr, device: &str, rate: f64, until: Instant, served: Arc<AtomicUsize>) {
    let mut clients = Vec::new();
    for user in 0..USERS {
        let config = ClientConfig {
            device: device.to_owned(),
            hold_back: false,
            ..ClientConfig::new(place.to_string(), format!("u{user}"))
        };
        clients.push(within("login", DirectClient::connect(config)).await.unwrap().0);
    }
    let mut pending = JoinSet::new();
    let began = Instant::now();
    let mut sent = 0_usize;
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    while Instant::now() < until {
        ticks.tick().await;
        while (sent as f64) < began.elapsed().as_secs_f64() * rate {
            let business = if sent % 4 == 3 { MOMENTS } else { MESSAGE };
            let response = clients[sent / 4 % USERS].request(business, Bytes::from_static(b"x"), None);
            let served = served.clone();
            pending.spawn(async move {
                if response.await.is_ok() {
                    served.fetch_add(1, Relaxed);
                }
            });
            sent += 1;
        }
        while pending.try_join_next().is_some() {}
    }
}

/// Of the requests of all users, the part that exactly one of the two cuts lets through.
fn disagreement(cuts: [Cut; 2]) -> f64 {
    let key = PriorityKey([7; 16]);
    let mut differ = 0;
    for user in 0..USERS {
        let user = key.user(format!("u{user}").as_bytes());
        for priority in [20, 20, 20, 30] {
            for message in 0..10 {
                let value = user.value(priority, Duration::ZERO, (0, 127), MessageId(message));
                differ += usize::from(cuts[0].admits(value) != cuts[1].admits(value));
            }
        }
    }
    differ as f64 / (USERS * 40) as f64
}

fn cuts(gateways: &[Arc<Gateway>; 2]) -> [Cut; 2] {
    [0, 1].map(|at| gateways[at].gates[0].effective_cut())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_user_is_treated_alike_at_a_busy_gateway_and_at_a_quiet_one() {
    let demo = EchoConfig { workers: 4, work: Duration::from_secs_f64(4.0 / CAPACITY) };
    let site = Site::new(demo, &policy("", "")).await;
    let managers = managers(1, None).await;
    let mut running = Vec::new();
    for name in ["busy", "quiet"] {
        running.push(site.gateway(name, &addresses(&managers)).await);
    }
    let gateways = [running[0].gateway.clone(), running[1].gateway.clone()];
    let served = Arc::new(AtomicUsize::new(0));
    let until = Instant::now() + SETTLING + LOOKING + Duration::from_secs(1);
    let mut load = JoinSet::new();
    for (at, rate) in OFFERED.into_iter().enumerate() {
        let (place, device) = (running[at].addresses.clients, format!("d{at}"));
        let served = served.clone();
        load.spawn(async move { offer(place, &device, rate, until, served).await });
    }
    tokio::time::sleep(SETTLING).await;

    let before = served.load(Relaxed);
    let began = Instant::now();
    let (mut looks, mut sum, mut bound) = (0, 0.0, 0);
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    let mut seen = Vec::new();
    while began.elapsed() < LOOKING {
        ticks.tick().await;
        let now = cuts(&gateways);
        seen.push(format!("{} {} fleet {}", now[0], now[1], gateways[0].gates[0].fleet_cut()));
        sum += disagreement(now);
        bound += usize::from(gateways[0].gates[0].fleet_cut() != Cut::OPEN);
        looks += 1;
    }
    let rate = (served.load(Relaxed) - before) as f64 / began.elapsed().as_secs_f64();
    let mean = sum / f64::from(looks);
    let round = managers[0].engine.rounds().borrow().clone();
    let story = || {
        let reasons: Vec<_> = round.decisions.services.iter().map(|service| service.reason.clone()).collect();
        format!("{reasons:?}\n{}", seen.iter().step_by(10).cloned().collect::<Vec<_>>().join("\n"))
    };
    eprintln!(
        "{:.2} % differ, fleet cut in force in {bound} of {looks} looks, {rate:.0}/s served\n{}",
        mean * 100.0,
        story()
    );
    assert!(bound as f64 > 0.8 * f64::from(looks), "a fleet cut is in force: {bound} of {looks}\n{}", story());
    // Without the fleet's cut it is half of them: one gateway sheds, the other one is open.
    assert!(mean <= ALIKE, "{:.2} % of the requests are treated differently\n{}", mean * 100.0, story());
    assert!(rate >= USED * CAPACITY, "{rate:.0}/s of {CAPACITY}/s are served\n{}", story());
    drop(within("the load ends", load.join_all()).await);
    end(running, managers).await;
}
