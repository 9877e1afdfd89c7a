//! What the layers cost around a service that answers at once, polled by hand, and that they allocate nothing.

#[path = "../tests/answer/mod.rs"]
mod answer;

use std::{
    future::Future,
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use criterion::{Criterion, criterion_group, criterion_main};
use dagor::{
    admission::{Cut, Gate, GateSettings, Level, Value},
    clock::{Clock, Timestamp},
    layer::{QueueLayer, QueueSettings, ShedLayer, TagLayer},
};
use tower::{Layer, Service};

use self::answer::{Answer, Ask};

fn tag(ask: &Ask) -> Value {
    Value::new(Level::new(ask.0, 0), 0)
}

fn gate() -> Arc<Gate> {
    let gate = Arc::new(Gate::new(GateSettings::default(), 1));
    gate.set_manager_cap(Cut::through(Level::new(5, 127)));
    gate
}

/// Makes the service ready, calls it and polls the answer once.
fn run<S: Service<Ask>>(service: &mut S, business: u8) -> bool {
    let cx = &mut Context::from_waker(Waker::noop());
    let _ = black_box(service.poll_ready(cx));
    matches!(black_box(pin!(service.call(black_box(Ask(business)))).poll(cx)), Poll::Ready(Ok(_)))
}

fn measure(c: &mut Criterion, name: &str, service: &mut impl Service<Ask>, business: u8) {
    let allocated = allocation_counter::measure(|| {
        run(service, business);
    });
    assert_eq!(allocated.count_total, 0, "{name} allocates");
    c.bench_function(name, |b| b.iter(|| run(service, business)));
}

fn layers(c: &mut Criterion) {
    measure(c, "bare service", &mut Answer, 1);
    let mut shed = TagLayer::new(tag).layer(ShedLayer::new(gate(), 0).layer(Answer));
    measure(c, "tag + shed, admitted", &mut shed, 1);
    measure(c, "tag + shed, refused", &mut shed, 9);
    // A clock that stands still leaves out what reading the system's costs.
    for (name, clock) in [("system clock", Clock::system()), ("still clock", Clock::manual(Timestamp::ZERO))] {
        let (queue, _handle) = QueueLayer::pair(QueueSettings { capacity: 100, max_in_flight: 8 }, gate(), 0, clock);
        let mut queued = TagLayer::new(tag).layer(ShedLayer::new(gate(), 0).layer(queue.layer(Answer)));
        measure(c, &format!("tag + shed + queue, {name}"), &mut queued, 1);
    }
}

criterion_group!(benches, layers);
criterion_main!(benches);
