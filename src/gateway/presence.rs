//! Where a client is: the step that registers its route, and the guard that takes it back.

use std::{fmt, sync::Arc};

use futures_util::FutureExt;

use super::{
    Gateway,
    connection::{Connection, Ending},
    greet::{Greeting, Rejection},
    login::{self, Identity},
    roster::{Inserted, Member, Roster},
};
use crate::{
    clock::{Timestamp, unix_millis},
    id::{Epoch, OutboxId},
    layer::{
        heartbeat::Linked,
        step::{Step, With},
    },
    registry::Login,
    request::Admitted,
    wire::Reason,
};

/// A greeting whose client is known.
pub type LoggedIn = With<Admitted<Greeting>, Identity>;

/// Registers the route of a login, which grants its epoch.
#[derive(Clone, Debug)]
pub struct RegisterRoute {
    /// Whose connections.
    pub gateway: Arc<Gateway>,
}

impl Step<LoggedIn> for RegisterRoute {
    type Output = Presence;
    type Error = Rejection;

    async fn run(&self, login: &LoggedIn) -> Result<Presence, Rejection> {
        let Identity { user, device } = &login.output;
        let gateway = &self.gateway;
        let Greeting { hello, ticket, .. } = &login.request.request;
        let ticket = ticket.as_ref();
        // A gateway whose clock is behind must not grant less than its client has had.
        let asked = ticket.map_or(Epoch(0), |ticket| ticket.last_epoch).max(Epoch(unix_millis()));
        let request = Login { user, device, home: &gateway.home, asked };
        let (epoch, has_route) = match gateway.registry.register(request, gateway.clock.now()).await {
            Ok(registered) => (registered.epoch, true),
            // A login goes on without the registry: the epoch is what it would most likely have granted.
            Err(error) => {
                tracing::warn!(%error, "a route was not registered");
                (Epoch(asked.0.saturating_add(1)), false)
            }
        };
        let hash = gateway.priority_key.user(user.as_bytes());
        let tier = login::tier(ticket, &gateway.store.current());
        let connection = Connection::new(user, device, tier, hash, epoch, OutboxId(hello.outbox));
        Ok(Presence { gateway: gateway.clone(), connection, has_route })
    }
}

/// A registered connection; dropping it takes it out of the roster and the registry, unless a newer login has taken its
/// place there.
pub struct Presence {
    gateway: Arc<Gateway>,
    /// Who is present.
    pub connection: Arc<Connection>,
    /// The registry has granted the epoch. One that it has not, it may have granted to a login at another gateway.
    has_route: bool,
}

impl Presence {
    /// Enters the roster. Whoever has to make room is closed.
    ///
    /// # Errors
    ///
    /// If a newer login of the same device is there already.
    pub fn enter(&self) -> Result<(), Rejection> {
        enter(&self.gateway.roster, &self.connection)
    }
}

/// Enters a connection in a roster. Whoever has to make room is closed.
///
/// # Errors
///
/// If a newer login of the same device is there already.
pub fn enter(roster: &Roster<Arc<Connection>>, connection: &Arc<Connection>) -> Result<(), Rejection> {
    match roster.insert(connection.clone()) {
        Inserted::New => Ok(()),
        Inserted::Replaced(previous) | Inserted::Evicted(previous) => {
            previous.end(match newer(connection, &previous) {
                Reason::Superseded => Ending::Close(Reason::Superseded),
                reason => Ending::Kick(reason),
            });
            Ok(())
        }
        Inserted::Outdated(connection) => {
            let held = roster.get(connection.user(), connection.device());
            let reason = held.map_or(Reason::Superseded, |held| newer(&held, &connection));
            Err(Rejection::Login { reason, detail: "a newer login is here" })
        }
    }
}

/// What the older one of two connections is told. The same outbox is the same client, come back before its old link
/// was found dead: whatever it has under way goes on. Any other one must not fight for the place.
fn newer(one: &Connection, other: &Connection) -> Reason {
    if one.outbox == other.outbox { Reason::Superseded } else { Reason::Replaced }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let Self { gateway, connection, has_route } = self;
        connection.shut(&gateway.budget);
        // Both compare the epoch: a newer login of the same device stays.
        gateway.roster.remove(connection);
        if !*has_route {
            return;
        }
        let now = gateway.clock.now();
        let deleted = gateway.registry.unregister(connection.user(), connection.device(), connection.epoch, now);
        // The registry in memory answers at once; one elsewhere takes the order and goes on by itself.
        if let Some(Err(error)) = deleted.now_or_never() {
            tracing::warn!(%error, "a route was not deleted; it ends with this gateway's lease");
        }
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Presence").field(&self.connection).finish()
    }
}

/// A login with its route: what the heartbeat layer watches over.
pub type Present = With<LoggedIn, Presence>;

impl Linked for Present {
    type Link = Arc<Connection>;

    fn link(&self) -> Arc<Connection> {
        self.output.connection.clone()
    }

    fn heard(&self) -> Timestamp {
        self.request.request.request.arrived
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, sync::Mutex};

    use super::*;
    use crate::{
        gateway::{GatewayConfig, PolicySource},
        id::Incarnation,
        pb::client as pb,
        registry::{Answer, Home, Registered, Registry, RegistryError, Route},
    };

    /// Grants these epochs, then is away, and remembers which ones were taken back.
    #[derive(Debug, Default)]
    struct Brief {
        epochs: Mutex<Vec<u64>>,
        deleted: Mutex<Vec<u64>>,
    }

    impl Registry for Brief {
        fn register<'a>(&'a self, _: Login<'a>, _: Timestamp) -> Answer<'a, Registered> {
            let epoch = self.epochs.lock().unwrap().pop().map(Epoch);
            let registered = |epoch| Registered { epoch, previous: None };
            Box::pin(async move { epoch.map(registered).ok_or(RegistryError::new("away")) })
        }

        fn unregister<'a>(&'a self, _: &'a str, _: &'a str, epoch: Epoch, _: Timestamp) -> Answer<'a, bool> {
            self.deleted.lock().unwrap().push(epoch.0);
            Box::pin(async { Ok(true) })
        }

        fn lookup<'a>(&'a self, _: &'a str, _: Timestamp) -> Answer<'a, Vec<Route>> {
            Box::pin(async { Ok(Vec::new()) })
        }
    }

    fn gateway(registry: Arc<dyn Registry>) -> Arc<Gateway> {
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        let config = GatewayConfig {
            name: "test".to_owned(),
            clients: nobody,
            admin: nobody,
            push: nobody,
            workers: 1,
            services: Vec::new(),
            policy: PolicySource::BuiltInDefault,
            priority_key: [0; 16],
            sample: None,
        };
        let store = config.policy.open(0).unwrap();
        let home = Home { gateway: config.name.clone(), incarnation: Incarnation(1), address: String::new() };
        Gateway::new(&config, store, registry, home).unwrap()
    }

    fn login(gateway: &Arc<Gateway>) -> Presence {
        let greeting = Greeting {
            hello: pb::Hello { user: "ann".into(), device: "phone".into(), ..pb::Hello::default() },
            ticket: None,
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
            arrived: Timestamp::ZERO,
            deadline: Timestamp::MAX,
        };
        let output = Identity { user: "ann".into(), device: "phone".into() };
        let login = With { request: Admitted::new(crate::admission::Value::from_bits(1), greeting), output };
        let registered = RegisterRoute { gateway: gateway.clone() }.run(&login).now_or_never();
        registered.expect("neither registry waits").expect("a login goes on without the registry")
    }

    #[test]
    fn an_epoch_that_the_registry_did_not_grant_is_not_taken_back_from_whoever_got_it() {
        let registry = Arc::new(Brief { epochs: Mutex::new(vec![7]), ..Brief::default() });
        let gateway = gateway(registry.clone());
        let (granted, alone) = (login(&gateway), login(&gateway));
        assert_eq!(granted.connection.epoch, Epoch(7));
        assert!(alone.connection.epoch > Epoch(7));
        drop(alone);
        assert!(registry.deleted.lock().unwrap().is_empty());
        drop(granted);
        assert_eq!(*registry.deleted.lock().unwrap(), [7]);
    }
}
