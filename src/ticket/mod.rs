//! What a client carries from login to login, and from gateway to gateway: a ticket counts only with the MAC of a key that
//! is known here, for the user and device that it was issued for, and until it expires.
//!
//! Clients keep tickets as they are. One that does not count never fails a login: its client is then as good as new.
//!
//! ```text
//!   version (1) │ key id (4) │ MAC (16) │ `Ticket` of proto/ticket.proto
//! ```
//!
//! | attempt | then |
//! |---|---|
//! | a byte is changed, or a ticket made up | forged: guessing a MAC succeeds once in 2^128 |
//! | somebody else's ticket is shown | foreign, but for one who has that user's credentials as well |
//! | an old ticket is shown | expired; until then it says less than a newer one, whose epoch is higher |
//! | whoever has a key lies | not prevented: keys are for gateways alone |

mod class;
mod keys;
mod mark;

use prost::Message;

use crate::{
    id::{Epoch, MAX_NAME_BYTES},
    mac,
    pb::ticket as pb,
};

pub use class::{Class, Coming};
pub use keys::{Keys, KeysFault};
pub use mark::Mark;

/// The only version so far.
const VERSION: u8 = 1;

/// Separates this use of a key from any other.
const DOMAIN: &[u8] = b"dagor-ticket v1";

/// Bytes before the body: version, key id, MAC.
const HEAD_BYTES: usize = 1 + 4 + 16;

/// More than a ticket can have: user, device, tier, origin and a mark's service of at most [`MAX_NAME_BYTES`] each, and a few
/// numbers.
const MAX_BYTES: usize = 1024;

/// What a gateway says of a client to the next one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ticket {
    /// Whose it is.
    pub user: String,
    /// With which device.
    pub device: String,
    /// The epoch of the login that it was issued for.
    pub last_epoch: Epoch,
    /// The policy's name of the user's tier.
    pub tier: String,
    /// Where a logic service has put the client, if one has.
    pub mark: Option<Mark>,
    /// Set while the client is being sent elsewhere.
    pub redirect: Option<Redirect>,
    /// From when on it counts for nothing, in milliseconds since the Unix epoch.
    pub expires_unix_ms: u64,
}

/// That a client was sent elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The gateway that sent it last.
    pub origin: String,
    /// How many have done so in a row, at least 1.
    pub hops: u32,
}

/// Who shows a ticket.
#[derive(Clone, Copy, Debug)]
pub struct Bearer<'a> {
    /// The user.
    pub user: &'a str,
    /// The device, by its full name.
    pub device: &'a str,
}

/// Why a ticket does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// Not a ticket, or one of a version that is not known here.
    #[error("the ticket is malformed")]
    Malformed,
    /// Signed with a key that is not known here: of another fleet, or taken out since.
    #[error("the ticket's key is not known")]
    UnknownKey,
    /// Not made by a holder of the key.
    #[error("the ticket is forged")]
    Forged,
    /// Its time has passed.
    #[error("the ticket has expired")]
    Expired,
    /// Issued for another user or device.
    #[error("the ticket is somebody else's")]
    Foreign,
}

impl Fault {
    /// Every fault, for tables.
    pub const ALL: &[Self] = &[Self::Malformed, Self::UnknownKey, Self::Forged, Self::Expired, Self::Foreign];

    /// The label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::Forged => "forged",
            Self::Expired => "expired",
            Self::Foreign => "foreign",
        }
    }
}

impl Keys {
    /// Signs a ticket with the first key.
    pub fn issue(&self, ticket: Ticket) -> Vec<u8> {
        let body = pb::Ticket::from(ticket).encode_to_vec();
        let (id, key) = self.signing();
        let mac = key.mac(&[DOMAIN, &body], &[&id.to_be_bytes()]);
        [&[VERSION][..], &id.to_be_bytes(), &mac.to_be_bytes(), &body].concat()
    }

    /// Reads a ticket that somebody shows at this time since the Unix epoch.
    ///
    /// # Errors
    ///
    /// Why it does not count.
    pub fn read(&self, ticket: &[u8], bearer: Bearer<'_>, unix_ms: u64) -> Result<Ticket, Fault> {
        let (id, mac, body) = split(ticket).ok_or(Fault::Malformed)?;
        let key = self.find(id).ok_or(Fault::UnknownKey)?;
        if !mac::is_same(key.mac(&[DOMAIN, body], &[&id.to_be_bytes()]), mac) {
            return Err(Fault::Forged);
        }
        let ticket = pb::Ticket::decode(body).ok().and_then(checked).ok_or(Fault::Malformed)?;
        if (ticket.user.as_str(), ticket.device.as_str()) != (bearer.user, bearer.device) {
            return Err(Fault::Foreign);
        }
        if ticket.expires_unix_ms <= unix_ms { Err(Fault::Expired) } else { Ok(ticket) }
    }
}

/// Key id, MAC and body.
fn split(ticket: &[u8]) -> Option<(u32, u128, &[u8])> {
    if ticket.len() > MAX_BYTES {
        return None;
    }
    let (head, body) = ticket.split_first_chunk::<HEAD_BYTES>()?;
    let ([version], rest) = head.split_first_chunk()?;
    let (id, mac) = rest.split_first_chunk()?;
    (*version == VERSION).then_some((u32::from_be_bytes(*id), u128::from_be_bytes(mac.try_into().ok()?), body))
}

/// A holder of the key may be another version with other bounds.
fn checked(ticket: pb::Ticket) -> Option<Ticket> {
    let names = [&ticket.user, &ticket.device, &ticket.tier, &ticket.redirect_origin];
    if names.into_iter().any(|name| name.len() > MAX_NAME_BYTES) {
        return None;
    }
    let redirect = Redirect { origin: ticket.redirect_origin, hops: ticket.redirect_hops };
    let mark = match ticket.mark {
        Some(mark) => Some(mark::checked(mark)?),
        None => None,
    };
    Some(Ticket {
        user: ticket.user,
        device: ticket.device,
        last_epoch: Epoch(ticket.last_epoch),
        tier: ticket.tier,
        mark,
        redirect: (redirect.hops > 0).then_some(redirect),
        expires_unix_ms: ticket.expires_unix_ms,
    })
}

impl From<Ticket> for pb::Ticket {
    fn from(ticket: Ticket) -> Self {
        let (redirect_origin, redirect_hops) =
            ticket.redirect.map_or_else(Default::default, |redirect| (redirect.origin, redirect.hops));
        Self {
            user: ticket.user,
            device: ticket.device,
            last_epoch: ticket.last_epoch.0,
            tier: ticket.tier,
            mark: ticket.mark.map(Into::into),
            redirect_origin,
            redirect_hops,
            expires_unix_ms: ticket.expires_unix_ms,
        }
    }
}

#[cfg(test)]
mod tests;
