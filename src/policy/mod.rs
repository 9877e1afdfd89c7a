//! Policy files become the table that is used per request: a policy is taken whole or not at all, and the last good one
//! stays in force whatever happens to its files.
//!
//! [`Sources`] (text) → document (what was written, with places) → validation (what is meant) → [`Policy`] → [`PolicyStore`]
//! (what is in force) ← [`follow`] (the files on disk).

mod check;
mod defaults;
pub(crate) mod document;
pub(crate) mod fault;
pub(crate) mod quantity;
pub(crate) mod reader;
pub(crate) mod settings;
mod source;
mod store;
pub mod table;
pub(crate) mod validate;
mod watch;

pub use check::{Report, TestFailure, check, check_file};
pub use defaults::{CHAT_TOML, DEFAULT_TOML};
pub use fault::{Fault, Faults};
pub use source::{MAX_POLICY_BYTES, MAX_POLICY_FILES, Source, Sources};
pub use store::{Applied, LastFailure, PolicyReader, PolicyStatus, PolicyStore};
pub use table::{
    Balance, Business, Case, Codes, Connections, Policy, Queue, Revision, Service, ServiceAddresses, ServiceIndex, Tier,
};
pub use watch::follow;

use std::path::Path;

impl Policy {
    /// Reads a policy file, or a directory whose `*.toml` files are one policy together.
    ///
    /// # Errors
    ///
    /// All faults of the files, failing `[[test]]` cases among them.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        Self::from_sources(&Sources::read(path)?)
    }

    /// Makes a policy of one text; `name` is what faults call it.
    ///
    /// # Errors
    ///
    /// All faults of the text, failing `[[test]]` cases among them.
    pub fn parse(name: &str, text: &str) -> Result<Self, Faults> {
        Self::from_sources(&Sources::from_text(name, text))
    }

    /// Makes a policy of texts.
    ///
    /// # Errors
    ///
    /// All faults of the texts, failing `[[test]]` cases among them.
    pub fn from_sources(sources: &Sources) -> Result<Self, Faults> {
        validate::policy(sources, &Codes::new())
    }

    /// The built-in `policies/default.toml`: one business besides `login`, one service, everything else at its default.
    pub fn built_in_default() -> Self {
        Self::parse("policies/default.toml", DEFAULT_TOML).expect("a test reads the built-in policies")
    }

    /// The built-in `policies/chat.toml`: login, payment, messages and Moments.
    pub fn built_in_chat() -> Self {
        Self::parse("policies/chat.toml", CHAT_TOML).expect("a test reads the built-in policies")
    }
}

impl Default for Policy {
    /// [`Policy::built_in_default`], which says what holds where a policy file says nothing.
    fn default() -> Self {
        Self::built_in_default()
    }
}

/// Every key that a policy file may hold, such as `service.gate.target`: what the reader asked for in the manual, which
/// holds every table.
pub fn known_keys() -> Vec<String> {
    let notes = reader::Notes::default();
    let manual = Sources::from_text("policies/default.toml", DEFAULT_TOML);
    let files = document::parse(&manual).expect("a test reads the built-in policies");
    document::Document::read(&files, &notes);
    notes.asked.into_inner().into_iter().collect()
}
