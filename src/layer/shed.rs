//! Refuses what its gate does not admit, at once and without touching the inner service.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::start::Started;
use crate::{
    admission::{Gate, GateSettings, Refusal},
    request::{Admissible, Admitted},
};

/// Sheds the least important requests.
///
/// ```
/// use dagor::{
///     admission::{Cause, Cut, GateSettings, Level, Value},
///     clock::Timestamp,
///     layer::{ShedLayer, TagLayer},
///     request::{Admitted, Failure, Timed},
/// };
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// struct Get(&'static str);
///
/// impl Timed for Get {
///     fn arrived(&self) -> Timestamp { Timestamp::ZERO }
///     fn deadline(&self) -> Timestamp { Timestamp::MAX }
/// }
///
/// let (shed, gate) = ShedLayer::pair(GateSettings::default());
/// let service = ServiceBuilder::new()
///     .layer(TagLayer::new(|get: &Get| Value::new(Level::new(if get.0 == "/pay" { 1 } else { 9 }, 0), 0)))
///     .layer(shed)
///     .service(service_fn(|admitted: Admitted<Get>| async move { Ok::<_, Failure>(admitted.request.0) }));
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// gate.set_manager_cap(Cut::through(Level::new(5, 127)));
/// assert_eq!(service.clone().oneshot(Get("/pay")).await.unwrap(), "/pay");
/// let Err(Failure::Refused(refusal)) = service.oneshot(Get("/timeline")).await else { panic!("admitted") };
/// assert_eq!(refusal.cause, Cause::ManagerCap);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct ShedLayer {
    gate: Arc<Gate>,
    shard: usize,
}

impl ShedLayer {
    /// A layer that asks `gate` and counts in this worker's shard of it.
    pub fn new(gate: Arc<Gate>, shard: usize) -> Self {
        Self { gate, shard }
    }

    /// A layer with a gate of its own, for one worker. The other half is for whoever ticks the gate.
    pub fn pair(settings: GateSettings) -> (Self, Arc<Gate>) {
        let gate = Arc::new(Gate::new(settings, 1));
        (Self::new(gate.clone(), 0), gate)
    }
}

impl<S> Layer<S> for ShedLayer {
    type Service = Shed<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Shed { inner, gate: self.gate.clone(), shard: self.shard }
    }
}

/// The service of [`ShedLayer`].
#[derive(Clone, Debug)]
pub struct Shed<S> {
    inner: S,
    gate: Arc<Gate>,
    shard: usize,
}

impl<S, T> Service<T> for Shed<S>
where
    T: Admissible,
    S: Service<Admitted<T::Request>> + Clone,
    S::Error: From<Refusal>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, T::Request>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: T) -> Self::Future {
        let value = request.value();
        let state = match self.gate.decide(self.shard, request.arrived(), value, request.cost()) {
            Ok(admission) => {
                let admitted = Admitted { value, admission, request: request.into_request() };
                State::Admitted(Started::new(&mut self.inner, admitted))
            }
            Err(refusal) => State::Refused(refusal),
        };
        ResponseFuture { state }
    }
}

/// The response of [`Shed`].
#[pin_project]
pub struct ResponseFuture<S: Service<Admitted<R>>, R> {
    #[pin]
    state: State<S, R>,
}

#[pin_project(project = StateProj)]
enum State<S: Service<Admitted<R>>, R> {
    Refused(Refusal),
    Admitted(#[pin] Started<S, Admitted<R>>),
}

impl<S, R> Future for ResponseFuture<S, R>
where
    S: Service<Admitted<R>>,
    S::Error: From<Refusal>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Refused(refusal) => Poll::Ready(Err((*refusal).into())),
            StateProj::Admitted(inner) => inner.poll(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::{
        admission::{Cause, Cut, Level},
        layer::testing::{Fault, Inner, Readiness, Task, tagged},
    };

    fn shed(inner: &Inner) -> (Shed<Inner>, Arc<Gate>) {
        let (layer, gate) = ShedLayer::pair(GateSettings::default());
        gate.set_manager_cap(Cut::through(Level::new(5, 127)));
        (layer.layer(inner.clone()), gate)
    }

    #[test]
    fn what_the_gate_admits_passes_through() {
        let (mut shed, gate) = shed(&Inner::default());
        let Poll::Ready(Ok(answer)) = Task::new(shed.call(tagged(5))).poll() else { panic!("no answer") };
        assert_eq!(answer.value, tagged(5).value);
        assert_eq!(gate.snapshot().admitted_total, 1);
    }

    #[test]
    fn what_the_gate_refuses_never_reaches_the_inner_service() {
        let inner = Inner::default();
        let (mut shed, gate) = shed(&inner);
        let Poll::Ready(Err(Fault::Refused(refusal))) = Task::new(shed.call(tagged(6))).poll() else {
            panic!("not refused")
        };
        assert_eq!(refusal.cause, Cause::ManagerCap);
        assert_eq!((inner.calls.load(Relaxed), inner.polled_ready.load(Relaxed)), (0, 0));
        assert_eq!(gate.snapshot().refused_total, 1);
    }

    #[test]
    fn an_idle_clone_reserves_nothing_inside() {
        let inner = Inner::default();
        let (shed, _gate) = shed(&inner);
        let mut idle = shed.clone();
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        let _ = Service::<crate::request::Tagged<crate::layer::testing::Ask>>::poll_ready(&mut idle, cx);
        assert_eq!(inner.polled_ready.load(Relaxed), 0);
    }

    #[test]
    fn an_admitted_request_waits_until_the_inner_service_is_ready() {
        let inner = Inner { ready: Readiness::Later, ..Inner::default() };
        let (mut shed, _gate) = shed(&inner);
        let mut task = Task::new(shed.call(tagged(1)));
        assert!(task.poll().is_ready());
        assert_eq!(inner.calls.load(Relaxed), 1);
    }

    #[test]
    fn an_inner_error_comes_through() {
        let (mut shed, _gate) = shed(&Inner { broken: true, ..Inner::default() });
        let Poll::Ready(Err(fault)) = Task::new(shed.call(tagged(1))).poll() else { panic!("no failure") };
        assert_eq!(fault, Fault::Broken);
    }
}
