//! A concurrency limit with a bounded queue that is ordered by importance: a request goes at once if a place is free and
//! nobody waits; otherwise the best goes when a place becomes free, and each wait ends by its deadline.
//!
//! | what | then |
//! |---|---|
//! | the queue is full | the worst of it, if the arriving one is better, is refused as pushed out, otherwise the arriving one |
//! | the backlog before it outlasts its deadline | refused on arrival as too late |
//! | its deadline passes while it waits | refused as expired, at dequeue or by [`QueueHandle::expire`] |
//! | the cut has passed it and it has waited for the gate's patience | refused as by the cut, by [`QueueHandle::expire`] |
//! | the caller is gone | it leaves the queue; a place it was granted goes to the next |
//!
//! Every request that leaves the queue, however it leaves, tells the gate its age. A place is not a semaphore's permit:
//! nothing is reserved in `poll_ready`, so idle clones hold nothing.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    hold::HoldPlace,
    place::{Entry, Placed, QueueHandle, Shared, Turn},
    start::Started,
};
use crate::{
    admission::{Gate, Refusal, Value, queue::Ticket},
    clock::Clock,
    request::{Admitted, Timed},
};

/// The sizes of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// How many requests may wait. With 0 nothing waits: what finds no free place is refused.
    pub capacity: usize,
    /// How many requests may be in flight, until [`QueueHandle::set_places`] says otherwise.
    pub max_in_flight: usize,
}

/// Queues requests in front of a service; the place is held until it has answered.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use dagor::{
///     admission::{Gate, GateSettings, Value},
///     clock::{Clock, Timestamp},
///     layer::{QueueLayer, QueueSettings},
///     request::{Admitted, Failure, Timed},
/// };
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// struct Get { arrived: Timestamp }
///
/// impl Timed for Get {
///     fn arrived(&self) -> Timestamp { self.arrived }
///     fn deadline(&self) -> Timestamp { self.arrived + Duration::from_millis(500) }
/// }
///
/// let gate = Arc::new(Gate::new(GateSettings::default(), 1));
/// let clock = Clock::system();
/// let settings = QueueSettings { capacity: 100, max_in_flight: 8 };
/// let (queue, handle) = QueueLayer::pair(settings, gate, 0, clock.clone());
/// let service = ServiceBuilder::new().layer(queue).service(service_fn(|_: Get| async { Ok::<_, Failure>("got") }));
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let request = Get { arrived: clock.now() };
/// assert_eq!(service.oneshot(Admitted::new(Value::default(), request)).await.unwrap(), "got");
/// assert_eq!(handle.in_flight(), 0);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct QueueLayer(Arc<Shared>);

impl QueueLayer {
    /// A layer and the handle to its queue. Ages are counted in this worker's shard of `gate`.
    pub fn pair(settings: QueueSettings, gate: Arc<Gate>, shard: usize, clock: Clock) -> (Self, QueueHandle) {
        let QueueSettings { capacity, max_in_flight } = settings;
        let shared = Arc::new(Shared::new(capacity, max_in_flight, gate, shard, clock));
        (Self(shared.clone()), QueueHandle::new(shared))
    }
}

impl<S> Layer<S> for QueueLayer {
    type Service = Queue<HoldPlace<S>>;

    fn layer(&self, inner: S) -> Self::Service {
        Queue { inner: HoldPlace::new(inner), shared: self.0.clone() }
    }
}

/// Queues requests in front of a service that takes the places with the requests, and keeps each for as long as its work
/// lasts.
#[derive(Clone, Debug)]
pub struct PlacedQueueLayer(Arc<Shared>);

impl PlacedQueueLayer {
    /// As [`QueueLayer::pair`].
    pub fn pair(settings: QueueSettings, gate: Arc<Gate>, shard: usize, clock: Clock) -> (Self, QueueHandle) {
        let (QueueLayer(shared), handle) = QueueLayer::pair(settings, gate, shard, clock);
        (Self(shared), handle)
    }
}

impl<S> Layer<S> for PlacedQueueLayer {
    type Service = Queue<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Queue { inner, shared: self.0.clone() }
    }
}

/// The service of [`QueueLayer`] and [`PlacedQueueLayer`]. Clones share the queue.
#[derive(Clone, Debug)]
pub struct Queue<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S, R> Service<Admitted<R>> for Queue<S>
where
    R: Timed,
    S: Service<Placed<R>> + Clone,
    S::Error: From<Refusal>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, R>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, admitted: Admitted<R>) -> Self::Future {
        let Admitted { value, admission, request } = admitted;
        let ticket = Ticket {
            value,
            level: admission.standing(value),
            cost: request.cost(),
            arrived: request.arrived(),
            deadline: request.deadline(),
        };
        let state = match self.shared.enter(ticket) {
            Entry::Go(place) => State::Running(Started::new(&mut self.inner, Placed { place, value, request })),
            Entry::Wait(turn) => State::Waiting { turn, value, start: Some((self.inner.clone(), request)) },
            Entry::Refused(refusal) => State::Refused(refusal),
        };
        ResponseFuture { state }
    }
}

/// The response of [`Queue`].
#[pin_project]
pub struct ResponseFuture<S: Service<Placed<R>>, R> {
    #[pin]
    state: State<S, R>,
}

#[pin_project(project = StateProj)]
enum State<S: Service<Placed<R>>, R> {
    Refused(Refusal),
    Waiting { turn: Turn, value: Value, start: Option<(S, R)> },
    Running(#[pin] Started<S, Placed<R>>),
}

impl<S, R> Future for ResponseFuture<S, R>
where
    S: Service<Placed<R>> + Clone,
    S::Error: From<Refusal>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Refused(refusal) => return Poll::Ready(Err((*refusal).into())),
                StateProj::Running(inner) => return inner.poll(cx),
                StateProj::Waiting { turn, value, start } => match ready!(turn.poll(cx)) {
                    Err(refusal) => State::Refused(refusal),
                    Ok(place) => {
                        let (service, request) = start.take().expect("the turn comes once");
                        State::Running(Started::later(service, Placed { place, value: *value, request }))
                    }
                },
            };
            state.set(next);
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
