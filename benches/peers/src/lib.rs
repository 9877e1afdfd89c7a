//! Asks for one decision many times, alone or on two CPUs at once, with the same work behind it for dagor and its peers.

use std::{
    future::{Future, Pending, Ready, pending, ready},
    hint::{black_box, spin_loop},
    pin::{Pin, pin},
    sync::{Barrier, LazyLock},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use criterion::{BenchmarkGroup, BenchmarkId, measurement::WallTime};
use dagor::{clock::Timestamp, request::Failure, request::Timed};
use tokio::runtime::{Builder, Runtime};
use tower_service::Service;

/// How many threads each row runs with; thread k runs on CPU k.
const THREADS: [usize; 2] = [1, 2];
/// How many of a row's decisions must come out as its table says. Not all of them: a limit that adapts may think
/// differently for a moment.
const LEAST_SHARE: f64 = 0.99;
/// Nobody waits longer than for the other thread's decision.
const MOST_POLLS: u32 = 10_000_000;

/// Some peers make timers of tokio, which want a runtime to be there. Nothing runs on it.
pub static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a runtime can be built"));

/// A request that every stack here can take.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// The business of dagor's value: 1 is admitted, 9 is refused.
    pub business: u8,
    /// When it arrived.
    pub arrived: Timestamp,
}

impl Ask {
    /// One that arrived at the origin of time.
    pub fn of(business: u8) -> Self {
        Self { business, arrived: Timestamp::ZERO }
    }
}

impl Timed for Ask {
    fn arrived(&self) -> Timestamp {
        self.arrived
    }

    fn deadline(&self) -> Timestamp {
        Timestamp::MAX
    }
}

/// The service behind every stack: it answers at once and does nothing.
#[derive(Clone, Copy, Debug)]
pub struct Answer;

impl<R> Service<R> for Answer {
    type Response = ();
    type Error = Failure;
    type Future = Ready<Result<(), Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        drop(request);
        ready(Ok(()))
    }
}

/// A service that takes a place and keeps it.
#[derive(Clone, Copy, Debug)]
pub struct Never;

impl Service<Ask> for Never {
    type Response = ();
    type Error = Failure;
    type Future = Pending<Result<(), Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Ask) -> Self::Future {
        pending()
    }
}

/// Makes a service ready, calls it and polls until it has answered.
///
/// # Errors
///
/// What the service says.
///
/// # Panics
///
/// If it does not answer.
pub fn answer<S: Service<Ask>>(service: &mut S, ask: Ask) -> Result<S::Response, S::Error> {
    let cx = &mut Context::from_waker(Waker::noop());
    let Poll::Ready(ready) = service.poll_ready(cx) else { panic!("not ready") };
    ready?;
    // Pinned where it is made: some of these futures are large, and moving one would count as well.
    poll(pin!(service.call(black_box(ask))))
}

/// Polls a future until it is ready.
///
/// # Panics
///
/// If it never is.
pub fn finish<F: Future>(future: F) -> F::Output {
    poll(pin!(future))
}

fn poll<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    let cx = &mut Context::from_waker(Waker::noop());
    for _ in 0..MOST_POLLS {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return output;
        }
        spin_loop();
    }
    panic!("no answer");
}

/// A table: each row one way to decide, with one thread and with two, all decisions coming out alike.
pub struct Table<'a> {
    group: BenchmarkGroup<'a, WallTime>,
    admitted: bool,
}

impl<'a> Table<'a> {
    /// A table of decisions that must come out as `admitted` says.
    pub fn new(mut group: BenchmarkGroup<'a, WallTime>, admitted: bool) -> Self {
        group.sample_size(30).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(1000));
        Self { group, admitted }
    }

    /// Measures a row. `decider` makes what a thread asks with, on that thread: it says whether it was admitted.
    ///
    /// # Panics
    ///
    /// If the decisions come out otherwise than they must.
    pub fn row<D>(&mut self, name: &str, decider: impl Fn(usize) -> D + Sync)
    where
        D: FnMut() -> bool,
    {
        for count in THREADS {
            let admitted = self.admitted;
            let unit = if count == 1 { "thread" } else { "threads" };
            self.group.bench_function(BenchmarkId::new(name, format!("{count} {unit}")), |b| {
                b.iter_custom(|rounds| {
                    let (slowest, right) = together(count, rounds, admitted, &decider);
                    let share = right as f64 / (rounds * count as u64) as f64;
                    assert!(share >= LEAST_SHARE, "{name}: only {share} came out with admitted = {admitted}");
                    slowest
                });
            });
        }
    }
}

/// How long the slowest of the threads took for `rounds` decisions, and how many of all came out as they must.
fn together<D>(count: usize, rounds: u64, admitted: bool, decider: &(impl Fn(usize) -> D + Sync)) -> (Duration, u64)
where
    D: FnMut() -> bool,
{
    let barrier = Barrier::new(count);
    let run = |worker: usize| {
        // Otherwise the scheduler may put both on one CPU and hide what they cost each other.
        core_affinity::set_for_current(core_affinity::CoreId { id: worker });
        let _entered = RUNTIME.enter();
        let mut decide = decider(worker);
        barrier.wait();
        timed(rounds, || black_box(decide()) == admitted)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|worker| scope.spawn(move || run(worker))).collect();
        let results = threads.into_iter().map(|thread| thread.join().expect("a decision does not panic"));
        results.fold((Duration::ZERO, 0), |(slowest, sum), (elapsed, right)| (slowest.max(elapsed), sum + right))
    })
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn timed(rounds: u64, mut decide: impl FnMut() -> bool) -> (Duration, u64) {
    let begin = Instant::now();
    let right = (0..rounds).map(|_| u64::from(decide())).sum();
    (begin.elapsed(), right)
}
