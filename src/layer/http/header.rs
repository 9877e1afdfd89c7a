//! The headers that services tell each other importance, time and cuts with. A header that is there twice, or is not what
//! its line below says, counts as absent.
//!
//! | header | on | value |
//! |---|---|---|
//! | `dagor-level` | requests | level and grain as one number, 0 to 4294967295; lower is more important |
//! | `dagor-timeout` | requests | milliseconds for which an answer is still of use |
//! | `dagor-user` | requests | for whom the task is run, UTF-8 |
//! | `dagor-signature` | requests | what makes level and user trustworthy, see [`sign`](super::sign) |
//! | `dagor-cut` | responses | the answerer's cut on the scale of `dagor-level`: what is not below it is refused |
//! | `dagor-refused` | responses | why it was refused (a name of [`Cause`](crate::admission::Cause)); certainly not run |

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};

/// Level and grain.
pub const LEVEL: HeaderName = HeaderName::from_static("dagor-level");
/// The time that is left.
pub const TIMEOUT: HeaderName = HeaderName::from_static("dagor-timeout");
/// For whom.
pub const USER: HeaderName = HeaderName::from_static("dagor-user");
/// Who vouches for level and user.
pub const SIGNATURE: HeaderName = HeaderName::from_static("dagor-signature");
/// The answerer's cut.
pub const CUT: HeaderName = HeaderName::from_static("dagor-cut");
/// Why it was refused.
pub const REFUSED: HeaderName = HeaderName::from_static("dagor-refused");

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// A user's name that is longer is not passed on; headers are bounded everywhere.
const LONGEST_USER_BYTES: usize = 256;
/// gRPC allows eight digits: 27 hours of milliseconds.
const LONGEST_GRPC_MILLIS: u128 = 99_999_999;

/// Which way of saying no the caller understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Http,
    /// With the content type, which the answer repeats.
    Grpc(HeaderValue),
}

impl Dialect {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        match headers.get(CONTENT_TYPE) {
            Some(kind) if kind.as_bytes().starts_with(b"application/grpc") => Self::Grpc(kind.clone()),
            _ => Self::Http,
        }
    }
}

/// The only header of this name, as text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    std::str::from_utf8(value.as_bytes()).ok()
}

/// The only header of this name, as a number in decimal digits.
pub(super) fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u32> {
    // A sign is no digit, though `parse` would take a plus.
    text(headers, name).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// The user's name, if a header can carry it.
pub(super) fn user_value(user: &str) -> Option<HeaderValue> {
    Some(user)
        .filter(|user| user.len() <= LONGEST_USER_BYTES)
        .and_then(|user| HeaderValue::from_bytes(user.as_bytes()).ok())
}

/// The user's name that was sent.
pub(super) fn user(headers: &HeaderMap) -> Option<&str> {
    text(headers, &USER).filter(|user| user.len() <= LONGEST_USER_BYTES)
}

/// The time that the caller still waits: the shorter of what `dagor-timeout` and `grpc-timeout` say.
pub(super) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let own = number(headers, &TIMEOUT).map(|millis| Duration::from_millis(millis.into()));
    let grpc = text(headers, &GRPC_TIMEOUT).and_then(grpc_duration);
    own.into_iter().chain(grpc).min()
}

/// `100m` and the like: up to eight digits and a unit.
fn grpc_duration(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let valid = digits.len() <= 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let amount: u64 = Some(digits).filter(|_| valid)?.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

/// Says how long the answer is of use; to a gRPC server in its own words as well, which it enforces.
pub(super) fn put_timeout(headers: &mut HeaderMap, dialect: &Dialect, remaining: Duration) {
    // Zero would say "too late" of a call that is sent all the same.
    let millis = remaining.as_millis().max(1);
    headers.insert(TIMEOUT, HeaderValue::from(u32::try_from(millis).unwrap_or(u32::MAX)));
    let shorter = text(headers, &GRPC_TIMEOUT).and_then(grpc_duration).is_some_and(|asked| asked <= remaining);
    if matches!(dialect, Dialect::Grpc(_)) && !shorter {
        let text = format!("{}m", millis.min(LONGEST_GRPC_MILLIS));
        headers.insert(GRPC_TIMEOUT, HeaderValue::try_from(text).expect("digits and a letter"));
    }
}

/// Takes away what the caller said of importance, user and signature, so that nothing behind hands it on.
pub(super) fn strip(headers: &mut HeaderMap) {
    for name in [LEVEL, TIMEOUT, USER, SIGNATURE] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap()))
            .collect()
    }

    #[test]
    fn a_number_is_digits_that_are_there_once() {
        assert_eq!(number(&headers(&[("dagor-level", "4294967295")]), &LEVEL), Some(u32::MAX));
        for bad in ["", "+1", "-1", "1 ", "0x1", "4294967296"] {
            assert_eq!(number(&headers(&[("dagor-level", bad)]), &LEVEL), None, "{bad}");
        }
        assert_eq!(number(&headers(&[("dagor-level", "1"), ("dagor-level", "1")]), &LEVEL), None);
    }

    #[test]
    fn the_shorter_of_two_timeouts_counts() {
        let at = |own, grpc| timeout(&headers(&[("dagor-timeout", own), ("grpc-timeout", grpc)]));
        assert_eq!(at("250", "1S"), Some(Duration::from_millis(250)));
        assert_eq!(at("2500", "1S"), Some(Duration::from_secs(1)));
        assert_eq!(at("soon", "99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for bad in ["", "m", "1", "1x", "-1m", "123456789m", "1µ"] {
            assert_eq!(at("soon", bad), None, "{bad}");
        }
    }

    #[test]
    fn a_grpc_server_is_told_in_its_own_words_unless_it_was_told_less() {
        let grpc = Dialect::Grpc(HeaderValue::from_static("application/grpc"));
        let told = |before: &'static str, dialect| {
            let mut headers = headers(&[("grpc-timeout", before)]);
            put_timeout(&mut headers, dialect, Duration::from_millis(300));
            assert_eq!(number(&headers, &TIMEOUT), Some(300));
            text(&headers, &GRPC_TIMEOUT).unwrap().to_owned()
        };
        assert_eq!(told("1S", &grpc), "300m");
        assert_eq!(told("200m", &grpc), "200m");
        assert_eq!(told("1S", &Dialect::Http), "1S");
    }

    #[test]
    fn a_user_that_a_header_cannot_carry_is_not_passed_on() {
        assert_eq!(user_value("jürgen").unwrap().as_bytes(), "jürgen".as_bytes());
        assert_eq!(user_value("a\nb"), None);
        assert_eq!(user_value(&"a".repeat(257)), None);
    }
}
