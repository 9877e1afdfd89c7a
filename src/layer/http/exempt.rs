//! Probes are never shed, but a flood of them is no way in: they have a small budget of their own, and what exceeds it
//! counts as the most important request there is.

use std::{fmt, sync::Arc};

use http::request::Parts;

use crate::{clock::Timestamp, layer::rate::TokenBucket};

/// What orchestrators and balancers ask for.
const PROBE_PATHS: [&str; 7] = ["/live", "/livez", "/ready", "/readyz", "/health", "/healthz", "/ping"];
const GRPC_HEALTH: &str = "/grpc.health.v1.Health/";

/// Probes per second: a few dozen probers that ask every second.
const PER_SECOND: f64 = 50.0;
const BURST: u32 = 100;

type Predicate = dyn Fn(&Parts) -> bool + Send + Sync;

/// Which requests pass by the gate and the queue, and how many. Clones share the budget.
#[derive(Clone)]
pub struct Exempt {
    predicate: Arc<Predicate>,
    budget: Arc<TokenBucket>,
}

impl Exempt {
    /// `/live`, `/ready`, `/health`, with and without a `z`, `/ping`, and gRPC's `grpc.health.v1.Health`; 50 per second
    /// after a burst of 100. The default.
    pub fn probes() -> Self {
        Self::when(|head| {
            let path = head.uri.path();
            PROBE_PATHS.contains(&path) || path.starts_with(GRPC_HEALTH)
        })
    }

    /// What the predicate holds for, with the same budget.
    pub fn when(predicate: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        Self { predicate: Arc::new(predicate), budget: Arc::new(TokenBucket::new(PER_SECOND, BURST)) }
    }

    /// Nothing.
    pub fn nothing() -> Self {
        Self::when(|_| false)
    }

    /// Another budget.
    #[must_use]
    pub fn budget(mut self, per_second: f64, burst: u32) -> Self {
        self.budget = Arc::new(TokenBucket::new(per_second, burst));
        self
    }

    pub(super) fn judge(&self, head: &Parts, now: Timestamp) -> Judgement {
        if !(self.predicate)(head) {
            Judgement::Ordinary
        } else if self.budget.try_take(now).is_ok() {
            Judgement::Passes
        } else {
            Judgement::MostImportant
        }
    }
}

impl Default for Exempt {
    fn default() -> Self {
        Self::probes()
    }
}

impl fmt::Debug for Exempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exempt").field("budget", &self.budget).finish_non_exhaustive()
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Ordinary,
    Passes,
    /// It would pass, but the budget is used up.
    MostImportant,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn head(path: &str) -> Parts {
        http::Request::get(path).body(()).unwrap().into_parts().0
    }

    #[test]
    fn probes_pass_and_their_neighbours_do_not() {
        let exempt = Exempt::default();
        for path in ["/live", "/health?verbose=1", "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"] {
            assert_eq!(exempt.judge(&head(path), Timestamp::ZERO), Judgement::Passes, "{path}");
        }
        for path in ["/", "/livery", "/health/records", "/grpc.health.v1.Healthy/Check", "/api?x=/live"] {
            assert_eq!(exempt.judge(&head(path), Timestamp::ZERO), Judgement::Ordinary, "{path}");
        }
        assert_eq!(Exempt::nothing().judge(&head("/live"), Timestamp::ZERO), Judgement::Ordinary);
    }

    #[test]
    fn beyond_the_budget_a_probe_counts_as_the_most_important() {
        let exempt = Exempt::probes().budget(1.0, 2);
        let judged = |exempt: &Exempt, now| exempt.judge(&head("/live"), now);
        let clone = exempt.clone();
        assert_eq!(judged(&exempt, Timestamp::ZERO), Judgement::Passes);
        assert_eq!(judged(&clone, Timestamp::ZERO), Judgement::Passes);
        assert_eq!(judged(&exempt, Timestamp::ZERO), Judgement::MostImportant);
        assert_eq!(judged(&exempt, Timestamp::ZERO + Duration::from_secs(1)), Judgement::Passes);
    }
}
