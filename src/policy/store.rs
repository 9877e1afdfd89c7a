//! The policy in force: always a sound one, swapped whole, read without a lock.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::{ArcSwap, Cache};
use tokio::sync::watch;

use super::{
    fault::Faults,
    source::Sources,
    table::{Codes, Policy, Revision},
    validate,
};

/// A worker's own view of the policy in force: `load` costs a nanosecond while nothing changes.
pub type PolicyReader = Cache<Arc<ArcSwap<Policy>>, Arc<Policy>>;

/// Holds the policy in force and takes new ones in.
#[derive(Debug)]
pub struct PolicyStore {
    current: Arc<ArcSwap<Policy>>,
    changes: watch::Sender<Arc<Policy>>,
    path: Option<PathBuf>,
    /// Held while a policy is validated and swapped, so that two never pass each other.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    since_unix_millis: u64,
    applied_total: u64,
    refused_total: u64,
    last_failure: Option<LastFailure>,
    /// Every code that had a name since this store began, also those of businesses that are gone.
    codes: Codes,
}

/// What became of a new policy that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is in force now.
    Changed(Revision),
    /// Its text is that of the policy in force.
    Unchanged,
}

/// The newest policy that was refused, if none was taken in since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFailure {
    /// When, in milliseconds since the Unix epoch.
    pub at_unix_millis: u64,
    /// The faults as plain text.
    pub rendered: String,
}

/// What is in force and what was not taken in, for people and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyStatus {
    /// The revision in force.
    pub revision: Revision,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_unix_millis: u64,
    /// Where the policy comes from, if it is a file.
    pub path: Option<PathBuf>,
    /// How many policies came into force after the first.
    pub applied_total: u64,
    /// How many were refused; the same text at two attempts in a row counts once.
    pub refused_total: u64,
    /// The newest failure; gone once a sound policy is read.
    pub last_failure: Option<LastFailure>,
}

impl PolicyStore {
    /// Begins with a policy that comes from no file, such as a built-in one.
    pub fn new(policy: Policy, unix_millis: u64) -> Self {
        Self::with_path(policy, None, unix_millis)
    }

    /// Begins with the policy of a file or directory, which [`PolicyStore::reload`] reads again.
    ///
    /// # Errors
    ///
    /// All faults of the files: without a first policy there is none to stay in force.
    pub fn open(path: &Path, unix_millis: u64) -> Result<Self, Faults> {
        Ok(Self::with_path(Policy::load(path)?, Some(path.to_owned()), unix_millis))
    }

    fn with_path(policy: Policy, path: Option<PathBuf>, unix_millis: u64) -> Self {
        let state = State {
            since_unix_millis: unix_millis,
            applied_total: 0,
            refused_total: 0,
            last_failure: None,
            codes: policy.codes(),
        };
        let policy = Arc::new(policy);
        Self {
            changes: watch::Sender::new(Arc::clone(&policy)),
            current: Arc::new(ArcSwap::new(policy)),
            path,
            state: Mutex::new(state),
        }
    }

    /// The policy in force.
    pub fn current(&self) -> Arc<Policy> {
        self.current.load_full()
    }

    /// A view of the policy in force for one worker.
    pub fn reader(&self) -> PolicyReader {
        Cache::new(Arc::clone(&self.current))
    }

    /// Wakes whenever another policy comes into force.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Policy>> {
        self.changes.subscribe()
    }

    /// The file or directory that the policy comes from.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What is in force and what was not taken in.
    pub fn status(&self) -> PolicyStatus {
        let state = self.state();
        PolicyStatus {
            revision: self.current.load().revision,
            since_unix_millis: state.since_unix_millis,
            path: self.path.clone(),
            applied_total: state.applied_total,
            refused_total: state.refused_total,
            last_failure: state.last_failure.clone(),
        }
    }

    /// Reads the files again. Without a file, the policy in force is what it is.
    ///
    /// # Errors
    ///
    /// All faults of the files; the policy in force stays.
    pub fn reload(&self, unix_millis: u64) -> Result<Applied, Faults> {
        match &self.path {
            Some(path) => self.apply(Sources::read(path), unix_millis),
            None => Ok(Applied::Unchanged),
        }
    }

    /// Takes one text in as the policy; `name` is what faults call it.
    ///
    /// # Errors
    ///
    /// All faults of the text; the policy in force stays.
    pub fn apply_text(&self, name: &str, text: &str, unix_millis: u64) -> Result<Applied, Faults> {
        self.apply(Ok(Sources::from_text(name, text)), unix_millis)
    }

    /// Takes in what was read, or notes why it could not be read.
    ///
    /// # Errors
    ///
    /// All faults; the policy in force stays.
    pub fn apply(&self, read: Result<Sources, Faults>, unix_millis: u64) -> Result<Applied, Faults> {
        let mut state = self.state();
        let outcome = read.and_then(|sources| match sources.revision() == self.current.load().revision {
            true => Ok(None),
            false => validate::policy(&sources, &state.codes).map(Some),
        });
        match outcome {
            Ok(None) => {
                state.last_failure = None;
                Ok(Applied::Unchanged)
            }
            Ok(Some(policy)) => Ok(self.swap(&mut state, policy, unix_millis)),
            Err(faults) => {
                state.refuse(&faults, unix_millis);
                Err(faults)
            }
        }
    }

    /// Puts a policy in force that comes from no text. Its revision says what the text was, until there is another one.
    pub fn put(&self, policy: Policy, unix_millis: u64) {
        self.swap(&mut self.state(), policy, unix_millis);
    }

    fn swap(&self, state: &mut State, policy: Policy, unix_millis: u64) -> Applied {
        let revision = policy.revision;
        state.codes.extend(policy.codes());
        state.since_unix_millis = unix_millis;
        state.applied_total += 1;
        state.last_failure = None;
        let policy = Arc::new(policy);
        self.current.store(Arc::clone(&policy));
        self.changes.send_replace(policy);
        Applied::Changed(revision)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn refuse(&mut self, faults: &Faults, unix_millis: u64) {
        let rendered = faults.render(false);
        if self.last_failure.as_ref().is_none_or(|last| last.rendered != rendered) {
            self.refused_total += 1;
            self.last_failure = Some(LastFailure { at_unix_millis: unix_millis, rendered });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat() -> PolicyStore {
        PolicyStore::new(Policy::built_in_chat(), 7)
    }

    #[test]
    fn readers_and_subscribers_see_the_new_policy_whole() {
        let store = chat();
        let (mut reader, mut changes) = (store.reader(), store.subscribe());
        let before = Arc::clone(reader.load());
        let Ok(Applied::Changed(revision)) = store.apply_text("new", "[connections]\nmax = 5\n", 8) else {
            panic!("a sound policy was refused");
        };
        assert_eq!((before.connections.max, reader.load().connections.max), (1_000_000, 5));
        assert!(changes.has_changed().unwrap());
        assert_eq!(changes.borrow_and_update().revision, revision);
        assert_eq!((store.status().revision, store.status().since_unix_millis), (revision, 8));
    }

    #[test]
    fn a_refused_policy_leaves_the_last_good_one_and_says_why() {
        let store = chat();
        let changes = store.subscribe();
        for attempt in 8..10 {
            assert!(store.apply_text("bad", "max = 5", attempt).is_err());
        }
        assert_eq!(*store.current(), Policy::built_in_chat());
        assert!(!changes.has_changed().unwrap());
        let status = store.status();
        let failure = status.last_failure.unwrap();
        assert!(failure.rendered.contains("unknown key `max`"), "{}", failure.rendered);
        assert_eq!((failure.at_unix_millis, status.refused_total, status.since_unix_millis), (8, 1, 7));
    }

    #[test]
    fn the_text_in_force_is_unchanged_and_clears_the_failure() {
        let store = chat();
        assert!(store.apply_text("bad", "[", 8).is_err());
        assert_eq!(store.apply_text("again", super::super::CHAT_TOML, 9), Ok(Applied::Unchanged));
        let status = store.status();
        assert_eq!((status.last_failure, status.applied_total, status.since_unix_millis), (None, 0, 7));
    }

    #[test]
    fn a_code_keeps_its_name_even_after_its_business_is_gone() {
        let store = chat();
        store.apply_text("fewer", "[[business]]\nname = \"payment\"\ncode = 10\n", 8).unwrap();
        let reused = "[[business]]\nname = \"video\"\ncode = 20\n";
        let faults = store.apply_text("reused", reused, 9).unwrap_err();
        let fault = faults.iter().next().unwrap();
        assert_eq!(fault.message, "code 20 belongs to `message`; codes are permanent");
        assert_eq!(fault.suggestion.as_deref(), Some("take one that was never used, such as 31"));
        assert_eq!((fault.line, fault.column, fault.key_path.as_str()), (3, 8, "business[0].code"));
        store.apply_text("new", &reused.replace("20", "31"), 10).unwrap();
    }
}
