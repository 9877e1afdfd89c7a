//! The names of things: each id is a type of its own, so that a message id is never taken for a business code.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// The permanent number of a business (a named kind of request). Code 1 is `login`; 0 is no business.
    BusinessCode(u16)
}
number! {
    /// The client's number of a message: consecutive within an outbox, 0 for control frames.
    MessageId(u64)
}
number! {
    /// A client's outbox: random, new whenever an outbox is created.
    OutboxId(u64)
}
number! {
    /// The increasing number of a client's logins, which fences late writes of an older connection.
    Epoch(u64)
}
number! {
    /// One run of a gateway process: random, so that a restarted gateway is never taken for its predecessor.
    Incarnation(u64)
}

impl BusinessCode {
    /// The business of a `Hello`.
    pub const LOGIN: Self = Self(1);
}

/// The longest user or device name, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
