//! Bugs that are put in on purpose, each one that somebody could have written: a world that does not find them would not
//! find others either. They live in the world's own glue, around the real cores; no program contains them.

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// An instance remembers only the highest id that it has seen of an outbox, and takes all below for copies.
    HighWaterDedupe,
    /// The late close of an old connection deletes the route whatever its epoch.
    UnfencedDelete,
    /// A refused id counts as answered.
    AckOverRefused,
    /// What is settled is told when the answers are there, before they are written.
    AckBeforeWrite,
    /// A message that is sent again gets a new id.
    NewIdOnResend,
    /// The newer login of the same outbox ends the older connection for good.
    KickOnMigration,
}
