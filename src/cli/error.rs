//! What a command says when it fails: what happened, what to do about it, and the exit code.

use std::{fmt, io::Write as _, iter, process::ExitCode};

use anstyle::{AnsiColor, Style};

const FAILED: u8 = 1;
const USAGE: u8 = 2;

/// A command's failure, in words for the person who typed it.
#[derive(Debug)]
pub struct Error {
    message: String,
    hint: Option<String>,
    exit_code: u8,
}

impl Error {
    /// The command was right but could not do its work: exit code 1.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), hint: None, exit_code: FAILED }
    }

    /// Exit code 1, with what caused the error behind it.
    pub fn from_chain(error: &dyn std::error::Error) -> Self {
        let causes = iter::successors(Some(error), |error| error.source());
        Self::failed(causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
    }

    /// The command line or a configuration file is wrong: exit code 2.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), hint: None, exit_code: USAGE }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Writes `error: …` and the hint to standard error.
    pub fn print(&self) -> ExitCode {
        let error = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
        let hint = Style::new().bold().fg_color(Some(AnsiColor::Cyan.into()));
        let mut stderr = anstream::stderr().lock();
        // Nobody is left to tell when standard error itself is gone; the exit code still says it.
        // What is wrong with a file says so itself.
        let message = self.message.strip_prefix("error: ").unwrap_or(&self.message);
        let _ = writeln!(stderr, "{error}error:{error:#} {message}");
        if let Some(text) = &self.hint {
            let _ = writeln!(stderr, "{hint}hint:{hint:#} {text}");
        }
        ExitCode::from(self.exit_code)
    }
}

/// Prints what clap has to say: help to standard output with success, anything else to standard error with code 2.
pub(super) fn print_usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
}
