//! What a run is told: validated while it is parsed, so that a run never starts with a mix that cannot be drawn from.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use serde::Serialize;

use crate::id::BusinessCode;

/// What a run does.
#[derive(Clone, Debug, Serialize)]
pub struct LoadConfig {
    /// The gateway: `host:port`.
    pub address: String,
    /// Connections that stay logged in for the whole run.
    pub connections: usize,
    /// How frames travel.
    pub transport: Transport,
    /// How much is offered.
    pub pace: Pace,
    /// What is offered.
    pub mix: Mix,
    /// How long the counted part of the run takes.
    #[serde(rename = "duration_s", serialize_with = "as_seconds")]
    pub duration: Duration,
    /// How long traffic flows before it counts.
    #[serde(rename = "warmup_s", serialize_with = "as_seconds")]
    pub warmup: Duration,
    /// Bytes of each request's payload.
    pub payload_bytes: usize,
    /// How long the answer to a request is of use, from the intended time of sending.
    #[serde(rename = "timeout_s", serialize_with = "as_seconds")]
    pub timeout: Duration,
    /// How the gaps between requests are drawn.
    pub arrivals: Arrivals,
    /// The schedule is a function of this, the pace and the number of threads.
    pub seed: u64,
    /// Threads that send and receive.
    pub threads: usize,
    /// Connections are spread over this many users, `load-0`, `load-1`, …
    pub users: usize,
    /// Where the trace of the traffic goes, if one is wanted; see [`crate::trace`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<PathBuf>,
}

fn as_seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// How frames travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Plain TCP.
    Tcp,
    /// WebSocket.
    Ws,
}

impl Transport {
    /// What it is called in texts.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Ws => "WebSocket",
        }
    }
}

/// How the gaps between requests are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// Exponential gaps, as from many independent users.
    Poisson,
    /// Equal gaps.
    Even,
}

/// How much is offered.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// Requests per second, logins included.
    Rate(f64),
    /// A multiple of the saturation, which is measured first.
    Overload(f64),
}

/// The multiple of `--overload`: `2x`, `1.5x` or `2`.
///
/// # Errors
///
/// If it is not a number above 0.
pub fn parse_multiple(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix(['x', 'X']).unwrap_or(text);
    parse_positive(number).map_err(|_| "expected a multiple above 0, such as 2x or 1.5x".to_owned())
}

/// A finite number above 0.
///
/// # Errors
///
/// If it is not one.
pub fn parse_positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("expected a number above 0".to_owned()),
    }
}

/// What is offered: names of businesses with their weights, the most important first.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Mix(Vec<Share>);

/// A business's part of the traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    /// The business's name in the gateway's policy.
    pub business: String,
    /// Its weight against the others.
    pub weight: u32,
}

/// The name of the business of logins in every policy.
pub const LOGIN: &str = "login";

impl Mix {
    /// All businesses, in the order in which they were given; never empty.
    pub fn shares(&self) -> &[Share] {
        &self.0
    }

    /// The position of the first business that is not `login`: the one that the saturation is measured with.
    pub fn probe(&self) -> Option<usize> {
        self.0.iter().position(|share| share.business != LOGIN)
    }

    /// The codes of the businesses by what a gateway says about them, in the order of the mix.
    ///
    /// # Errors
    ///
    /// The first name that the gateway does not know.
    pub fn resolve(&self, code_of: impl Fn(&str) -> Option<BusinessCode>) -> Result<Vec<BusinessCode>, String> {
        let code = |share: &Share| match share.business.as_str() {
            LOGIN => Ok(BusinessCode::LOGIN),
            name => code_of(name).ok_or_else(|| name.to_owned()),
        };
        self.0.iter().map(code).collect()
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut shares: Vec<Share> = Vec::new();
        for part in text.split(',') {
            let share = parse_share(part.trim())?;
            if shares.iter().any(|other| other.business == share.business) {
                return Err(format!("{} stands there twice", share.business));
            }
            shares.push(share);
        }
        Ok(Self(shares))
    }
}

fn parse_share(text: &str) -> Result<Share, String> {
    let wrong = || format!("{text:?} is not of the form business=weight with a whole weight above 0");
    let (business, weight) = text.split_once('=').ok_or_else(wrong)?;
    let weight = weight.parse().ok().filter(|&weight| weight > 0).ok_or_else(wrong)?;
    if business.is_empty() {
        return Err(wrong());
    }
    Ok(Share { business: business.to_owned(), weight })
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, share) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(f, "{comma}{}={}", share.business, share.weight)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_reads_as_it_is_written() {
        let text = "login=1,payment=9,message=40";
        let mix: Mix = text.parse().unwrap();
        assert_eq!(mix.to_string(), text);
        assert_eq!(mix.probe(), Some(1));
    }

    #[test]
    fn a_mix_that_cannot_be_drawn_from_is_refused() {
        for text in ["", "payment", "payment=0", "=1", "payment=x", "a=1,a=2", "a=1,,b=2", "a=-1"] {
            assert!(text.parse::<Mix>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn resolving_names_the_business_that_is_not_known() {
        let mix: Mix = "login=1,payment=1,typo=1".parse().unwrap();
        let known = |name: &str| (name == "payment").then_some(BusinessCode(10));
        assert_eq!(mix.resolve(known), Err("typo".to_owned()));
        let codes = mix.resolve(|_| Some(BusinessCode(10))).unwrap();
        assert_eq!(codes, [BusinessCode::LOGIN, BusinessCode(10), BusinessCode(10)]);
    }

    #[test]
    fn a_multiple_may_carry_an_x() {
        assert_eq!(parse_multiple("2x"), Ok(2.0));
        assert_eq!(parse_multiple("1.5"), Ok(1.5));
        for text in ["0", "x", "-1x", "NaN", "inf", ""] {
            assert!(parse_multiple(text).is_err(), "{text:?}");
        }
    }
}
