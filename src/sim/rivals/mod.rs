//! Other ways to control overload, one file each, with the settings of their authors as defaults and every setting open to
//! a search. What each models and leaves out is in `docs/rivals.md`.
//!
//! [`RIVALS`] is the one list; [`arrangement`] makes any of them from a table of a scenario file.

#[cfg(test)]
mod bench;
mod breakwater;
mod chance;
mod cinnamon;
mod codel;
mod codel_timeout;
mod dagor_response;
mod fixed;
mod gradient2;
mod knob;
mod none;
mod rajomon;
mod random;
mod seda;
mod throttle;
mod trpc;
mod written;

use serde::{Serialize, de::DeserializeOwned};

pub use breakwater::BreakwaterSettings;
pub(in crate::sim) use chance::Chance;
pub use cinnamon::CinnamonSettings;
pub use codel::CodelSettings;
pub use codel_timeout::CodelTimeoutSettings;
pub use dagor_response::{Callers, DagorResponseSettings};
pub use fixed::FixedSettings;
pub use gradient2::Gradient2Settings;
pub use knob::{Knob, Scale, Unit};
pub use none::NoneSettings;
pub use rajomon::{PriceStrategy, RajomonSettings};
pub use random::RandomSettings;
pub use seda::SedaSettings;
pub use throttle::ThrottleSettings;
pub use trpc::TrpcSettings;

use super::guard::Arrangement;

/// A kind of controller: its name in scenario files, and how to make one.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The `kind` in a table of settings.
    pub name: &'static str,
    /// What it is and where it is from, in a line.
    pub about: &'static str,
    /// What a search may vary.
    pub knobs: &'static [Knob],
    make: fn(toml::Table) -> Result<Box<dyn Arrangement>, toml::de::Error>,
    defaults: fn() -> toml::Table,
}

impl Kind {
    /// A kind whose settings are of type `S`.
    pub const fn of<S>(name: &'static str, about: &'static str, knobs: &'static [Knob]) -> Self
    where
        S: Arrangement + Default + DeserializeOwned + Serialize + 'static,
    {
        Self { name, about, knobs, make: make::<S>, defaults: defaults::<S> }
    }

    /// One with these settings; what the table does not say is as its authors have it.
    ///
    /// # Errors
    ///
    /// Unknown keys, and values that make no sense.
    pub fn with(&self, settings: toml::Table) -> Result<Box<dyn Arrangement>, ControllerError> {
        (self.make)(settings).map_err(|source| ControllerError::Settings { kind: self.name, source })
    }

    /// Its authors' settings.
    pub fn defaults(&self) -> toml::Table {
        (self.defaults)()
    }
}

fn make<S>(settings: toml::Table) -> Result<Box<dyn Arrangement>, toml::de::Error>
where
    S: Arrangement + DeserializeOwned + 'static,
{
    settings.try_into::<S>().map(|settings| Box::new(settings) as Box<dyn Arrangement>)
}

/// Every settings type is a plain table; a test compares each of their keys.
fn defaults<S: Default + Serialize>() -> toml::Table {
    toml::Table::try_from(S::default()).unwrap_or_default()
}

/// All rivals, in the order in which they are best understood.
pub const RIVALS: &[Kind] = &[
    Kind::of::<NoneSettings>("none", "no control", NoneSettings::KNOBS),
    Kind::of::<RandomSettings>("random", "random shedding (DAGOR's baseline)", RandomSettings::KNOBS),
    Kind::of::<FixedSettings>("fixed", "a fixed limit", FixedSettings::KNOBS),
    Kind::of::<CodelSettings>("codel", "CoDel (RFC 8289)", CodelSettings::KNOBS),
    Kind::of::<CodelTimeoutSettings>("codel-timeout", "CoDel for requests (Facebook)", CodelTimeoutSettings::KNOBS),
    Kind::of::<SedaSettings>("seda", "SEDA (Welsh & Culler 2003)", SedaSettings::KNOBS),
    Kind::of::<DagorResponseSettings>(
        "dagor-response",
        "DAGOR v3 with response time (Zhou et al. 2018)",
        DagorResponseSettings::KNOBS,
    ),
    Kind::of::<TrpcSettings>("trpc", "two thresholds (Tencent tRPC-Cpp)", TrpcSettings::KNOBS),
    Kind::of::<BreakwaterSettings>("breakwater", "credits (Breakwater, Cho et al. 2020)", BreakwaterSettings::KNOBS),
    Kind::of::<RajomonSettings>("rajomon", "prices (Rajomon, Xing et al. 2025)", RajomonSettings::KNOBS),
    Kind::of::<CinnamonSettings>("cinnamon", "PID with cohorts (Cinnamon, Uber 2023)", CinnamonSettings::KNOBS),
    Kind::of::<Gradient2Settings>("gradient2", "Gradient2 (Netflix concurrency-limits)", Gradient2Settings::KNOBS),
    Kind::of::<ThrottleSettings>("throttle", "client throttling (SRE book)", ThrottleSettings::KNOBS),
];

/// Why a table makes no controller.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// It does not say which.
    #[error("`kind` is missing; it is one of {}", names(.known))]
    NoKind {
        /// What there is.
        known: &'static [Kind],
    },
    /// There is none of this name.
    #[error("there is no controller `{kind}`; `kind` is one of {}", names(.known))]
    Unknown {
        /// The name.
        kind: String,
        /// What there is.
        known: &'static [Kind],
    },
    /// Its settings are wrong.
    #[error("the settings of `{kind}` are wrong")]
    Settings {
        /// The name.
        kind: &'static str,
        /// What is wrong.
        source: toml::de::Error,
    },
}

fn names(kinds: &[Kind]) -> String {
    let names: Vec<_> = kinds.iter().map(|kind| format!("`{}`", kind.name)).collect();
    names.join(", ")
}

/// The kind of this name among `kinds`.
pub fn kind(kinds: &'static [Kind], name: &str) -> Option<&'static Kind> {
    kinds.iter().find(|kind| kind.name == name)
}

/// Makes a controller of `kinds` from a table such as `{ kind = "codel", target = "5ms" }`.
///
/// # Errors
///
/// A missing or unknown kind, unknown keys, and values that make no sense.
pub fn arrangement(kinds: &'static [Kind], mut table: toml::Table) -> Result<Box<dyn Arrangement>, ControllerError> {
    let name = match table.remove("kind") {
        Some(toml::Value::String(name)) => name,
        Some(other) => other.to_string(),
        None => return Err(ControllerError::NoKind { known: kinds }),
    };
    let kind = kind(kinds, &name).ok_or(ControllerError::Unknown { kind: name, known: kinds })?;
    kind.with(table)
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn made(text: &str) -> Result<Box<dyn Arrangement>, ControllerError> {
        arrangement(RIVALS, text.parse().unwrap())
    }

    #[test]
    fn a_table_makes_a_rival_with_the_rest_as_its_authors_have_it() {
        let rival = made("kind = 'codel'\ntarget = '7ms'").unwrap();
        let written = format!("{rival:?}");
        assert!(written.contains("target: 7ms") && written.contains("interval: 100ms"), "{written}");
    }

    #[test]
    fn unknown_kinds_and_keys_and_senseless_values_are_errors_that_say_so() {
        assert!(made("target = '7ms'").unwrap_err().to_string().starts_with("`kind` is missing; it is one of `none`"));
        let unknown = made("kind = 'code1'").unwrap_err().to_string();
        assert!(unknown.starts_with("there is no controller `code1`"), "{unknown}");
        for (settings, expected) in [
            ("kind = 'codel'\ntraget = '7ms'", "unknown field `traget`"),
            ("kind = 'codel'\ntarget = '0ms'", "must be longer than zero"),
            ("kind = 'codel'\ntarget = 7", "invalid type"),
            ("kind = 'random'\nalpha = 2.0", "must be from 0 to 1"),
            ("kind = 'seda'\ndecrease = 0.5", "must be at least 1"),
            ("kind = 'gradient2'\nmin = 0", "must be at least 1"),
        ] {
            let error = made(settings).unwrap_err();
            let source = error.source().unwrap().to_string();
            assert!(source.contains(expected), "{settings}: {source}");
        }
    }

    #[test]
    fn every_name_is_used_once() {
        for rival in RIVALS {
            assert_eq!(RIVALS.iter().filter(|other| other.name == rival.name).count(), 1, "{}", rival.name);
        }
    }

    #[test]
    fn every_knob_turns_an_existing_setting_whose_default_lies_in_its_range() {
        for rival in RIVALS {
            let defaults = rival.defaults();
            for knob in rival.knobs {
                let default = &defaults[knob.name];
                let place = knob.place(default).unwrap_or_else(|| panic!("{} {}", rival.name, knob.name));
                let same = knob.place(&knob.at(place)).unwrap();
                assert!((place - same).abs() < 0.05, "{} {}", rival.name, knob.name);
                for end in [0.0, 1.0] {
                    let settings = toml::Table::from_iter([(knob.name.to_owned(), knob.at(end))]);
                    rival.with(settings).unwrap();
                }
            }
        }
    }

    #[test]
    fn defaults_come_back_from_their_table() {
        for rival in RIVALS {
            let again = rival.with(rival.defaults()).unwrap();
            let direct = rival.with(toml::Table::new()).unwrap();
            assert_eq!(format!("{again:?}"), format!("{direct:?}"));
        }
    }

    #[test]
    fn the_documentation_has_a_section_for_every_rival() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rivals.md");
        let document = std::fs::read_to_string(path).unwrap();
        for rival in RIVALS {
            assert!(document.contains(&format!("`{}`", rival.name)), "{}", rival.name);
        }
    }
}
