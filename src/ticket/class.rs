//! In which class a login is: decided from a valid ticket alone, and from why the client says it connects. Among logins of
//! one class users take turns as everywhere.

use super::Ticket;

/// Why clients are let in before others, the first ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Was connected, and comes back with what it had under way.
    Resuming,
    /// Was sent here by another gateway.
    Redirected,
    /// Has been here before; by its tier.
    Known,
    /// Nothing is known of it.
    New,
}

/// Why a client connects, as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coming {
    /// For the first time in a while.
    New,
    /// It lost its connection.
    Back,
    /// A gateway sent it away.
    Redirected,
}

/// User levels of each class: a fourth of 128.
const LEVELS: u8 = 32;

impl Class {
    /// The class of a client with this ticket, if it has a valid one.
    pub fn of(ticket: Option<&Ticket>, coming: Coming) -> Self {
        match (ticket, coming) {
            (None, _) => Self::New,
            (Some(_), Coming::Back) => Self::Resuming,
            (Some(_), Coming::Redirected) => Self::Redirected,
            (Some(ticket), Coming::New) if ticket.redirect.is_some() => Self::Redirected,
            (Some(_), Coming::New) => Self::Known,
        }
    }

    /// First and last of the user levels that a login of this class moves in. `tier` has those of the user's tier.
    pub const fn levels(self, tier: (u8, u8)) -> (u8, u8) {
        let parts = u8::MAX.div_ceil(2) / LEVELS;
        match self {
            Self::Resuming => (0, LEVELS - 1),
            Self::Redirected => (LEVELS, 2 * LEVELS - 1),
            Self::Known => (2 * LEVELS + tier.0 / parts, 2 * LEVELS + tier.1 / parts),
            Self::New => (3 * LEVELS, 4 * LEVELS - 1),
        }
    }
}
