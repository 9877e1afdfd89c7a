//! A thread's books: every request of the schedule is entered once when it is offered and once when it ends.

use std::{collections::BTreeMap, mem, time::Duration};

use super::{
    record::Record,
    tally::{Ending, Latency, Tally},
};
use crate::clock::Timestamp;

/// A request of the schedule that has not ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    /// A position in the mix.
    pub(super) business: usize,
    /// Whose it is: a number in the population.
    pub(super) user: u64,
    /// When it should have been sent.
    pub(super) intended: Timestamp,
}

/// What one thread has seen.
pub(super) struct Books {
    timeout: Duration,
    counted_from: Timestamp,
    /// Requests intended after the warm-up, by business.
    counted: Vec<Tally>,
    /// Everything since the last [`Books::close_interval`], by business.
    interval: Vec<Tally>,
    /// How far behind the schedule requests were sent, after the warm-up.
    lag: Latency,
    /// Connections that ended, by what ended them.
    ended_connections: BTreeMap<String, u64>,
    in_flight: usize,
    /// Where every request is told, the warm-up's too.
    record: Option<Record>,
}

/// What is left when the traffic has ended.
pub(super) struct Account {
    pub(super) counted: Vec<Tally>,
    pub(super) lag: Latency,
    pub(super) ended_connections: BTreeMap<String, u64>,
}

impl Books {
    pub(super) fn new(businesses: usize, timeout: Duration) -> Self {
        Self {
            timeout,
            counted_from: Timestamp::MAX,
            counted: tallies(businesses),
            interval: tallies(businesses),
            lag: Latency::new(),
            ended_connections: BTreeMap::new(),
            in_flight: 0,
            record: None,
        }
    }

    /// Starts afresh; requests intended before `counted_from` go into the intervals only.
    pub(super) fn open(&mut self, counted_from: Timestamp, record: Option<Record>) {
        *self = Self { counted_from, record, ..Self::new(self.counted.len(), self.timeout) };
    }

    /// Enters a request that is sent at `now`.
    pub(super) fn offer(&mut self, offer: Offer, now: Timestamp) {
        self.in_flight += 1;
        self.interval[offer.business].offered += 1;
        if offer.intended >= self.counted_from {
            self.counted[offer.business].offered += 1;
            self.lag.record(now.since(offer.intended));
        }
    }

    /// Enters how a request ended, at `now`.
    pub(super) fn end(&mut self, offer: Offer, ending: Ending, now: Timestamp) {
        self.in_flight -= 1;
        let latency = now.since(offer.intended);
        if let Some(record) = &mut self.record {
            record.end(offer, ending, latency);
        }
        self.interval[offer.business].count(ending, latency, self.timeout);
        if offer.intended >= self.counted_from {
            self.counted[offer.business].count(ending, latency, self.timeout);
        }
    }

    /// Enters a connection that ended during the run.
    pub(super) fn connection_ended(&mut self, why: &str) {
        *self.ended_connections.entry(why.to_owned()).or_default() += 1;
    }

    /// Requests offered that have not ended.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// What happened since the last call.
    pub(super) fn close_interval(&mut self) -> Vec<Tally> {
        mem::replace(&mut self.interval, tallies(self.counted.len()))
    }

    /// Everything after the warm-up.
    pub(super) fn close(&mut self) -> Account {
        let books = mem::replace(self, Self::new(self.counted.len(), self.timeout));
        Account { counted: books.counted, lag: books.lag, ended_connections: books.ended_connections }
    }
}

fn tallies(businesses: usize) -> Vec<Tally> {
    (0..businesses).map(|_| Tally::new()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn latency_counts_from_the_intended_time_and_lag_up_to_the_sending() {
        let mut books = Books::new(1, Duration::from_millis(500));
        books.open(at(0), None);
        let offer = Offer { business: 0, user: 0, intended: at(100) };
        books.offer(offer, at(103));
        books.end(offer, Ending::Replied, at(110));
        let account = books.close();
        let latency = account.counted[0].latency.quantile(1.0).unwrap();
        assert!(latency.abs_diff(Duration::from_millis(10)) < Duration::from_micros(20), "{latency:?}");
        let lag = account.lag.quantile(1.0).unwrap();
        assert!(lag.abs_diff(Duration::from_millis(3)) < Duration::from_micros(20), "{lag:?}");
    }

    #[test]
    fn the_warm_up_shows_in_the_intervals_only() {
        let mut books = Books::new(1, Duration::from_millis(500));
        books.open(at(1000), None);
        for intended in [at(999), at(1000)] {
            let offer = Offer { business: 0, user: 0, intended };
            books.offer(offer, intended);
            books.end(offer, Ending::Replied, at(1010));
        }
        assert_eq!(books.in_flight(), 0);
        assert_eq!(books.close_interval()[0].ok, 2);
        assert_eq!(books.close_interval()[0].ok, 0);
        let account = books.close();
        assert_eq!((account.counted[0].offered, account.counted[0].ok), (1, 1));
    }
}
