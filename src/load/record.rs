//! Tells a trace what became of each request, in the words of the trace.

use std::time::Duration;

use super::{books::Offer, error::reason_name, tally::Ending};
use crate::{
    clock::Timestamp,
    trace::{Line, Outcome, Sink},
};

/// One thread's part of a trace.
pub(super) struct Record {
    sink: Sink,
    /// The names of the businesses of the mix.
    businesses: Vec<String>,
    start: Timestamp,
    timeout: Duration,
}

impl Record {
    /// A part whose times count from `start`.
    pub(super) fn new(sink: Sink, businesses: Vec<String>, start: Timestamp, timeout: Duration) -> Self {
        Self { sink, businesses, start, timeout }
    }

    /// Tells how a request ended.
    pub(super) fn end(&mut self, offer: Offer, ending: Ending, latency: Duration) {
        let reason;
        let outcome = match ending {
            Ending::Replied if latency <= self.timeout => Outcome::Ok,
            Ending::Replied => Outcome::Late,
            Ending::Refused(code) => {
                reason = reason_name(code);
                Outcome::Refused(&reason)
            }
            Ending::Unknown => Outcome::Unknown,
            Ending::Lost => Outcome::Lost,
            Ending::Unsent => Outcome::Unsent,
        };
        self.sink.tell(&Line {
            at: offer.intended.since(self.start),
            business: &self.businesses[offer.business],
            user: offer.user,
            outcome,
            latency,
            stands_for: 1,
        });
    }
}
