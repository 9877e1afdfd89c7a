//! What clients were told, and what was done: the one is held against the other.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{
    Plan,
    ledger::{Ending, Ledger, Message},
};

/// Everything that clients were told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) messages: Vec<Message>,
    pub(crate) logins: u64,
    pub(crate) sent: u64,
    pub(crate) resent: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    pub(crate) held_back: u64,
}

impl Told {
    /// Adds what another client was told.
    pub(crate) fn add(&mut self, other: Self) {
        let Self { messages, logins, sent, resent, refused, unknown, held_back } = other;
        self.messages.extend(messages);
        self.logins += logins;
        self.sent += sent;
        self.resent += resent;
        self.refused += refused;
        self.unknown += unknown;
        self.held_back += held_back;
    }
}

/// Both, with what was done to them.
pub(crate) struct Book<const N: usize> {
    pub(crate) told: Told,
    pub(crate) ledger: Ledger,
    pub(crate) cuts: u64,
    pub(crate) kills: [u64; N],
}

impl<const N: usize> Book<N> {
    /// The promises, and that the run was hard enough to say something.
    pub(crate) fn check(&self, plan: &Plan) {
        assert_eq!(self.told.messages.len(), plan.messages, "each message has one fate");
        self.ledger.check(&self.told.messages);
        let replied = self.count(|message| message.ending == Ending::Replied);
        assert!(replied * 10 > plan.messages, "too few replies: {replied}");
        assert!(self.cuts > 0 && self.kills.iter().sum::<u64>() > 0 && self.told.resent > 0, "nothing happened");
    }

    fn count(&self, is: impl Fn(&Message) -> bool) -> usize {
        self.told.messages.iter().filter(|message| is(message)).count()
    }

    /// The time within which this share of the replies of a business came.
    fn quantile(&self, business: &str, share: f64) -> Duration {
        let replied = self.told.messages.iter().filter(|it| it.business == business && it.ending == Ending::Replied);
        let mut took: Vec<_> = replied.map(|message| message.took).collect();
        took.sort();
        took.get(((took.len() as f64 * share) as usize).min(took.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

impl<const N: usize> fmt::Display for Book<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut businesses = BTreeMap::new();
        for message in &self.told.messages {
            *businesses.entry(message.business).or_insert(0) += 1;
        }
        writeln!(
            f,
            "{:9} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9}",
            "", "messages", "replied", "unknown", "not run", "p50", "p99"
        )?;
        for (business, count) in businesses {
            let ended = |ending| self.count(|it| it.business == business && it.ending == ending);
            let (replied, unknown, not_run) = (ended(Ending::Replied), ended(Ending::Unknown), ended(Ending::NotRun));
            let [p50, p99] = [0.5, 0.99].map(|share| self.quantile(business, share).as_millis());
            writeln!(f, "{business:9} {count:>8} {replied:>8} {unknown:>8} {not_run:>8} {p50:>6} ms {p99:>6} ms")?;
        }
        let told = &self.told;
        let ran_unknown = self.count(|it| it.ending == Ending::Unknown && self.ledger.times(it) == 1);
        writeln!(f, "of the unknown {ran_unknown} had run; in the ledger {}", self.ledger.len())?;
        writeln!(
            f,
            "sent {} ({} of them again), refused {}, without an answer {}",
            told.sent, told.resent, told.refused, told.unknown
        )?;
        writeln!(f, "held back {}, logins {}, connections cut {}", told.held_back, told.logins, self.cuts)?;
        write!(f, "processes ended (gateways, then instances): {:?}", self.kills)
    }
}
