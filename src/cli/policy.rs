//! `dagor policy check`: faults and tests of policy files, without a gateway.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
};

use clap::Subcommand;

use super::Error;
use crate::policy::{Faults, check_file};

/// Work with policy files.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dagor policy check policies/chat.toml     find all faults, run the file's tests")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Find all faults of policies and run the tests that stand in them.
    #[command(after_help = "Examples:
  dagor policy check policies/chat.toml                one file
  dagor policy check policies/*.toml                   each file is a policy of its own
  dagor policy check /etc/dagor/policies               a directory is one policy in several files

Exit code 2 if any has a fault; faults name file, line, column and key.")]
    Check {
        /// Policy files, or directories whose *.toml files are one policy together.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// Runs the subcommand.
///
/// # Errors
///
/// If a policy has a fault.
pub fn run(args: Args) -> Result<(), Error> {
    match args.command {
        Command::Check { files } => check(&files),
    }
}

fn check(files: &[PathBuf]) -> Result<(), Error> {
    let mut faulty = Vec::new();
    for file in files {
        match check_file(file) {
            Ok(report) => writeln!(anstream::stderr(), "{report}").map_err(Error::failed)?,
            Err(faults) => {
                faulty.push(file.display().to_string());
                show(&faults)?;
            }
        }
    }
    if faulty.is_empty() {
        return Ok(());
    }
    Err(error(&faulty))
}

/// Faults in their files, for people, on standard error.
pub(super) fn show(faults: &Faults) -> Result<(), Error> {
    let text = faults.render(io::stderr().is_terminal());
    writeln!(anstream::stderr(), "{text}").map_err(Error::failed)
}

/// The failure of a command whose policies have faults that were shown.
pub(super) fn error(files: &[String]) -> Error {
    Error::usage(format_args!("faulty: {}", files.join(", "))).hint("every key is explained in policies/default.toml")
}
