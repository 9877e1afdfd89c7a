//! How settings are written in a scenario file, and which values they cannot have: a target of zero or a share above one
//! is an error where it is read, so that no rival divides by zero.

use std::time::Duration;

use serde::{Deserialize as _, Deserializer, de::Error as _};

/// Times such as `"5ms"`, longer than zero.
pub(super) mod time {
    use serde::Serializer;

    use super::*;

    pub(in crate::sim::rivals) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*time))
    }

    pub(in crate::sim::rivals) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = humantime::parse_duration(&text).map_err(D::Error::custom)?;
        if time.is_zero() { Err(D::Error::custom("must be longer than zero")) } else { Ok(time) }
    }
}

/// A number from 0 to 1.
pub(super) fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if (0.0..=1.0).contains(&number) { Ok(number) } else { Err(D::Error::custom("must be from 0 to 1")) }
}

/// A finite number above 0.
pub(super) fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if number.is_finite() && number > 0.0 { Ok(number) } else { Err(D::Error::custom("must be a number above 0")) }
}

/// A finite number of at least 1.
pub(super) fn factor<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if number.is_finite() && number >= 1.0 { Ok(number) } else { Err(D::Error::custom("must be at least 1")) }
}

/// A count of at least 1.
pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let count = u32::deserialize(deserializer)?;
    if count == 0 { Err(D::Error::custom("must be at least 1")) } else { Ok(count) }
}
