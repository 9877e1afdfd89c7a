//! Runs a case against a client, in virtual time: every byte, event, dial and close of the client must be what the
//! next steps say, at the time that they say.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use dagor::clock::Timestamp;
use serde_json::{Value, json};

use crate::{
    case::{Action, Case, OverSeeds, Step, Submission, each_id, line},
    message,
};

/// Delays are random, so every case is run with several seeds.
const SEEDS: u64 = 32;

/// More timers than any case needs: beyond it a timer stands still.
const MOST_TIMERS: usize = 100_000;

/// What an app must be able to rely on; what else a client tells is its own affair.
const EVENTS: [&str; 4] = ["connected", "pushed", "settled", "ended"];

/// A client without sockets and clocks. Links are numbered from 1 in the order of their dials.
pub(crate) trait Subject {
    fn submit(&mut self, message: &Submission, now: Timestamp);
    fn cancel(&mut self, id: u64, now: Timestamp);
    fn connected(&mut self, link: u64, now: Timestamp);
    fn received(&mut self, link: u64, bytes: &[u8], now: Timestamp);
    /// With the reason in a WebSocket's close code, if there is one.
    fn closed(&mut self, link: u64, reason: Option<u32>, now: Timestamp);
    fn next_timeout(&self) -> Option<Timestamp>;
    fn timeout(&mut self, now: Timestamp);
    fn poll(&mut self, now: Timestamp) -> Option<Output>;
}

/// What a client does.
#[derive(Debug)]
pub(crate) enum Output {
    Dial {
        link: u64,
        address: String,
    },
    Bytes {
        link: u64,
        bytes: Bytes,
    },
    Close {
        link: u64,
    },
    /// As the cases write it.
    Event(Value),
}

/// Runs a case with all seeds.
///
/// # Errors
///
/// Which step fails, with what was expected and what came.
pub(crate) fn run<S: Subject>(case: &Case, make: impl Fn(&Case, u64) -> S) -> Result<(), String> {
    let mut delays = BTreeMap::new();
    for seed in 1..=SEEDS {
        run_once(case, make(case, seed), &mut delays).map_err(|fault| format!("{fault} (seed {seed})"))?;
    }
    delays.iter().try_for_each(|(&index, seen)| check_spread(index, case.steps[index].over_seeds, seen))
}

type Delays = BTreeMap<usize, Vec<u64>>;

fn run_once(case: &Case, client: impl Subject, delays: &mut Delays) -> Result<(), String> {
    let mut run = Run::new(client, delays);
    for (index, step) in case.steps.iter().enumerate() {
        run.step(step, index).map_err(|fault| format!("step {}, {}: {fault}", index + 1, line(&step.action)))?;
    }
    run.nothing_pending()
}

fn check_spread(index: usize, wanted: Option<OverSeeds>, seen: &[u64]) -> Result<(), String> {
    let Some(OverSeeds { some_below_ms, some_above_ms }) = wanted else { return Ok(()) };
    let (least, most) = (seen.iter().min().unwrap() / MILLI, seen.iter().max().unwrap() / MILLI);
    if least < some_below_ms && most >= some_above_ms {
        return Ok(());
    }
    let (step, delays) = (index + 1, seen.len());
    let wanted = format!("some below {some_below_ms} ms and some above {some_above_ms} ms");
    Err(format!("step {step}: of {delays} delays, expected {wanted}, got {least} to {most} ms"))
}

/// Nanoseconds.
const MILLI: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Dial,
    Frame,
    Close,
    Event,
}

/// Something that the client did and no step has claimed yet.
#[derive(Debug)]
struct Done {
    what: What,
    link: u64,
    at: Timestamp,
    /// The address, the frame or the event.
    value: Value,
}

struct Run<'a, S> {
    client: S,
    delays: &'a mut Delays,
    now: Timestamp,
    /// When the last step took place.
    last: Timestamp,
    named: BTreeMap<String, Timestamp>,
    timers: usize,
    /// Addresses, in the order of the dials.
    dialled: Vec<String>,
    /// Links to whose end the gateway has had the last word: whether the client closes its side is its own affair.
    over: BTreeSet<u64>,
    /// What came from each link and is not a whole frame yet.
    parts: BTreeMap<u64, BytesMut>,
    pending: Vec<Done>,
}

impl<'a, S: Subject> Run<'a, S> {
    fn new(client: S, delays: &'a mut Delays) -> Self {
        let mut run = Self {
            client,
            delays,
            now: Timestamp::ZERO,
            last: Timestamp::ZERO,
            named: BTreeMap::new(),
            timers: 0,
            dialled: Vec::new(),
            over: BTreeSet::new(),
            parts: BTreeMap::new(),
            pending: Vec::new(),
        };
        run.collect();
        run
    }

    fn step(&mut self, step: &Step, index: usize) -> Result<(), String> {
        let since = step.since.as_ref().map_or(self.last, |name| self.named[name]);
        let newest = self.dialled.len() as u64;
        let link = step.on.unwrap_or(newest);
        let mut expect =
            |what, link, expected: Value| self.expect(&Wanted { what, link, expected, since, step, index });
        match &step.action {
            Action::ClientDials(address) => expect(What::Dial, None, address.clone())?,
            Action::ClientCloses(link) => expect(What::Close, Some(*link), json!({}))?,
            Action::AppSees(event) => {
                each_id(event).into_iter().try_for_each(|event| expect(What::Event, None, event))?
            }
            Action::ClientSends(frame) => {
                each_id(&json!(frame)).into_iter().try_for_each(|frame| expect(What::Frame, Some(link), frame))?;
            }
            Action::AppSubmits(_)
            | Action::AppCancels(_)
            | Action::GatewayAccepts(_)
            | Action::GatewaySends(_)
            | Action::GatewayCloses(_)
            | Action::PauseMs(_) => self.input(step, link)?,
        }
        if let Some(name) = &step.name {
            self.named.insert(name.clone(), self.last);
        }
        Ok(())
    }

    /// Something happens to the client, which must have been silent since the last step.
    fn input(&mut self, step: &Step, link: u64) -> Result<(), String> {
        self.nothing_pending()?;
        let now = self.now;
        match &step.action {
            Action::AppSubmits(message) => {
                (0..message.times.unwrap_or(1)).for_each(|_| self.client.submit(message, now));
            }
            Action::AppCancels(id) => self.client.cancel(*id, now),
            Action::GatewayAccepts(link) => self.client.connected(*link, now),
            Action::GatewayCloses(link) => {
                self.over.insert(*link);
                self.client.closed(*link, step.reason, now);
            }
            Action::GatewaySends(frames) => {
                if frames.iter().any(|frame| ["Refused", "Kick"].contains(&frame.body().0)) {
                    self.over.insert(link);
                }
                self.client.received(link, &message::from_hex(step.hex.as_deref().unwrap_or_default()), now);
            }
            Action::PauseMs(millis) => self.advance(plus_millis(now, *millis))?,
            Action::ClientDials(_) | Action::ClientSends(_) | Action::ClientCloses(_) | Action::AppSees(_) => {}
        }
        self.last = self.now;
        self.collect();
        Ok(())
    }

    /// The client does something within a time.
    fn expect(&mut self, wanted: &Wanted<'_>) -> Result<(), String> {
        let [from, to] = wanted.step.within_ms.unwrap_or_default().map(|millis| plus_millis(wanted.since, millis));
        let is_wanted = |done: &Done| done.what == wanted.what && wanted.link.is_none_or(|link| done.link == link);
        let found = loop {
            match self.pending.iter().position(is_wanted) {
                Some(found) => break found,
                None if self.fire_next(to)? => {}
                None => return Err(format!("expected {wanted} by {}, got {}", show(to), self.first_pending())),
            }
        };
        let done = self.pending.remove(found);
        let fits = match (wanted.what, &wanted.expected["unlike_last"]) {
            (What::Dial, Value::Number(last)) => self.is_unlike(&done, last.as_u64().unwrap_or_default() as usize),
            _ => matches(&wanted.expected, &done.value),
        };
        if !fits {
            return Err(format!("expected {wanted}, got {}", done.value));
        }
        if done.at < from || done.at > to {
            return Err(format!("expected {wanted} from {} to {}, got it at {}", show(from), show(to), show(done.at)));
        }
        if wanted.step.over_seeds.is_some() {
            self.delays.entry(wanted.index).or_default().push(done.at.since(wanted.since).as_nanos() as u64);
        }
        self.last = done.at;
        Ok(())
    }

    /// Whether a dial goes to none of the addresses of the last dials before it.
    fn is_unlike(&self, dial: &Done, last: usize) -> bool {
        let before = &self.dialled[..dial.link as usize - 1];
        !before.iter().rev().take(last).any(|address| dial.value == **address)
    }

    fn first_pending(&self) -> String {
        self.pending.first().map_or_else(|| "nothing".into(), |done| format!("{:?} {}", done.what, done.value))
    }

    fn nothing_pending(&self) -> Result<(), String> {
        if self.pending.is_empty() {
            Ok(())
        } else {
            Err(format!("expected nothing more before it, got {}", self.first_pending()))
        }
    }

    /// Lets time pass in silence.
    fn advance(&mut self, to: Timestamp) -> Result<(), String> {
        while self.fire_next(to)? {
            self.nothing_pending()?;
        }
        self.now = to;
        Ok(())
    }

    /// Lets the client's next timer go off, if that is by `to`.
    fn fire_next(&mut self, to: Timestamp) -> Result<bool, String> {
        let Some(due) = self.client.next_timeout().filter(|&due| due <= to) else { return Ok(false) };
        self.timers += 1;
        if self.timers > MOST_TIMERS {
            return Err(format!("a timer stands still at {}", show(due)));
        }
        self.now = self.now.max(due);
        self.client.timeout(self.now);
        self.collect();
        Ok(true)
    }

    fn collect(&mut self) {
        while let Some(output) = self.client.poll(self.now) {
            let (what, link, values) = match output {
                Output::Dial { link, address } => {
                    self.dialled.push(address.clone());
                    (What::Dial, link, vec![json!(address)])
                }
                Output::Bytes { link, bytes } => {
                    let parts = self.parts.entry(link).or_default();
                    parts.extend_from_slice(&bytes);
                    (What::Frame, link, message::decode(parts))
                }
                Output::Close { link } if self.over.contains(&link) => continue,
                Output::Close { link } => (What::Close, link, vec![json!({})]),
                Output::Event(event) if !EVENTS.contains(&event["event"].as_str().unwrap_or_default()) => continue,
                Output::Event(event) => (What::Event, 0, vec![event]),
            };
            let at = self.now;
            self.pending.extend(values.into_iter().map(|value| Done { what, link, at, value }));
        }
    }
}

struct Wanted<'a> {
    what: What,
    /// `None` for whatever has no link or may be on any.
    link: Option<u64>,
    expected: Value,
    since: Timestamp,
    step: &'a Step,
    index: usize,
}

impl std::fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}", self.what, self.expected)
    }
}

/// Whether everything that is expected is there; what is not mentioned is free.
fn matches(expected: &Value, got: &Value) -> bool {
    match (expected, got) {
        (Value::Object(fields), _) if fields.contains_key("any_of") => {
            fields["any_of"].as_array().is_some_and(|choices| choices.iter().any(|choice| matches(choice, got)))
        }
        (Value::Object(fields), Value::Object(_)) => fields.iter().all(|(name, value)| matches(value, &got[name])),
        (Value::Array(items), Value::Array(others)) => {
            items.len() == others.len() && items.iter().zip(others).all(|(item, other)| matches(item, other))
        }
        _ => expected == got,
    }
}

fn plus_millis(at: Timestamp, millis: u64) -> Timestamp {
    at + std::time::Duration::from_millis(millis)
}

fn show(at: Timestamp) -> String {
    format!("{} ms", at.as_nanos() as f64 / MILLI as f64)
}
