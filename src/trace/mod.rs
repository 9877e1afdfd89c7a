//! A trace tells what traffic there was, one line for each request: the load generator and the gateway write it, the
//! simulator replays it. Columns are only ever added, at the end of the line.
//!
//! ```text
//! at_us,business,user,outcome,latency_us,stands_for
//! 1523,payment,17,ok,14210,1
//! 1611,moments,4,refused:service_cut,310,1
//! ```
//!
//! Lines stand in the order in which requests ended. No value needs quoting: names of businesses have none of the
//! characters that would.

mod read;
mod sink;

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

pub use read::{Fault, Lines};
pub use sink::{Recorder, Sink, Summary};

/// The first line.
pub const HEADER: &str = "at_us,business,user,outcome,latency_us,stands_for";

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// When it was sent or arrived, from the start of the trace; to the microsecond.
    pub at: Duration,
    /// Its business's name.
    pub business: &'a str,
    /// A number for its user: the same one within a trace, and no name.
    pub user: u64,
    /// What became of it.
    pub outcome: Outcome<'a>,
    /// From [`Line::at`] to its end; to the microsecond.
    pub latency: Duration,
    /// How many requests it stands for, itself included: 1 where every request has a line, 100 in a sample of 1/100.
    pub stands_for: u32,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Answered in time.
    Ok,
    /// Answered after its timeout.
    Late,
    /// Not answered by a reply, for the reason with this name.
    Refused(&'a str),
    /// Dispatched, and no answer came.
    Unknown,
    /// No word at all.
    Lost,
    /// There was no connection to send it over.
    Unsent,
}

/// What stands before the reason of a refusal.
const REFUSED: &str = "refused:";

impl<'a> Outcome<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        match text {
            "ok" => Some(Self::Ok),
            "late" => Some(Self::Late),
            "unknown" => Some(Self::Unknown),
            "lost" => Some(Self::Lost),
            "unsent" => Some(Self::Unsent),
            _ => text.strip_prefix(REFUSED).map(Self::Refused),
        }
    }
}

impl fmt::Display for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("ok"),
            Self::Late => f.write_str("late"),
            Self::Refused(reason) => write!(f, "{REFUSED}{reason}"),
            Self::Unknown => f.write_str("unknown"),
            Self::Lost => f.write_str("lost"),
            Self::Unsent => f.write_str("unsent"),
        }
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, business, user, outcome, latency, stands_for } = self;
        write!(f, "{},{business},{user},{outcome},{},{stands_for}", at.as_micros(), latency.as_micros())
    }
}

impl<'a> Line<'a> {
    /// Reads a line, without its end. Columns that a later version has added are skipped.
    ///
    /// # Errors
    ///
    /// The name of the column that cannot be read.
    pub fn parse(text: &'a str) -> Result<Self, &'static str> {
        let mut columns = text.split(',');
        let mut next = |name| columns.next().ok_or(name);
        let micros = |text: &str| text.parse().ok().map(Duration::from_micros);
        Ok(Self {
            at: micros(next("at_us")?).ok_or("at_us")?,
            business: Some(next("business")?).filter(|name| !name.is_empty()).ok_or("business")?,
            user: next("user")?.parse().map_err(|_| "user")?,
            outcome: Outcome::parse(next("outcome")?).ok_or("outcome")?,
            latency: micros(next("latency_us")?).ok_or("latency_us")?,
            stands_for: next("stands_for")?.parse().ok().filter(|&count| count > 0).ok_or("stands_for")?,
        })
    }

    fn append_to(&self, text: &mut String) {
        writeln!(text, "{self}").expect("writing to a string does not fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Line<'_> = Line {
        at: Duration::from_micros(1523),
        business: "payment",
        user: 17,
        outcome: Outcome::Ok,
        latency: Duration::from_micros(14_210),
        stands_for: 1,
    };

    #[test]
    fn a_line_reads_as_it_was_written() {
        assert_eq!(LINE.to_string(), "1523,payment,17,ok,14210,1");
        for outcome in [
            Outcome::Ok,
            Outcome::Late,
            Outcome::Refused("service_cut"),
            Outcome::Unknown,
            Outcome::Lost,
            Outcome::Unsent,
        ] {
            let line = Line { outcome, user: u64::MAX, stands_for: 100, ..LINE };
            assert_eq!(Line::parse(&line.to_string()), Ok(line));
        }
    }

    #[test]
    fn columns_of_later_versions_are_skipped() {
        assert_eq!(Line::parse("1523,payment,17,ok,14210,1,chat,7"), Ok(LINE));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (text, column) in [
            ("", "at_us"),
            ("-1,payment,17,ok,14210,1", "at_us"),
            ("1,,17,ok,14210,1", "business"),
            ("1,payment,ann,ok,14210,1", "user"),
            ("1,payment,17,fine,14210,1", "outcome"),
            ("1,payment,17,ok,fast,1", "latency_us"),
            ("1,payment,17,ok,14210,0", "stands_for"),
            ("1,payment,17,ok,14210", "stands_for"),
        ] {
            assert_eq!(Line::parse(text), Err(column), "{text:?}");
        }
    }

    #[test]
    fn the_header_names_the_columns_in_the_order_of_a_line() {
        assert_eq!(HEADER.split(',').count(), LINE.to_string().split(',').count());
    }
}
