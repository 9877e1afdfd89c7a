//! Marks: with a reply or a push a service says where its client stands from now on.

use std::{ops::RangeInclusive, time::Duration};

use crate::{
    clock::{unix_millis, whole_millis},
    pb::service as pb,
};

/// Moves what follows of a client to other user levels, in place of those of its tier.
///
/// The gateway's policy says how far a service may go (`[service.marks]`); a mark beyond that is refused and counted there,
/// and what carries it goes out all the same. Of several marks the newest one holds. It comes along when the client
/// changes gateways, from the client's next reply on.
///
/// ```
/// use std::time::Duration;
/// use dagor::service::{Mark, Push, Reply};
///
/// // Who is in the middle of a purchase comes before others, for as long as that may take.
/// let reply = Reply::new("reserved").mark(Mark::lasting(0..=7, Duration::from_secs(300)));
/// // A host of a meeting, until its app is closed.
/// let push = Push::to_user("mia", "meeting", "you are host").mark(Mark::session(8..=15));
/// // The meeting is over.
/// let push = Push::to_user("mia", "meeting", "bye").mark(Mark::lift());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(pub(super) pb::Mark);

impl Mark {
    /// For the rest of the session, which is as long as the client keeps its outbox, at whichever gateway; at most for as
    /// long as the policy allows. Levels are 0 to 127, lower is more important.
    pub fn session(levels: RangeInclusive<u8>) -> Self {
        Self::until(levels, 0)
    }

    /// From now on for this long, which is taken to the millisecond.
    pub fn lasting(levels: RangeInclusive<u8>, duration: Duration) -> Self {
        Self::until(levels, unix_millis().saturating_add(whole_millis(duration)))
    }

    /// Until this time in milliseconds since the Unix epoch; 0 is the end of the session.
    pub fn until(levels: RangeInclusive<u8>, unix_ms: u64) -> Self {
        let (first_level, last_level) = ((*levels.start()).into(), (*levels.end()).into());
        Self(pb::Mark { first_level, last_level, until_unix_ms: unix_ms, lift: false })
    }

    /// Ends the mark that holds, also one of another service.
    pub fn lift() -> Self {
        Self(pb::Mark { lift: true, ..pb::Mark::default() })
    }
}
