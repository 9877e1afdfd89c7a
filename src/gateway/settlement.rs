//! Which of a client's messages have their service's answer written on this connection: one number tells the client of all
//! up to it, and it never covers an id that has none.
//!
//! Numbers go in and come out: no socket, no clock, no allocation per request while fewer than 64 ids wait for the one
//! that blocks them.
//!
//! ```text
//!        oldest                through                         oldest + 1023
//!   ───────┼──────────────────────┼──────────────────────────────────┼───────
//!   settled│ answered, every one  │ some answered (`ahead`), some not │ not to be sent yet
//! ```
//!
//! What is refused, unknown or was never seen here blocks the number. Only the client can go past it, by saying itself
//! that the id is settled: it raises its oldest unsettled id.

use crate::{id::MessageId, wire::Reason};

/// How many ids a client may send, counted from its oldest unsettled one. Services remember as many.
pub const WINDOW: u64 = 1024;

/// Bits in a word.
const WORD: u64 = u64::BITS as u64;

/// Words that hold the whole window.
const WORDS: usize = (WINDOW / WORD) as usize;

/// What a connection knows of its client's outbox.
///
/// A client that never names an oldest unsettled id keeps no outbox: nothing is refused, nothing is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settlement {
    /// The client's oldest unsettled id, as far as it has said; 0 until it names one.
    oldest: u64,
    /// The last id of those without a gap from `oldest` on that are answered; just below `oldest` if that is not.
    through: u64,
    /// The last `through` that the client knows.
    told: u64,
    ahead: Ahead,
}

/// Why a request is not dispatched. It certainly was not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The client itself has said that this id is settled.
    #[error("the id is below the client's oldest unsettled one")]
    Stale,
    /// The id is [`WINDOW`] or more above the oldest unsettled one.
    #[error("the id is beyond the window")]
    Beyond,
    /// The message that must be answered first has no answer on this connection.
    #[error("the message before it is not answered here")]
    Behind,
}

impl From<Unfit> for Reason {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Stale => Self::Stale,
            Unfit::Beyond => Self::Limit,
            Unfit::Behind => Self::Behind,
        }
    }
}

impl Settlement {
    /// The client says that everything below this id is settled. 0 says nothing, and nothing is taken back.
    pub fn raise(&mut self, oldest_unsettled: MessageId) {
        let oldest = oldest_unsettled.0;
        if oldest <= self.oldest {
            return;
        }
        self.oldest = oldest;
        // What the client has settled itself it need not be told.
        self.told = self.told.max(oldest - 1);
        if oldest - 1 > self.through {
            self.ahead.advance(oldest - 1 - self.through);
            self.through = oldest - 1;
            self.close_ranks();
        }
    }

    /// Whether a request may go on. `after` is the message that must have its answer before this one runs, if its
    /// business keeps the order of the outbox; 0 names none.
    ///
    /// # Errors
    ///
    /// Why it may not.
    pub fn admit(&self, id: MessageId, after: Option<MessageId>) -> Result<(), Unfit> {
        if id.0 < self.oldest {
            return Err(Unfit::Stale);
        }
        if !self.is_in_window(id.0) {
            return Err(Unfit::Beyond);
        }
        match after {
            Some(after) if after.0 >= id.0.max(1) => Err(Unfit::Behind),
            Some(after) if !self.is_past(after.0) => Err(Unfit::Behind),
            Some(_) | None => Ok(()),
        }
    }

    /// The answer to this id is in the outgoing bytes, or it is answered and its sender wants no reply. To be called
    /// when the bytes are there, not before: what is told next covers it.
    pub fn answered(&mut self, id: MessageId) {
        if self.oldest == 0 || id.0 <= self.through || !self.is_in_window(id.0) {
            return;
        }
        self.ahead.set(id.0 - self.through - 1);
        self.close_ranks();
    }

    /// What the client does not know yet, to be written now: every id from its oldest unsettled one up to this is
    /// answered on this connection.
    pub fn tell(&mut self) -> Option<MessageId> {
        let news = (self.through > self.told).then_some(MessageId(self.through));
        self.told = self.through.max(self.told);
        news
    }

    /// The same whether or not the client knows it; 0 if it keeps no outbox.
    pub const fn through(&self) -> MessageId {
        MessageId(self.through)
    }

    /// The client's oldest unsettled id; 0 if it keeps no outbox.
    pub const fn oldest(&self) -> MessageId {
        MessageId(self.oldest)
    }

    /// Whether this id is answered here, or settled by the client's own word; 0 is.
    fn is_past(&self, id: u64) -> bool {
        id == 0 || (self.oldest > 0 && id <= self.through) || self.ahead.has(id.wrapping_sub(self.through + 1))
    }

    const fn is_in_window(&self, id: u64) -> bool {
        self.oldest == 0 || (id >= self.oldest && id - self.oldest < WINDOW)
    }

    /// Goes up to the first id that is not answered.
    fn close_ranks(&mut self) {
        loop {
            let closed = self.ahead.leading();
            if closed == 0 {
                return;
            }
            self.ahead.advance(closed);
            self.through += closed;
        }
    }
}

/// Which ids above a first one are answered; bit 0 is the first. Small as long as few wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ahead {
    Near(u64),
    Far(Box<[u64; WORDS]>),
}

impl Default for Ahead {
    fn default() -> Self {
        Self::Near(0)
    }
}

impl Ahead {
    fn has(&self, bit: u64) -> bool {
        match self {
            Self::Near(word) => bit < WORD && word >> bit & 1 == 1,
            Self::Far(words) => bit < WINDOW && words[(bit / WORD) as usize] >> (bit % WORD) & 1 == 1,
        }
    }

    /// `bit` is below [`WINDOW`].
    fn set(&mut self, bit: u64) {
        if let Self::Near(word) = self
            && bit >= WORD
        {
            let mut words = [0; WORDS];
            words[0] = *word;
            *self = Self::Far(Box::new(words));
        }
        match self {
            Self::Near(word) => *word |= 1 << bit,
            Self::Far(words) => words[(bit / WORD) as usize] |= 1 << (bit % WORD),
        }
    }

    /// How many bits from the first on are set without a gap; of many only the first few.
    fn leading(&self) -> u64 {
        let first = match self {
            Self::Near(word) => *word,
            Self::Far(words) => words[0],
        };
        u64::from(first.trailing_ones())
    }

    /// Leaves that many bits behind.
    fn advance(&mut self, by: u64) {
        match self {
            Self::Near(word) => *word = if by < WORD { *word >> by } else { 0 },
            Self::Far(words) => {
                shift(words, by);
                if words[1..].iter().all(|&word| word == 0) {
                    *self = Self::Near(words[0]);
                }
            }
        }
    }
}

/// Moves bits towards the first.
fn shift(words: &mut [u64; WORDS], by: u64) {
    let (whole, rest) = (usize::try_from(by / WORD).unwrap_or(WORDS), by % WORD);
    for at in 0..WORDS {
        let word = |at: usize| words.get(at).copied().unwrap_or(0);
        let source = at.saturating_add(whole);
        let upper = if rest == 0 { 0 } else { word(source.saturating_add(1)) << (WORD - rest) };
        words[at] = word(source) >> rest | upper;
    }
}

#[cfg(test)]
#[path = "settlement_tests.rs"]
mod tests;
