//! What the layers' tests share: a request, a task that counts its wake-ups, and inner services.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tower_service::Service;

use crate::{
    admission::{Level, Refusal, Value},
    clock::Timestamp,
    request::{Admitted, Tagged, Timed},
};

/// A time at which everything happens unless a test says otherwise.
pub(super) const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000);

/// A request with a name, of use for half a second.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ask {
    pub(super) name: u32,
    pub(super) arrived: Timestamp,
}

impl Timed for Ask {
    fn arrived(&self) -> Timestamp {
        self.arrived
    }

    fn deadline(&self) -> Timestamp {
        self.arrived + Duration::from_millis(500)
    }
}

pub(super) fn ask(name: u32) -> Ask {
    Ask { name, arrived: NOW }
}

pub(super) fn value(business: u8) -> Value {
    Value::new(Level::new(business, 0), 0)
}

pub(super) fn tagged(business: u8) -> Tagged<Ask> {
    Tagged { value: value(business), request: ask(business.into()) }
}

pub(super) fn admitted(business: u8, name: u32) -> Admitted<Ask> {
    Admitted::new(value(business), ask(name))
}

#[derive(Debug, PartialEq)]
pub(super) enum Fault {
    Refused(Refusal),
    Broken,
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A future that is polled by hand and counts how often it was woken.
pub(super) struct Task<F> {
    future: Pin<Box<F>>,
    wakes: Arc<Wakes>,
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl<F: Future> Task<F> {
    pub(super) fn new(future: F) -> Self {
        Self { future: Box::pin(future), wakes: Arc::default() }
    }

    pub(super) fn poll(&mut self) -> Poll<F::Output> {
        self.future.as_mut().poll(&mut Context::from_waker(&Waker::from(self.wakes.clone())))
    }

    pub(super) fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::Relaxed)
    }
}

/// Answers with the request itself once a gate is opened; counts its calls and how often a clone is made ready.
#[derive(Clone, Default)]
pub(super) struct Inner {
    pub(super) ready: Readiness,
    pub(super) calls: Arc<AtomicUsize>,
    pub(super) polled_ready: Arc<AtomicUsize>,
    pub(super) never_answers: bool,
    pub(super) broken: bool,
}

#[derive(Clone, Copy, Default, PartialEq)]
pub(super) enum Readiness {
    #[default]
    AtOnce,
    /// At the second poll, for which it wakes.
    Later,
    Failed,
}

impl<R: Send + 'static> Service<R> for Inner {
    type Response = R;
    type Error = Fault;
    type Future = Pin<Box<dyn Future<Output = Result<R, Fault>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.polled_ready.fetch_add(1, Ordering::Relaxed);
        match std::mem::replace(&mut self.ready, Readiness::AtOnce) {
            Readiness::AtOnce => Poll::Ready(Ok(())),
            Readiness::Failed => Poll::Ready(Err(Fault::Broken)),
            Readiness::Later => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let Self { never_answers, broken, .. } = *self;
        Box::pin(async move {
            if never_answers {
                std::future::pending::<()>().await;
            }
            if broken { Err(Fault::Broken) } else { Ok(request) }
        })
    }
}
