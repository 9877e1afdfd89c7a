//! Tickets as this gateway issues and takes them. The keys in force are always sound ones, swapped whole: a faulty file
//! changes nothing.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::time::{interval, sleep};

use super::{connection::Connection, login, roster::Member};
use crate::{
    clock::whole_millis,
    mac::SigningKey,
    pb::client as pb,
    policy::{PolicyStore, table::Policy},
    ticket::{Bearer, Fault, Keys, KeysFault, Ticket},
};

/// How often the file of keys is read.
const POLL: Duration = Duration::from_secs(2);

/// How long a new content must stay the same before it counts: an editor may leave a part of a file for a moment.
const SETTLE: Duration = Duration::from_millis(200);

/// More than the keys that are taken, with words about each. A larger file is another one.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Issues and reads tickets, and counts what was shown.
#[derive(Debug)]
pub struct Tickets {
    keys: ArcSwap<Keys>,
    /// The newest keys on disk are refused.
    failing: AtomicBool,
    valid: AtomicU64,
    /// By the order of [`Fault::ALL`].
    faults: Vec<AtomicU64>,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no file of keys.
    #[error("{} holds no keys for tickets", .path.display())]
    Faulty {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: KeysFault,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    NoRandom(String),
}

impl Tickets {
    /// With the keys that the policy names.
    ///
    /// # Errors
    ///
    /// If there is no sound key.
    pub fn open(store: &PolicyStore) -> Result<Self, KeysError> {
        let file = keys_file(store);
        if file.is_none() {
            tracing::info!("tickets are signed with a random key: they end with this process");
        }
        Ok(Self::new(load(file.as_deref())?))
    }

    /// With these keys.
    pub fn new(keys: Keys) -> Self {
        Self {
            keys: ArcSwap::from_pointee(keys),
            failing: AtomicBool::new(false),
            valid: AtomicU64::new(0),
            faults: Fault::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// The ticket that a client shows, if it counts. What does not is counted.
    pub fn read(&self, hello: &pb::Hello, unix_ms: u64) -> Option<Ticket> {
        if hello.ticket.is_empty() {
            return None;
        }
        let bearer = Bearer { user: &hello.user, device: login::device(hello) };
        match self.keys.load().read(&hello.ticket, bearer, unix_ms) {
            Ok(ticket) => {
                self.valid.fetch_add(1, Relaxed);
                Some(ticket)
            }
            Err(fault) => {
                self.faulty(fault).fetch_add(1, Relaxed);
                tracing::debug!(user = hello.user, %fault, "a ticket does not count");
                None
            }
        }
    }

    /// A ticket for somebody who is connected here.
    pub fn issue(&self, connection: &Connection, policy: &Policy, unix_ms: u64) -> Bytes {
        let tier = policy.tiers.get(usize::from(connection.tier));
        let validity_ms = whole_millis(policy.tickets.validity);
        let ticket = Ticket {
            user: connection.user().to_owned(),
            device: connection.device().to_owned(),
            last_epoch: connection.epoch,
            tier: tier.map_or_else(String::new, |tier| tier.name.clone()),
            mark: connection.mark.get().filter(|mark| unix_ms < mark.until_unix_ms).map(|mark| (*mark).clone()),
            redirect: None,
            expires_unix_ms: unix_ms.saturating_add(validity_ms),
        };
        self.keys.load().issue(ticket).into()
    }

    /// Tickets that counted.
    pub fn valid_total(&self) -> u64 {
        self.valid.load(Relaxed)
    }

    /// Tickets that did not, for this reason.
    pub fn fault_total(&self, fault: Fault) -> u64 {
        self.faulty(fault).load(Relaxed)
    }

    /// Whether the newest keys on disk are refused.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Relaxed)
    }

    fn faulty(&self, fault: Fault) -> &AtomicU64 {
        &self.faults[Fault::ALL.iter().position(|&one| one == fault).unwrap_or_default()]
    }

    /// Takes every change of the keys in, and logs what is refused. Never ends by itself; drop the future to stop.
    pub(super) async fn follow(&self, store: &Arc<PolicyStore>) {
        self.follow_every(store, POLL).await;
    }

    async fn follow_every(&self, store: &Arc<PolicyStore>, every: Duration) {
        let mut seen = (keys_file(store), Ok((**self.keys.load()).clone()));
        let mut poll = interval(every);
        loop {
            poll.tick().await;
            let file = keys_file(store);
            // A random key stays until there is a file.
            if file.is_none() && seen.0.is_none() {
                continue;
            }
            let Some(found) = settled(&seen, file).await else { continue };
            self.apply(&found);
            seen = found;
        }
    }

    fn apply(&self, (file, found): &Found) {
        let path = file.as_deref().map_or_else(|| "a random key".into(), |path| path.display().to_string());
        self.failing.store(found.is_err(), Relaxed);
        match found {
            Ok(keys) => {
                tracing::info!(path, keys = keys.count(), "new keys for tickets are in force");
                self.keys.store(Arc::new(keys.clone()));
            }
            Err(error) => tracing::error!(path, error, "keys for tickets refused, the last good ones stay in force"),
        }
    }
}

/// A file, and what was found there: keys, or what is wrong in words.
type Found = (Option<PathBuf>, Result<Keys, String>);

/// What the file holds if it is not what was seen before, once two reads agree on it.
async fn settled(seen: &Found, file: Option<PathBuf>) -> Option<Found> {
    let first = find(file.clone()).await;
    if first == *seen {
        return None;
    }
    // Each random key is another one.
    if file.is_none() {
        return Some(first);
    }
    sleep(SETTLE).await;
    Some(find(file).await).filter(|second| *second == first)
}

async fn find(file: Option<PathBuf>) -> Found {
    let from = file.clone();
    let read = tokio::task::spawn_blocking(move || load(from.as_deref()).map_err(|error| in_words(&error))).await;
    // Only a runtime that shuts down gives an error here.
    (file, read.unwrap_or_else(|error| Err(error.to_string())))
}

fn in_words(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// Where the policy says that the keys are; a relative path starts at the policy's own directory.
fn keys_file(store: &PolicyStore) -> Option<PathBuf> {
    let file = store.current().tickets.keys_file.clone()?;
    let base = store.path().map(|policy| if policy.is_dir() { Some(policy) } else { policy.parent() });
    Some(base.flatten().map_or_else(|| file.clone(), |base| base.join(&file)))
}

fn load(file: Option<&Path>) -> Result<Keys, KeysError> {
    let Some(path) = file else { return random() };
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text));
    read.map_err(|source| KeysError::Read { path: path.to_owned(), source })?;
    Keys::parse(&text).map_err(|source| KeysError::Faulty { path: path.to_owned(), source })
}

fn random() -> Result<Keys, KeysError> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(|error| KeysError::NoRandom(error.to_string()))?;
    Ok(Keys::one(SigningKey::new(key)))
}
