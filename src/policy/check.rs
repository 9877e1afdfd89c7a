//! A policy says of itself what it must admit and refuse; here it is held to it, and shown to people.

use std::{fmt, path::Path};

use super::{
    Policy,
    fault::Faults,
    quantity::format_duration,
    source::Sources,
    table::{Business, Case},
};
use crate::admission::{Cut, Level, Value};

/// A `[[test]]` case that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "test `{name}` fails: at the cut {cut}, `{business}` at user level {user_level} is {}, not {}",
    outcome(!*expected), outcome(*expected)
)]
pub struct TestFailure {
    /// Index into [`Policy::tests`].
    pub index: usize,
    /// The case's name.
    pub name: String,
    /// The business's name.
    pub business: String,
    /// The first user level at which the wrong thing happens.
    pub user_level: u8,
    /// The last level that the cut admits.
    pub cut: Level,
    /// Whether it must be admitted.
    pub expected: bool,
}

const fn outcome(admitted: bool) -> &'static str {
    if admitted { "admitted" } else { "refused" }
}

/// Runs the policy's own test cases and returns those that fail.
pub fn check(policy: &Policy) -> Vec<TestFailure> {
    policy.tests.iter().enumerate().filter_map(|(index, case)| failure(policy, index, case)).collect()
}

fn failure(policy: &Policy, index: usize, case: &Case) -> Option<TestFailure> {
    let business = policy.businesses.get(case.business)?;
    let last_admitted = Level::new(case.cut.0, case.cut.1);
    let cut = Cut::through(last_admitted);
    let wrong = |user: &u8| cut.admits(Value::new(Level::new(business.priority, *user), 0)) != case.admitted;
    let user_level = (case.user_levels.0..=case.user_levels.1).find(wrong)?;
    Some(TestFailure {
        index,
        name: case.name.clone(),
        business: business.name.clone(),
        user_level,
        cut: last_admitted,
        expected: case.admitted,
    })
}

/// A sound policy, as people want to see it: `Display` gives a table of the businesses, the most important first.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The policy.
    pub policy: Policy,
    /// The files that it came from.
    pub files: Vec<String>,
}

/// Reads a policy file or directory, validates it and runs its tests.
///
/// # Errors
///
/// All faults of the files.
pub fn check_file(path: &Path) -> Result<Report, Faults> {
    let sources = Sources::read(path)?;
    let policy = Policy::from_sources(&sources)?;
    Ok(Report { policy, files: sources.iter().map(|source| source.name.clone()).collect() })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = &self.policy;
        writeln!(f, "{}: sound, revision {}", self.files.join(", "), policy.revision)?;
        let names = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
        writeln!(
            f,
            "{}, {}, {}, {}\n",
            names(policy.businesses.len(), "business", "businesses"),
            names(policy.services.len(), "service", "services"),
            names(policy.tiers.len(), "tier", "tiers"),
            names(policy.tests.len(), "test passed", "tests passed"),
        )?;
        write_columns(f, &self.rows())
    }
}

impl Report {
    fn rows(&self) -> Vec<[String; 6]> {
        let mut ordered: Vec<_> = self.policy.businesses.iter().collect();
        ordered.sort_by_key(|business| (business.priority, business.code));
        let header = ["priority", "business", "code", "service", "timeout", "tiers"].map(str::to_owned);
        std::iter::once(header).chain(ordered.into_iter().map(|business| self.row(business))).collect()
    }

    fn row(&self, business: &Business) -> [String; 6] {
        let service = business.service.and_then(|index| self.policy.service(index));
        let tier = |index: &usize| self.policy.tiers.get(*index).map(|tier| tier.name.as_str());
        let tiers: Vec<_> = business.tiers.iter().filter_map(tier).collect();
        [
            business.priority.to_string(),
            business.name.clone(),
            business.code.to_string(),
            service.map_or("the gateway", |service| &service.name).to_owned(),
            format_duration(business.timeout),
            if tiers.is_empty() { "all".to_owned() } else { tiers.join(", ") },
        ]
    }
}

fn write_columns(f: &mut fmt::Formatter<'_>, rows: &[[String; 6]]) -> fmt::Result {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    for row in rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(f, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
