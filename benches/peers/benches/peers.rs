//! What one admission decision costs in dagor and in its peers, admitted and refused, with one thread and with two.
//! The page beside this crate's manifest says how to read it.

use std::{
    env,
    num::NonZeroU32,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use admission_peers::{Answer, Ask, Never, RUNTIME, Table, answer, finish};
use congestion_limiter::{
    limiter::{DefaultLimiter, Limiter, Outcome},
    limits::Aimd,
};
use criterion::{Criterion, criterion_group, criterion_main};
use dagor::{
    admission::{Cost, Cut, Gate, GateSettings, Level, Value},
    clock::{Clock, Timestamp},
    layer::{QueueLayer, QueueSettings, ShedLayer, TagLayer},
};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use little_loadshedder::{LoadShed, LoadShedResponse};
use sentinel_core::{api::EntryBuilder, base::TrafficType, flow};
use tower::{Layer, Service, limit::ConcurrencyLimit, limit::RateLimit, limit::rate::Rate};
use tower_resilience::{
    adaptive::{self, AdaptiveLimiterLayer},
    bulkhead::BulkheadLayer,
    ratelimiter::RateLimiterLayer,
};

/// Businesses before and behind the cut of [`gate`].
const ADMITTED: u8 = 1;
const REFUSED: u8 = 9;
/// More than all threads need.
const PLENTY: usize = 1_000_000_000;
/// What little-loadshedder's own example takes.
const LITTLE_EWMA: f64 = 0.01;
/// A period that does not end during a measurement.
const HOUR: Duration = Duration::from_secs(3600);

fn gate() -> Arc<Gate> {
    let gate = Arc::new(Gate::new(GateSettings::default(), 2));
    gate.set_manager_cap(Cut::through(Level::new(5, 127)));
    gate
}

/// The one place that asks a gate.
fn decide(gate: &Gate, worker: usize, value: Value) -> bool {
    gate.decide(worker, Timestamp::ZERO, value, Cost::ONE).is_ok()
}

/// The decision alone, without a service behind it.
fn decisions(c: &mut Criterion) {
    let mut admitted = Table::new(c.benchmark_group("decision, admitted"), true);
    gate_row(&mut admitted, ADMITTED);
    governor_row(&mut admitted, Quota::per_second(NonZeroU32::MAX));
    congestion_row(&mut admitted, false);
    drop(admitted);
    let mut refused = Table::new(c.benchmark_group("decision, refused"), false);
    gate_row(&mut refused, REFUSED);
    governor_row(&mut refused, Quota::with_period(HOUR).expect("an hour is a period"));
    congestion_row(&mut refused, true);
}

fn gate_row(table: &mut Table<'_>, business: u8) {
    let gate = gate();
    table.row("dagor Gate::decide", |worker| {
        let (gate, mut step) = (gate.clone(), 0_u32);
        move || {
            // All over the levels of the business, as traffic has them.
            step = step.wrapping_add(37);
            decide(&gate, worker, Value::new(Level::new(business, (step % 128) as u8), step))
        }
    });
}

fn governor_row(table: &mut Table<'_>, quota: Quota) {
    let limiter: DefaultDirectRateLimiter = RateLimiter::direct(quota);
    // Uses up a quota of one.
    let _ = limiter.check();
    table.row("governor check", |_| || limiter.check().is_ok());
}

fn congestion_row(table: &mut Table<'_>, full: bool) {
    let limiter = DefaultLimiter::new(if full { Aimd::new(1, 1..=1) } else { Aimd::new_with_initial_limit(10) });
    let _kept = full.then(|| finish(limiter.try_acquire()));
    table.row("congestion-limiter AIMD, acquire and release", |_| {
        || {
            let token = finish(limiter.try_acquire());
            token.map(|token| finish(limiter.release(token, Some(Outcome::Success)))).is_some()
        }
    });
}

/// Comes last: it starts threads of its own.
fn sentinel(c: &mut Criterion) {
    let traced = ["RUST_BACKTRACE", "RUST_LIB_BACKTRACE"].iter().any(|name| env::var(name).is_ok_and(|it| it != "0"));
    assert!(!traced, "with RUST_BACKTRACE set, refusals of sentinel-core capture backtraces; unset it");
    sentinel_core::init_default().expect("sentinel-core starts");
    let rule = |resource: &str, threshold| {
        Arc::new(flow::Rule { resource: resource.into(), threshold, ..flow::Rule::default() })
    };
    flow::load_rules(vec![rule("open", 1e12), rule("closed", 0.0)]);
    for (outcome, resource) in [("admitted", "open"), ("refused", "closed")] {
        let mut table = Table::new(c.benchmark_group(format!("decision, {outcome}")), resource == "open");
        table.row("sentinel-core flow rule, entry and exit", |_| {
            || {
                let entry = EntryBuilder::new(resource.into()).with_traffic_type(TrafficType::Inbound).build();
                entry.map(|entry| entry.exit()).is_ok()
            }
        });
    }
}

/// The decision in a tower stack, around a service that answers at once.
fn layers(c: &mut Criterion) {
    let mut admitted = Table::new(c.benchmark_group("layers, admitted"), true);
    admitted.row("no layer", |_| || answer(&mut Answer, Ask::of(ADMITTED)).is_ok());
    shed_rows(&mut admitted, ADMITTED);
    queue_rows(&mut admitted, 8);
    tower_rows(&mut admitted, PLENTY);
    resilience_rows(&mut admitted, PLENTY);
    little_row(&mut admitted, false);
    drop(admitted);
    let mut refused = Table::new(c.benchmark_group("layers, refused"), false);
    shed_rows(&mut refused, REFUSED);
    queue_rows(&mut refused, 0);
    tower_rows(&mut refused, 1);
    resilience_rows(&mut refused, 1);
    bulkhead_timer_row(&mut refused);
    little_row(&mut refused, true);
}

fn tag(ask: &Ask) -> Value {
    Value::new(Level::new(ask.business, 0), 0)
}

fn shed_rows(table: &mut Table<'_>, business: u8) {
    let gate = gate();
    let stack = |worker| TagLayer::new(tag).layer(ShedLayer::new(gate.clone(), worker).layer(Answer));
    table.row("dagor Tag + Shed", |worker| {
        let mut stack = stack(worker);
        move || answer(&mut stack, Ask::of(business)).is_ok()
    });
    let clock = Clock::system();
    table.row("dagor Tag + Shed, clock read for each", |worker| {
        let (mut stack, clock) = (stack(worker), clock.clone());
        move || answer(&mut stack, Ask { business, arrived: clock.now() }).is_ok()
    });
}

/// With no place at all, the queue refuses what the gate admits.
fn queue_rows(table: &mut Table<'_>, max_in_flight: usize) {
    let gate = gate();
    let settings = QueueSettings { capacity: 0, max_in_flight };
    let queue = |worker| QueueLayer::pair(settings, gate.clone(), worker, Clock::system()).0;
    let stack = |worker, queue: QueueLayer| {
        TagLayer::new(tag).layer(ShedLayer::new(gate.clone(), worker).layer(queue.layer(Answer)))
    };
    table.row("dagor Tag + Shed + Queue, a queue each", |worker| {
        let mut stack = stack(worker, queue(worker));
        move || answer(&mut stack, Ask::of(ADMITTED)).is_ok()
    });
    let shared = queue(0);
    table.row("dagor Tag + Shed + Queue, one queue", |worker| {
        let mut stack = stack(worker, shared.clone());
        move || answer(&mut stack, Ask::of(ADMITTED)).is_ok()
    });
}

/// A row of a service whose clones share a limit. With a limit of one, a clone that is ready and idle keeps it.
fn limit_row<S>(table: &mut Table<'_>, name: &str, limit: usize, mut limited: S)
where
    S: Service<Ask> + Clone + Sync,
    S::Error: Into<tower::BoxError>,
{
    let fresh = tower::load_shed::LoadShed::new(limited.clone());
    if limit == 1 {
        let ready = limited.poll_ready(&mut Context::from_waker(Waker::noop()));
        assert!(ready.is_ready(), "the one place is free");
    }
    table.row(name, |_| {
        let mut stack = fresh.clone();
        move || answer(&mut stack, Ask::of(ADMITTED)).is_ok()
    });
    drop(limited);
}

fn tower_rows(table: &mut Table<'_>, limit: usize) {
    limit_row(table, "tower ConcurrencyLimit + LoadShed", limit, ConcurrencyLimit::new(Answer, limit));
    let rate = Rate::new(limit as u64, HOUR);
    table.row("tower RateLimit + LoadShed, a limit each", |_| {
        let mut stack = tower::load_shed::LoadShed::new(RateLimit::new(Answer, rate));
        // Uses up a rate of one.
        let _ = answer(&mut stack, Ask::of(ADMITTED));
        move || answer(&mut stack, Ask::of(ADMITTED)).is_ok()
    });
}

fn resilience_rows(table: &mut Table<'_>, limit: usize) {
    let bulkhead = || BulkheadLayer::builder().max_concurrent_calls(limit);
    if limit > 1 {
        let service = bulkhead().reject_when_full().build().expect("settings are valid").layer(Answer);
        table.row("tower-resilience Bulkhead, reject_when_full", |_| {
            let mut service = service.clone();
            move || answer(&mut service, Ask::of(ADMITTED)).is_ok()
        });
    }
    let service = bulkhead().backpressure().build().expect("settings are valid").layer(Answer);
    limit_row(table, "tower-resilience Bulkhead, backpressure + LoadShed", limit, service);
    let aimd = adaptive::Aimd::builder().initial_limit(limit.min(10)).max_limit(limit.min(100));
    let layer = AdaptiveLimiterLayer::new(aimd.build().expect("settings are valid"));
    limit_row(table, "tower-resilience Adaptive AIMD + LoadShed", limit, layer.layer(Answer));
    let rate =
        RateLimiterLayer::builder().limit_for_period(limit).refresh_period(HOUR).timeout_duration(Duration::ZERO);
    let service = rate.build().expect("settings are valid").layer(Answer);
    // Uses up a rate of one.
    let _ = answer(&mut service.clone(), Ask::of(ADMITTED));
    table.row("tower-resilience RateLimiter, timeout 0", |_| {
        let mut service = service.clone();
        move || answer(&mut service, Ask::of(ADMITTED)).is_ok()
    });
}

/// A full bulkhead refuses by a timeout of zero, which comes with the next tick of the runtime's timer.
fn bulkhead_timer_row(table: &mut Table<'_>) {
    let layer = BulkheadLayer::builder().max_concurrent_calls(1).reject_when_full().build();
    let service = layer.expect("settings are valid").layer(Never);
    let _entered = RUNTIME.enter();
    let mut kept = service.clone().call(Ask::of(ADMITTED));
    assert!(kept.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending(), "it keeps the place");
    table.row("tower-resilience Bulkhead, reject_when_full", |_| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let mut service = service.clone();
        move || runtime.block_on(async { service.call(Ask::of(ADMITTED)).await }).is_ok()
    });
}

fn little_row(table: &mut Table<'_>, full: bool) {
    let target = Duration::from_secs(1);
    if full {
        let service = LoadShed::new(Never, LITTLE_EWMA, target);
        // One in the service and one in the queue, which begin with a place each.
        let mut kept = [(); 2].map(|()| service.clone().call(Ask::of(ADMITTED)));
        let cx = &mut Context::from_waker(Waker::noop());
        kept.iter_mut().for_each(|future| assert!(future.as_mut().poll(cx).is_pending(), "it keeps its place"));
        little(table, service);
    } else {
        little(table, LoadShed::new(Answer, LITTLE_EWMA, target));
    }
}

fn little<S>(table: &mut Table<'_>, service: LoadShed<S>)
where
    S: Service<Ask> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    table.row("little-loadshedder", |_| {
        let mut service = service.clone();
        move || matches!(answer(&mut service, Ask::of(ADMITTED)), Ok(LoadShedResponse::Inner(_)))
    });
}

criterion_group!(benches, decisions, layers, sentinel);
criterion_main!(benches);
