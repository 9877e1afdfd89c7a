//! Other ways to control overload, one file each, with the settings of their authors as defaults and every setting open to
//! a search. What each models and leaves out is in `docs/rivals.md`.
//!
//! [`RIVALS`] is the one list, and each [`Kind`] in it makes its controller from a table of a scenario file.

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

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use toml::{
    Spanned,
    de::{DeTable, Deserializer, Error},
};

pub use breakwater::BreakwaterSettings;
pub(in crate::sim) use chance::Chance;
pub use cinnamon::CinnamonSettings;
pub use codel::CodelSettings;
pub use codel_timeout::CodelTimeoutSettings;
pub use dagor_response::DagorResponseSettings;
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

/// An arrangement, or what is wrong with its settings.
type Made = Result<Arc<dyn Arrangement>, Error>;

/// A kind of rival: its name in scenario files, and how to make one.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The `kind` in a table of settings.
    pub name: &'static str,
    /// What it is and where it is from, in a line.
    pub about: &'static str,
    /// What a search may vary.
    pub knobs: &'static [Knob],
    make: fn(toml::Table) -> Made,
    read: fn(Spanned<DeTable<'_>>) -> Made,
    defaults: fn() -> toml::Table,
}

impl Kind {
    /// A kind whose settings are of type `S`.
    pub const fn of<S>(name: &'static str, about: &'static str, knobs: &'static [Knob]) -> Self
    where
        S: Arrangement + Default + DeserializeOwned + Serialize + 'static,
    {
        Self { name, about, knobs, make: make::<S>, read: read::<S>, defaults: defaults::<S> }
    }

    /// One with these settings; what the table does not say is as its authors have it.
    ///
    /// # Errors
    ///
    /// Unknown keys, and values that make no sense.
    pub fn with(&self, settings: toml::Table) -> Result<Arc<dyn Arrangement>, Error> {
        (self.make)(settings)
    }

    /// The same of a part of a file; the error says where in the file.
    ///
    /// # Errors
    ///
    /// As [`Kind::with`].
    pub fn read(&self, settings: Spanned<DeTable<'_>>) -> Result<Arc<dyn Arrangement>, Error> {
        (self.read)(settings)
    }

    /// Its authors' settings.
    pub fn defaults(&self) -> toml::Table {
        (self.defaults)()
    }
}

fn make<S>(settings: toml::Table) -> Made
where
    S: Arrangement + DeserializeOwned + 'static,
{
    settings.try_into::<S>().map(|settings| Arc::new(settings) as Arc<dyn Arrangement>)
}

fn read<S>(settings: Spanned<DeTable<'_>>) -> Made
where
    S: Arrangement + DeserializeOwned + 'static,
{
    S::deserialize(Deserializer::from(settings)).map(|settings| Arc::new(settings) as Arc<dyn Arrangement>)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str, settings: &str) -> Made {
        let kind = RIVALS.iter().find(|rival| rival.name == name).unwrap();
        kind.with(settings.parse().unwrap())
    }

    #[test]
    fn a_table_makes_a_rival_with_the_rest_as_its_authors_have_it() {
        let written = format!("{:?}", made("codel", "target = '7ms'").unwrap());
        assert!(written.contains("target: 7ms") && written.contains("interval: 100ms"), "{written}");
    }

    #[test]
    fn unknown_keys_and_senseless_values_are_errors_that_say_so() {
        for (name, settings, expected) in [
            ("codel", "traget = '7ms'", "unknown field `traget`"),
            ("codel", "target = '0ms'", "must be longer than zero"),
            ("codel", "target = 7", "invalid type"),
            ("random", "alpha = 2.0", "must be from 0 to 1"),
            ("seda", "decrease = 0.5", "must be at least 1"),
            ("gradient2", "min = 0", "must be at least 1"),
        ] {
            let error = made(name, settings).unwrap_err().to_string();
            assert!(error.contains(expected), "{settings}: {error}");
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
