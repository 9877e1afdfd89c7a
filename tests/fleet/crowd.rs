//! The clients, and one log of what happens to them.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dagor::{
    client::{Client, ClientConfig, ClientEvent, CloseReason, Events, OutboxLimits, Pushes},
    wire::Reason,
};
use tokio::{task::JoinSet, time::Instant};

use super::{fleet::until, ledger::user};

/// How long a message stays in an outbox: longer than anything that is done to the fleet.
const KEEP_FOR: Duration = Duration::from_secs(120);

/// What happened to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// It tries a gateway.
    Trying { address: String },
    /// It is logged in.
    Connected { gateway: String },
    /// Its login was refused, or its connection ended with a reason: so many places to go were named.
    Refused { code: u32, alternatives: usize },
    /// Its connection, or the try of one, was lost without a word; it waits for so long.
    Lost { delay: Duration },
    /// It was told to move.
    Moving,
    /// A message of it was refused.
    MessageRefused { code: u32, detail: String },
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Since the crowd began.
    pub(crate) at: Duration,
    pub(crate) client: usize,
    pub(crate) what: What,
}

struct Member {
    client: Client,
    _pushes: Pushes,
}

/// All clients of a scene.
pub(crate) struct Crowd {
    began: Instant,
    members: BTreeMap<usize, Member>,
    log: Arc<Mutex<Vec<Entry>>>,
    watching: JoinSet<()>,
}

impl Crowd {
    pub(crate) fn new() -> Self {
        let (members, log, watching) = (BTreeMap::new(), Arc::default(), JoinSet::new());
        Self { began: Instant::now(), members, log, watching }
    }

    /// The time by which the log goes.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Starts these clients, so many per second, each of which knows these gateways.
    pub(crate) async fn join(&mut self, numbers: Range<usize>, gateways: &[String], per_second: f64) {
        let start = Instant::now();
        for (index, number) in numbers.enumerate() {
            tokio::time::sleep_until(start + Duration::from_secs_f64(index as f64 / per_second)).await;
            let config = ClientConfig {
                gateways: gateways.to_vec(),
                outbox: OutboxLimits { keep_for: KEEP_FOR, ..OutboxLimits::default() },
                event_capacity: 4096,
                ..ClientConfig::new("", user(number))
            };
            let (client, pushes, events) = Client::start(config).unwrap();
            self.watching.spawn(watch(number, events, self.began, self.log.clone()));
            self.members.insert(number, Member { client, _pushes: pushes });
        }
    }

    /// All of them, with their numbers.
    pub(crate) fn clients(&self) -> Vec<(usize, Client)> {
        self.members.iter().map(|(&number, member)| (number, member.client.clone())).collect()
    }

    /// Where each of them is connected; those who are not are left out.
    pub(crate) fn places(&self) -> BTreeMap<usize, String> {
        let place = |(&number, member): (&usize, &Member)| Some((number, member.client.session()?.gateway.clone()));
        self.members.iter().filter_map(place).collect()
    }

    /// Waits until all are connected. Returns how long that took.
    pub(crate) async fn until_connected(&self) -> Duration {
        until("all clients are connected", async || {
            self.members.values().all(|member| member.client.session().is_some())
        })
        .await
    }

    /// Ends some of them.
    pub(crate) async fn leave(&mut self, numbers: &[usize]) {
        let mut leaving = JoinSet::new();
        for member in numbers.iter().filter_map(|number| self.members.remove(number)) {
            leaving.spawn(async move { member.client.close(Duration::ZERO).await });
        }
        assert_eq!(leaving.join_all().await.iter().sum::<usize>(), 0, "every message has its fate");
    }

    /// What happened so far.
    pub(crate) fn log(&self) -> Vec<Entry> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends all of them. Returns everything that happened.
    pub(crate) async fn end(mut self) -> Vec<Entry> {
        let numbers: Vec<_> = self.members.keys().copied().collect();
        self.leave(&numbers).await;
        self.watching.join_all().await;
        Arc::into_inner(self.log).unwrap().into_inner().unwrap()
    }
}

/// Writes down what a client goes through.
async fn watch(client: usize, mut events: Events, began: Instant, log: Arc<Mutex<Vec<Entry>>>) {
    while let Some(event) = events.recv().await {
        let what = match event {
            ClientEvent::Connecting { address } => What::Trying { address },
            ClientEvent::Connected { gateway, .. } => What::Connected { gateway },
            ClientEvent::Waiting { reason: CloseReason::Refused { verdict, alternatives }, .. } => {
                What::Refused { code: verdict.code, alternatives: alternatives.len() }
            }
            ClientEvent::Waiting { delay, .. } => What::Lost { delay },
            ClientEvent::Moving { .. } => What::Moving,
            ClientEvent::Refused { verdict, .. } => What::MessageRefused { code: verdict.code, detail: verdict.detail },
            ClientEvent::Sent { .. }
            | ClientEvent::Unknown { .. }
            | ClientEvent::HeldBack { .. }
            | ClientEvent::Ended { .. }
            | ClientEvent::Pushed(_)
            | ClientEvent::Stopped(_) => continue,
        };
        log.lock().unwrap_or_else(PoisonError::into_inner).push(Entry { at: began.elapsed(), client, what });
    }
    assert_eq!(events.dropped(), 0, "events were lost, so the log would be wrong");
}

/// How many entries are so.
pub(crate) fn count(log: &[Entry], is: impl Fn(&Entry) -> bool) -> usize {
    log.iter().filter(|entry| is(entry)).count()
}

/// Messages that were refused, by reason, gateway and the words that came with it.
#[derive(Default)]
pub(crate) struct Refusals(BTreeMap<(u32, String, String), Refused>);

/// How often, and from when to when.
struct Refused {
    times: usize,
    first: Duration,
    last: Duration,
}

impl Refusals {
    /// Of a log, from this time on.
    pub(crate) fn of(log: &[Entry], from: Duration) -> Self {
        let (mut places, mut refusals) = (BTreeMap::new(), Self::default());
        for Entry { at, client, what } in log {
            match what {
                What::Connected { gateway } => drop(places.insert(client, gateway.clone())),
                What::MessageRefused { code, detail } if *at >= from => {
                    let place = places.get(client).cloned().unwrap_or_default();
                    let new = Refused { times: 0, first: *at, last: *at };
                    let refused = refusals.0.entry((*code, place, detail.clone())).or_insert(new);
                    (refused.times, refused.last) = (refused.times + 1, *at);
                }
                What::MessageRefused { .. }
                | What::Trying { .. }
                | What::Refused { .. }
                | What::Lost { .. }
                | What::Moving => {}
            }
        }
        refusals
    }

    pub(crate) fn count(&self) -> usize {
        self.0.values().map(|refused| refused.times).sum()
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "messages refused: {}", self.count())?;
        for ((code, gateway, detail), Refused { times, first, last }) in &self.0 {
            let name = Reason::from_code(*code).map_or("unknown", Reason::name);
            write!(f, "\n  {times} by {gateway}, {code} {name} {detail}, from {first:?} to {last:?}")?;
        }
        Ok(())
    }
}

/// How long logins took, from the try to the `Welcome`, for those that came within these times. Sorted.
pub(crate) fn logins(log: &[Entry], within: Range<Duration>) -> Vec<Duration> {
    let mut trying = BTreeMap::new();
    let mut took = Vec::new();
    for entry in log {
        match entry.what {
            What::Trying { .. } => drop(trying.insert(entry.client, entry.at)),
            What::Connected { .. } => {
                if let Some(tried) = trying.remove(&entry.client).filter(|_| within.contains(&entry.at)) {
                    took.push(entry.at - tried);
                }
            }
            What::Refused { .. } | What::Lost { .. } | What::Moving | What::MessageRefused { .. } => {}
        }
    }
    took.sort();
    took
}

/// The most logins of one gateway within any second.
pub(crate) fn peak_logins(log: &[Entry], gateway: &str, from: Duration) -> usize {
    let is = |entry: &&Entry| matches!(&entry.what, What::Connected { gateway: there } if there == gateway);
    let times: Vec<_> = log.iter().filter(is).map(|entry| entry.at).filter(|&at| at >= from).collect();
    let within = |first: usize| times.partition_point(|&at| at < times[first] + Duration::from_secs(1)) - first;
    (0..times.len()).map(within).max().unwrap_or(0)
}
