//! One file per subcommand: its `Args` and its `run`. Machine output goes to standard output, and only with `--json`;
//! everything else goes to standard error. Exit code 0 is success, 1 failed, 2 usage or bad configuration.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod ask;
pub mod client;
pub mod echo;
pub mod error;
pub mod gateway;
mod gateway_file;
mod listen;
pub mod load;
mod logging;
pub mod manager;
pub mod operate;
mod page;
pub mod policy;
mod report;
pub mod route;
pub mod serve;
pub mod simulate;
pub mod simulate_fleet;
mod stop;

pub use error::Error;

/// A gateway that holds the connections of an app's clients and, when there is more load than capacity, refuses the
/// least important requests first.
#[derive(Debug, Parser)]
#[command(
    name = "dagor",
    version,
    arg_required_else_help = true,
    after_help = "Examples:
  dagor serve                               a gateway and a demo service, nothing to configure
  dagor load --overload 2x                  measure what it can do, then offer twice that
  dagor policy check policies/chat.toml     find the faults of a policy, run its tests
  dagor simulate tests/scenarios --quick    compare overload controllers on a virtual clock
  dagor manager --config manager.toml       several gateways: who takes clients, where the fleet cuts

Every command has its own help with examples: dagor help <COMMAND>.
Exit codes: 0 success, 1 failed, 2 usage or bad configuration."
)]
struct Cli {
    /// What to log to standard error: a level, or levels per module as in `info,dagor::gateway=debug`.
    #[arg(long, global = true, env = "RUST_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Gateway(gateway::Args),
    Manager(manager::Args),
    #[command(after_help = "Examples:
  dagor client --user ann                                    type `message hello`, watch what becomes of it
  dagor client --user ann --outbox ann.outbox                what is not answered is sent the next time
  dagor client --user ann --send \"message:hello\"            one request, its reply on standard output
  dagor client --user ann --send \"message:push:to myself\"   the demo service pushes what follows `push:`")]
    Client(client::ClientArgs),
    Echo(echo::Args),
    Load(load::Args),
    Policy(policy::Args),
    Route(route::Args),
    Simulate(simulate::Args),
    SimulateFleet(simulate_fleet::Args),
    Cap(operate::CapArgs),
    Drain(operate::DrainArgs),
    Kick(operate::KickArgs),
}

impl Command {
    fn run(self) -> Result<(), Error> {
        match self {
            Self::Serve(args) => serve::run(args),
            Self::Gateway(args) => gateway::run(args),
            Self::Manager(args) => manager::run(args),
            Self::Client(args) => run_client(args),
            Self::Echo(args) => echo::run(args),
            Self::Load(args) => load::run(args),
            Self::Policy(args) => policy::run(args),
            Self::Route(args) => route::run(args),
            Self::Simulate(args) => simulate::run(args),
            Self::SimulateFleet(args) => simulate_fleet::run(&args),
            Self::Cap(args) => operate::cap(&args),
            Self::Drain(args) => operate::drain(&args),
            Self::Kick(args) => operate::kick(&args),
        }
    }
}

/// Parses the process's arguments, runs the command and reports a failure on standard error.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => return error::print_usage(&usage),
    };
    match logging::init(&cli.log).and_then(|()| cli.command.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.print(),
    }
}

fn run_client(args: client::ClientArgs) -> Result<(), Error> {
    use client::ClientCommandError as E;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::failed)?;
    runtime.block_on(client::run(args)).map_err(|error| {
        let failed = Error::from_chain(&error);
        match error {
            E::Connect { .. } => failed.hint("start a gateway with `dagor serve`, or give its address with --addr"),
            E::UnknownBusiness { .. } | E::Request(_) | E::Config(_) | E::Outbox(_) | E::Stopped(_) | E::Io(_) => {
                failed
            }
        }
    })
}

/// A flag's whole number above 0.
fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| "expected a whole number above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_has_no_contradictions() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Examples:"), "{}", command.get_name());
        }
    }
}
