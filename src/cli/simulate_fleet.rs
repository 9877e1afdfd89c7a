//! `dagor simulate-fleet`: a scenario of a fleet in, a table, JSON and a page of plots out.

use std::path::PathBuf;

use super::{
    Error,
    page::{Writing, quoted},
    policy,
    report::{print, progress},
};
use crate::{
    clock::Clock,
    sim::{
        fleet::{self, Scenario, table},
        html,
    },
};

/// Lose a part of a large fleet on a virtual clock, with the managers' own decisions.
///
/// A scenario file says how many gateways and clients there are and what happens to them (docs/simulate-fleet.md). Clients are
/// counts, so that a hundred million of them fit. The same file and seed give the same figures on every machine, but for
/// how long decisions took.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  dagor simulate-fleet tests/scenarios/fleet/small-loss.toml          20 gateways, 200,000 clients, a tenth is lost
  dagor simulate-fleet tests/scenarios/fleet/loss.toml                1,000 gateways, 100,000,000 clients
  dagor simulate-fleet loss.toml --seed 7 --json > report.json        another seed, everything as JSON
  dagor simulate-fleet loss.toml --html report.html                   a table and plots in one file for a browser")]
pub struct Args {
    /// The scenario file.
    #[arg(value_name = "SCENARIO")]
    scenario: PathBuf,
    /// What chance follows from.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Write the whole report as one JSON object to standard output.
    #[arg(long)]
    json: bool,
    /// Write the report with plots to this file, as one HTML page that needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Runs the scenario and prints what came of it.
///
/// # Errors
///
/// If the file has a fault, or the report cannot be written.
pub fn run(args: &Args) -> Result<(), Error> {
    let file = args.scenario.display().to_string();
    let scenario = match Scenario::load(&args.scenario) {
        Ok(scenario) => scenario,
        Err(faults) => {
            policy::show(&faults)?;
            return Err(Error::usage(format_args!("faulty: {file}")).hint("docs/simulate-fleet.md explains every key"));
        }
    };
    let page = args.html.as_deref().map(Writing::begin).transpose()?;
    let bar = progress(STEPS, "{bar:30} {percent:>3} %, {eta} left");
    let report =
        fleet::run(&scenario, args.seed, &Clock::system(), |done| bar.set_position((done * STEPS as f64) as u64));
    bar.finish_and_clear();
    print(&table::render(&report), &report, args.json)?;
    if let Some(page) = page {
        let command = format!("dagor simulate-fleet {} --seed {}", quoted(&file), args.seed);
        page.finish(&html::fleet(&report, &command))?;
    }
    Ok(())
}

const STEPS: u64 = 1000;
