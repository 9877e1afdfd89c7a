//! `[traffic]`: how much is asked for over time, by chance or as a trace says.

use std::{path::Path, sync::Arc, time::Duration};

use super::{
    Arrivals, Business, Source, Users,
    read::{RatesText, checked, rates},
};
use crate::{
    policy::reader::{At, Notes, Table},
    sim::trace::{Error, Replay},
};

/// The section as it is written.
#[derive(Debug)]
pub(super) struct TrafficText {
    pub(super) rates: RatesText,
    pub(super) arrivals: Arrivals,
    pub(super) trace: Option<TraceText>,
}

/// A file whose requests arrive again.
#[derive(Debug)]
pub(super) struct TraceText {
    file: At<String>,
    /// Businesses whose requests do not.
    without: Vec<At<String>>,
}

impl TrafficText {
    pub(super) fn read(table: Option<Table<'_>>, notes: &Notes) -> Self {
        let nothing = RatesText { rate: None, changes: Vec::new() };
        let Some(mut table) = table else { return Self { rates: nothing, arrivals: Arrivals::Poisson, trace: None } };
        let rates = rates(&mut table);
        let (arrivals, file, without) = (table.text("arrivals"), table.text("trace"), table.texts("without"));
        if file.is_none() {
            table.require(&["rate"]);
        }
        table.finish();
        let known = [("poisson", Arrivals::Poisson), ("even", Arrivals::Even)];
        checked(notes, |check| {
            let change = rates.changes.first().map(|change| &change.at.place);
            let chance = [rates.rate.as_ref().map(|at| &at.place), change, arrivals.as_ref().map(|at| &at.place)];
            let by_chance = chance.iter().any(Option::is_some);
            check.contradiction(file.is_none() || !by_chance, &chance, || {
                "a trace says itself how much arrives when: leave this out, or `trace`".to_owned()
            });
            let left_out = without.as_ref().and_then(|names| names.first()).map(|name| &name.place);
            check.contradiction(file.is_some() || left_out.is_none(), &[left_out], || {
                "only a `trace` has businesses to leave out".to_owned()
            });
            let trace = file.map(|file| TraceText { file, without: without.unwrap_or_default() });
            Self { rates, arrivals: check.word(&arrivals, "kind of arrivals", &known, Arrivals::Poisson), trace }
        })
    }

    /// Whether businesses without a rate of their own have traffic.
    pub(super) const fn is_shared(&self) -> bool {
        self.rates.rate.is_some() || self.trace.is_some()
    }
}

impl TraceText {
    /// Reads the file, which is looked for in `folder`, and gives the scenario its users.
    pub(super) fn open(
        &self,
        folder: &Path,
        businesses: &[Business],
        highest_load: f64,
        users: &mut Users,
        notes: &Notes,
    ) -> Option<Arc<Replay>> {
        let from_trace = |business: &Business| matches!(business.source, Source::Share(_));
        // The index of a business must stay its own.
        let names: Vec<_> =
            businesses.iter().map(|business| if from_trace(business) { business.name.as_str() } else { "" }).collect();
        let without: Vec<_> = self.without.iter().map(|name| name.value.clone()).collect();
        let replay = Replay::load(&folder.join(&self.file.value), &names, &without);
        let sized = replay.and_then(|replay| replay.users_at(highest_load).map(|count| (replay, count)));
        match sized {
            Ok((replay, count)) => {
                users.count = count;
                Some(Arc::new(replay))
            }
            Err(error) => {
                let message = format!("`{}` cannot be replayed: {error}", self.file.value);
                notes.faults.borrow_mut().suggest(&self.file.place, message, suggestion(&error));
                None
            }
        }
    }
}

fn suggestion(error: &Error) -> Option<String> {
    match error {
        Error::UnknownBusiness(name) => {
            Some(format!("write a `[[business]]` of this name without a rate, or `without = [\"{name}\"]`"))
        }
        Error::Open(_) => Some("the path counts from the scenario's folder".to_owned()),
        Error::Fault(_) => Some("`dagor load --record` and `dagor gateway --sample-log` write traces".to_owned()),
        Error::Empty | Error::TooLong | Error::TooManyUsers(_) | Error::TooManyCopies(_) => None,
    }
}

/// Long enough for every request, in whole seconds.
pub(super) fn duration(replay: &Replay) -> Duration {
    Duration::from_secs(replay.length().as_secs() + 1)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        sim::scenario::Scenario,
        trace::{HEADER, Line, Outcome},
    };

    const SERVICE: &str = "[[service]]\nname = \"main\"\nworkers = 4\ntime = \"5ms\"\n";
    const BUSINESS: &str = "[[business]]\nname = \"payment\"\n";

    /// A scenario in a folder with a trace of three requests in two seconds.
    fn load(text: &str) -> Result<Scenario, String> {
        let folder = tempfile::tempdir().unwrap();
        let line = |millis, business, user| Line {
            at: Duration::from_millis(millis),
            business,
            user,
            outcome: Outcome::Ok,
            latency: Duration::ZERO,
            stands_for: 1,
        };
        let lines =
            [line(1500, "payment", 70), line(5, "payment", 9), line(10, "login", 9)].map(|line| line.to_string());
        fs::write(folder.path().join("trace.csv"), format!("{HEADER}\n{}\n", lines.join("\n"))).unwrap();
        let file = folder.path().join("scenario.toml");
        fs::write(&file, format!("{SERVICE}{BUSINESS}{text}")).unwrap();
        Scenario::load(&file).map_err(|faults| faults.render(false))
    }

    #[test]
    fn a_trace_gives_the_scenario_its_length_and_its_users() {
        let scenario = load("[traffic]\ntrace = \"trace.csv\"\nwithout = [\"login\"]\n").unwrap();
        assert_eq!((scenario.duration, scenario.users.count), (Duration::from_secs(2), 2));
        let scenario = load("sweep = [1, 3]\n[traffic]\ntrace = \"trace.csv\"\nwithout = [\"login\"]\n");
        assert!(scenario.is_err(), "a key of the root stands before the first table");
    }

    #[test]
    fn every_run_of_a_trace_has_the_same_arrivals_whatever_the_seed() {
        let scenario = load("[traffic]\ntrace = \"trace.csv\"\nwithout = [\"login\"]\n").unwrap();
        for seed in [1, 2] {
            let run = crate::sim::run(&scenario, &scenario.contenders[0], 1.0, seed);
            assert_eq!(run.businesses[0][&crate::sim::measure::Metric::Offered], 2.0);
            assert_eq!(run.figures[&crate::sim::measure::Metric::SuccessRate], 1.0);
        }
    }

    #[test]
    fn what_does_not_go_together_is_told_with_its_place() {
        for (text, message) in [
            ("[traffic]\ntrace = \"trace.csv\"\n", "no traffic of the business `login`"),
            ("[traffic]\ntrace = \"nowhere.csv\"\n", "`nowhere.csv` cannot be replayed"),
            ("[traffic]\ntrace = \"scenario.toml\"\n", "not a trace"),
            ("[traffic]\ntrace = \"trace.csv\"\nwithout = [\"login\"]\nrate = \"5/s\"\n", "a trace says itself"),
            ("[traffic]\ntrace = \"trace.csv\"\nwithout = [\"login\"]\narrivals = \"even\"\n", "a trace says itself"),
            ("[traffic]\nrate = \"5/s\"\nwithout = [\"login\"]\n", "only a `trace`"),
            (
                "[users]\ncount = 5\n[traffic]\ntrace = \"trace.csv\"\nwithout = [\"login\"]\n",
                "users are those of the trace",
            ),
        ] {
            let said = load(text).unwrap_err();
            assert!(said.contains(message), "{text}\n{said}");
        }
    }
}
