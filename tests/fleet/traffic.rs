//! The messages of all clients together, evenly at a rate, until they are told to stop; then each has its fate.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use dagor::client::{Client, NewMessage};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::Instant,
};

use super::ledger::{Ending, MIX, Message, fate, user};

/// What is left when no more is sent may take so long.
const SETTLES_WITHIN: Duration = Duration::from_secs(150);

/// A message that has ended.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) message: Message,
    /// When it was submitted, since the crowd began.
    pub(crate) at: Duration,
    /// Whether its client was connected then.
    pub(crate) connected: bool,
}

impl Sent {
    /// Whether it was replied to within this time.
    pub(crate) fn is_good(&self, within: Duration) -> bool {
        self.message.ending == Ending::Replied && self.message.took <= within
    }
}

/// Traffic that goes on.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<Sent>>,
}

impl Traffic {
    /// Begins to send.
    pub(crate) fn start(clients: Vec<(usize, Client)>, per_second: f64, began: Instant) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(send(clients, per_second, began, stop.clone()));
        Self { stop, task }
    }

    /// Sends nothing more, and waits for the fate of what was sent.
    pub(crate) async fn end(self) -> Vec<Sent> {
        self.stop.store(true, Relaxed);
        tokio::time::timeout(SETTLES_WITHIN, self.task).await.expect("every message has ended").unwrap()
    }
}

async fn send(clients: Vec<(usize, Client)>, per_second: f64, began: Instant, stop: Arc<AtomicBool>) -> Vec<Sent> {
    let (mut waiting, mut sent) = (JoinSet::new(), Vec::new());
    let start = Instant::now();
    for index in 0_usize.. {
        tokio::time::sleep_until(start + Duration::from_secs_f64(index as f64 / per_second)).await;
        if stop.load(Relaxed) {
            break;
        }
        let (number, client) = &clients[index % clients.len()];
        // Each client has its turn with each business.
        let business = MIX[(index + index / clients.len()) % MIX.len()];
        let text = format!("{} {index}", user(*number));
        let (at, connected) = (began.elapsed(), client.session().is_some());
        let receipt = client.submit(NewMessage::new(business, text.clone())).await.unwrap();
        let number = *number;
        waiting.spawn(async move { Sent { message: fate(number, business, text, receipt).await, at, connected } });
        while let Some(one) = waiting.try_join_next() {
            sent.push(one.unwrap());
        }
    }
    sent.extend(waiting.join_all().await);
    sent
}

/// How long replies took, of messages that were submitted within these times and are so. Sorted.
pub(crate) fn latencies(sent: &[Sent], within: Range<Duration>, is: impl Fn(&Sent) -> bool) -> Vec<Duration> {
    let counts = |one: &&Sent| one.message.ending == Ending::Replied && within.contains(&one.at) && is(one);
    let mut took: Vec<_> = sent.iter().filter(counts).map(|one| one.message.took).collect();
    took.sort();
    took
}

/// The value below which this share of a sorted list is.
pub(crate) fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let index = ((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1);
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}
