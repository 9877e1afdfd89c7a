//! The entry of a server: finds out how important a request is, runs it when its turn has come, or refuses it at once
//! with the right status.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{self, Poll, ready},
    time::Duration,
};

use http::{HeaderValue, Request, Response, request::Parts};
use http_body::Body;
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    body::HeldBody,
    claim::Claim,
    context::Context,
    exempt::{Exempt, Judgement},
    gatehouse::Gatehouse,
    header::{self, Dialect},
    refuse,
    run::{Incoming, Run, RunAtOnce, Stopped},
    trust::Trust,
};
use crate::{
    admission::{PriorityKey, Refusal, Value},
    clock::{Clock, Timestamp, unix_millis},
    layer::{
        queue::{self, Queue},
        start::Started,
    },
    request::{Admitted, Prioritized, Timed},
};

/// How long a request may take, if nothing shorter is said (the paper's).
const TIMEOUT: Duration = Duration::from_millis(500);

/// Says what kind of request this is, from its head. Closures from a reference to the head do. Where a caller is
/// believed, only the cost counts.
pub trait Classify {
    /// What it claims to be.
    fn classify(&self, head: &Parts) -> Claim;
}

impl<F: Fn(&Parts) -> Claim> Classify for F {
    fn classify(&self, head: &Parts) -> Claim {
        self(head)
    }
}

/// Stands in front of an HTTP or gRPC server: any service from `http::Request` to `http::Response`.
///
/// With an [`Gatehouse`] it sheds the least important requests; without one it only finds out the importance of each
/// and makes it the [`Context`] of what runs, for the calls that follow.
///
/// ```
/// use axum::{Router, routing::get};
/// use dagor::{
///     admission::PriorityKey,
///     clock::Clock,
///     layer::http::{Gatehouse, GatehouseSettings, Claim, EntryLayer, Parts},
/// };
///
/// fn classify(head: &Parts) -> Claim {
///     match (head.uri.path(), head.headers.get("x-prio")) {
///         ("/pay", _) => Claim::business(1),
///         (_, Some(prio)) if prio == "high" => Claim::business(10),
///         _ => Claim::business(40),
///     }
/// }
///
/// let (gatehouse, driver) = Gatehouse::pair(GatehouseSettings::for_workers(8), Clock::system());
/// driver.start_thread()?;
/// let entry = EntryLayer::new(PriorityKey(*b"a secret of 16 b"), classify).gated(gatehouse);
/// let app: Router = Router::new().route("/pay", get(async || "paid")).layer(entry);
/// # Ok::<_, std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct EntryLayer<C>(Rules<C>);

#[derive(Clone, Debug)]
struct Rules<C> {
    classify: C,
    key: PriorityKey,
    trust: Trust,
    exempt: Exempt,
    timeout: Duration,
    finish_begun: bool,
    gatehouse: Option<Gatehouse>,
    clock: Clock,
    /// Tells requests apart that say nothing of themselves.
    serial: Arc<AtomicU64>,
}

impl<C: Classify> EntryLayer<C> {
    /// An entry that classifies with `classify` and places users with `key`, which is the same on all servers of a
    /// fleet and known to nobody else. It believes nobody, lets probes pass, and sheds nothing yet.
    pub fn new(key: PriorityKey, classify: C) -> Self {
        Self(Rules {
            classify,
            key,
            trust: Trust::nobody(),
            exempt: Exempt::probes(),
            timeout: TIMEOUT,
            finish_begun: false,
            gatehouse: None,
            clock: Clock::system(),
            serial: Arc::default(),
        })
    }

    /// Sheds and queues with this gatehouse, and counts time on its clock.
    #[must_use]
    pub fn gated(mut self, gatehouse: Gatehouse) -> Self {
        self.0.clock = gatehouse.clock().clone();
        self.0.gatehouse = Some(gatehouse);
        self
    }

    /// Which callers are believed ([`Trust::nobody`] unless changed).
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.0.trust = trust;
        self
    }

    /// What is never shed ([`Exempt::probes`] unless changed).
    #[must_use]
    pub fn exempt(mut self, exempt: Exempt) -> Self {
        self.0.exempt = exempt;
        self
    }

    /// How long after its arrival a request and its calls are still worth starting (500 ms unless changed). A caller may
    /// ask for less with `dagor-timeout` or `grpc-timeout`, not for more.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout = timeout;
        self
    }

    /// Whether each task's later calls move up within their level, see [`Context::finish_begun`] (off unless changed).
    #[must_use]
    pub const fn finish_begun(mut self, on: bool) -> Self {
        self.0.finish_begun = on;
        self
    }
}

impl<C: Classify> Rules<C> {
    /// Finds out what the request is worth, and puts a [`Context`] in the place of what its headers say of that. Beside
    /// it, whether the request passes by the gate.
    fn read(&self, head: &mut Parts) -> (Context, bool) {
        let now = self.clock.now();
        let judgement = self.exempt.judge(head, now);
        let context = self.context(head, judgement, now).finish_begun(self.finish_begun);
        header::strip(&mut head.headers);
        head.extensions.insert(context.clone());
        (context, judgement == Judgement::Passes)
    }

    fn context(&self, head: &Parts, judgement: Judgement, now: Timestamp) -> Context {
        let timeout = header::timeout(&head.headers).map_or(self.timeout, |asked| asked.min(self.timeout));
        let begin = |value| Context::begin(value, now, timeout, &self.clock);
        if judgement != Judgement::Ordinary {
            return begin(Value::default());
        }
        let unix_millis = unix_millis();
        let claim = self.classify.classify(head);
        let context = match self.trust.hear(&head.headers, &head.extensions, unix_millis) {
            Some((told, origin)) => begin(told.value).with_origin(origin).for_user(told.user.map(Arc::from)),
            None => {
                let serial = self.serial.fetch_add(1, Relaxed);
                begin(claim.value(&self.key, Duration::from_millis(unix_millis), serial)).for_user(claim.user)
            }
        };
        // What a request costs here is for this service to know, whoever sends it.
        context.with_cost(claim.cost)
    }
}

impl<S, C: Clone> Layer<S> for EntryLayer<C>
where
    S: Clone,
{
    type Service = Entry<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        let queue =
            self.0.gatehouse.as_ref().map(|gatehouse| (gatehouse.clone(), gatehouse.queued(Run(inner.clone()))));
        Entry { rules: Arc::new(self.0.clone()), queue, inner: RunAtOnce(inner) }
    }
}

/// The service of [`EntryLayer`].
#[derive(Debug)]
pub struct Entry<S, C> {
    rules: Arc<Rules<C>>,
    queue: Option<(Gatehouse, Queue<Run<S>>)>,
    /// For what passes by the queue.
    inner: RunAtOnce<S>,
}

impl<S: Clone, C> Clone for Entry<S, C> {
    fn clone(&self) -> Self {
        Self { rules: self.rules.clone(), queue: self.queue.clone(), inner: self.inner.clone() }
    }
}

impl<S, C, B, RB> Service<Request<B>> for Entry<S, C>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone,
    C: Classify,
    RB: Body,
{
    type Response = Response<HeldBody<RB>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B, RB>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        let dialect = Dialect::of(&head.headers);
        let (context, passes) = self.rules.read(&mut head);
        let incoming = Incoming { context, request: Request::from_parts(head, body) };
        match &mut self.queue {
            Some((gatehouse, queue)) if !passes => {
                let value = incoming.value();
                let state = match gatehouse.decide(incoming.arrived(), value, incoming.cost()) {
                    Ok(admission) => State::Queued(queue.call(Admitted { value, admission, request: incoming })),
                    Err(refusal) => State::Refused(refusal),
                };
                ResponseFuture { state, dialect, gatehouse: Some(gatehouse.clone()) }
            }
            Some(_) | None => {
                let state = State::Passing(Started::new(&mut self.inner, incoming));
                ResponseFuture { state, dialect, gatehouse: None }
            }
        }
    }
}

/// The response of [`Entry`].
#[pin_project]
pub struct ResponseFuture<S, B, RB>
where
    S: Service<Request<B>, Response = Response<RB>>,
    RB: Body,
{
    #[pin]
    state: State<S, B, RB>,
    dialect: Dialect,
    /// Whose cut the caller is told.
    gatehouse: Option<Gatehouse>,
}

#[pin_project(project = StateProj)]
enum State<S, B, RB>
where
    S: Service<Request<B>, Response = Response<RB>>,
    RB: Body,
{
    Refused(Refusal),
    Queued(#[pin] queue::ResponseFuture<Run<S>, Incoming<B>>),
    Passing(#[pin] Started<RunAtOnce<S>, Incoming<B>>),
}

impl<S, B, RB> Future for ResponseFuture<S, B, RB>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone,
    RB: Body,
{
    type Output = Result<Response<HeldBody<RB>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = match this.state.project() {
            StateProj::Refused(refusal) => Err(Stopped::Refused(*refusal)),
            StateProj::Queued(queued) => ready!(queued.poll(cx)),
            StateProj::Passing(inner) => ready!(inner.poll(cx)),
        };
        Poll::Ready(match answer {
            Err(Stopped::Failed(error)) => Err(error),
            Err(Stopped::Refused(refusal)) => Ok(refuse::response(this.dialect, refusal, HeldBody::empty())),
            Ok(mut response) => {
                if let Some(gatehouse) = this.gatehouse {
                    response.headers_mut().insert(header::CUT, HeaderValue::from(gatehouse.cut().bits()));
                }
                Ok(response)
            }
        })
    }
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
