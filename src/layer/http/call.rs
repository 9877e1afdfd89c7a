//! The caller's side: calls carry the importance of the task that makes them, and what the called service would refuse
//! is refused here.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{self, Poll, ready},
};

use http::{HeaderMap, HeaderValue, Request, Response, uri::Authority};
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    body::HeldBody,
    context::Context,
    downstream::{Downstream, Downstreams},
    header::{self, Dialect},
    refuse,
    sign::{Signed, Signer},
};
use crate::{
    admission::{Cause, Cut, Refusal, Value, retry_after},
    clock::{Clock, unix_millis},
    layer::start::Started,
};

/// Stands in front of an HTTP or gRPC client: any service from `http::Request` to `http::Response`, such as hyper's
/// client, tonic's `Channel`, or a stack of them.
///
/// Each call carries the value, the remaining time and the user of its task: of the [`Context`] in the request's
/// extensions, else of the current one. A call without either goes out as it is. What is refused here looks as if the
/// called service had refused it: 503 or a gRPC status, with the headers of [`header`]; the
/// [`Refusal`] itself is among the response's extensions.
///
/// ```
/// use dagor::layer::http::{CallLayer, Signer, SigningKey};
/// use tower::ServiceBuilder;
/// # use hyper_util::{client::legacy::Client, rt::TokioExecutor};
///
/// let client: Client<_, axum::body::Body> = Client::builder(TokioExecutor::new()).build_http();
/// let key = SigningKey::from_hex("000102030405060708090a0b0c0d0e0f")?;
/// let client = ServiceBuilder::new().layer(CallLayer::new().sign(Signer::new(key, "timeline"))).service(client);
/// # Ok::<_, dagor::layer::http::KeyError>(())
/// ```
#[derive(Clone, Debug)]
pub struct CallLayer {
    targets: Targets,
    signer: Option<Signer>,
    clock: Clock,
}

/// Whose cuts are remembered.
#[derive(Clone, Debug)]
enum Targets {
    One(Arc<Downstream>),
    ByAuthority(Arc<Downstreams>),
}

impl CallLayer {
    /// For a client of one service, however many addresses it has: all share what is known of its cut.
    pub fn new() -> Self {
        Self::with(Targets::One(Arc::default()))
    }

    /// For a client that calls several services: each host and port is one, up to 1,024 of them.
    pub fn by_authority() -> Self {
        Self::with(Targets::ByAuthority(Arc::default()))
    }

    /// The same for a client whose cut is of interest elsewhere, or that is one of several of the same service.
    pub fn to(downstream: Arc<Downstream>) -> Self {
        Self::with(Targets::One(downstream))
    }

    fn with(targets: Targets) -> Self {
        Self { targets, signer: None, clock: Clock::system() }
    }

    /// Signs value and user, for services that believe nobody without a signature. A signer names one audience: with
    /// [`CallLayer::by_authority`], all called services share it.
    #[must_use]
    pub fn sign(mut self, signer: Signer) -> Self {
        self.signer = Some(signer);
        self
    }

    /// Counts the age of cuts on this clock, for tests that move time by hand.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    fn target(&self, authority: Option<&Authority>) -> Option<Arc<Downstream>> {
        match &self.targets {
            Targets::One(downstream) => Some(downstream.clone()),
            Targets::ByAuthority(downstreams) => downstreams.of(authority?),
        }
    }

    /// Puts the context into the headers, unless the call would be in vain.
    fn prepare<B>(&self, request: &mut Request<B>, task: &Context, target: Option<&Downstream>) -> Result<(), Refusal> {
        let (value, remaining) = (task.value_of_next_call(), task.remaining());
        if remaining.is_zero() {
            return Err(expired(value));
        }
        if let Some(target) = target {
            target.decide(self.clock.now(), value)?;
        }
        let dialect = Dialect::of(request.headers());
        let headers = request.headers_mut();
        header::strip(headers);
        header::put_timeout(headers, &dialect, remaining);
        self.put_importance(headers, value, task.user());
        Ok(())
    }

    fn put_importance(&self, headers: &mut HeaderMap, value: Value, user: Option<&str>) {
        headers.insert(header::LEVEL, HeaderValue::from(value.bits()));
        let named = user.and_then(|user| header::user_value(user).map(|value| (user, value)));
        let user = named.map(|(user, value)| {
            headers.insert(header::USER, value);
            user
        });
        if let Some(signer) = &self.signer {
            let signature = signer.sign(Signed { value, user }, unix_millis());
            headers.insert(header::SIGNATURE, HeaderValue::try_from(signature).expect("digits, letters and dots"));
        }
    }
}

/// Nobody waits for the answer any more.
fn expired(value: Value) -> Refusal {
    Refusal { cause: Cause::Expired, value, cut: Cut::OPEN, retry_after: retry_after(value, Cut::OPEN) }
}

impl Default for CallLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for CallLayer {
    type Service = Call<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Call { inner, layer: Arc::new(self.clone()) }
    }
}

/// The service of [`CallLayer`]. Clones share what is known of the called services.
#[derive(Clone, Debug)]
pub struct Call<S> {
    inner: S,
    layer: Arc<CallLayer>,
}

impl<S, B, RB> Service<Request<B>> for Call<S>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone,
{
    type Response = Response<HeldBody<RB>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let task = request.extensions().get::<Context>().cloned().or_else(Context::current);
        let target = self.layer.target(request.uri().authority());
        if let Some(task) = &task
            && let Err(refusal) = self.layer.prepare(&mut request, task, target.as_deref())
        {
            let dialect = Dialect::of(request.headers());
            return ResponseFuture(State::Refused { dialect, refusal });
        }
        let clock = self.layer.clock.clone();
        let inner = Started::new(&mut self.inner, request);
        ResponseFuture(State::Calling { inner, listener: Listener { task, target, clock } })
    }
}

/// What learns from the answer.
struct Listener {
    task: Option<Context>,
    target: Option<Arc<Downstream>>,
    clock: Clock,
}

impl Listener {
    fn hear(&self, headers: &HeaderMap) {
        if let Some((target, cut)) = self.target.as_ref().zip(header::number(headers, &header::CUT)) {
            target.heard(self.clock.now(), Cut::from_bits(cut));
        }
        if let Some(task) = &self.task
            && !headers.contains_key(header::REFUSED)
        {
            task.note_served();
        }
    }
}

/// The response of [`Call`].
#[pin_project]
pub struct ResponseFuture<S: Service<Request<B>>, B>(#[pin] State<S, B>);

#[pin_project(project = StateProj)]
enum State<S: Service<Request<B>>, B> {
    Refused {
        dialect: Dialect,
        refusal: Refusal,
    },
    Calling {
        #[pin]
        inner: Started<S, Request<B>>,
        listener: Listener,
    },
}

impl<S, B, RB> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<RB>>,
{
    type Output = Result<Response<HeldBody<RB>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        match self.project().0.project() {
            StateProj::Refused { dialect, refusal } => {
                Poll::Ready(Ok(refuse::response(dialect, *refusal, HeldBody::empty())))
            }
            StateProj::Calling { inner, listener } => {
                let response = ready!(inner.poll(cx))?;
                listener.hear(response.headers());
                Poll::Ready(Ok(response.map(HeldBody::plain)))
            }
        }
    }
}

#[cfg(test)]
#[path = "call_tests.rs"]
mod tests;
