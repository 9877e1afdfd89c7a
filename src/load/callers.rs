//! The closed loop that measures the saturation: callers that send their next request when the last one has ended. This
//! is the only place where the load depends on the gateway's answers.

use std::{cell::Cell, rc::Rc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{link::Link, tally::Ending};
use crate::{clock::Clock, id::BusinessCode};

/// A step runs this long before it counts.
const SETTLE: Duration = Duration::from_millis(250);
/// Then this long.
const STEP: Duration = Duration::from_secs(1);
/// A caller that was refused waits before its next request, so that refusals are not what is measured.
const AFTER_REFUSAL: Duration = Duration::from_millis(2);

/// The connections to measure over.
pub(super) struct Callers<'a> {
    pub(super) links: &'a [Rc<Link>],
    pub(super) clock: &'a Clock,
    pub(super) stop: &'a CancellationToken,
}

impl Callers<'_> {
    /// Keeps that many requests outstanding for a step; replies per second.
    pub(super) async fn measure(&self, business: BusinessCode, outstanding: usize) -> f64 {
        let replies = Rc::new(Cell::new(0_u64));
        let goes_on = Rc::new(Cell::new(true));
        let links = self.links.iter().cycle().take(outstanding);
        let callers: Vec<_> = links
            .map(|link| call_on(Rc::clone(link), business, Rc::clone(&replies), Rc::clone(&goes_on)))
            .map(tokio::task::spawn_local)
            .collect();
        self.pause(SETTLE).await;
        let (before, begin) = (replies.get(), self.clock.now());
        self.pause(STEP).await;
        let (after, end) = (replies.get(), self.clock.now());
        goes_on.set(false);
        for caller in callers {
            // A caller has nothing to tell; a panic in it has been reported by its hook.
            let _ = caller.await;
        }
        (after - before) as f64 / end.since(begin).as_secs_f64().max(f64::MIN_POSITIVE)
    }

    async fn pause(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.stop.cancelled() => {}
        }
    }
}

async fn call_on(link: Rc<Link>, business: BusinessCode, replies: Rc<Cell<u64>>, goes_on: Rc<Cell<bool>>) {
    while goes_on.get() {
        match link.call(business).await {
            Ending::Replied => replies.set(replies.get() + 1),
            Ending::Refused(_) | Ending::Unknown | Ending::Lost | Ending::Unsent => {
                tokio::time::sleep(AFTER_REFUSAL).await;
            }
        }
    }
}
