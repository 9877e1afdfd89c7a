//! The hot path allocates nothing: not in the gate, not in the layers, not in a queue with a free place.

mod answer;

use std::{
    future::Future,
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use allocation_counter::measure;
use dagor::{
    admission::{Cost, Cut, Gate, GateSettings, Level, Population, PriorityKey, Upstream, Value, Weight, resolve},
    clock::{Clock, Timestamp},
    id::MessageId,
    layer::{QueueLayer, QueueSettings, ShedLayer, TagLayer},
};
use tower::{Layer, Service};

use self::answer::{Answer, Ask};

fn value(business: u8) -> Value {
    Value::new(Level::new(business, 0), 0)
}

/// An open gate up to business 5.
fn gate() -> Arc<Gate> {
    let gate = Arc::new(Gate::new(GateSettings::default(), 1));
    gate.set_manager_cap(Cut::through(Level::new(5, 127)));
    gate
}

fn run<S: Service<R>, R>(service: &mut S, request: R) -> Result<S::Response, S::Error> {
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(service.poll_ready(cx).is_ready());
    match pin!(service.call(request)).poll(cx) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("did not answer at once"),
    }
}

/// Allocations of a thousand runs.
fn allocations(mut work: impl FnMut()) -> u64 {
    measure(|| (0..1000).for_each(|_| work())).count_total
}

#[test]
fn a_decision_allocates_nothing() {
    let gate = gate();
    let decide = |business| gate.decide(0, Timestamp::ZERO, value(business), Cost::ONE);
    assert_eq!(allocations(|| assert!(decide(1).is_ok())), 0);
    assert_eq!(allocations(|| assert!(decide(9).is_err())), 0);
}

#[test]
fn closing_a_window_allocates_nothing() {
    let gate = gate();
    let mut now = Timestamp::ZERO;
    let second = || {
        now = now + Duration::from_secs(1);
        gate.tick(now, None);
    };
    assert_eq!(allocations(second), 0);
}

#[test]
fn making_a_value_allocates_nothing() {
    let key = PriorityKey([7; 16]);
    let make = |id| key.user(b"someone").value(3, Duration::from_secs(5), (0, 127), MessageId(id));
    assert_eq!(allocations(|| assert_eq!(black_box(make(9)), make(9))), 0);
}

#[test]
fn tagging_and_shedding_allocate_nothing() {
    let mut service = TagLayer::new(|ask: &Ask| value(ask.0)).layer(ShedLayer::new(gate(), 0).layer(Answer));
    assert_eq!(allocations(|| run(&mut service, Ask(1)).unwrap()), 0);
    assert_eq!(allocations(|| drop(run(&mut service, Ask(9)).unwrap_err())), 0);
}

#[test]
fn a_queue_with_a_free_place_allocates_nothing() {
    let settings = QueueSettings { capacity: 10, max_in_flight: 1 };
    let (queue, _handle) = QueueLayer::pair(settings, gate(), 0, Clock::system());
    let shed = ShedLayer::new(gate(), 0).layer(queue.layer(Answer));
    let mut service = TagLayer::new(|ask: &Ask| value(ask.0)).layer(shed);
    assert_eq!(allocations(|| run(&mut service, Ask(1)).unwrap()), 0);
}

#[test]
fn weighing_a_user_allocates_nothing() {
    let (mut population, mut weights) = (Population::default(), [Weight::default(); 20]);
    weights.iter_mut().for_each(|weight| population.served(weight, Cost::ONE, Timestamp::ZERO));
    let heavy = &mut weights[0];
    assert_eq!(allocations(|| population.served(heavy, Cost::ONE, Timestamp::ZERO)), 0);
    let mut levels = (0, 127);
    assert_eq!(allocations(|| levels = population.levels(heavy, (0, 127), Timestamp::ZERO)), 0);
    assert!(levels.0 > 0, "{levels:?}");
}

#[test]
fn deciding_by_an_instances_cut_and_saying_what_a_cut_means_allocate_nothing() {
    let (mut upstream, cut, now) = (Upstream::new(), Cut::through(Level::new(5, 127)), Timestamp::ZERO);
    upstream.hear(cut, now);
    let refused = Value::new(Level::new(9, 0), u32::MAX);
    assert_eq!(allocations(|| assert!(upstream.decide(now, value(1)).is_ok())), 0);
    assert_eq!(allocations(|| assert!(upstream.decide(now, refused).is_err())), 0);
    let (user, second) = (PriorityKey([7; 16]).user(b"someone"), Duration::from_secs(1));
    assert_eq!(allocations(|| assert!(resolve(cut, 9, user, second, (0, 127), second).is_some())), 0);
}

/// The steady state: replies come in any order, as long as none waits for one more than 64 ids before it.
#[cfg(feature = "gateway")]
#[test]
fn what_is_settled_is_kept_without_an_allocation() {
    let mut settlement = dagor::gateway::settlement::Settlement::default();
    let mut id = 1;
    let round = || {
        settlement.raise(MessageId(id));
        assert_eq!(settlement.admit(MessageId(id + 63), Some(MessageId(0))), Ok(()));
        (1..64).rev().for_each(|behind| settlement.answered(MessageId(id + behind)));
        assert_eq!(settlement.tell(), None);
        settlement.answered(MessageId(id));
        assert_eq!(settlement.tell(), Some(MessageId(id + 63)));
        id += 64;
    };
    assert_eq!(allocations(round), 0);
}

/// The counter itself counts.
#[test]
fn an_allocation_is_noticed() {
    assert_eq!(allocations(|| drop(black_box(Box::new(1)))), 1000);
}
