//! Carries reports to the core, several times per interval lets it decide, and publishes what it decided. One task owns
//! the core; nothing that waits for anybody runs on it: the board is read and written by tasks of their own.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use prost::Message;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    board::{Board, BoardError, Entries},
    core::{Core, Decisions, Orders, Report},
    settings::Settings,
    wire,
};
use crate::{
    clock::{Clock, Timestamp},
    id::Incarnation,
    pb::manager as pb,
};

/// Decisions per report interval: what changes reaches a gateway within a part of one.
const ROUNDS: u32 = 5;
/// Looks at the board per report interval.
const LOOKS: u32 = 2;
/// What may wait for the core. Reports that find no room are lost; the next ones come in a second.
const INBOX: usize = 4096;
/// Reports that may wait to be put on the board; of more, some wait for the next ones.
const OUTBOX: usize = 1024;
/// A look at the board that takes longer has failed.
const LOOK_WITHIN: Duration = Duration::from_secs(2);

/// What is decided, with what belongs to it.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// Who does what.
    pub decisions: Decisions,
    /// What operators want.
    pub orders: Orders,
    /// Why the board cannot be read, if it cannot.
    pub board: Option<String>,
    /// How often it could not, so far.
    pub board_failures: u64,
}

/// What comes to the core.
enum Event {
    Report(Box<Report>),
    Gone(String, Incarnation),
    Board(Result<Entries, BoardError>),
}

/// A handle to the engine. Clones share it.
#[derive(Clone, Debug)]
pub struct Engine {
    settings: Settings,
    inbox: mpsc::Sender<Event>,
    outbox: mpsc::Sender<(String, Option<Bytes>)>,
    board: Arc<dyn Board>,
    look: Arc<Notify>,
    rounds: watch::Receiver<Arc<Round>>,
    policy: Arc<Mutex<Option<Arc<pb::Policy>>>>,
}

impl Engine {
    /// Starts it. The future does the work until it is dropped; nobody decides without it.
    pub fn start(
        settings: Settings,
        board: Arc<dyn Board>,
        clock: Clock,
        seed: u64,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (inbox, events) = mpsc::channel(INBOX);
        let (outbox, reports) = mpsc::channel(OUTBOX);
        let (publish, rounds) = watch::channel(Arc::default());
        let look = Arc::new(Notify::new());
        let desk = Desk { core: Core::new(settings), board_is: Sight::default(), heard: BTreeMap::new(), clock, seed };
        let (reading, writing) = (board.clone(), board.clone());
        let looks = read_board(reading, settings.interval / LOOKS, look.clone(), inbox.clone());
        let work = async move {
            tokio::join!(desk.run(events, publish), looks, write_board(writing, settings.lease, reports));
        };
        let policy = Arc::default();
        (Self { settings, inbox, outbox, board, look, rounds, policy }, work)
    }

    /// What the decisions go by.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A gateway that is attached here has reported.
    pub fn hear(&self, report: Report, message: &pb::LoadReport) {
        if self.board.is_shared() {
            // Without room the next report takes its place.
            let _ = self.outbox.try_send((report.gateway.clone(), Some(message.encode_to_vec().into())));
        }
        let _ = self.inbox.try_send(Event::Report(Box::new(report)));
    }

    /// A gateway that was attached here is gone for good.
    pub fn forget(&self, gateway: &str, incarnation: Incarnation) {
        if self.board.is_shared() {
            let _ = self.outbox.try_send((gateway.to_owned(), None));
        }
        let _ = self.inbox.try_send(Event::Gone(gateway.to_owned(), incarnation));
    }

    /// Puts an order on the board, for so long.
    ///
    /// # Errors
    ///
    /// If the board is away or full.
    pub async fn order(&self, name: &str, order: &pb::Order, lasts: Duration) -> Result<(), BoardError> {
        self.board.put_order(name, order.encode_to_vec().into(), lasts).await?;
        self.look.notify_one();
        Ok(())
    }

    /// Takes an order back.
    ///
    /// # Errors
    ///
    /// If the board is away.
    pub async fn withdraw(&self, name: &str) -> Result<(), BoardError> {
        self.board.drop_order(name).await?;
        self.look.notify_one();
        Ok(())
    }

    /// The last round; wakes with each one.
    pub fn rounds(&self) -> watch::Receiver<Arc<Round>> {
        self.rounds.clone()
    }

    /// The policy that gateways get, if managers distribute one.
    pub fn policy(&self) -> Option<Arc<pb::Policy>> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gateways get this policy from now on.
    pub fn set_policy(&self, policy: pb::Policy) {
        *self.policy.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(policy));
    }
}

/// Looks at the board again and again, at once when somebody has changed it from here.
async fn read_board(board: Arc<dyn Board>, every: Duration, look: Arc<Notify>, inbox: mpsc::Sender<Event>) {
    let mut looks = interval(every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = look.notified() => {}
        }
        let read = timeout(LOOK_WITHIN, board.read()).await;
        let read = read.unwrap_or_else(|_| Err(BoardError::Away(format!("no answer within {LOOK_WITHIN:?}"))));
        if inbox.send(Event::Board(read)).await.is_err() {
            return;
        }
    }
}

async fn write_board(board: Arc<dyn Board>, lease: Duration, mut reports: mpsc::Receiver<(String, Option<Bytes>)>) {
    let mut failing = false;
    while let Some((gateway, report)) = reports.recv().await {
        let written = match report {
            Some(report) => board.put_report(&gateway, report, lease).await,
            None => board.drop_report(&gateway).await,
        };
        // Once, and not each second.
        match &written {
            Err(error) if !failing => tracing::warn!(%error, "reports are not shared with other managers"),
            Ok(()) if failing => tracing::info!("reports are shared with other managers again"),
            Ok(()) | Err(_) => {}
        }
        failing = written.is_err();
    }
}

/// What was seen of the board.
#[derive(Debug, Default)]
struct Sight {
    /// When it was read last.
    read: Option<Timestamp>,
    failure: Option<String>,
    failures: u64,
}

/// The core, and the one task that uses it.
struct Desk {
    core: Core,
    board_is: Sight,
    /// Gateways that report here, and when they did last.
    heard: BTreeMap<String, Timestamp>,
    clock: Clock,
    seed: u64,
}

impl Desk {
    async fn run(mut self, mut events: mpsc::Receiver<Event>, publish: watch::Sender<Arc<Round>>) {
        let mut orders = Vec::new();
        let mut rounds = interval(self.core.settings().interval / ROUNDS);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = rounds.tick() => {}
                event = events.recv() => {
                    let Some(event) = event else { return };
                    if !self.take(event, &mut orders) {
                        continue;
                    }
                }
            }
            publish.send_replace(Arc::new(self.decide(&orders)));
        }
    }

    /// Whether to decide at once: somebody wants something else.
    fn take(&mut self, event: Event, orders: &mut Vec<(pb::Order, Timestamp)>) -> bool {
        let now = self.clock.now();
        match event {
            Event::Report(report) => {
                self.heard.insert(report.gateway.clone(), now);
                self.core.hear(*report, now);
                false
            }
            Event::Gone(gateway, incarnation) => {
                self.heard.remove(&gateway);
                self.core.forget(&gateway, incarnation);
                true
            }
            Event::Board(Ok(entries)) => {
                if self.board_is.failure.take().is_some() {
                    tracing::info!("the board is back");
                }
                self.board_is.read = Some(now);
                self.hear_others(entries.reports, now);
                let before = std::mem::take(orders);
                let decode = |(bytes, left): (Bytes, Duration)| Some((pb::Order::decode(bytes).ok()?, now + left));
                *orders = entries.orders.into_iter().filter_map(decode).collect();
                !before.iter().map(|(order, _)| order).eq(orders.iter().map(|(order, _)| order))
            }
            Event::Board(Err(error)) => {
                self.blind(&error, now);
                false
            }
        }
    }

    /// What gateways said to other managers. Those that report here are known better already.
    fn hear_others(&mut self, reports: Vec<(String, Bytes, Duration)>, now: Timestamp) {
        let lease = self.core.settings().lease;
        self.heard.retain(|_, at| now.since(*at) < lease);
        for (gateway, bytes, age) in reports {
            if self.heard.contains_key(&gateway) {
                continue;
            }
            match pb::LoadReport::decode(bytes).map(|message| wire::report(&message)) {
                Ok(Ok(report)) => self.core.hear(report, now - age),
                Ok(Err(_)) | Err(_) => tracing::debug!(gateway, "a report on the board makes no sense"),
            }
        }
    }

    /// Whoever reports elsewhere may well go on to do so; for a while that is taken for granted.
    fn blind(&mut self, error: &BoardError, now: Timestamp) {
        self.board_is.failures += 1;
        let words = error.to_string();
        if self.board_is.failure.replace(words.clone()).is_none() {
            tracing::warn!(error = words, "other managers' reports and orders cannot be read");
        }
        let settings = *self.core.settings();
        if self.board_is.read.is_some_and(|read| now.since(read) < settings.hold) {
            let heard = &self.heard;
            self.core.keep(now + settings.interval * 2 + LOOK_WITHIN, |gateway| heard.contains_key(gateway));
        }
    }

    fn decide(&mut self, orders: &[(pb::Order, Timestamp)]) -> Round {
        let now = self.clock.now();
        let living = orders.iter().filter(|(_, until)| *until > now);
        let orders = wire::orders(living.map(|(order, until)| (order, until.since(now))));
        // Drawn anew once per interval: with each round, every round would be news for every gateway of a large fleet.
        let interval = now.as_nanos() / self.core.settings().interval.as_nanos().max(1) as u64;
        let decisions = self.core.decide(&orders, now, self.seed.wrapping_add(interval));
        let Sight { failure, failures, .. } = &self.board_is;
        Round { decisions, orders, board: failure.clone(), board_failures: *failures }
    }
}
