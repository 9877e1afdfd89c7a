//! Marks: a logic service says where a client stands from now on. A mark moves its client only as far as the policy in
//! force allows the service that gave it, and only until its time: both are looked at again whenever it is used.
//!
//! What it moves is the range of user levels that the client's user moves in, in place of its tier's. The priorities of
//! businesses stay as they are, heavy users stand at the end of a mark's range as they do of a tier's, and the newest mark
//! of a session is the one that holds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;

use super::{connection::Connection, request::Table};
use crate::{
    clock::{unix_millis, whole_millis},
    id::{BusinessCode, OutboxId},
    pb::service as pb,
    policy::table::{Marks as Bounds, Policy, Service},
    ticket::{Mark, Ticket},
};

/// How far the clocks of services may be ahead: a mark for as long as is allowed must not fail by that.
const CLOCKS_APART: Duration = Duration::from_secs(10);

/// Why a mark is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum MarkFault {
    /// The policy lets this service mark nobody.
    #[error("the service may not mark")]
    NotAllowed,
    /// Not users of this tier.
    #[error("the service may not mark users of this tier")]
    Tier,
    /// Beyond the levels that the service may name, or no range at all.
    #[error("the levels are none that the service may give")]
    Levels,
    /// For longer than the service may mark.
    #[error("the mark would hold for too long")]
    TooLong,
    /// Its time is over.
    #[error("the time of the mark is over")]
    Past,
}

impl MarkFault {
    /// Every fault, for tables.
    pub const ALL: &[Self] = &[Self::NotAllowed, Self::Tier, Self::Levels, Self::TooLong, Self::Past];

    /// The label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::Tier => "tier",
            Self::Levels => "levels",
            Self::TooLong => "too_long",
            Self::Past => "past",
        }
    }
}

/// Who is to be marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marked {
    /// Index of its tier in the policy.
    pub tier: u8,
    /// Its outbox, which is its session.
    pub outbox: OutboxId,
}

/// What becomes of a mark that a service gives: the mark that holds from now on, or `None` if none does.
///
/// # Errors
///
/// If the policy does not allow the service as much; then nothing changes.
pub fn grant(wanted: &pb::Mark, service: &Service, whom: Marked, unix_ms: u64) -> Result<Option<Mark>, MarkFault> {
    let bounds = &service.marks;
    let allowed = bounds.levels.ok_or(MarkFault::NotAllowed)?;
    if wanted.lift {
        return Ok(None);
    }
    if !has_tier(bounds, whom.tier) {
        return Err(MarkFault::Tier);
    }
    let level = |level: u32| u8::try_from(level).map_err(|_| MarkFault::Levels);
    let levels = (level(wanted.first_level)?, level(wanted.last_level)?);
    if levels.0 > levels.1 || !contains(allowed, levels) {
        return Err(MarkFault::Levels);
    }
    let longest = unix_ms.saturating_add(whole_millis(bounds.longest));
    let (until_unix_ms, outbox) = match wanted.until_unix_ms {
        0 => (longest, Some(whom.outbox)),
        past if past <= unix_ms => return Err(MarkFault::Past),
        late if late > longest.saturating_add(whole_millis(CLOCKS_APART)) => return Err(MarkFault::TooLong),
        until => (until.min(longest), None),
    };
    Ok(Some(Mark { levels, until_unix_ms, outbox, service: service.name.clone() }))
}

/// The levels of a mark if it holds: it is due, and the policy still allows its service as much.
pub fn levels(mark: &Mark, policy: &Policy, whom: Marked, unix_ms: u64) -> Option<(u8, u8)> {
    let bounds = &policy.service_named(&mark.service)?.marks;
    let holds = mark.is_due_to(whom.outbox, unix_ms)
        && has_tier(bounds, whom.tier)
        && bounds.levels.is_some_and(|allowed| contains(allowed, mark.levels));
    holds.then_some(mark.levels)
}

/// The levels that the mark in a ticket gives to who shows it, if it holds.
pub fn levels_by_ticket(ticket: &Ticket, policy: &Policy, whom: Marked, unix_ms: u64) -> Option<(u8, u8)> {
    levels(ticket.mark.as_ref()?, policy, whom, unix_ms)
}

fn has_tier(bounds: &Bounds, tier: u8) -> bool {
    bounds.tiers.is_empty() || bounds.tiers.contains(&usize::from(tier))
}

const fn contains(allowed: (u8, u8), levels: (u8, u8)) -> bool {
    allowed.0 <= levels.0 && levels.1 <= allowed.1
}

/// Where a connection keeps its mark. Looking for one costs a client without a mark no more than a flag.
#[derive(Debug, Default)]
pub struct Slot {
    is_set: AtomicBool,
    /// Not in any ticket that the client has.
    is_news: AtomicBool,
    mark: ArcSwapOption<Mark>,
}

impl Slot {
    /// What the client has brought along.
    pub fn restore(&self, mark: Mark) {
        self.mark.store(Some(Arc::new(mark)));
        self.is_set.store(true, Relaxed);
    }

    /// The mark, whether it holds or not.
    pub fn get(&self) -> Option<Arc<Mark>> {
        if self.is_set.load(Relaxed) { self.mark.load_full() } else { None }
    }

    /// Whether the client needs a new ticket; once for each change.
    pub fn take_news(&self) -> bool {
        self.is_news.load(Relaxed) && self.is_news.swap(false, Relaxed)
    }

    /// For the session alone, which is the only one that marks.
    fn put(&self, mark: Option<Mark>) {
        let is_set = mark.is_some();
        self.mark.store(mark.map(Arc::new));
        self.is_set.store(is_set, Relaxed);
        self.is_news.store(true, Relaxed);
    }
}

impl Connection {
    /// Whom a mark would be for.
    pub const fn marked(&self) -> Marked {
        Marked { tier: self.tier, outbox: self.outbox }
    }
}

impl Table {
    /// The user levels that a connection moves in: those of its mark while that holds, else its tier's.
    pub fn levels_for(&self, connection: &Connection) -> (u8, u8) {
        let mark = connection.mark.get();
        let marked = mark.and_then(|mark| levels(&mark, &self.policy, connection.marked(), unix_millis()));
        marked.unwrap_or_else(|| self.levels_of(connection.tier))
    }
}

/// Takes marks in and counts them.
#[derive(Debug)]
pub struct Marks {
    taken: AtomicU64,
    /// By the order of [`MarkFault::ALL`].
    refused: Vec<AtomicU64>,
}

impl Default for Marks {
    fn default() -> Self {
        Self { taken: AtomicU64::new(0), refused: MarkFault::ALL.iter().map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Marks {
    /// Marks a connection as the service that answers this business wants it. What the policy does not allow changes
    /// nothing and is counted.
    pub fn mark(&self, connection: &Connection, wanted: &pb::Mark, policy: &Policy, business: BusinessCode) {
        let service = policy.service_of(business).ok_or(MarkFault::NotAllowed);
        match service.and_then(|service| grant(wanted, service, connection.marked(), unix_millis())) {
            Ok(mark) => {
                connection.mark.put(mark);
                self.taken.fetch_add(1, Relaxed);
            }
            Err(fault) => {
                self.refusals(fault).fetch_add(1, Relaxed);
                tracing::debug!(business = business.0, %fault, "a mark is refused");
            }
        }
    }

    /// Marks that were taken, liftings among them.
    pub fn taken_total(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    /// Marks that were refused for this reason.
    pub fn refused_total(&self, fault: MarkFault) -> u64 {
        self.refusals(fault).load(Relaxed)
    }

    fn refusals(&self, fault: MarkFault) -> &AtomicU64 {
        &self.refused[MarkFault::ALL.iter().position(|&one| one == fault).unwrap_or_default()]
    }
}

#[cfg(test)]
#[path = "marks_tests.rs"]
mod tests;
