//! Numbers with units, as text: a bare number is never a time or a size.

use std::time::Duration;

use super::reader::Mistake;

const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// `500ms`, `1m 30s`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, Mistake> {
    humantime::parse_duration(text)
        .map_err(|error| Mistake::new(format!("`{text}` is no duration: {error}")).help("write `500ms`, `30s` or `1h`"))
}

/// The shortest way to write a duration.
pub(crate) fn format_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// `64KiB`; whole numbers only.
pub(crate) fn parse_size(text: &str) -> Result<u64, Mistake> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '_').len();
    let (number, unit) = (text[..digits].replace('_', ""), text[digits..].trim());
    let mistake = || Mistake::new(format!("`{text}` is no size"));
    let Ok(number) = number.parse::<u64>() else { return Err(mistake().help("write `4KiB`, `1MiB` or `512B`")) };
    match UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => number.checked_mul(*factor).ok_or_else(|| mistake().help("it is too large")),
        None => Err(mistake().help(format!("write `{number}{}`", unit_like(unit)))),
    }
}

/// The unit that was probably meant: `kb` → `KiB`.
fn unit_like(unit: &str) -> &'static str {
    let letter = |name: &str| name.bytes().next().map(|byte| byte.to_ascii_lowercase());
    UNITS.iter().map(|(name, _)| *name).find(|name| letter(name) == letter(unit)).unwrap_or("B")
}

/// The size in the largest unit that divides it.
pub(crate) fn format_size(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor));
    let (name, factor) = unit.unwrap_or(&("B", 1));
    format!("{}{name}", bytes / factor)
}

/// `5000/s`, `90/min`; the result is per second.
pub(crate) fn parse_rate(text: &str) -> Result<f64, Mistake> {
    let mistake = || Mistake::new(format!("`{text}` is no rate")).help("write `5000/s` or `90/min`");
    let (number, unit) = text.split_once('/').ok_or_else(mistake)?;
    let number: f64 = number.trim().replace('_', "").parse().map_err(|_| mistake())?;
    let seconds = match unit.trim() {
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(mistake()),
    };
    let rate = number / seconds;
    if rate.is_finite() && rate >= 0.0 { Ok(rate) } else { Err(mistake()) }
}

/// The rate per second, or per hour if it is low.
pub(crate) fn format_rate(per_second: f64) -> String {
    if per_second < 1.0 { format!("{}/h", per_second * 3600.0) } else { format!("{per_second}/s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_numbers_of_binary_units() {
        assert_eq!(parse_size("64KiB").unwrap(), 65_536);
        assert_eq!(parse_size("1_024 B").unwrap(), 1024);
        assert_eq!(format_size(65_536), "64KiB");
        assert_eq!(format_size((1 << 24) - 1), "16777215B");
        assert_eq!(format_size(0), "0B");
        for wrong in ["", "KiB", "1.5KiB", "-1B", "99999999999GiB"] {
            assert!(parse_size(wrong).is_err(), "{wrong:?} was taken for a size");
        }
    }

    #[test]
    fn a_decimal_or_missing_unit_is_answered_with_the_binary_one() {
        assert_eq!(parse_size("64kb").unwrap_err().suggestion.unwrap(), "write `64KiB`");
        assert_eq!(parse_size("64").unwrap_err().suggestion.unwrap(), "write `64B`");
    }

    #[test]
    fn rates_are_per_second_minute_or_hour() {
        assert_eq!(parse_rate("5_000/s").unwrap(), 5000.0);
        assert_eq!(parse_rate("90/min").unwrap(), 1.5);
        for wrong in ["5000", "5/day", "inf/s", "-1/s", "NaN/s"] {
            assert!(parse_rate(wrong).is_err(), "{wrong:?} was taken for a rate");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("1m 30s").unwrap(), Duration::from_secs(90));
        assert!(parse_duration("500").is_err());
        assert_eq!(format_duration(Duration::from_millis(500)), "500ms");
    }
}
