//! What one decision costs, alone and with two workers, and what a window's close and a user's place cost.

use std::{
    hint::black_box,
    sync::Barrier,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use dagor::{
    admission::{Cost, Cut, Gate, GateSettings, Level, PriorityKey, Value},
    clock::Timestamp,
    id::MessageId,
};

/// Values all over the levels of two businesses, as traffic has them.
fn value(step: u64, business: u8) -> Value {
    Value::new(Level::new(business, (step.wrapping_mul(37) % 128) as u8), step as u32)
}

fn gate() -> Gate {
    let gate = Gate::new(GateSettings::default(), 2);
    gate.set_manager_cap(Cut::through(Level::new(5, 127)));
    gate
}

/// The slower of two threads, each on a CPU of its own: without that the scheduler may put both on one and hide what
/// they cost each other.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn two_threads(rounds: u64, work: impl Fn(usize, u64) + Sync) -> Duration {
    let barrier = Barrier::new(2);
    let run = |worker: usize| {
        core_affinity::set_for_current(core_affinity::CoreId { id: worker });
        barrier.wait();
        let begin = Instant::now();
        (0..rounds).for_each(|step| work(worker, step));
        begin.elapsed()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| run(1));
        let first = scope.spawn(|| run(0));
        let join =
            |thread: std::thread::ScopedJoinHandle<'_, Duration>| thread.join().expect("the work does not panic");
        join(first).max(join(other))
    })
}

fn decide(c: &mut Criterion) {
    for (name, business) in [("admit", 3), ("refuse", 9)] {
        let gate = gate();
        let work = |worker: usize, step: u64| {
            let _ = black_box(gate.decide(worker, Timestamp::ZERO, black_box(value(step, business)), Cost::ONE));
        };
        c.bench_function(&format!("decide, {name}, 1 thread"), |b| {
            b.iter_custom(|rounds| one_thread(rounds, |step| work(0, step)));
        });
        c.bench_function(&format!("decide, {name}, 2 threads"), |b| {
            b.iter_custom(|rounds| two_threads(rounds, work));
        });
        // What remains if nothing at all is shared: the machine's own cost of two threads.
        let gates = [self::gate(), self::gate()];
        c.bench_function(&format!("decide, {name}, 2 threads, a gate each"), |b| {
            b.iter_custom(|rounds| {
                two_threads(rounds, |worker, step| {
                    let _ = black_box(gates[worker].decide(
                        worker,
                        Timestamp::ZERO,
                        black_box(value(step, business)),
                        Cost::ONE,
                    ));
                })
            });
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn one_thread(rounds: u64, work: impl Fn(u64)) -> Duration {
    let begin = Instant::now();
    (0..rounds).for_each(work);
    begin.elapsed()
}

fn tick(c: &mut Criterion) {
    let gate = gate();
    let mut now = Timestamp::ZERO;
    c.bench_function("tick, window closes, 8192 levels, 2 shards", |b| {
        b.iter(|| {
            now = now + Duration::from_secs(1);
            gate.sample(0, Duration::from_millis(50));
            gate.tick(now, None);
        });
    });
    c.bench_function("tick, window stays open", |b| b.iter(|| gate.tick(now, None)));
}

fn priority(c: &mut Criterion) {
    let key = PriorityKey([7; 16]);
    c.bench_function("place of a user, 15 bytes", |b| b.iter(|| key.user(black_box(b"user-0123456789"))));
    let user = key.user(b"user-0123456789");
    let now = Duration::from_millis(1_700_000_000_123);
    c.bench_function("user level", |b| b.iter(|| user.level(black_box(now), black_box((16, 127)))));
    c.bench_function("grain", |b| b.iter(|| user.grain(black_box(MessageId(77)))));
}

criterion_group!(benches, decide, tick, priority);
criterion_main!(benches);
