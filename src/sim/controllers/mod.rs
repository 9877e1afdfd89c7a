//! The one list of everything that can stand in front of a simulated server, by name, each with its settings as text.

mod gates;

use std::sync::Arc;

use toml::{Spanned, de::DeTable};

use super::{
    guard::Arrangement,
    rivals::{Kind, Knob, RIVALS},
};
use crate::policy::{
    Faults, Sources,
    fault::Place,
    reader::{Mistake, Notes, Table},
};

/// What a scenario compares: an arrangement under a label.
#[derive(Clone, Debug)]
pub struct Contender {
    /// How reports call it.
    pub label: String,
    /// Makes its guards and callers.
    pub arrangement: Arc<dyn Arrangement>,
}

/// Makes an arrangement of what its table says; what it does not say is as its authors have it.
type Builder = fn(&mut Table<'_>) -> Arc<dyn Arrangement>;

/// A controller of the gateway itself.
struct Own {
    name: &'static str,
    builder: Builder,
    /// What a search may vary.
    knobs: &'static [Knob],
    /// Its settings for these.
    defaults: fn() -> toml::Table,
}

const OWN: &[Own] = &[gates::CAPACITY, gates::DAGOR_V3];

/// What is compared where a scenario does not say.
const DEFAULTS: [&str; 3] = ["capacity", "dagor-v3", "none"];

/// A controller of a name.
enum Known {
    Own(&'static Own),
    Rival(&'static Kind),
}

fn known(name: &str) -> Option<Known> {
    let own = OWN.iter().find(|own| own.name == name).map(Known::Own);
    own.or_else(|| RIVALS.iter().find(|rival| rival.name == name).map(Known::Rival))
}

/// All names.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    OWN.iter().map(|own| own.name).chain(RIVALS.iter().map(|rival| rival.name))
}

/// Whether there is a controller of this name.
pub(super) fn is_known(name: &str) -> bool {
    known(name).is_some()
}

/// The arrangement that a table of a file means; nothing if it has faults, which are noted.
pub(super) fn read(name: &str, mut table: Table<'_>, entries: &DeTable<'_>) -> Option<Arc<dyn Arrangement>> {
    match known(name)? {
        Known::Own(own) => {
            let arrangement = (own.builder)(&mut table);
            table.finish();
            Some(arrangement)
        }
        Known::Rival(rival) => {
            let mut settings = entries.clone();
            COMMON.iter().for_each(|key| drop(settings.remove(*key)));
            let place = &table.place;
            let noted = |error: toml::de::Error| {
                let place = Place { span: error.span().unwrap_or(place.span.clone()), ..place.clone() };
                table.notes.note(&place, Mistake::new(error.message()));
            };
            rival.read(Spanned::new(place.span.clone(), settings)).map_err(noted).ok()
        }
    }
}

/// The keys of a controller that are not its settings.
pub(super) const COMMON: [&str; 2] = ["kind", "label"];

/// The contender of this name with these settings; what they do not say is as its authors have it.
///
/// # Errors
///
/// Settings that it does not have. An unknown name is a controller without any.
pub fn with(name: &str, settings: &toml::Table) -> Result<Option<Contender>, Faults> {
    let sources = Sources::from_text(name, settings.to_string());
    let notes = Notes::default();
    let arrangement = {
        let text = settings.to_string();
        let entries = DeTable::parse(&text).map(Spanned::into_inner).unwrap_or_default();
        read(name, Table::root(&notes, 0, &entries), &entries)
    };
    notes.faults.into_inner().into_result(&sources)?;
    Ok(arrangement.map(|arrangement| Contender { label: name.to_owned(), arrangement }))
}

/// The contender of this name with the settings of its authors.
pub fn named(name: &str) -> Option<Contender> {
    with(name, &toml::Table::new()).ok().flatten()
}

/// What a search may vary of the controller of this name.
pub fn knobs(name: &str) -> &'static [Knob] {
    match known(name) {
        Some(Known::Own(own)) => own.knobs,
        Some(Known::Rival(rival)) => rival.knobs,
        None => &[],
    }
}

/// The settings that the controller of this name has if nothing is said, for all that a search may vary.
pub fn authors_settings(name: &str) -> toml::Table {
    match known(name) {
        Some(Known::Own(own)) => (own.defaults)(),
        Some(Known::Rival(rival)) => rival.defaults(),
        None => toml::Table::new(),
    }
}

pub(super) fn defaults() -> Vec<Contender> {
    DEFAULTS.into_iter().filter_map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_used_once_and_makes_a_controller() {
        for name in names() {
            assert_eq!(names().filter(|other| *other == name).count(), 1, "{name}");
            assert!(named(name).is_some(), "{name}");
        }
    }

    #[test]
    fn every_knob_turns_an_existing_setting_whose_default_lies_in_its_range() {
        for name in names() {
            let defaults = authors_settings(name);
            for knob in knobs(name) {
                let place = knob.place(&defaults[knob.name]).unwrap_or_else(|| panic!("{name} {}", knob.name));
                let same = knob.place(&knob.at(place)).unwrap();
                assert!((place - same).abs() < 0.05, "{name} {}", knob.name);
                for end in [0.0, 1.0] {
                    let settings = toml::Table::from_iter([(knob.name.to_owned(), knob.at(end))]);
                    assert!(with(name, &settings).unwrap().is_some(), "{name} {}", knob.name);
                }
            }
        }
    }

    #[test]
    fn authors_settings_written_out_are_those_without_a_word() {
        for name in names() {
            let written = with(name, &authors_settings(name)).unwrap().unwrap();
            assert_eq!(format!("{written:?}"), format!("{:?}", named(name).unwrap()));
        }
    }
}
