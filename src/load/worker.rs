//! One thread of the generator with its connections. It follows orders one at a time; between and beneath them its
//! connections stay alive.

use std::{
    io,
    net::Ipv4Addr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::{
    sync::{mpsc, oneshot},
    task::LocalSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    books::{Account, Books},
    callers::Callers,
    config::LoadConfig,
    link::{Common, Link},
    login::{Identity, Session, log_in_until},
    schedule::Plan,
    socket::Target,
    tally::Tally,
    traffic::Traffic,
};
use crate::{
    clock::{Clock, Timestamp},
    id::BusinessCode,
    trace::Sink,
};

/// Logins under way at a time on each thread, while the connections are made.
const CONNECTING: usize = 64;

/// How often connections are tended.
const TEND_EVERY: Duration = Duration::from_millis(250);

/// One source address has ports for about 28,000 connections to the same gateway.
const CONNECTIONS_PER_SOURCE: usize = 20_000;

/// What the coordinator wants done. Each order is answered, unless the thread ends.
pub(super) enum Order {
    /// Log in all connections of this thread before the deadline; the answer is what went wrong last.
    Connect { deadline: Timestamp, answer: oneshot::Sender<Option<String>> },
    /// Keep that many requests outstanding for a step; the answer is completions per second.
    Measure { business: BusinessCode, outstanding: usize, answer: oneshot::Sender<f64> },
    /// Follow the schedule from `start` on.
    Run { start: Timestamp, plan: Plan, answer: oneshot::Sender<Account> },
}

/// One second of a thread's traffic.
pub(super) struct Beat {
    pub(super) second: u64,
    pub(super) businesses: Vec<Tally>,
}

/// What a thread needs to know.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) thread: usize,
    pub(super) config: Arc<LoadConfig>,
    pub(super) target: Target,
    /// The codes of the businesses of the mix.
    pub(super) codes: Vec<BusinessCode>,
    pub(super) clock: Clock,
    pub(super) stop: CancellationToken,
    /// Connections of all threads that have logged in.
    pub(super) connected: Arc<AtomicUsize>,
    pub(super) beats: mpsc::Sender<Beat>,
    /// Where the traffic is told, if it is recorded.
    pub(super) sink: Option<Sink>,
}

/// Starts a thread; it ends when its orders do.
pub(super) fn start(setup: Setup, orders: mpsc::Receiver<Order>) -> io::Result<thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let name = format!("load-{}", setup.thread);
    thread::Builder::new()
        .name(name)
        .spawn(move || LocalSet::new().block_on(&runtime, Worker::new(setup).follow(orders)))
}

struct Worker {
    setup: Setup,
    common: Rc<Common>,
    links: Vec<Rc<Link>>,
}

impl Worker {
    fn new(setup: Setup) -> Self {
        let config = &setup.config;
        let common = Rc::new(Common {
            target: setup.target,
            clock: setup.clock.clone(),
            timeout: config.timeout,
            payload: Bytes::from(vec![b'x'; config.payload_bytes]),
            books: Books::new(config.mix.shares().len(), config.timeout).into(),
        });
        Self { setup, common, links: Vec::new() }
    }

    async fn follow(mut self, mut orders: mpsc::Receiver<Order>) {
        while let Some(order) = orders.recv().await {
            // An answer that nobody waits for any more is of no use to anyone else.
            match order {
                Order::Connect { deadline, answer } => {
                    let _ = answer.send(self.connect(deadline).await);
                }
                Order::Measure { business, outstanding, answer } => {
                    let callers = Callers { links: &self.links, clock: &self.setup.clock, stop: &self.setup.stop };
                    let _ = answer.send(callers.measure(business, outstanding).await);
                }
                Order::Run { start, plan, answer } => {
                    let traffic = Traffic::new(&self.setup, &self.common, &self.links);
                    let _ = answer.send(traffic.run(start, &plan).await);
                }
            }
        }
    }

    async fn connect(&mut self, deadline: Timestamp) -> Option<String> {
        let Setup { thread, config, .. } = &self.setup;
        let own = (*thread..config.connections).step_by(config.threads);
        let mut last_failure = None;
        let mut logins = stream::iter(own).map(|number| self.log_in(number, deadline)).buffer_unordered(CONNECTING);
        let mut links = Vec::new();
        while let Some(login) = logins.next().await {
            match login {
                Ok((identity, session)) => {
                    self.setup.connected.fetch_add(1, Ordering::Relaxed);
                    let link = Rc::new(Link::new(Rc::clone(&self.common), identity, &session));
                    tokio::task::spawn_local(Rc::clone(&link).run(session));
                    links.push(link);
                }
                Err(failure) => last_failure = Some(failure),
            }
        }
        drop(logins);
        tokio::task::spawn_local(tend(links.clone(), self.setup.clock.clone()));
        self.links = links;
        last_failure
    }

    async fn log_in(&self, number: usize, deadline: Timestamp) -> Result<(Identity, Session), String> {
        let Setup { config, target, clock, stop, .. } = &self.setup;
        let who = identity(number, config, *target);
        tokio::select! {
            login = log_in_until(deadline, clock, *target, &who) => match login {
                Ok(session) => Ok((who, session)),
                Err(failure) => Err(failure.to_string()),
            },
            () = stop.cancelled() => Err("stopped".to_owned()),
        }
    }
}

async fn tend(links: Vec<Rc<Link>>, clock: Clock) {
    loop {
        tokio::time::sleep(TEND_EVERY).await;
        let now = clock.now();
        for link in &links {
            link.tend(now);
        }
    }
}

/// Connection `number` of the run: each is a device of its own, the users take turns.
fn identity(number: usize, config: &LoadConfig, target: Target) -> Identity {
    let many = config.connections > CONNECTIONS_PER_SOURCE;
    Identity {
        user: user(number, config.users),
        device: format!("load-{number}"),
        source: many.then(|| source(number / CONNECTIONS_PER_SOURCE, target)).flatten(),
    }
}

/// A number in the population.
pub(super) fn user(number: usize, users: usize) -> usize {
    number % users
}

/// 127.0.1.1 and following, towards a gateway on this machine.
fn source(index: usize, target: Target) -> Option<Ipv4Addr> {
    let local = target.address.is_ipv4() && target.address.ip().is_loopback();
    local.then(|| Ipv4Addr::new(127, 0, 1, u8::try_from(index + 1).unwrap_or(u8::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Transport;

    #[test]
    fn sources_are_spread_only_towards_this_machine() {
        let target = |address: &str| Target { address: address.parse().unwrap(), transport: Transport::Tcp };
        assert_eq!(source(1, target("127.0.0.1:7400")), Some(Ipv4Addr::new(127, 0, 1, 2)));
        assert_eq!(source(999, target("127.0.0.1:7400")), Some(Ipv4Addr::new(127, 0, 1, 255)));
        assert_eq!(source(1, target("10.0.0.1:7400")), None);
        assert_eq!(source(1, target("[::1]:7400")), None);
    }

    #[test]
    fn users_take_turns() {
        assert_eq!([user(0, 2), user(1, 2), user(2, 2)], [0, 1, 0]);
    }
}
