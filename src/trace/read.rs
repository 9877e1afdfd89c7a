//! Reads a trace line by line. Whatever the bytes are, no more than one line's limit is held, and every fault names its
//! line.

use std::io::{self, BufRead, Read as _};

use super::{HEADER, Line};

/// Names of businesses have at most 128 bytes, numbers 20 digits.
const MAX_LINE_BYTES: usize = 1024;

/// Why a trace cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The system's own.
    #[error("line {line}: {source}")]
    Io {
        /// Counted from 1.
        line: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The first line is another one.
    #[error("not a trace: its first line is not `{HEADER}`")]
    Header,
    /// Not a request.
    #[error("line {line}: no {column} that can be read")]
    Column {
        /// Counted from 1.
        line: u64,
        /// See [`HEADER`].
        column: &'static str,
    },
    /// Longer than any request.
    #[error("line {line} is longer than {MAX_LINE_BYTES} bytes")]
    TooLong {
        /// Counted from 1.
        line: u64,
    },
}

/// The lines of a trace.
#[derive(Debug)]
pub struct Lines<R> {
    source: R,
    buffer: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// Reads the first line, which says that it is a trace.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn new(source: R) -> Result<Self, Fault> {
        let mut lines = Self { source, buffer: Vec::new(), number: 0 };
        let header = match lines.read_line() {
            Err(Fault::TooLong { .. }) => return Err(Fault::Header),
            other => other?,
        };
        // A later version may have added columns.
        let rest = header.and_then(|line| line.strip_prefix(HEADER));
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(',')) { Ok(lines) } else { Err(Fault::Header) }
    }

    /// The next request; `None` at the end.
    ///
    /// # Errors
    ///
    /// If the line is none.
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, Fault> {
        let line = self.number + 1;
        let Some(text) = self.read_line()? else { return Ok(None) };
        Line::parse(text).map(Some).map_err(|column| Fault::Column { line, column })
    }

    fn read_line(&mut self) -> Result<Option<&str>, Fault> {
        self.number += 1;
        let line = self.number;
        self.buffer.clear();
        let limit = MAX_LINE_BYTES as u64 + 1;
        let read = self.source.by_ref().take(limit).read_until(b'\n', &mut self.buffer);
        if read.map_err(|source| Fault::Io { line, source })? == 0 {
            return Ok(None);
        }
        if self.buffer.len() > MAX_LINE_BYTES {
            return Err(Fault::TooLong { line });
        }
        let text = std::str::from_utf8(&self.buffer);
        let text = text.map_err(|_| Fault::Io { line, source: io::ErrorKind::InvalidData.into() })?;
        Ok(Some(text.trim_end_matches(['\n', '\r'])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<u64>, Fault> {
        let mut lines = Lines::new(text.as_bytes())?;
        let mut users = Vec::new();
        while let Some(line) = lines.next_line()? {
            users.push(line.user);
        }
        Ok(users)
    }

    #[test]
    fn lines_come_in_the_order_of_the_file() {
        assert!(read(HEADER).unwrap().is_empty());
        assert_eq!(read(&format!("{HEADER}\r\n1,a,9,ok,1,1\r\n0,a,7,lost,1,1")).unwrap(), [9, 7]);
        assert_eq!(read(&format!("{HEADER},service\n1,a,9,ok,1,1,main\n")).unwrap(), [9]);
    }

    #[test]
    fn a_fault_names_its_line() {
        for (text, fault) in [
            ("", "not a trace"),
            ("time,what\n", "not a trace"),
            (&format!("{HEADER}_more\n"), "not a trace"),
            (&"x".repeat(5000), "not a trace"),
            (&format!("{HEADER}\n1,a,9,ok,1,1\n1,a,ann,ok,1,1\n"), "line 3: no user"),
            (&format!("{HEADER}\n{}\n", "x".repeat(5000)), "line 2 is longer"),
        ] {
            let said = read(text).unwrap_err().to_string();
            assert!(said.starts_with(fault), "{said}");
        }
    }
}
