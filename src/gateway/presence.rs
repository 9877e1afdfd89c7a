//! Where a client is: the step that registers its route, and the guard that takes it back.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::FutureExt;

use super::{
    Gateway,
    connection::{Connection, Ending},
    greet::{Greeting, Rejection},
    login::{self, Identity},
    roster::{Inserted, Member, Roster},
    routes,
};
use crate::{
    clock::{Timestamp, unix_millis},
    id::{Epoch, OutboxId},
    layer::{
        heartbeat::Linked,
        step::{Step, With},
    },
    registry::{Held, Login, Registered},
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
        // Before the call: what the registry loses from then on is restored.
        let life = gateway.routes.life();
        let (registered, routed_in) = match gateway.registry.register(request, gateway.clock.now()).await {
            Ok(registered) => (registered, life),
            // A login goes on without the registry: the epoch is what it would most likely have granted.
            Err(error) => {
                tracing::debug!(%error, "a route was not registered; it is restored later");
                (Registered { epoch: Epoch(asked.0.saturating_add(1)), previous: None }, 0)
            }
        };
        let outbox = OutboxId(hello.outbox);
        if let Some(previous) = &registered.previous {
            gateway.routes.supersede(&gateway.home, user, previous, outbox);
        }
        let hash = gateway.priority_key.user(user.as_bytes());
        let tier = login::tier(ticket, &gateway.store.current());
        let connection = Connection::new(user, device, tier, hash, registered.epoch, outbox);
        connection.set_routed_in(routed_in);
        let brought = ticket.and_then(|ticket| ticket.mark.as_ref());
        if let Some(mark) = brought.filter(|mark| mark.is_due_to(outbox, unix_millis())) {
            connection.mark.restore(mark.clone());
        }
        let (took_over, has_tried) = (registered.previous.is_some(), AtomicBool::new(false));
        Ok(Presence { gateway: gateway.clone(), connection, took_over, has_tried })
    }
}

/// A registered connection; dropping it takes it out of the roster and the registry, unless a newer login has taken its
/// place there.
pub struct Presence {
    gateway: Arc<Gateway>,
    /// Who is present.
    pub connection: Arc<Connection>,
    /// An earlier login of the device ends because of this one.
    took_over: bool,
    /// To enter the roster.
    has_tried: AtomicBool,
}

impl Presence {
    /// Enters the roster. Whoever has to make room is closed.
    ///
    /// # Errors
    ///
    /// If a newer login of the same device is there already.
    pub fn enter(&self) -> Result<(), Rejection> {
        self.has_tried.store(true, Ordering::Relaxed);
        let entered = enter(&self.gateway.roster, &self.connection);
        // Not before it is where it will be looked for.
        routes::entered(&self.gateway, &self.connection);
        let evicted = entered?;
        self.gateway.herald.online(&self.connection);
        evicted.inspect(|evicted| self.gateway.herald.offline(evicted));
        Ok(())
    }

    /// Whether nobody is connected with this device any more, as far as is known here.
    fn is_last(&self, was_there: bool) -> bool {
        let Self { gateway, connection, took_over, has_tried } = self;
        // A login that came to nothing may have ended one elsewhere, which leaves the word to this one.
        let took_over = *took_over && !has_tried.load(Ordering::Relaxed);
        let is_there = || gateway.roster.get(connection.user(), connection.device()).is_some();
        !connection.is_replaced() && (was_there || took_over && !is_there())
    }
}

/// Enters a connection in a roster. Whoever has to make room is closed; another device of the user is handed back.
///
/// # Errors
///
/// If a newer login of the same device is there already.
pub fn enter(
    roster: &Roster<Arc<Connection>>,
    connection: &Arc<Connection>,
) -> Result<Option<Arc<Connection>>, Rejection> {
    match roster.insert(connection.clone()) {
        Inserted::New => Ok(None),
        Inserted::Replaced(previous) => {
            previous.end(ending_of(&previous, connection.outbox));
            Ok(None)
        }
        Inserted::Evicted(previous) => {
            previous.end(ending_of(&previous, connection.outbox));
            Ok(Some(previous))
        }
        Inserted::Outdated(connection) => {
            let held = roster.get(connection.user(), connection.device());
            let reason = held.map_or(Reason::Superseded, |held| replaced_by(&connection, held.outbox));
            Err(Rejection::Login { reason, detail: "a newer login is here" })
        }
    }
}

/// How a connection ends whose device has logged in again, with this outbox.
pub fn ending_of(older: &Connection, outbox: OutboxId) -> Ending {
    match replaced_by(older, outbox) {
        Reason::Superseded => Ending::Close(Reason::Superseded),
        reason => Ending::Kick(reason),
    }
}

/// What the older one of two connections is told. The same outbox is the same client, come back before its old link
/// was found dead: whatever it has under way goes on. Any other one must not fight for the place.
fn replaced_by(older: &Connection, outbox: OutboxId) -> Reason {
    if older.outbox == outbox { Reason::Superseded } else { Reason::Replaced }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let Self { gateway, connection, .. } = &*self;
        connection.shut(&gateway.budget);
        // Both compare the epoch, and the registry the home too: another login of the same device stays.
        let was_there = gateway.roster.remove(connection);
        if self.is_last(was_there) {
            gateway.herald.offline(connection);
        }
        let now = gateway.clock.now();
        let (user, device) = (connection.user(), connection.device());
        let held = Held { user, device, home: &gateway.home, epoch: connection.epoch };
        let deleted = gateway.registry.unregister(held, now);
        // The registry in memory answers at once; one elsewhere takes the order and goes on by itself.
        if let Some(Err(error)) = deleted.now_or_never() {
            tracing::debug!(%error, "a route was not deleted; it ends with this gateway's lease");
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
