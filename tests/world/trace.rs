//! What happened: a hash over everything, the last few events for a person, and how often each kind of thing was.

use std::{collections::VecDeque, fmt};

use dagor::clock::Timestamp;

/// Events that a failing seed shows.
const SHOWN: usize = 60;

macro_rules! counts {
    ($($name:ident $text:literal,)*) => {
        /// What is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Count {
            $($name,)*
        }

        const NAMES: &[&str] = &[$($text,)*];
    };
}

counts! {
    LinkCut "links cut within their bytes",
    GatewayCrash "gateways crashed",
    GatewayDrain "gateways drained",
    Aged "clients told to move because of their age",
    AgedOut "connections ended because of it",
    InstanceCrash "instances crashed",
    InstancePaused "instances paused",
    ClientCrash "clients killed",
    PowerLoss "clients lost their power",
    Reopened "clients closed and opened again",
    StreamLost "streams to instances lost",
    ReaderStopped "readers stopped",
    Partition "partitions, one way or both",
    RegistryAway "registry away",
    RegistryEmptied "registry emptied",
    StoreAway "store away",
    ClockJump "clocks jumped",
    Shedding "gateways began to shed",
    HalfOpen "ends that nobody was told of",
    LateClose "closes that came seconds late",
    LeaseLapsed "routes hidden by a lapsed lease",
    Restored "routes restored",
    Outdated "routes not restored over a later login",
    Accepted "accepted",
    Full "not accepted, outbox full",
    Sent "sent for the first time",
    Resent "sent again",
    Replied "replied",
    Settled "settled without a reply",
    Failed "handler failed",
    Rejected "rejected",
    Expired "given up, expired",
    Cancelled "given up, cancelled",
    Closed "given up, closed",
    LostWithApp "gone with a client that had no store",
    ToldAgain "told again after a crash",
    Connected "logins",
    HeldBackByOrder "refused as behind",
    Refused "tries refused",
    Unknown "tries unknown",
    Stale "stale",
    Conflict "conflict",
    Superseded "superseded",
    Kicked "kicked",
    SlowConsumer "slow consumers",
    HeartbeatLost "heartbeats lost at gateways",
    Effects "effects",
    Replays "copies answered from memory",
    Waited "copies that waited for the first",
    StoreReplays "copies answered from the store",
    StoreHeld "copies of what another instance holds",
    Lapsed "commits after a lapsed lease",
    Pushes "pushes written",
}

/// How often each thing was.
#[derive(Clone, Debug)]
pub(crate) struct Counts(Vec<u64>);

impl Default for Counts {
    fn default() -> Self {
        Self(vec![0; NAMES.len()])
    }
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// The names of what never was.
    pub(crate) fn never(&self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().zip(&self.0).filter(|&(_, &times)| times == 0).map(|(&name, _)| name)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, times) in NAMES.iter().zip(&self.0) {
            writeln!(f, "  {times:>10}  {name}")?;
        }
        Ok(())
    }
}

/// One event, in numbers: words are made of it only when somebody reads them.
#[derive(Clone, Copy, Debug)]
struct Note {
    step: u64,
    at: Timestamp,
    what: &'static str,
    numbers: [u64; 3],
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, at, what, numbers: [a, b, c] } = self;
        write!(f, "  {step:>6} {at}  {what} {a} {b} {c}")
    }
}

/// What happened in one seed.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) step: u64,
    pub(crate) counts: Counts,
    pub(crate) violation: Option<String>,
    /// Prints everything.
    pub(crate) aloud: bool,
    hash: u64,
    last: VecDeque<Note>,
}

impl Trace {
    pub(crate) fn note(&mut self, at: Timestamp, what: &'static str, numbers: [u64; 3]) {
        for number in [at.as_nanos(), what.len() as u64].into_iter().chain(numbers) {
            // FNV-1a by words.
            self.hash = (self.hash ^ number).wrapping_mul(0x0100_0000_01b3);
            self.hash ^= self.hash >> 29;
        }
        let note = Note { step: self.step, at, what, numbers };
        if self.aloud {
            println!("{note}");
        }
        if self.last.len() == SHOWN {
            self.last.pop_front();
        }
        self.last.push_back(note);
    }

    pub(crate) fn count(&mut self, count: Count) {
        self.counts.0[count as usize] += 1;
    }

    pub(crate) fn count_many(&mut self, count: Count, times: u64) {
        self.counts.0[count as usize] += times;
    }

    /// An invariant is broken. The first one counts.
    pub(crate) fn violated(&mut self, what: String) {
        if self.violation.is_none() {
            self.violation = Some(what);
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The last events, the newest at the end.
    pub(crate) fn tail(&self) -> String {
        self.last.iter().map(|note| format!("{note}\n")).collect()
    }
}
