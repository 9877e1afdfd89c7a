//! What a search may vary of a controller: a range for each setting, and a place in it from 0 to 1. One search therefore
//! serves every controller, and what it finds can be pasted into a scenario file.

use std::time::Duration;

/// How a setting's range is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Equal steps add the same.
    Linear,
    /// Equal steps multiply by the same; for what spans decades.
    Log,
}

/// What a setting is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unit {
    /// A number.
    Number,
    /// A whole number.
    Whole,
    /// A time; the range is in seconds.
    Time,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Yes or no.
    Flag,
}

impl Unit {
    /// Whether its values have an order, so that near ones do nearly the same.
    pub const fn is_ordered(self) -> bool {
        match self {
            Self::Number | Self::Whole | Self::Time => true,
            Self::Word(_) | Self::Flag => false,
        }
    }
}

/// A setting with the range that a search may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knob {
    /// The key in the table of settings.
    pub name: &'static str,
    /// The smallest value.
    pub low: f64,
    /// The largest value.
    pub high: f64,
    /// How the range is walked.
    pub scale: Scale,
    /// What it is.
    pub unit: Unit,
}

impl Knob {
    /// A time between two numbers of milliseconds, walked logarithmically.
    pub const fn time(name: &'static str, low_ms: f64, high_ms: f64) -> Self {
        Self { name, low: low_ms / 1e3, high: high_ms / 1e3, scale: Scale::Log, unit: Unit::Time }
    }

    /// A number, walked linearly.
    pub const fn linear(name: &'static str, low: f64, high: f64) -> Self {
        Self { name, low, high, scale: Scale::Linear, unit: Unit::Number }
    }

    /// A number above zero, walked logarithmically.
    pub const fn log(name: &'static str, low: f64, high: f64) -> Self {
        Self { name, low, high, scale: Scale::Log, unit: Unit::Number }
    }

    /// A whole number above zero, walked logarithmically.
    pub const fn whole(name: &'static str, low: f64, high: f64) -> Self {
        Self { name, low, high, scale: Scale::Log, unit: Unit::Whole }
    }

    /// A choice among words.
    pub const fn word(name: &'static str, words: &'static [&'static str]) -> Self {
        Self { name, low: 0.0, high: words.len() as f64, scale: Scale::Linear, unit: Unit::Word(words) }
    }

    /// Yes or no.
    pub const fn flag(name: &'static str) -> Self {
        Self { name, low: 0.0, high: 2.0, scale: Scale::Linear, unit: Unit::Flag }
    }

    /// The setting at a place in the range, 0 being its low end and 1 its high end.
    pub fn at(&self, place: f64) -> toml::Value {
        let place = place.clamp(0.0, 1.0);
        let number = match self.scale {
            Scale::Linear => self.low + place * (self.high - self.low),
            Scale::Log => self.low * (self.high / self.low).powf(place),
        };
        match self.unit {
            Unit::Number => toml::Value::Float(short(number)),
            Unit::Whole => toml::Value::Integer(number.round() as i64),
            Unit::Time => toml::Value::String(format!("{}us", short(number * 1e6).round() as u64)),
            Unit::Word(words) => {
                let word = words.get(number as usize).or(words.last()).copied().unwrap_or_default();
                toml::Value::String(word.to_owned())
            }
            Unit::Flag => toml::Value::Boolean(number >= 1.0),
        }
    }

    /// Where a setting lies in the range; its nearest end if it lies outside, and nothing if it is no such setting.
    pub fn place(&self, value: &toml::Value) -> Option<f64> {
        let number = match self.unit {
            Unit::Number => value.as_float()?,
            Unit::Whole => value.as_integer()? as f64,
            Unit::Time => humantime::parse_duration(value.as_str()?).as_ref().map(Duration::as_secs_f64).ok()?,
            // The middle of the word's part of the range.
            Unit::Word(words) => words.iter().position(|word| value.as_str() == Some(word))? as f64 + 0.5,
            Unit::Flag => f64::from(u8::from(value.as_bool()?)) + 0.5,
        };
        let place = match self.scale {
            Scale::Linear => (number - self.low) / (self.high - self.low),
            Scale::Log => (number / self.low).ln() / (self.high / self.low).ln(),
        };
        Some(place.clamp(0.0, 1.0))
    }
}

/// Three digits that count: people read them, and no setting needs more.
fn short(number: f64) -> f64 {
    if number == 0.0 {
        return number;
    }
    // Divided by a whole power of ten, so that 0.0123 does not become 0.012300000000000002.
    let scale = 10_f64.powf(2.0 - number.abs().log10().floor());
    if scale >= 1.0 { (number * scale).round() / scale } else { (number * scale).round() * (1.0 / scale).round() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_from_its_place() {
        let knobs = [
            Knob::time("target", 1.0, 1000.0),
            Knob::linear("share", -1.0, 1.0),
            Knob::log("gain", 0.01, 10.0),
            Knob::whole("count", 1.0, 500.0),
            Knob::word("law", &["a", "b", "c"]),
            Knob::flag("on"),
        ];
        for knob in knobs {
            for place in [0.0, 0.2, 0.5, 0.9, 1.0] {
                let value = knob.at(place);
                let again = knob.place(&value).unwrap();
                assert_eq!(knob.at(again), value, "{} at {place}", knob.name);
            }
        }
    }

    #[test]
    fn a_logarithmic_range_has_its_geometric_mean_in_the_middle() {
        assert_eq!(Knob::time("target", 1.0, 100.0).at(0.5), toml::Value::String("10000us".into()));
        assert_eq!(Knob::whole("count", 1.0, 100.0).at(0.5), toml::Value::Integer(10));
    }

    #[test]
    fn three_digits_are_written() {
        for (number, expected) in [(0.012345, 0.0123), (123_456.0, 123_000.0), (-1.0 / 3.0, -0.333), (9.999, 10.0)] {
            assert_eq!(short(number), expected);
        }
        assert_eq!(short(0.0), 0.0);
    }

    #[test]
    fn what_lies_outside_moves_to_the_nearest_end() {
        let knob = Knob::time("target", 10.0, 100.0);
        assert_eq!(knob.place(&toml::Value::String("1h".into())), Some(1.0));
        assert_eq!(knob.place(&toml::Value::String("1us".into())), Some(0.0));
        assert_eq!(knob.place(&toml::Value::Integer(3)), None);
    }
}
