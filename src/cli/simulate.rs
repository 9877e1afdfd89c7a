//! `dagor simulate`: scenario files in, tables, JSON and a page of plots out.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Error, at_least_one,
    page::{Page, quoted},
    policy,
    report::{print, progress},
};
use crate::sim::{
    compare::{Job, compare},
    controllers::{self, Contender},
    scenario::Scenario,
    search::Plan,
    table, tune,
};

/// Compare overload controllers on a virtual clock, with the gateway's own admission code among them.
///
/// A scenario file says what is simulated, what is compared and what is expected (docs/simulator.md). The same file and
/// seeds give the same figures on every machine.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  dagor simulate tests/scenarios/03-step.toml               one scenario, a table
  dagor simulate tests/scenarios --quick                    every scenario of a directory, one seed each
  dagor simulate step.toml --controllers dagor-v3,none      only these, whatever the file says
  dagor simulate step.toml --seeds 3 --json > report.json   three seeds, everything as JSON
  dagor simulate tests/scenarios --html report.html         tables and plots in one file for a browser
  dagor simulate tests/scenarios --check                    exit code 1 if an expectation is missed
  dagor simulate tests/scenarios --search 40                the best settings of every controller, 40 tries for each
  dagor simulate step.toml --search 40 --controllers codel  of this one alone")]
pub struct Args {
    /// Scenario files, or directories with scenarios in their *.toml files.
    #[arg(required = true, value_name = "SCENARIO")]
    scenarios: Vec<PathBuf>,
    /// The first seed.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// How many seeds, instead of what the files say.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    seeds: Option<usize>,
    /// Compare only these: labels of the file, or names of controllers, which then have their authors' settings.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    controllers: Vec<String>,
    /// One seed each, for a first look.
    #[arg(long, conflicts_with = "seeds")]
    quick: bool,
    /// Search the settings with the best goodput over all given scenarios: this many tries for each controller, all known
    /// ones or those of --controllers. The same for every controller, the authors' settings first.
    #[arg(long, value_name = "TRIES", value_parser = at_least_one, conflicts_with = "check")]
    search: Option<usize>,
    /// Fail if an expectation of a file is missed.
    #[arg(long)]
    check: bool,
    /// Write the whole report as one JSON object to standard output.
    #[arg(long)]
    json: bool,
    /// Write the whole report with plots to this file, as one HTML page that needs nothing else.
    #[arg(long, value_name = "FILE", conflicts_with = "search")]
    html: Option<PathBuf>,
}

/// What the bar says; a search takes hours.
const RUNS: &str = "{bar:30} {pos:>5}/{len} runs, {eta} left";

/// Runs the scenarios and prints what was found.
///
/// # Errors
///
/// If a file has a fault, or an expectation is missed and `--check` was given.
pub fn run(args: Args) -> Result<(), Error> {
    if let Some(tries) = args.search {
        return search(&args, Plan { tries, seed: args.seed });
    }
    let jobs = args.jobs()?;
    let page = args.html.as_deref().map(|file| Page::begin(file, args.command(), &jobs)).transpose()?;
    let bar = progress(jobs.iter().map(Job::runs).sum::<usize>() as u64, RUNS);
    let report = compare(&jobs, &|| bar.inc(1));
    bar.finish_and_clear();
    print(&table::render(&report), &report, args.json)?;
    if let Some(page) = page {
        page.finish(&report)?;
    }
    let missed = report.scenarios.iter().flat_map(|scenario| &scenario.verdicts).filter(|verdict| !verdict.met).count();
    if args.check && missed > 0 {
        let plural = if missed == 1 { "" } else { "s" };
        return Err(Error::failed(format_args!("{missed} expectation{plural} missed")));
    }
    Ok(())
}

/// Searches each controller's best settings and prints them.
fn search(args: &Args, plan: Plan) -> Result<(), Error> {
    let names = args.searched()?;
    let jobs = Args { controllers: Vec::new(), ..args.clone() }.jobs()?;
    let bar = progress(names.iter().map(|name| tune::runs(name, &jobs, plan)).sum::<usize>() as u64, RUNS);
    let mut tuned = Vec::new();
    for name in names {
        let found = tune::tune(name, &jobs, plan, &|| bar.inc(1));
        tuned.push(found.map_err(|faults| Error::failed(format_args!("{name} cannot be searched: {faults}")))?);
    }
    bar.finish_and_clear();
    print(&table::render_tuned(&tuned), &tuned, args.json)
}

impl Args {
    /// A command that finds the same.
    fn command(&self) -> String {
        let mut words = vec!["dagor simulate".to_owned()];
        words.extend(self.scenarios.iter().map(|path| quoted(&path.display().to_string())));
        words.push(format!("--seed {}", self.seed));
        words.extend(self.seeds.map(|seeds| format!("--seeds {seeds}")));
        words.extend(self.quick.then(|| "--quick".to_owned()));
        let controllers = self.controllers.join(",");
        words.extend((!controllers.is_empty()).then(|| format!("--controllers {}", quoted(&controllers))));
        words.join(" ")
    }

    /// The controllers to be searched: names, because labels stand for settings of a file.
    fn searched(&self) -> Result<Vec<&str>, Error> {
        if self.controllers.is_empty() {
            return Ok(controllers::names().collect());
        }
        let known = |name: &String| controllers::names().find(|known| known == name);
        self.controllers.iter().map(|name| known(name).ok_or_else(|| unknown(name))).collect()
    }

    fn jobs(&self) -> Result<Vec<Job>, Error> {
        let (mut jobs, mut faulty) = (Vec::new(), Vec::new());
        for file in self.files()? {
            match Scenario::load(&file) {
                Ok(scenario) => jobs.push(self.job(&file, scenario)?),
                Err(faults) => {
                    faulty.push(file.display().to_string());
                    policy::show(&faults)?;
                }
            }
        }
        if faulty.is_empty() {
            return Ok(jobs);
        }
        Err(Error::usage(format_args!("faulty: {}", faulty.join(", "))).hint("docs/simulator.md explains every key"))
    }

    /// Directories become the scenarios in them, in the order of their names.
    fn files(&self) -> Result<Vec<PathBuf>, Error> {
        let mut files = Vec::new();
        for path in &self.scenarios {
            if !path.is_dir() {
                files.push(path.clone());
                continue;
            }
            let unreadable = |error: io::Error| Error::usage(format_args!("{}: {error}", path.display()));
            let entries = fs::read_dir(path).map_err(unreadable)?.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
            let mut inside: Vec<_> = entries.iter().map(fs::DirEntry::path).filter(|path| is_toml(path)).collect();
            if inside.is_empty() {
                return Err(Error::usage(format_args!("{}: no file in it ends in `.toml`", path.display())));
            }
            inside.sort();
            files.extend(inside);
        }
        Ok(files)
    }

    fn job(&self, file: &Path, mut scenario: Scenario) -> Result<Job, Error> {
        if !self.controllers.is_empty() {
            scenario.contenders = self.contenders(&scenario)?;
        }
        let count = match (self.quick, self.seeds) {
            (true, _) => 1,
            (false, Some(count)) => count as u64,
            (false, None) => scenario.seeds,
        };
        let seeds = (0..count).map(|index| self.seed.wrapping_add(index)).collect();
        Ok(Job { file: file.display().to_string(), scenario, seeds })
    }

    fn contenders(&self, scenario: &Scenario) -> Result<Vec<Contender>, Error> {
        let contender = |name: &String| {
            let labelled = scenario.contenders.iter().find(|contender| contender.label == *name).cloned();
            labelled.or_else(|| controllers::named(name)).ok_or_else(|| unknown(name))
        };
        self.controllers.iter().map(contender).collect()
    }
}

fn unknown(name: &str) -> Error {
    let known = controllers::names().collect::<Vec<_>>().join(", ");
    Error::usage(format_args!("--controllers: there is no `{name}`")).hint(format_args!("known: {known}"))
}

fn is_toml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "toml")
}
