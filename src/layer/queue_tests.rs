use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use super::*;
use crate::{
    admission::{Cause, GateSettings},
    clock::Timestamp,
    layer::{
        Place,
        testing::{Ask, Fault, Inner, NOW, Readiness, Task, admitted},
    },
};

const MILLI: Duration = Duration::from_millis(1);

/// A queue in front of a service with one place, on a clock that is moved by hand.
struct World {
    clock: Clock,
    gate: Arc<Gate>,
    handle: QueueHandle,
    layer: PlacedQueueLayer,
}

type Call = Task<ResponseFuture<Inner, Ask>>;

impl World {
    fn new(capacity: usize) -> Self {
        let clock = Clock::manual(NOW);
        let gate = Arc::new(Gate::new(GateSettings::dagor_v3(), 1));
        let settings = QueueSettings { capacity, max_in_flight: 1 };
        let (layer, handle) = PlacedQueueLayer::pair(settings, gate.clone(), 0, clock.clone());
        Self { clock, gate, handle, layer }
    }

    /// A request that arrives now, in the hands of a service that answers with the request and its place.
    fn call(&self, business: u8) -> Call {
        let mut request = admitted(business, 0);
        request.request.arrived = self.clock.now();
        Task::new(self.layer.layer(Inner::default()).call(request))
    }

    /// The same, polled once, so that it waits.
    fn wait(&self, business: u8) -> Call {
        let mut call = self.call(business);
        assert!(call.poll().is_pending());
        call
    }

    /// (waiting, in flight)
    fn counts(&self) -> (usize, usize) {
        (self.handle.waiting(), self.handle.in_flight())
    }

    /// A service that holds its place itself, behind the same queue.
    fn holding(&self, inner: Inner) -> Queue<HoldPlace<Inner>> {
        self.layer.layer(HoldPlace::new(inner))
    }
}

fn place(call: &mut Call) -> Place {
    match call.poll() {
        Poll::Ready(Ok(placed)) => placed.place,
        other => panic!("{other:?}"),
    }
}

fn cause(call: &mut Call) -> Cause {
    match call.poll() {
        Poll::Ready(Err(Fault::Refused(refusal))) => refusal.cause,
        other => panic!("{other:?}"),
    }
}

#[test]
fn with_a_free_place_a_request_goes_at_once() {
    let world = World::new(2);
    let held = place(&mut world.call(5));
    assert_eq!(world.counts(), (0, 1));
    assert!(world.handle.at_limit());
    drop(held);
    assert_eq!(world.counts(), (0, 0));
}

#[test]
fn a_freed_place_goes_to_the_best_and_wakes_nobody_else() {
    let world = World::new(3);
    let held = place(&mut world.call(5));
    let (mut worse, mut better, mut later) = (world.wait(7), world.wait(3), world.wait(3));
    drop(held);
    assert_eq!((worse.wakes(), better.wakes(), later.wakes()), (0, 1, 0));
    let held = place(&mut better);
    assert!(later.poll().is_pending());
    drop(held);
    drop(place(&mut later));
    drop(place(&mut worse));
    assert_eq!(world.counts(), (0, 0));
}

#[test]
fn a_full_queue_refuses_what_is_no_better_than_its_worst() {
    let world = World::new(2);
    let _held = place(&mut world.call(5));
    let (_first, mut last) = (world.wait(5), world.wait(5));
    assert_eq!(cause(&mut world.call(5)), Cause::QueueFull);
    let _better = world.wait(4);
    assert_eq!((last.wakes(), cause(&mut last)), (1, Cause::PushedOut));
    assert_eq!(world.counts(), (2, 1));
}

#[test]
fn a_queue_without_capacity_never_lets_anything_wait() {
    let world = World::new(0);
    let held = place(&mut world.call(5));
    assert_eq!(cause(&mut world.call(0)), Cause::QueueFull);
    drop(held);
    drop(place(&mut world.call(5)));
}

#[test]
fn a_waiting_request_is_refused_when_its_deadline_passes() {
    let world = World::new(2);
    let _held = place(&mut world.call(5));
    let mut call = world.wait(5);
    world.handle.expire(world.clock.now());
    world.clock.advance(500 * MILLI);
    assert_eq!(world.handle.backlog(world.clock.now()).oldest, 500 * MILLI);
    world.handle.expire(world.clock.now());
    assert_eq!((call.wakes(), cause(&mut call)), (1, Cause::Expired));
    assert_eq!(world.handle.backlog(world.clock.now()).oldest, Duration::ZERO);
}

#[test]
fn expired_work_is_dropped_at_dequeue_and_the_next_one_goes() {
    let world = World::new(2);
    let held = place(&mut world.call(5));
    let mut expired = world.wait(1);
    world.clock.advance(499 * MILLI);
    let mut next = world.wait(9);
    world.clock.advance(MILLI);
    drop(held);
    assert_eq!(cause(&mut expired), Cause::Expired);
    let _held = place(&mut next);
}

#[test]
fn what_arrives_after_its_deadline_is_refused_even_if_a_place_is_free() {
    let world = World::new(2);
    let call = world.layer.layer(Inner::default()).call(admitted(0, 0));
    drop(call);
    world.clock.advance(500 * MILLI);
    let mut late = Task::new(world.layer.layer(Inner::default()).call(admitted(0, 0)));
    assert_eq!(cause(&mut late), Cause::Expired);
}

#[test]
fn what_cannot_be_dispatched_in_time_is_refused_on_arrival() {
    let world = World::new(99);
    let mut held = place(&mut world.call(5));
    let mut waiting: std::collections::VecDeque<_> = (0..30).map(|_| world.wait(5)).collect();
    // One each 20 ms: 25 make half a second.
    for _ in 0..16 {
        world.clock.advance(20 * MILLI);
        waiting.push_back(world.wait(5));
        drop(held);
        held = place(&mut waiting.pop_front().unwrap());
    }
    assert_eq!(world.handle.waiting(), 30);
    assert_eq!(cause(&mut world.call(5)), Cause::TooLate);
    let _better = world.wait(4);
}

#[test]
fn dropping_a_waiting_future_leaves_the_queue() {
    let world = World::new(2);
    let held = place(&mut world.call(5));
    drop(world.wait(5));
    assert_eq!(world.counts(), (0, 1));
    drop(held);
    assert_eq!(world.counts(), (0, 0));
}

#[test]
fn dropping_a_granted_future_passes_the_place_on() {
    let world = World::new(2);
    let held = place(&mut world.call(5));
    let (first, mut second) = (world.wait(5), world.wait(5));
    drop(held);
    assert_eq!((first.wakes(), second.wakes()), (1, 0));
    drop(first);
    assert_eq!(second.wakes(), 1);
    drop(place(&mut second));
    assert_eq!(world.counts(), (0, 0));
}

#[test]
fn a_place_outlives_the_caller_that_went_away() {
    let world = World::new(2);
    let mut call = world.call(5);
    let held = place(&mut call);
    drop(call);
    assert_eq!(world.counts(), (0, 1));
    drop(held);
    assert_eq!(world.counts(), (0, 0));
}

#[test]
fn dropping_a_running_future_releases_its_place() {
    let world = World::new(2);
    let mut task = Task::new(world.holding(Inner { never_answers: true, ..Inner::default() }).call(admitted(5, 0)));
    assert!(task.poll().is_pending());
    assert_eq!(world.counts(), (0, 1));
    drop(task);
    assert_eq!(world.counts(), (0, 0));
}

#[test]
fn an_error_releases_the_place_and_completes_nothing() {
    let world = World::new(2);
    let mut broken = Task::new(world.holding(Inner { broken: true, ..Inner::default() }).call(admitted(5, 0)));
    assert!(matches!(broken.poll(), Poll::Ready(Err(Fault::Broken))));
    assert_eq!((world.counts(), world.gate.snapshot().completed_total), ((0, 0), 0));
    let mut fine = Task::new(world.holding(Inner::default()).call(admitted(5, 0)));
    assert!(fine.poll().is_ready());
    assert_eq!((world.counts(), world.gate.snapshot().completed_total), ((0, 0), 1));
}

#[test]
fn a_service_that_fails_to_get_ready_releases_the_place() {
    let world = World::new(2);
    let mut task =
        Task::new(world.holding(Inner { ready: Readiness::Failed, ..Inner::default() }).call(admitted(5, 0)));
    assert!(task.poll().is_ready());
    drop(task);
    assert_eq!(world.counts(), (0, 0));
}

#[test]
fn when_its_turn_comes_a_request_waits_for_the_service_to_get_ready() {
    let world = World::new(2);
    let held = place(&mut world.call(5));
    let inner = Inner { ready: Readiness::Later, ..Inner::default() };
    let mut task = Task::new(world.holding(inner.clone()).call(admitted(5, 0)));
    assert!(task.poll().is_pending());
    assert_eq!(inner.polled_ready.load(Relaxed), 0);
    drop(held);
    assert!(task.poll().is_pending());
    assert_eq!(world.counts(), (0, 1));
    assert!(task.poll().is_ready());
}

#[test]
fn idle_clones_that_were_made_ready_hold_nothing() {
    let world = World::new(2);
    let mut idle = world.holding(Inner::default());
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    assert!(Service::<crate::request::Admitted<Ask>>::poll_ready(&mut idle, cx).is_ready());
    let held = place(&mut world.call(5));
    assert!(Service::<crate::request::Admitted<Ask>>::poll_ready(&mut idle, cx).is_ready());
    drop(held);
    drop(place(&mut world.call(5)));
    assert_eq!(world.counts(), (0, 0));
}

#[test]
fn grants_may_fall_below_what_is_in_flight_and_rise_again() {
    let world = World::new(9);
    world.handle.set_places(2);
    let (first, second) = (place(&mut world.call(5)), place(&mut world.call(5)));
    world.handle.set_places(0);
    assert!(!world.handle.at_limit());
    let (mut third, mut fourth) = (world.wait(5), world.wait(5));
    drop(first);
    world.handle.set_places(1);
    assert_eq!(world.counts(), (2, 1));
    drop(second);
    let _held = place(&mut third);
    world.handle.set_places(2);
    assert_eq!(fourth.wakes(), 1);
    let _held_too = place(&mut fourth);
    assert_eq!((world.counts(), world.handle.places()), ((0, 2), 2));
}

#[test]
fn all_that_wait_can_be_refused_together() {
    let world = World::new(9);
    let _held = place(&mut world.call(5));
    let mut waiting = [world.wait(5), world.wait(6)];
    world.handle.refuse_all(Cause::NoInstance);
    for call in &mut waiting {
        assert_eq!((call.wakes(), cause(call)), (1, Cause::NoInstance));
    }
    assert_eq!(world.counts(), (0, 1));
}

/// The mean age that the gate has seen of everything that left the queue so far.
fn mean_age(world: &World) -> Duration {
    world.gate.tick(Timestamp::ZERO, None);
    world.gate.tick(Timestamp::ZERO + 2000 * MILLI, None);
    world.gate.snapshot().queuing
}

#[test]
fn whatever_leaves_the_queue_tells_the_gate_its_age() {
    let world = World::new(2);
    let held = place(&mut world.call(5));
    let (mut dispatched, abandoned) = (world.wait(5), world.wait(6));
    world.clock.advance(30 * MILLI);
    drop(abandoned);
    world.clock.advance(30 * MILLI);
    drop(held);
    let _held = place(&mut dispatched);
    // 0, 30 and 60 ms.
    assert_eq!(mean_age(&world), 30 * MILLI);
}

#[test]
fn pushed_out_and_expired_requests_tell_their_age_too() {
    let world = World::new(1);
    let _held = place(&mut world.call(5));
    let _pushed_out = world.wait(6);
    world.clock.advance(100 * MILLI);
    let _expired = world.wait(5);
    world.clock.advance(500 * MILLI);
    world.handle.expire(world.clock.now());
    // 0, 100 and 500 ms.
    assert_eq!(mean_age(&world), 200 * MILLI);
}

#[test]
fn responses_and_handles_can_move_between_threads() {
    fn send<T: Send>() {}
    fn shared<T: Send + Sync>() {}
    send::<ResponseFuture<Inner, Ask>>();
    send::<Place>();
    shared::<QueueHandle>();
}
