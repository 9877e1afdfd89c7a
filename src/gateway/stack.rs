//! Both stacks of the gateway, whole, on one page. A request passes from top to bottom; each layer hands on another type
//! than it takes, so that leaving one out or changing the order does not compile.

use std::sync::Arc;

use tower::{Layer, ServiceBuilder};
use tower_service::Service;

use super::{
    balance::{self, Balance},
    dispatch::{Dispatch, InstanceHandle, PerService},
    establish::Establish,
    greet::{Accepted, Established, GreetLayer, Greeting, Rejection},
    login::{self, DevelopmentLogin},
    presence::RegisterRoute,
    request::ClientRequest,
    worker::Worker,
};
use crate::{
    admission::Value,
    layer::{
        heartbeat::HeartbeatLayer,
        limit::LimitLayer,
        queue::Queue,
        rate::RateLayer,
        shed::{Shed, ShedLayer},
        step::StepLayer,
        tag::{Tag, TagLayer},
    },
};

/// From an accepted socket to a session.
///
/// ```text
/// Accepted → Permitted → Greeting → Tagged → Admitted → With<Identity> → With<Presence> → Monitored → Established
/// ```
pub fn connection_stack(
    worker: &Arc<Worker>,
) -> impl Service<Accepted, Response = (), Error = Rejection, Future: Send + 'static> + Clone + Send + 'static {
    ServiceBuilder::new()
        // First, because what is refused here costs an accept and nothing more.
        .layer(LimitLayer::new(worker.gateway.limits.clone()))
        // The only one that touches bytes: it answers for everything below.
        .layer(GreetLayer::new(worker.clone()))
        .service(login_stack(worker))
}

/// The part of the connection stack that decides on a `Hello`.
pub fn login_stack(
    worker: &Arc<Worker>,
) -> impl Service<Greeting, Response = Established, Error = Rejection, Future: Send> + Clone + Send + 'static {
    let gateway = worker.gateway.clone();
    let tagged_by = worker.clone();
    ServiceBuilder::new()
        // After the Hello, so that connections which say nothing use up nobody's logins.
        .layer(RateLayer::new(gateway.logins.clone()))
        // A Hello is a request of the business `login`.
        .layer(TagLayer::new(move |greeting: &Greeting| {
            login::value(greeting, &tagged_by.gateway.priority_key, &tagged_by.table().policy)
        }))
        // Before the token is looked at, which costs more than all of the above.
        .layer(ShedLayer::new(gateway.own_gate.gate().clone(), worker.index))
        // Who is it?
        .layer(StepLayer::new(DevelopmentLogin))
        // Where is it? Grants the epoch that fences older logins.
        .layer(StepLayer::new(RegisterRoute { gateway }))
        // From here on it must give signs of life.
        .layer(HeartbeatLayer::new(worker.heartbeats.clone()))
        .service(Establish { worker: worker.clone() })
}

/// From a frame to the logic service and back.
///
/// ```text
/// ClientRequest → Tagged → Admitted → Placed → Answer
/// ```
pub type RequestStack = Tag<PerService<ServiceStack>, fn(&ClientRequest) -> Value>;

/// The part of the request stack that each logic service has for itself.
pub type ServiceStack = Shed<Balance<Queue<Dispatch>, InstanceHandle>>;

/// What a session polls for each request.
pub type RequestFuture = <RequestStack as Service<ClientRequest>>::Future;

/// Assembles the request stack of one worker from the stacks of its services.
pub fn request_stack(services: Vec<ServiceStack>) -> RequestStack {
    // First, because everything below decides by the value.
    TagLayer::new(value as fn(&ClientRequest) -> Value).layer(PerService::new(services))
}

/// The part behind the tag for one service, from its instances each with its queue.
pub fn service_stack(
    gate: Arc<crate::admission::Gate>,
    worker: usize,
    instances: Vec<(InstanceHandle, Queue<Dispatch>)>,
) -> ServiceStack {
    ServiceBuilder::new()
        // Before the queue, so that what is refused never takes room in it, and before the choice, so that all
        // instances of a service shed alike.
        .layer(ShedLayer::new(gate, worker))
        // Which instance; behind each waits a queue of its own, because each grants places of its own.
        .service(balance::Balance::new(instances))
}

/// The importance of a client's request.
pub fn value(request: &ClientRequest) -> Value {
    let since_epoch = std::time::Duration::from_millis(request.unix_ms);
    request.connection.user_hash.value(request.priority, since_epoch, request.levels, request.id)
}
