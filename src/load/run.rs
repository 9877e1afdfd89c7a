//! The life of a run: greet the gateway, log everyone in, measure the saturation if the pace needs it, follow the
//! schedule, report. Each step has a bound, so the run has one too.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    books::Account,
    config::{LoadConfig, Pace},
    error::Error,
    greeting::{Greeting, greet, raise_open_files},
    report::{Outcome, Report, Saturation, Second, Step, Trace},
    saturation::Search,
    schedule::Plan,
    tally::Tally,
    worker::{self, Beat, Order, Setup},
};
use crate::{
    clock::Clock,
    id::BusinessCode,
    trace::{Recorder, Sink},
};

/// Logging everyone in may take this long, and the second for each connection on top.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const CONNECT_WITHIN_EACH: Duration = Duration::from_millis(10);

/// After the saturation was measured, gates open again in this time.
const REOPEN: Duration = Duration::from_secs(2);

/// From the order to the first request, so that all threads start together.
const LEAD: Duration = Duration::from_millis(50);

/// Beats that may wait; a thread waits for room beyond it.
const BEATS: usize = 64;

/// What a run tells while it goes on.
#[derive(Debug)]
pub enum Event<'a> {
    /// Connections are being made.
    Connecting {
        /// Logged in so far.
        connected: usize,
        /// To be logged in.
        wanted: usize,
    },
    /// The saturation is being measured.
    Step(&'a Step),
    /// Traffic begins.
    Start {
        /// Requests per second that will be offered.
        rate: f64,
        /// What was measured, if anything was.
        saturation: Option<&'a Saturation>,
    },
    /// A second of traffic has passed.
    Second(&'a Second),
}

/// Makes a run. `stop` ends it early with a report of what there is by then.
///
/// # Errors
///
/// If there is nothing to report: no gateway, no logins, no saturation, or stopped before the traffic began.
pub async fn run(
    config: LoadConfig,
    stop: CancellationToken,
    watch: &mut dyn FnMut(Event<'_>),
) -> Result<Report, Error> {
    raise_open_files(config.connections)?;
    let recorder = config.record.as_deref().map(recorder).transpose()?;
    let clock = Clock::system();
    let greeting = tokio::select! {
        greeting = greet(&config, &clock) => greeting?,
        () = stop.cancelled() => return Err(Error::Interrupted),
    };
    let mut crew = Crew::start(Arc::new(config), greeting, clock, stop, recorder.as_ref().map(Recorder::sink))?;
    crew.connect(watch).await?;
    let (rate, saturation) = match crew.config.pace {
        Pace::Rate(rate) => (rate, None),
        Pace::Overload(multiple) => {
            let saturation = crew.measure(watch).await?;
            crew.pause(REOPEN).await?;
            (saturation.requests_per_s * multiple, Some(saturation))
        }
    };
    watch(Event::Start { rate, saturation: saturation.as_ref() });
    let (accounts, series) = crew.traffic(rate, watch).await?;
    let interrupted = crew.stop.is_cancelled();
    let trace =
        crew.config.record.as_deref().zip(recorder).map(|(path, recorder)| written(path, recorder)).transpose()?;
    let outcome = Outcome { gateway: crew.gateway, saturation, rate, accounts, series, interrupted, trace };
    Ok(Report::new(LoadConfig::clone(&crew.config), outcome))
}

fn recorder(path: &Path) -> Result<Recorder, Error> {
    Recorder::create(path, u64::MAX).map_err(|source| Error::Trace { path: path.to_owned(), source })
}

/// The traffic has ended, and nobody minds a wait.
fn written(path: &Path, recorder: Recorder) -> Result<Trace, Error> {
    let summary = recorder.finish().map_err(|source| Error::Trace { path: path.to_owned(), source })?;
    Ok(Trace { file: path.to_owned(), requests: summary.written, dropped: summary.dropped })
}

/// The threads and what they were told.
struct Crew {
    config: Arc<LoadConfig>,
    gateway: String,
    codes: Vec<BusinessCode>,
    clock: Clock,
    stop: CancellationToken,
    connected: Arc<AtomicUsize>,
    orders: Vec<mpsc::Sender<Order>>,
    beats: mpsc::Receiver<Beat>,
}

impl Crew {
    fn start(
        config: Arc<LoadConfig>,
        greeting: Greeting,
        clock: Clock,
        stop: CancellationToken,
        sink: Option<Sink>,
    ) -> Result<Self, Error> {
        let (beat, beats) = mpsc::channel(BEATS);
        let connected = Arc::new(AtomicUsize::new(0));
        let mut orders = Vec::new();
        for thread in 0..config.threads {
            let setup = Setup {
                thread,
                config: Arc::clone(&config),
                target: greeting.target,
                codes: greeting.codes.clone(),
                clock: clock.clone(),
                stop: stop.clone(),
                connected: Arc::clone(&connected),
                beats: beat.clone(),
                sink: sink.clone(),
            };
            let (order, inbox) = mpsc::channel(1);
            worker::start(setup, inbox).map_err(Error::Thread)?;
            orders.push(order);
        }
        let Greeting { gateway, codes, .. } = greeting;
        Ok(Self { config, gateway, codes, clock, stop, connected, orders, beats })
    }

    /// Gives every thread an order and waits for all answers.
    async fn order<T>(&self, make: impl Fn(oneshot::Sender<T>) -> Order) -> Result<Vec<T>, Error> {
        let mut answers = Vec::new();
        for thread in &self.orders {
            let (answer, wait) = oneshot::channel();
            thread.send(make(answer)).await.map_err(|_| thread_ended())?;
            answers.push(wait);
        }
        let mut all = Vec::new();
        for answer in answers {
            all.push(answer.await.map_err(|_| thread_ended())?);
        }
        Ok(all)
    }

    async fn connect(&self, watch: &mut dyn FnMut(Event<'_>)) -> Result<(), Error> {
        let wanted = self.config.connections;
        let patience = CONNECT_WITHIN + CONNECT_WITHIN_EACH * u32::try_from(wanted).unwrap_or(u32::MAX);
        let deadline = self.clock.now() + patience;
        let answers = self.order(|answer| Order::Connect { deadline, answer });
        tokio::pin!(answers);
        let failures = loop {
            tokio::select! {
                answers = &mut answers => break answers?,
                () = tokio::time::sleep(Duration::from_secs(1)) => {
                    watch(Event::Connecting { connected: self.connected.load(Ordering::Relaxed), wanted });
                }
            }
        };
        self.check_stopped()?;
        let connected = self.connected.load(Ordering::Relaxed);
        watch(Event::Connecting { connected, wanted });
        match failures.into_iter().flatten().next() {
            Some(last) => Err(Error::NotConnected { connected, wanted, last }),
            None => Ok(()),
        }
    }

    async fn measure(&self, watch: &mut dyn FnMut(Event<'_>)) -> Result<Saturation, Error> {
        let position = self.config.mix.probe().ok_or(Error::NothingToProbe)?;
        let name = self.config.mix.shares()[position].business.clone();
        let business = self.codes[position];
        let mut search = Search::new();
        let mut steps = Vec::new();
        loop {
            let outstanding = search.outstanding().div_ceil(self.config.threads);
            let rates = self.order(|answer| Order::Measure { business, outstanding, answer }).await?;
            self.check_stopped()?;
            let completed_per_s = rates.iter().sum();
            let step = Step { outstanding: outstanding * self.config.threads, completed_per_s };
            watch(Event::Step(&step));
            steps.push(step);
            if !search.record(completed_per_s) {
                break;
            }
        }
        if search.best() == 0.0 {
            return Err(Error::NoSaturation { business: name });
        }
        Ok(Saturation { business: name, requests_per_s: search.best(), steps })
    }

    async fn traffic(
        &mut self,
        rate: f64,
        watch: &mut dyn FnMut(Event<'_>),
    ) -> Result<(Vec<Account>, Vec<Second>), Error> {
        let LoadConfig { arrivals, warmup, duration, seed, threads, .. } = *self.config;
        let plan = Plan { rate, arrivals, mix: self.config.mix.clone(), until: warmup + duration, seed, threads };
        let start = self.clock.now() + LEAD;
        let (_, closed) = mpsc::channel(1);
        let mut beats = std::mem::replace(&mut self.beats, closed);
        let mut series = Series { config: &self.config, open: BTreeMap::new(), seconds: Vec::new() };
        let accounts = self.order(|answer| Order::Run { start, plan: plan.clone(), answer });
        tokio::pin!(accounts);
        let accounts = loop {
            tokio::select! {
                accounts = &mut accounts => break accounts?,
                Some(beat) = beats.recv() => series.take(beat, watch),
            }
        };
        while let Ok(beat) = beats.try_recv() {
            series.take(beat, watch);
        }
        Ok((accounts, series.finish()))
    }

    async fn pause(&self, time: Duration) -> Result<(), Error> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            () = self.stop.cancelled() => Err(Error::Interrupted),
        }
    }

    fn check_stopped(&self) -> Result<(), Error> {
        if self.stop.is_cancelled() { Err(Error::Interrupted) } else { Ok(()) }
    }
}

fn thread_ended() -> Error {
    Error::Thread(std::io::Error::other("it ended early; its panic stands above"))
}

/// Seconds of the traffic, complete when every thread has told its part.
struct Series<'a> {
    config: &'a LoadConfig,
    open: BTreeMap<u64, (usize, Vec<Tally>)>,
    seconds: Vec<Second>,
}

impl Series<'_> {
    fn take(&mut self, beat: Beat, watch: &mut dyn FnMut(Event<'_>)) {
        let fresh = || (0, beat.businesses.iter().map(|_| Tally::new()).collect());
        let (parts, sum) = self.open.entry(beat.second).or_insert_with(fresh);
        *parts += 1;
        for (sum, part) in sum.iter_mut().zip(&beat.businesses) {
            sum.merge(part);
        }
        if *parts == self.config.threads {
            let second = Second::new(self.config, beat.second, sum);
            self.open.remove(&beat.second);
            watch(Event::Second(&second));
            self.seconds.push(second);
        }
    }

    /// Threads do not end in the same second: what only some of them told stands at the end.
    fn finish(mut self) -> Vec<Second> {
        for (second, (_, tallies)) in std::mem::take(&mut self.open) {
            self.seconds.push(Second::new(self.config, second, &tallies));
        }
        self.seconds.sort_by_key(|second| second.second);
        self.seconds
    }
}
