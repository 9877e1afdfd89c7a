//! One thread follows its schedule: everything that is due is sent, whether or not anything has been answered. When the
//! thread is too slow for that, the lag in the books says so.

use std::{cell::Cell, io, rc::Rc, time::Duration};

use tokio::sync::mpsc;

use super::{
    books::{Account, Offer},
    link::{Common, LOST_AFTER, Link},
    login::{Identity, LoginFailure, log_in},
    pending::Origin,
    record::Record,
    schedule::{Arrival, Plan, Schedule},
    socket::Closing,
    tally::Ending,
    worker::{Beat, Setup, user},
};
use crate::{clock::Timestamp, id::BusinessCode};

/// When behind the schedule, answers are read after this many requests.
const BURST: usize = 64;

/// Beyond it, logins count as not sent: a gateway that answers none must not use up all sockets.
pub(super) const MAX_LOGINS: usize = 4096;

/// How often the end of the last requests is looked for.
const DRAIN_TICK: Duration = Duration::from_millis(10);

/// A thread's part of the traffic.
pub(super) struct Traffic<'a> {
    setup: &'a Setup,
    common: &'a Rc<Common>,
    links: &'a [Rc<Link>],
    logins: Rc<Cell<usize>>,
    login_number: Cell<usize>,
}

impl<'a> Traffic<'a> {
    pub(super) fn new(setup: &'a Setup, common: &'a Rc<Common>, links: &'a [Rc<Link>]) -> Self {
        Self { setup, common, links, logins: Rc::default(), login_number: Cell::new(setup.thread) }
    }

    /// Follows the schedule to its end, or until the run is stopped, and waits for what is in flight.
    pub(super) async fn run(&self, start: Timestamp, plan: &Plan) -> Account {
        self.common.books.borrow_mut().open(start + self.setup.config.warmup, self.record(start));
        let beats = tokio::task::spawn_local(beat(Rc::clone(self.common), start, self.setup.beats.clone()));
        tokio::select! {
            () = self.follow(Schedule::new(plan, self.setup.thread, self.links.len()), start) => {}
            () = self.setup.stop.cancelled() => {}
        }
        self.drain().await;
        beats.abort();
        self.last_beat(start).await;
        self.common.books.borrow_mut().close()
    }

    fn record(&self, start: Timestamp) -> Option<Record> {
        let sink = self.setup.sink.clone()?;
        let names = self.setup.config.mix.shares().iter().map(|share| share.business.clone()).collect();
        Some(Record::new(sink, names, start, self.common.timeout))
    }

    /// The second in which the last answers came; the coordinator may be gone.
    async fn last_beat(&self, start: Timestamp) {
        let second = self.common.clock.now().since(start).as_secs();
        let businesses = self.common.books.borrow_mut().close_interval();
        let _ = self.setup.beats.send(Beat { second, businesses }).await;
    }

    async fn follow(&self, schedule: Schedule, start: Timestamp) {
        let mut now = self.common.clock.now();
        let mut burst = 0;
        for arrival in schedule {
            let intended = start + arrival.at;
            burst += 1;
            if intended > now {
                tokio::time::sleep_until(self.common.clock.instant_of(intended).into()).await;
                (now, burst) = (self.common.clock.now(), 0);
            } else if burst % BURST == 0 {
                tokio::task::yield_now().await;
                now = self.common.clock.now();
            }
            self.offer(arrival, intended, now);
        }
    }

    fn offer(&self, arrival: Arrival, intended: Timestamp, now: Timestamp) {
        let Arrival { business, connection, .. } = arrival;
        let (offer, sent) = match self.setup.codes[business] {
            BusinessCode::LOGIN => {
                let number = self.login_number.replace(self.login_number.get() + self.setup.config.threads);
                let user = user(number, self.setup.config.users);
                let offer = Offer { business, user: user as u64, intended };
                self.common.books.borrow_mut().offer(offer, now);
                // A device of its own: a login of the user's connected device would replace it.
                let who = Identity { user, device: format!("login-{number}"), source: None };
                (offer, self.start_login(who, offer))
            }
            code => {
                let link = self.carrier(connection);
                let offer = Offer { business, user: link.user(), intended };
                self.common.books.borrow_mut().offer(offer, now);
                (offer, link.send(code, Origin::Schedule(offer), now).is_ok())
            }
        };
        if !sent {
            self.common.books.borrow_mut().end(offer, Ending::Unsent, now);
        }
    }

    /// The scheduled connection, or the next one that is up.
    fn carrier(&self, connection: usize) -> &Link {
        let (before, from) = self.links.split_at(connection);
        from.iter().chain(before).find(|link| link.is_up()).unwrap_or(&self.links[connection])
    }

    fn start_login(&self, who: Identity, offer: Offer) -> bool {
        if self.logins.get() >= MAX_LOGINS {
            return false;
        }
        self.logins.set(self.logins.get() + 1);
        let (common, logins) = (Rc::clone(self.common), Rc::clone(&self.logins));
        tokio::task::spawn_local(async move {
            let login = log_in(common.target, &who, Closing::Reset);
            let result = tokio::time::timeout(common.timeout + LOST_AFTER, login).await;
            let now = common.clock.now();
            common.books.borrow_mut().end(offer, ending(result.ok().map(|login| login.map(drop))), now);
            logins.set(logins.get() - 1);
        });
        true
    }

    /// Every request ends within the timeout and [`LOST_AFTER`], so this does too; the limit is for a mistake in that.
    async fn drain(&self) {
        let limit = self.common.clock.now() + self.common.timeout + LOST_AFTER * 2;
        while self.common.books.borrow().in_flight() > 0 && self.common.clock.now() < limit {
            tokio::time::sleep(DRAIN_TICK).await;
        }
    }
}

fn ending(login: Option<Result<(), LoginFailure>>) -> Ending {
    match login {
        Some(Ok(())) => Ending::Replied,
        Some(Err(LoginFailure::Refused { reason, .. })) => Ending::Refused(reason),
        // No port or no descriptor: this machine's limit, not the gateway's.
        Some(Err(LoginFailure::Socket(error))) if is_local(&error) => Ending::Unsent,
        Some(Err(_)) | None => Ending::Lost,
    }
}

fn is_local(error: &io::Error) -> bool {
    const TOO_MANY_OPEN_FILES: i32 = 24;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(TOO_MANY_OPEN_FILES)
}

/// Hands on what happened in each second, until aborted.
async fn beat(common: Rc<Common>, start: Timestamp, beats: mpsc::Sender<Beat>) {
    for second in 0.. {
        let end = start + Duration::from_secs(second + 1);
        tokio::time::sleep_until(common.clock.instant_of(end).into()).await;
        let businesses = common.books.borrow_mut().close_interval();
        if beats.send(Beat { second, businesses }).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_without_a_port_was_never_sent() {
        let no_port = io::Error::from(io::ErrorKind::AddrNotAvailable);
        assert_eq!(ending(Some(Err(LoginFailure::Socket(no_port)))), Ending::Unsent);
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(ending(Some(Err(LoginFailure::Socket(refused)))), Ending::Lost);
        assert_eq!(ending(None), Ending::Lost);
    }
}
