//! A service is told who comes and goes: each event at least once and in order, never at the expense of logins.

use std::sync::{Arc, Mutex, OnceLock};

use dagor::{
    gateway::herald::HeraldStats,
    pb::client as pb,
    service::{Change, Client, PresenceBatch, PresenceError, PresenceReceiver, Server},
    wire::Reason,
};
use tokio::sync::Semaphore;

use super::{
    service::{Instance, Script},
    site::{MESSAGE, Plan, Site, policy, until},
    talker::{Talker, hello},
};

/// Keeps what it took, for as long as it is allowed to take anything.
#[derive(Debug)]
struct Book {
    /// Reports that it may still take; the others fail or wait.
    allowed: Semaphore,
    /// Whether it waits for a permission, or says that it has none.
    is_slow: bool,
    taken: Mutex<Vec<PresenceBatch>>,
    /// What came in reports that were not taken.
    failed: Mutex<Vec<u64>>,
}

impl Book {
    fn new(allowed: usize, is_slow: bool) -> Self {
        Self { allowed: Semaphore::new(allowed), is_slow, taken: Mutex::default(), failed: Mutex::default() }
    }

    /// Sequence and what happened to whom in which login.
    fn lines(&self) -> Vec<(u64, &'static str, Client)> {
        let batches = self.taken.lock().unwrap();
        let events = batches.iter().flat_map(|batch| &batch.events);
        let line = |change: &Change| match change {
            Change::Online(client) => ("online", client.clone()),
            Change::Offline(client) => ("offline", client.clone()),
            Change::GatewayLost(incarnation) => panic!("{incarnation} is lost without a fleet"),
        };
        events
            .map(|event| {
                let (what, client) = line(&event.change);
                (event.sequence, what, client)
            })
            .collect()
    }

    /// The same without numbers.
    fn story(&self) -> Vec<(&'static str, String)> {
        self.lines().into_iter().map(|(_, what, client)| (what, client.user)).collect()
    }
}

#[tonic::async_trait]
impl PresenceReceiver for Book {
    async fn receive(&self, batch: PresenceBatch) -> Result<(), PresenceError> {
        if self.is_slow {
            self.allowed.acquire().await.unwrap().forget();
        } else if let Ok(permit) = self.allowed.try_acquire() {
            permit.forget();
        } else {
            self.failed.lock().unwrap().push(batch.events[0].sequence);
            return Err(PresenceError("not now".into()));
        }
        self.taken.lock().unwrap().push(batch);
        Ok(())
    }
}

/// Where an instance of a test finds its book: a shape is a plain function.
macro_rules! shape {
    ($book:expr) => {{
        static BOOK: OnceLock<Shared> = OnceLock::new();
        let book = BOOK.get_or_init(|| Shared(Arc::new($book))).0.clone();
        let shape = |server: Server<Arc<Script>>| server.presence(BOOK.get().unwrap().clone());
        (book, shape as fn(Server<Arc<Script>>) -> Server<Arc<Script>>)
    }};
}

#[derive(Clone, Debug)]
struct Shared(Arc<Book>);

#[tonic::async_trait]
impl PresenceReceiver for Shared {
    async fn receive(&self, batch: PresenceBatch) -> Result<(), PresenceError> {
        self.0.receive(batch).await
    }
}

const TOLD: Plan =
    Plan { connections: "", service: "presence = true", queue: "", moments: "", workers: 1, instance: |server| server };

fn stats(site: &Site) -> HeraldStats {
    site.gateway().herald.stats().next().unwrap()
}

async fn gone(site: &Site) {
    until("all are gone", || site.gateway().roster.is_empty()).await;
}

#[tokio::test]
async fn a_service_is_told_who_comes_and_goes_and_nothing_of_a_connection_that_was_replaced() {
    let (book, instance) = shape!(Book::new(1000, false));
    let site = Site::with(Plan { instance, ..TOLD }).await;
    let old = site.talker("alice").await;
    let first = old.welcome.connection_epoch;
    until("the login is told", || book.lines().len() == 1).await;
    let new = site.talker("alice").await;
    let second = new.welcome.connection_epoch;
    until("the old one ends", || site.gateway().closed_total(Reason::Superseded) == 1).await;
    drop(old);
    until("its socket is gone", || site.gateway().limits.open() == 1).await;
    drop(new);
    until("the end is told", || book.lines().len() == 3).await;
    let alice = |epoch| Client { user: "alice".into(), device: "default".into(), epoch: dagor::id::Epoch(epoch) };
    assert_eq!(
        book.lines(),
        [(1, "online", alice(first)), (2, "online", alice(second)), (3, "offline", alice(second))]
    );
    assert!(second > first);
    let batch = book.taken.lock().unwrap()[0].clone();
    assert_eq!((batch.gateway.as_str(), batch.incarnation), ("test", site.gateway().home.incarnation));
    let expected = HeraldStats { told_total: 3, ..HeraldStats::default() };
    until("it is known to be told", || stats(&site) == expected).await;
    site.end().await;
}

#[tokio::test]
async fn what_a_service_did_not_take_comes_again_and_nothing_behind_it_comes_before() {
    let (book, instance) = shape!(Book::new(0, false));
    let site = Site::with(Plan { instance, ..TOLD }).await;
    drop(site.talker("alice").await);
    gone(&site).await;
    until("it was refused twice", || book.failed.lock().unwrap().len() >= 2).await;
    assert!(book.failed.lock().unwrap().iter().all(|&sequence| sequence == 1), "the first event comes first");
    drop(site.talker("bob").await);
    gone(&site).await;
    book.allowed.add_permits(1000);
    until("all is told", || book.lines().len() == 4).await;
    let told = [("online", "alice"), ("offline", "alice"), ("online", "bob"), ("offline", "bob")];
    assert_eq!(book.story(), told.map(|(what, user)| (what, user.to_owned())));
    assert!(stats(&site).failures_total >= 2);
    site.end().await;
}

#[tokio::test]
async fn another_instance_is_told_what_the_first_one_is_too_slow_to_take() {
    let (slow, stuck) = shape!(Book::new(0, true));
    let (quick, instance) = shape!(Book::new(1000, false));
    let (one, other) = (Instance::start(stuck).await, Instance::start(instance).await);
    let site = Site::before_all(vec![one.address, other.address], other, TOLD).await;
    // Logins and requests go on meanwhile.
    let mut alice = site.talker("alice").await;
    assert_eq!(alice.ask(MESSAGE, 1, "x").await.outcome(), pb::Outcome::Replied);
    until("the other one is told", || quick.story() == [("online", "alice".to_owned())]).await;
    assert!(slow.lines().is_empty() && stats(&site).failures_total == 1);
    drop(alice);
    site.end().await;
    drop(one);
}

#[tokio::test]
async fn a_service_that_is_not_there_costs_a_bounded_number_of_events_and_no_login() {
    // Listens, and knows nothing of this.
    let site = Site::with(TOLD).await;
    let mut alice = site.talker("alice").await;
    until("a report has failed", || stats(&site).failures_total > 0).await;
    assert_eq!(alice.ask(MESSAGE, 1, "x").await.outcome(), pb::Outcome::Replied);
    let herald = &site.gateway().herald;
    let connection = site.gateway().roster.get("alice", "default").unwrap();
    let most = 1 << 16;
    for _ in 1..most + 5 {
        herald.online(&connection);
    }
    let HeraldStats { waiting, dropped_total, told_total, .. } = stats(&site);
    assert_eq!((waiting, dropped_total, told_total), (most, 5, 0));
    assert_eq!(Talker::silent(site.clients()).await.greet(&hello("bob")).await.welcome.version, 1, "bob is let in");
    // Nobody is to be told any more, and so nothing is kept.
    let silent = Plan { service: "", ..TOLD };
    std::fs::write(site.policy_path(), policy(&silent, [10, 20, 30])).unwrap();
    until("nothing waits", || stats(&site).waiting == 0).await;
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn a_gateway_that_leaves_says_of_everybody_that_they_are_gone() {
    let (book, instance) = shape!(Book::new(1000, false));
    let site = Site::with(Plan { connections: "drain = \"0s\"", instance, ..TOLD }).await;
    let alice = site.talker("alice").await;
    until("the login is told", || book.lines().len() == 1).await;
    let (running, _instance) = (site.running, site.instance);
    let reading = tokio::spawn(async move {
        let mut alice = alice;
        while alice.next().await.is_some() {}
    });
    super::site::within("shutdown", running.shutdown()).await;
    reading.await.unwrap();
    assert_eq!(book.story(), [("online", "alice".to_owned()), ("offline", "alice".to_owned())]);
}
