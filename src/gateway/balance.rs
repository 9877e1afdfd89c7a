//! Chooses the instance of a logic service for a request, and refuses here what that instance would refuse.

use std::{
    fmt,
    future::Future,
    hash::Hasher,
    pin::Pin,
    task::{Context, Poll},
};

use siphasher::sip::SipHasher13;
use tower_service::Service;

use super::request::{ClientRequest, OfClient};
use crate::{
    admission::{Cause, Cut, Passage, Refusal, Value, retry_after},
    clock::Timestamp,
    policy::table::Balance as Choice,
    request::{Prioritized, Timed},
};

/// What the choice needs to know of an instance.
pub trait Instance {
    /// Stays the same for the same instance in every process: users are spread by it.
    fn key(&self) -> u64;
    /// Whether requests can be sent to it.
    fn is_connected(&self) -> bool;
    /// Whether it would take a request of this value, by the cut that it sent.
    ///
    /// # Errors
    ///
    /// The cut, if it would not.
    fn decide(&self, now: Timestamp, value: Value) -> Result<Passage, Cut>;
    /// Requests that wait for it or are in flight to it.
    fn load(&self) -> usize;
}

/// The instances of one service, each behind a service of its own. How one is chosen stands in the policy that the
/// request was resolved by.
#[derive(Clone)]
pub struct Balance<S, I> {
    instances: Vec<(I, S)>,
}

impl<S, I: Instance> Balance<S, I> {
    /// Chooses among `instances`.
    pub const fn new(instances: Vec<(I, S)>) -> Self {
        Self { instances }
    }

    fn choose(&mut self, request: &ClientRequest) -> Option<&mut (I, S)> {
        let connected = self.instances.iter_mut().filter(|(instance, _)| instance.is_connected());
        match request.table.balance_of(request.service) {
            Choice::UserHash => connected.max_by_key(|(instance, _)| weight(request, instance.key())),
            Choice::LeastLoaded => connected.min_by_key(|(instance, _)| instance.load()),
        }
    }
}

/// The weight of an instance for a user: the highest wins (rendezvous hashing, Thaler and Ravishankar 1998), so that an
/// instance that leaves moves only its own users.
fn weight(request: &ClientRequest, instance: u64) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(instance, 0);
    hasher.write_u64(request.connection.user_hash.bits());
    hasher.finish()
}

impl<S, I, R> Service<R> for Balance<S, I>
where
    S: Service<R>,
    S::Error: From<Refusal>,
    I: Instance,
    R: Prioritized + Timed + OfClient,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let value = request.value();
        let refuse =
            |cause, cut, retry_after| ResponseFuture::Refused(Some(Refusal { cause, value, cut, retry_after }));
        let now = request.arrived();
        match self.choose(request.client()) {
            None => refuse(Cause::NoInstance, Cut::CLOSED, RETRY_WHEN_AWAY),
            Some((instance, service)) => match instance.decide(now, value) {
                Ok(Passage::Below | Passage::Probe) => ResponseFuture::Chosen(service.call(request)),
                Err(cut) => refuse(Cause::InstanceCut, cut, retry_after(value, cut)),
            },
        }
    }
}

/// A link that was lost is dialled again within this time.
const RETRY_WHEN_AWAY: std::time::Duration = std::time::Duration::from_secs(1);

/// The chosen instance's answer, or a refusal.
#[pin_project::pin_project(project = Projected)]
pub enum ResponseFuture<F> {
    /// Waits for the instance.
    Chosen(#[pin] F),
    /// None was there, or it would have refused.
    Refused(Option<Refusal>),
}

impl<F, T, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: From<Refusal>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Projected::Chosen(future) => future.poll(cx),
            Projected::Refused(refusal) => {
                Poll::Ready(Err(refusal.take().expect("a future is not polled after it resolved").into()))
            }
        }
    }
}

impl<S, I> fmt::Debug for Balance<S, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balance").field("instances", &self.instances.len()).finish()
    }
}
