//! `dagor simulate`: scenario files in, tables, JSON and a page of plots out.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Error, at_least_one, policy};
use crate::sim::{
    compare::{Job, compare},
    controllers::{self, Contender},
    html::{self, Origin},
    report::Report,
    scenario::Scenario,
    table,
};

/// Compare overload controllers on a virtual clock, with the gateway's own admission code among them.
///
/// A scenario file says what is simulated, what is compared and what is expected (docs/simulator.md). The same file and
/// seeds give the same figures on every machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dagor simulate tests/scenarios/03-step.toml               one scenario, a table
  dagor simulate tests/scenarios --quick                    every scenario of a directory, one seed each
  dagor simulate step.toml --controllers dagor-v3,none      only these, whatever the file says
  dagor simulate step.toml --seeds 3 --json > report.json   three seeds, everything as JSON
  dagor simulate tests/scenarios --html report.html         tables and plots in one file for a browser
  dagor simulate tests/scenarios --check                    exit code 1 if an expectation is missed")]
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
    /// Fail if an expectation of a file is missed.
    #[arg(long)]
    check: bool,
    /// Write the whole report as one JSON object to standard output.
    #[arg(long)]
    json: bool,
    /// Write the whole report with plots to this file, as one HTML page that needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Runs the scenarios and prints what was found.
///
/// # Errors
///
/// If a file has a fault, or an expectation is missed and `--check` was given.
pub fn run(args: Args) -> Result<(), Error> {
    let jobs = args.jobs()?;
    let page = args.html.as_deref().map(|file| Page::begin(file, &args, &jobs)).transpose()?;
    let bar = progress(&jobs);
    let report = compare(&jobs, &|| bar.inc(1));
    bar.finish_and_clear();
    print(&report, args.json).map_err(|error| Error::failed(format_args!("cannot write the report: {error}")))?;
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
            labelled.or_else(|| controllers::named(name)).ok_or_else(|| {
                let known = controllers::names().collect::<Vec<_>>().join(", ");
                Error::usage(format_args!("--controllers: there is no `{name}`")).hint(format_args!("known: {known}"))
            })
        };
        self.controllers.iter().map(contender).collect()
    }
}

/// The HTML report while the runs take place: what cannot be written is known before, not after them.
struct Page {
    name: String,
    file: File,
    command: String,
    texts: Vec<String>,
}

impl Page {
    fn begin(path: &Path, args: &Args, jobs: &[Job]) -> Result<Self, Error> {
        let name = path.display().to_string();
        // An older report stays until there is a new one.
        let opened = File::options().write(true).create(true).truncate(false).open(path);
        let file = opened.map_err(|error| Error::usage(format_args!("--html {name}: {error}")))?;
        let text = |job: &Job| {
            fs::read_to_string(&job.file).map_err(|error| Error::usage(format_args!("{}: {error}", job.file)))
        };
        Ok(Self { name, file, command: args.command(), texts: jobs.iter().map(text).collect::<Result<_, _>>()? })
    }

    fn finish(mut self, report: &Report) -> Result<(), Error> {
        let page = html::render(report, &Origin { command: &self.command, texts: &self.texts });
        let written = self.file.set_len(0).and_then(|()| self.file.write_all(page.as_bytes()));
        written.map_err(|error| Error::failed(format_args!("cannot write {}: {error}", self.name)))
    }
}

fn is_toml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "toml")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |character: char| character.is_alphanumeric() || "/._-,+=:@".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// How far it is, on standard error, if that is a terminal.
fn progress(jobs: &[Job]) -> ProgressBar {
    const REDRAWN_EVERY: Duration = Duration::from_millis(200);
    let style = ProgressStyle::with_template("{bar:30} {pos:>5}/{len} runs, {eta} left").expect("a constant template");
    let bar = ProgressBar::new(jobs.iter().map(Job::runs).sum::<usize>() as u64).with_style(style);
    bar.enable_steady_tick(REDRAWN_EVERY);
    bar
}

fn print(report: &Report, json: bool) -> io::Result<()> {
    writeln!(anstream::stderr().lock(), "{}", table::render(report))?;
    if json {
        let mut stdout = io::stdout().lock();
        serde_json::to_writer(&mut stdout, report)?;
        writeln!(stdout)?;
    }
    Ok(())
}
