//! A level from outside counts only with a signature that a holder of the key made, a short time ago, for this service,
//! and that was not shown here before.
//!
//! `dagor-signature: v1.<expiry>.<nonce>.<mac>` (expiry in Unix milliseconds, the others in hexadecimal). The MAC is
//! SipHash-2-4 with a 128-bit key and 128 bits of output, over audience, level and grain, user, expiry and nonce.
//!
//! | attempt | then |
//! |---|---|
//! | a level, user, expiry or nonce is changed, or the MAC made up | forged: the MAC is another one; guessing one succeeds once in 2^128 |
//! | a signature for one service is shown to another | forged, if both name their audience |
//! | an old signature is shown | expired, [`Signer::lifetime`] after it was made |
//! | a fresh one is shown again | replayed, at the same process; another instance of the same audience takes it once as well |
//! | a caller with the key lies | not prevented: who signs is trusted |
//! | a request's method, path or body is changed on the way | not prevented: that is what TLS is for |

use std::{
    collections::HashSet,
    hash::{BuildHasher, Hasher, RandomState},
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{admission::Value, clock::whole_millis, mac};

pub use crate::mac::{KeyError, SigningKey};

/// How long a signature counts, if nothing else is said. Clocks must agree within it.
const LIFETIME: Duration = Duration::from_secs(10);
/// A signature that counts longer is not accepted: it would have to be remembered for that long. Half as much again as
/// the default lifetime, for clocks that differ.
const LONGEST_LIFETIME: Duration = Duration::from_secs(15);
/// Signatures remembered in [`LONGEST_LIFETIME`]; 70,000 requests/s. Beyond that none is trusted, because a replay could
/// not be told.
const MOST_REMEMBERED: usize = 1 << 20;
/// Separates this use of a key from any other.
const DOMAIN: &[u8] = b"dagor-signature v1";

/// What is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed<'a> {
    /// Level and grain.
    pub value: Value,
    /// For whom the task is run.
    pub user: Option<&'a str>,
}

impl Signed<'_> {
    fn mac(&self, key: &SigningKey, audience: &str, expiry_millis: u64, nonce: u64) -> u128 {
        let user = [u8::from(self.user.is_some())];
        let numbers = [&user[..], &self.value.bits().to_le_bytes(), &expiry_millis.to_le_bytes(), &nonce.to_le_bytes()];
        key.mac(&[DOMAIN, audience.as_bytes(), self.user.unwrap_or_default().as_bytes()], &numbers)
    }
}

/// Makes signatures. Clones draw from the same nonces.
#[derive(Clone, Debug)]
pub struct Signer {
    key: SigningKey,
    audience: Arc<str>,
    lifetime: Duration,
    nonce: Arc<AtomicU64>,
}

impl Signer {
    /// Signs for the service of this name, which its [`Verifier`] must name as well.
    pub fn new(key: SigningKey, audience: &str) -> Self {
        // The standard library's hash keys are random, so that no two processes draw the same nonces.
        let start = RandomState::new().build_hasher().finish();
        Self { key, audience: audience.into(), lifetime: LIFETIME, nonce: Arc::new(AtomicU64::new(start)) }
    }

    /// How long a signature counts (10 s unless changed). The verifier takes none that counts longer than 15 s.
    pub const fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// The value of `dagor-signature` at this time since the Unix epoch.
    pub fn sign(&self, claim: Signed<'_>, unix_millis: u64) -> String {
        let expiry = unix_millis.saturating_add(whole_millis(self.lifetime));
        let nonce = self.nonce.fetch_add(1, Relaxed);
        format!("v1.{expiry}.{nonce:016x}.{:032x}", claim.mac(&self.key, &self.audience, expiry, nonce))
    }
}

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SignatureFault {
    /// Not `v1.<expiry>.<nonce>.<mac>`.
    #[error("the signature is malformed")]
    Malformed,
    /// Not made by a holder of a key for this audience, or not for this level and user.
    #[error("the signature is forged")]
    Forged,
    /// Its time has passed. If this happens often, the clocks of the two machines differ.
    #[error("the signature has expired")]
    Expired,
    /// It counts for longer than is accepted.
    #[error("the signature counts for too long")]
    TooLong,
    /// It was shown before.
    #[error("the signature was used before")]
    Replayed,
    /// More signatures arrive than can be remembered, so that a replay could not be told.
    #[error("too many signatures to remember")]
    TooMany,
}

/// Checks signatures, and remembers them until they expire.
#[derive(Debug)]
pub struct Verifier {
    keys: Vec<SigningKey>,
    audience: Arc<str>,
    seen: Option<Mutex<Seen>>,
}

impl Verifier {
    /// Takes signatures for the service of this name.
    pub fn new(key: SigningKey, audience: &str) -> Self {
        Self { keys: vec![key], audience: audience.into(), seen: Some(Mutex::new(Seen::new(MOST_REMEMBERED))) }
    }

    /// Takes those of another key as well: for the time in which a key is replaced.
    #[must_use]
    pub fn also(mut self, key: SigningKey) -> Self {
        self.keys.push(key);
        self
    }

    /// Takes a signature any number of times until it expires. For callers behind a proxy that sends requests again on
    /// its own; whoever sees such a request can use its importance for the signature's lifetime.
    #[must_use]
    pub fn allow_replays(mut self) -> Self {
        self.seen = None;
        self
    }

    /// Checks a signature of this claim at this time since the Unix epoch.
    ///
    /// # Errors
    ///
    /// Why it does not count. It is remembered only if it does.
    pub fn verify(&self, claim: Signed<'_>, signature: &str, unix_millis: u64) -> Result<(), SignatureFault> {
        let Parts { expiry, nonce, mac } = parse(signature).ok_or(SignatureFault::Malformed)?;
        if !self.keys.iter().any(|key| mac::is_same(claim.mac(key, &self.audience, expiry, nonce), mac)) {
            return Err(SignatureFault::Forged);
        }
        if expiry <= unix_millis {
            return Err(SignatureFault::Expired);
        }
        if expiry - unix_millis > LONGEST_LIFETIME.as_millis() as u64 {
            return Err(SignatureFault::TooLong);
        }
        self.seen.as_ref().map_or(Ok(()), |seen| {
            // Its sets are whole at every moment in which a panic could leave the lock.
            seen.lock().unwrap_or_else(PoisonError::into_inner).insert(mac as u64, unix_millis)
        })
    }
}

struct Parts {
    expiry: u64,
    nonce: u64,
    mac: u128,
}

fn parse(signature: &str) -> Option<Parts> {
    let mut fields = signature.strip_prefix("v1.")?.split('.');
    let [expiry, nonce, mac] = [fields.next()?, fields.next()?, fields.next()?];
    let clean = |field: &str| field.bytes().all(|byte| byte.is_ascii_hexdigit());
    if fields.next().is_some() || ![expiry, nonce, mac].into_iter().all(clean) || nonce.len() != 16 || mac.len() != 32 {
        return None;
    }
    Some(Parts {
        expiry: expiry.parse().ok()?,
        nonce: u64::from_str_radix(nonce, 16).ok()?,
        mac: u128::from_str_radix(mac, 16).ok()?,
    })
}

/// What was shown, in two generations: an entry lives through at least one whole generation, which is as long as the
/// longest signature counts.
#[derive(Debug)]
struct Seen {
    most: usize,
    began_millis: u64,
    present: HashSet<u64>,
    before: HashSet<u64>,
}

impl Seen {
    fn new(most: usize) -> Self {
        Self { most, began_millis: 0, present: HashSet::new(), before: HashSet::new() }
    }

    fn insert(&mut self, mac: u64, unix_millis: u64) -> Result<(), SignatureFault> {
        let generation = LONGEST_LIFETIME.as_millis() as u64;
        let age = unix_millis.saturating_sub(self.began_millis);
        if age >= generation {
            let present = mem::take(&mut self.present);
            // After a pause of two generations nothing of either counts any more.
            self.before = if age >= 2 * generation { HashSet::new() } else { present };
            self.began_millis = unix_millis;
        }
        if self.before.contains(&mac) || self.present.contains(&mac) {
            return Err(SignatureFault::Replayed);
        }
        if self.present.len() >= self.most {
            return Err(SignatureFault::TooMany);
        }
        self.present.insert(mac);
        Ok(())
    }
}

#[cfg(test)]
#[path = "sign_tests.rs"]
mod tests;
