//! The types that a request has on its way: `Frame → Request → Tagged → Admitted → Placed → Reply`. Each layer takes
//! one and hands on the next, so that leaving one out does not compile.

use std::time::Duration;

use crate::{
    admission::{Admission, Cost, Refusal, Value},
    clock::Timestamp,
};

/// Anything that has an importance.
pub trait Prioritized {
    /// Lower is more important.
    fn value(&self) -> Value;
}

/// Anything that arrived at some time and is of use until another.
pub trait Timed {
    /// When it arrived here.
    fn arrived(&self) -> Timestamp;
    /// When its answer is of no use any more.
    fn deadline(&self) -> Timestamp;
    /// What it is expected to cost; the same for all unless somebody knows better.
    fn cost(&self) -> Cost {
        Cost::ONE
    }
}

/// Anything that a gate can decide on, and what goes on behind the gate.
pub trait Admissible: Prioritized + Timed {
    /// What goes on.
    type Request;

    /// Leaves the value behind.
    fn into_request(self) -> Self::Request;
}

/// A request that has been given its value.
#[derive(Clone, Debug)]
pub struct Tagged<R> {
    /// Its importance.
    pub value: Value,
    /// The request itself.
    pub request: R,
}

/// A request that its gate has let through.
#[derive(Clone, Debug)]
pub struct Admitted<R> {
    /// Its importance.
    pub value: Value,
    /// How it came through.
    pub admission: Admission,
    /// The request itself.
    pub request: R,
}

impl<R> Admitted<R> {
    /// A request that is below the cut.
    pub const fn new(value: Value, request: R) -> Self {
        Self { value, admission: Admission::Below, request }
    }
}

macro_rules! prioritized {
    ($name:ident) => {
        impl<R> Prioritized for $name<R> {
            fn value(&self) -> Value {
                self.value
            }
        }

        impl<R: Timed> Timed for $name<R> {
            fn arrived(&self) -> Timestamp {
                self.request.arrived()
            }

            fn deadline(&self) -> Timestamp {
                self.request.deadline()
            }

            fn cost(&self) -> Cost {
                self.request.cost()
            }
        }
    };
}

prioritized!(Tagged);
prioritized!(Admitted);

impl<R: Timed> Admissible for Tagged<R> {
    type Request = R;

    fn into_request(self) -> R {
        self.request
    }
}

impl Failure {
    /// Whether the logic service has, or may have, spent work on it.
    pub const fn has_cost(&self) -> bool {
        match self {
            Self::Refused(_) | Self::RefusedByService { .. } | Self::Conflict | Self::Stale => false,
            // Its handler has looked at it, if only to find it misplaced.
            Self::Misplaced { .. } | Self::Failed { .. } | Self::TimedOut | Self::Lost => true,
        }
    }
}

/// How a request ended that got no reply from its logic service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Certainly not run.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The logic service or its guard refused it: certainly not run.
    #[error("refused by the service: {detail}")]
    RefusedByService {
        /// What the service said.
        detail: String,
        /// When it makes sense to try again.
        retry_after: Duration,
    },
    /// The service says that this user may not claim this business.
    #[error("misplaced: {detail}")]
    Misplaced {
        /// What the service said.
        detail: String,
    },
    /// The service has seen another payload under this id: not run.
    #[error("another payload was sent under this id")]
    Conflict,
    /// The service knows that the client has settled this id: not run.
    #[error("settled already")]
    Stale,
    /// The handler ran and failed.
    #[error("the handler failed: {detail}")]
    Failed {
        /// What the service said.
        detail: String,
    },
    /// Dispatched, and no answer came in time.
    #[error("no answer within the timeout")]
    TimedOut,
    /// Dispatched, and the stream to the instance was lost.
    #[error("the instance was lost")]
    Lost,
}
