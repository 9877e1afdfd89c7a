//! What a run of minutes shows: how far it is, then a table for people and JSON for programs.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::Error;

/// How far it is, on standard error, if that is a terminal. The template is one of `indicatif`.
pub(super) fn progress(steps: u64, template: &'static str) -> ProgressBar {
    const REDRAWN_EVERY: Duration = Duration::from_millis(200);
    let style = ProgressStyle::with_template(template).expect("a constant template");
    let bar = ProgressBar::new(steps).with_style(style);
    bar.enable_steady_tick(REDRAWN_EVERY);
    bar
}

/// The table goes to standard error, so that the JSON can be piped.
pub(super) fn print(table: &str, report: &impl Serialize, json: bool) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        writeln!(anstream::stderr().lock(), "{table}")?;
        if json {
            let mut stdout = io::stdout().lock();
            serde_json::to_writer(&mut stdout, report)?;
            writeln!(stdout)?;
        }
        Ok(())
    };
    write().map_err(|error| Error::failed(format_args!("cannot write the report: {error}")))
}
