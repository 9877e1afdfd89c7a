//! Under a fleet's cut a gate does not decide by itself: what one gateway sees of a shared service is no reason to treat its
//! clients unlike those of another one, and the fleet works the backlog off. But the fleet looks once a second, at what was.
//! When far more waits than its cut can have meant, because half of the service is gone or ten times as many have come, the
//! gate's own cut holds until most of that is gone. In between the queue's order serves the most important first, and its
//! patience and the deadlines bound every wait.

use crate::admission::throughput::Throughput;

/// So many seconds of work, and requests, are far more than what chance piles up between two corrections of the fleet's cut.
const SECONDS: f64 = 0.5;
const REQUESTS: f64 = 60.0;
/// The own cut holds until no more than this part of it is left.
const END: f64 = 0.25;

/// Whether a gate is stricter than its fleet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Brake {
    is_on: bool,
}

impl Brake {
    /// Whether the own cut holds after a window at whose end so much waits that is wanted, if it is stricter than the fleet's.
    pub(super) fn on_window(&mut self, is_stricter: bool, backlog: f64, throughput: &Throughput) -> bool {
        let request = throughput.mean_cost().unwrap_or(1.0);
        let most = SECONDS * throughput.per_second().unwrap_or(0.0) + REQUESTS * request;
        let bound = if self.is_on { END * most } else { most };
        self.is_on = is_stricter && backlog > bound;
        self.is_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_from_far_too_much_until_most_of_that_is_gone() {
        let mut throughput = Throughput::default();
        (0..10).for_each(|_| throughput.observe(0.1, 20.0, 20.0));
        let mut brake = Brake::default();
        // 100 in half a second, and 60 more.
        let on: Vec<_> = [150.0, 161.0, 150.0, 41.0, 39.0, 150.0]
            .map(|backlog| brake.on_window(true, backlog, &throughput))
            .to_vec();
        assert_eq!(on, [false, true, true, true, false, false]);
        assert!(!brake.on_window(false, 1e9, &throughput), "the fleet's cut is stricter");
    }

    #[test]
    fn without_a_capacity_requests_alone_count() {
        let mut brake = Brake::default();
        assert!(!brake.on_window(true, 59.0, &Throughput::default()));
        assert!(brake.on_window(true, 61.0, &Throughput::default()));
    }
}
