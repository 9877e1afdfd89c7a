//! Who a client is. Development logins take the name in the `Hello` for true, so they are for loopback only.

use crate::{
    admission::{PriorityKey, Value},
    clock::unix_millis,
    gateway::{
        greet::{Greeting, Rejection},
        marks::{self, Marked},
    },
    id::{BusinessCode, MAX_NAME_BYTES, MessageId, OutboxId},
    layer::step::Step,
    pb::client as pb,
    policy::table::Policy,
    request::Admitted,
    ticket::{Class, Coming, Ticket},
    wire::Reason,
};

/// The device of a client that names none.
const DEFAULT_DEVICE: &str = "default";

/// A client that is who it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: String,
    /// Which of the user's devices.
    pub device: String,
}

/// Takes the names in the `Hello` for true, from loopback addresses only.
#[derive(Clone, Copy, Debug)]
pub struct DevelopmentLogin;

impl Step<Admitted<Greeting>> for DevelopmentLogin {
    type Output = Identity;
    type Error = Rejection;

    async fn run(&self, greeting: &Admitted<Greeting>) -> Result<Identity, Rejection> {
        identify(&greeting.request)
    }
}

fn identify(greeting: &Greeting) -> Result<Identity, Rejection> {
    let rejected = |detail| Err(Rejection::Login { reason: Reason::Unauthorized, detail });
    let hello = &greeting.hello;
    if !greeting.peer.ip().to_canonical().is_loopback() {
        return rejected("development logins are for loopback addresses only");
    }
    if hello.user.is_empty() || hello.user.len() > MAX_NAME_BYTES {
        return rejected("user must have 1 to 128 bytes");
    }
    if hello.device.len() > MAX_NAME_BYTES {
        return rejected("device must have at most 128 bytes");
    }
    Ok(Identity { user: hello.user.clone(), device: device(hello).to_owned() })
}

/// The name of the device that a client connects with.
pub fn device(hello: &pb::Hello) -> &str {
    if hello.device.is_empty() { DEFAULT_DEVICE } else { &hello.device }
}

/// The user's tier, as an index into the policy's: from a valid ticket only, else the first one.
pub fn tier(ticket: Option<&Ticket>, policy: &Policy) -> u8 {
    let found = ticket.and_then(|ticket| policy.tiers.iter().position(|tier| tier.name == ticket.tier));
    found.and_then(|index| u8::try_from(index).ok()).unwrap_or(0)
}

/// The value of a login: the business `login`, the user's level within those of its class, a grain of its outbox. Who was
/// here before stands by its mark, or else by its tier.
pub fn value(greeting: &Greeting, key: &PriorityKey, policy: &Policy) -> Value {
    let priority = policy.business(BusinessCode::LOGIN).map_or(0, |login| login.priority);
    let ticket = greeting.ticket.as_ref();
    let unix_ms = unix_millis();
    let marked = Marked { tier: tier(ticket, policy), outbox: OutboxId(greeting.hello.outbox) };
    let mark = ticket.and_then(|ticket| marks::levels_by_ticket(ticket, policy, marked, unix_ms));
    let tier = || policy.tiers.get(usize::from(marked.tier)).map_or((0, 127), |tier| tier.levels);
    let levels = Class::of(ticket, coming(&greeting.hello)).levels(mark.unwrap_or_else(tier));
    let since_epoch = std::time::Duration::from_millis(unix_ms);
    let user = key.user(greeting.hello.user.as_bytes());
    user.value(priority, since_epoch, levels, MessageId(greeting.hello.outbox))
}

fn coming(hello: &pb::Hello) -> Coming {
    match hello.reason() {
        pb::ConnectReason::New => Coming::New,
        pb::ConnectReason::Network | pb::ConnectReason::Restart => Coming::Back,
        pb::ConnectReason::Redirected => Coming::Redirected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn greeting(peer: &str, user: &str, device: &str) -> Greeting {
        Greeting {
            hello: pb::Hello { user: user.into(), device: device.into(), ..pb::Hello::default() },
            ticket: None,
            peer: peer.parse().unwrap(),
            arrived: Timestamp::ZERO,
            deadline: Timestamp::MAX,
        }
    }

    #[test]
    fn names_from_loopback_are_taken_for_true() {
        for peer in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            let identity = identify(&greeting(peer, "alice", "")).unwrap();
            assert_eq!((identity.user.as_str(), identity.device.as_str()), ("alice", "default"));
        }
    }

    #[test]
    fn names_from_elsewhere_or_of_no_sensible_length_are_not() {
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        for (peer, user, device) in [
            ("192.0.2.1:1", "alice", ""),
            ("127.0.0.1:1", "", ""),
            ("127.0.0.1:1", &long, ""),
            ("127.0.0.1:1", "a", &long),
        ] {
            assert!(identify(&greeting(peer, user, device)).is_err(), "{peer} {user}");
        }
    }
}
