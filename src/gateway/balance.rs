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

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, future::ready, sync::Arc, time::Duration};

    use tower::service_fn;

    use super::*;
    use crate::{
        admission::{Cost, Level, PriorityKey, Upstream},
        gateway::{PolicySource, connection::Connection, request::Table},
        id::{BusinessCode, Epoch, MessageId, OutboxId},
        request::{Admitted, Failure},
    };

    const NOW: Timestamp = Timestamp::from_nanos(10_000_000_000);

    /// Sent its cut a moment ago, unless it is away.
    struct Told(RefCell<Option<Upstream>>);

    impl Told {
        fn cut(cut: Cut) -> Self {
            let mut upstream = Upstream::new();
            upstream.hear(cut, NOW);
            Self(RefCell::new(Some(upstream)))
        }
    }

    impl Instance for &Told {
        fn key(&self) -> u64 {
            7
        }

        fn is_connected(&self) -> bool {
            self.0.borrow().is_some()
        }

        fn decide(&self, now: Timestamp, value: Value) -> Result<Passage, Cut> {
            self.0.borrow_mut().as_mut().map_or(Err(Cut::CLOSED), |upstream| upstream.decide(now, value))
        }

        fn load(&self) -> usize {
            0
        }
    }

    fn request(value: Value) -> Admitted<ClientRequest> {
        let hash = PriorityKey([0; 16]).user(b"alice");
        let table = Table::new(PolicySource::BuiltInDefault.open(0).unwrap().current(), &["main".to_owned()]);
        let request = ClientRequest {
            connection: Connection::new("alice", "phone", 0, hash, Epoch(1), OutboxId(1)),
            business: BusinessCode(20),
            priority: 20,
            levels: (0, 127),
            service: 0,
            id: MessageId(1),
            resent: false,
            no_reply_wanted: false,
            arrived: NOW,
            unix_ms: 0,
            deadline: NOW + Duration::from_secs(1),
            oldest_unsettled_of_business: 0,
            cost: Cost::ONE,
            payload: bytes::Bytes::new(),
            table: Arc::new(table),
        };
        Admitted::new(value, request)
    }

    /// What becomes of a request of this value at the one instance there is.
    fn ask(instance: &Told, value: Value) -> Result<(), Failure> {
        let answers = service_fn(|_: Admitted<ClientRequest>| ready(Ok::<_, Failure>(())));
        let mut balance = Balance::new(vec![(instance, answers)]);
        let answer = std::pin::pin!(balance.call(request(value)));
        match answer.poll(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(answer) => answer,
            Poll::Pending => panic!("did not answer at once"),
        }
    }

    fn refusal(answer: Result<(), Failure>) -> Refusal {
        let Err(Failure::Refused(refusal)) = answer else { panic!("{answer:?}") };
        refusal
    }

    #[test]
    fn what_the_instance_would_refuse_is_refused_here_with_its_cut_and_a_hint_for_its_value() {
        let cut = Cut::through(Level::new(20, 63));
        let instance = Told::cut(cut);
        assert_eq!(ask(&instance, Value::new(Level::new(20, 63), 9)), Ok(()));
        let worse = Value::new(Level::new(63, 0), 9);
        let refused = refusal(ask(&instance, worse));
        assert_eq!((refused.cause, refused.cut, refused.value), (Cause::InstanceCut, cut, worse));
        assert_eq!(refused.retry_after, retry_after(worse, cut));
    }

    #[test]
    fn of_many_that_it_would_refuse_one_is_sent_as_a_probe() {
        let instance = Told::cut(Cut::CLOSED);
        let grains = (0..128).map(|slice| slice << (crate::admission::GRAIN_BITS - 7));
        let sent = grains.filter(|&grain| ask(&instance, Value::new(Level::new(20, 0), grain)).is_ok()).count();
        assert_eq!((sent, instance.0.borrow().as_ref().map(Upstream::probes)), (1, Some(1)));
    }

    #[test]
    fn without_an_instance_all_are_refused_and_come_back_when_one_may_be_there() {
        let away = refusal(ask(&Told(RefCell::new(None)), Value::default()));
        assert_eq!((away.cause, away.retry_after), (Cause::NoInstance, RETRY_WHEN_AWAY));
    }
}
