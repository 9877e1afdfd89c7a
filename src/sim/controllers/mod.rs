//! The one list of everything that can stand in front of a simulated server, by name, each with its settings as text.

mod gates;

use std::sync::Arc;

use super::{guard::Arrangement, none::NoControl};
use crate::policy::reader::Table;

/// What a scenario compares: an arrangement under a label.
#[derive(Clone, Debug)]
pub struct Contender {
    /// How reports call it.
    pub label: String,
    /// Makes its guards and callers.
    pub arrangement: Arc<dyn Arrangement>,
}

/// Makes an arrangement of what its table says; what it does not say is as its authors have it.
pub(super) type Builder = fn(&mut Table<'_>) -> Arc<dyn Arrangement>;

const KNOWN: &[(&str, Builder)] =
    &[("capacity", gates::capacity), ("dagor-v3", gates::dagor_v3), ("none", |_| Arc::new(NoControl))];

/// What is compared where a scenario does not say.
const DEFAULTS: [&str; 3] = ["capacity", "dagor-v3", "none"];

pub(super) fn builder(name: &str) -> Option<Builder> {
    KNOWN.iter().find(|(known, _)| *known == name).map(|(_, builder)| *builder)
}

/// All names.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    KNOWN.iter().map(|(name, _)| *name)
}

/// The contender of this name with the settings of its authors.
pub fn named(name: &str) -> Option<Contender> {
    let builder = builder(name)?;
    let (notes, nothing) = (Default::default(), Default::default());
    let mut table = Table::root(&notes, 0, &nothing);
    Some(Contender { label: name.to_owned(), arrangement: builder(&mut table) })
}

pub(super) fn defaults() -> Vec<Contender> {
    DEFAULTS.into_iter().filter_map(named).collect()
}
