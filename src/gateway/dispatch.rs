//! The end of the request stack: the right service's stack, then the link to the chosen instance.

use std::{
    hash::Hasher,
    task::{Context, Poll},
};

use siphasher::sip::SipHasher13;
use tower_service::Service;

use super::{
    balance::Instance,
    link::{Answer, LinkCall, LinkHandle, OutgoingCall},
    request::ClientRequest,
    roster::Member,
};
use crate::{
    admission::{Cut, Passage, Value},
    clock::Timestamp,
    id::MessageId,
    layer::{Place, Placed, QueueHandle},
    request::{Failure, Tagged, Timed},
};

/// Hands each request to the stack of its service.
#[derive(Clone, Debug)]
pub struct PerService<S> {
    services: Vec<S>,
}

impl<S> PerService<S> {
    /// `services` in the gateway's order; requests name them by index.
    pub const fn new(services: Vec<S>) -> Self {
        Self { services }
    }
}

impl<S> Service<Tagged<ClientRequest>> for PerService<S>
where
    S: Service<Tagged<ClientRequest>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    /// # Panics
    ///
    /// If there is no such service, which the table of the policy rules out.
    fn call(&mut self, request: Tagged<ClientRequest>) -> S::Future {
        self.services[request.request.service].call(request)
    }
}

/// Sends a request to one instance.
#[derive(Clone, Debug)]
pub struct Dispatch {
    link: LinkHandle<Place>,
}

impl Dispatch {
    /// Over this link.
    pub const fn new(link: LinkHandle<Place>) -> Self {
        Self { link }
    }
}

impl Service<Placed<ClientRequest>> for Dispatch {
    type Response = Answer;
    type Error = Failure;
    type Future = LinkCall<Place>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, placed: Placed<ClientRequest>) -> Self::Future {
        let Placed { place, value, request } = placed;
        let business = request.table.policy.business(request.business);
        let call = OutgoingCall {
            user: request.connection.user(),
            device: request.connection.device(),
            outbox: request.connection.outbox,
            message: request.id,
            business: request.business,
            business_name: business.map_or("", |business| &business.name),
            value,
            deadline: request.deadline(),
            resent: request.resent,
            reply_wanted: !request.no_reply_wanted,
            oldest_unsettled: MessageId(request.oldest_unsettled_of_business),
            payload: request.payload.clone(),
        };
        self.link.dispatch(call, place)
    }
}

/// What the choice among instances looks at.
#[derive(Clone, Debug)]
pub struct InstanceHandle {
    key: u64,
    link: LinkHandle<Place>,
    queue: QueueHandle,
}

impl InstanceHandle {
    /// The instance at `address`, with its link and the queue in front of it.
    pub fn new(address: &str, link: LinkHandle<Place>, queue: QueueHandle) -> Self {
        let mut hasher = SipHasher13::new();
        hasher.write(address.as_bytes());
        Self { key: hasher.finish(), link, queue }
    }

    /// The link.
    pub const fn link(&self) -> &LinkHandle<Place> {
        &self.link
    }

    /// The queue in front of it.
    pub const fn queue(&self) -> &QueueHandle {
        &self.queue
    }
}

impl Instance for InstanceHandle {
    fn key(&self) -> u64 {
        self.key
    }

    fn is_connected(&self) -> bool {
        self.link.is_connected()
    }

    fn decide(&self, now: Timestamp, value: Value) -> Result<Passage, Cut> {
        self.link.decide(now, value)
    }

    fn load(&self) -> usize {
        self.queue.waiting() + self.queue.in_flight()
    }
}
