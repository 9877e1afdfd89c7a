//! Who comes and goes: gateways report it, each event at least once, and in order for each gateway.
//!
//! A receiver keeps the newest event of each user and device by [`PresenceEvent::order`], and nothing older: a client may
//! have changed gateways before the word of its first one arrived.

use std::{fmt, sync::Arc};

use tonic::{Request, Response, Status};

use super::batch::MAX_MESSAGE_BYTES;
use crate::{
    id::{Epoch, Incarnation},
    pb::service::{self as pb, presence_server},
};

/// Hears of clients that come and go.
///
/// One report of a gateway is under way at a time, and it is given up after 3 s; the same events then come again, here or
/// at another instance of the service.
///
/// ```
/// use dagor::service::{Change, PresenceBatch, PresenceError, PresenceReceiver};
///
/// #[derive(Debug)]
/// struct Log;
///
/// #[tonic::async_trait]
/// impl PresenceReceiver for Log {
///     async fn receive(&self, batch: PresenceBatch) -> Result<(), PresenceError> {
///         for event in batch.events {
///             match event.change {
///                 Change::Online(client) => println!("{} is there", client.user),
///                 Change::Offline(client) => println!("{} is gone", client.user),
///                 Change::GatewayLost(run) => println!("whoever was online through {run} is gone"),
///             }
///         }
///         Ok(())
///     }
/// }
/// ```
#[tonic::async_trait]
pub trait PresenceReceiver: fmt::Debug + Send + Sync + 'static {
    /// Takes some events. They count as taken when this returns `Ok`, and come again otherwise.
    ///
    /// # Errors
    ///
    /// If they are not safe.
    async fn receive(&self, batch: PresenceBatch) -> Result<(), PresenceError>;
}

/// Why events were not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the events were not taken: {0}")]
pub struct PresenceError(
    /// For the log of whoever looks for it.
    pub String,
);

/// Some events of one run of a gateway, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceBatch {
    /// What the gateway calls itself.
    pub gateway: String,
    /// Which run of it. Whoever was online in an earlier run of the same gateway and is not in this one is gone.
    pub incarnation: Incarnation,
    /// What happened.
    pub events: Vec<PresenceEvent>,
}

/// Somebody came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceEvent {
    /// Numbers the events of the gateway's run from 1; one that comes again has its number again. A gap is what was dropped
    /// because too many waited.
    pub sequence: u64,
    /// When it happened, in milliseconds since the Unix epoch.
    pub at_unix_ms: u64,
    /// What happened.
    pub change: Change,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A client is there. May be said more than once.
    Online(Client),
    /// A client is gone, and no later login of its device at that gateway took its place.
    Offline(Client),
    /// This run of a gateway is lost, and everybody who was online through it is gone. Each other gateway of the fleet says
    /// so, perhaps more than once; should the gateway be alive after all, it says again who is online.
    GatewayLost(Incarnation),
}

/// A device of a user, in one of its logins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The user.
    pub user: String,
    /// Which of the user's devices.
    pub device: String,
    /// The number of the login, higher with each one of this device at whichever gateway.
    pub epoch: Epoch,
}

impl PresenceEvent {
    /// Of two events of one device the greater one is the later one, wherever they come from. `None` if it is of no device.
    pub const fn order(&self) -> Option<(Epoch, bool)> {
        match &self.change {
            Change::Online(client) => Some((client.epoch, false)),
            Change::Offline(client) => Some((client.epoch, true)),
            Change::GatewayLost(_) => None,
        }
    }
}

impl PresenceBatch {
    /// Events of a kind that is not known here are left out.
    fn read(events: pb::PresenceEvents) -> Self {
        let pb::PresenceEvents { gateway, incarnation, events } = events;
        let events = events.into_iter().filter_map(PresenceEvent::read).collect();
        Self { gateway, incarnation: Incarnation(incarnation), events }
    }
}

impl PresenceEvent {
    fn read(event: pb::PresenceEvent) -> Option<Self> {
        let pb::PresenceEvent { sequence, kind, user, device, epoch, at_unix_ms, lost_incarnation } = event;
        let client = Client { user, device, epoch: Epoch(epoch) };
        let change = match pb::PresenceKind::try_from(kind).ok()? {
            pb::PresenceKind::Online => Change::Online(client),
            pb::PresenceKind::Offline => Change::Offline(client),
            pb::PresenceKind::GatewayLost => Change::GatewayLost(Incarnation(lost_incarnation)),
        };
        Some(Self { sequence, at_unix_ms, change })
    }
}

/// Serves `dagor.service.v1.Presence`.
pub(super) type Service = presence_server::PresenceServer<Receiver>;

/// The gRPC service of a receiver.
pub(super) fn service(receiver: Arc<dyn PresenceReceiver>) -> Service {
    presence_server::PresenceServer::new(Receiver(receiver)).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

pub(super) struct Receiver(Arc<dyn PresenceReceiver>);

#[tonic::async_trait]
impl presence_server::Presence for Receiver {
    async fn report(&self, request: Request<pb::PresenceEvents>) -> Result<Response<pb::PresenceTaken>, Status> {
        let taken = self.0.receive(PresenceBatch::read(request.into_inner())).await;
        taken.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(pb::PresenceTaken {}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: i32, epoch: u64) -> pb::PresenceEvent {
        pb::PresenceEvent { kind, epoch, user: "ann".into(), ..pb::PresenceEvent::default() }
    }

    #[test]
    fn a_kind_that_is_not_known_is_left_out() {
        let events = vec![event(0, 1), event(99, 2), event(1, 1)];
        let batch = PresenceBatch::read(pb::PresenceEvents { events, ..pb::PresenceEvents::default() });
        assert_eq!(
            batch.events.iter().map(PresenceEvent::order).collect::<Vec<_>>(),
            [Some((Epoch(1), false)), Some((Epoch(1), true))]
        );
    }

    #[test]
    fn a_later_login_counts_more_than_the_end_of_an_earlier_one() {
        let order = |kind, epoch| PresenceEvent::read(event(kind, epoch)).unwrap().order();
        assert!(order(0, 2) > order(1, 1) && order(1, 2) > order(0, 2));
        assert_eq!(order(2, 0), None);
    }
}
