//! The keys of tickets: the first one signs, all of them verify, and each is found by an id that follows from it.

use crate::mac::SigningKey;

/// Keys at a time. Two are enough to replace one; more help only where files are rolled out slowly.
const MAX_KEYS: usize = 16;

/// Separates a key's id from its other uses.
const DOMAIN: &[u8] = b"dagor-ticket key id";

/// At least one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    first: (u32, SigningKey),
    others: Vec<(u32, SigningKey)>,
}

/// What is wrong with a file of keys. Never shows any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysFault {
    /// No line holds a key.
    #[error("there is no key in it; `openssl rand -hex 16` prints one")]
    Empty,
    /// A line is no key.
    #[error("line {0} is no key: one is 32 hexadecimal digits, such as `openssl rand -hex 16` prints")]
    NoKey(usize),
    /// A line holds the key of a line before.
    #[error("line {0} holds a key that is there already")]
    Twice(usize),
    /// More keys than are taken.
    #[error("it holds more than {MAX_KEYS} keys")]
    TooMany,
}

impl Keys {
    /// A single key.
    pub fn one(key: SigningKey) -> Self {
        Self { first: (id(&key), key), others: Vec::new() }
    }

    /// Reads a file with a key in each line, the signing one first. Empty lines and those that begin with `#` say
    /// nothing.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, KeysFault> {
        let mut keys = Vec::new();
        for (line, text) in (1..).zip(text.lines().map(str::trim)) {
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let key = SigningKey::from_hex(text).map_err(|_| KeysFault::NoKey(line))?;
            let id = id(&key);
            if keys.iter().any(|&(other, _)| other == id) {
                return Err(KeysFault::Twice(line));
            }
            keys.push((id, key));
        }
        if keys.len() > MAX_KEYS {
            return Err(KeysFault::TooMany);
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or(KeysFault::Empty)?;
        Ok(Self { first, others: keys.collect() })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        1 + self.others.len()
    }

    pub(super) const fn signing(&self) -> (u32, &SigningKey) {
        (self.first.0, &self.first.1)
    }

    pub(super) fn find(&self, id: u32) -> Option<&SigningKey> {
        std::iter::once(&self.first).chain(&self.others).find(|(other, _)| *other == id).map(|(_, key)| key)
    }
}

/// Says which key it is, and nothing else of it.
fn id(key: &SigningKey) -> u32 {
    key.mac(&[DOMAIN], &[]) as u32
}
