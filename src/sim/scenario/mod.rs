//! A scenario says everything about a run but its seed: what is simulated, what is compared, and what is expected of it.
//! Two runs of one scenario with one seed are the same, bit for bit.
//!
//! A file is read strictly, all faults at once, as policy files are: `read` takes the keys out, `check` gives them
//! their meaning.

mod business;
pub mod capacity;
mod check;
mod controllers;
mod expect;
pub mod profile;
mod read;
mod replay;
pub mod saturation;
mod service;

use std::{path::Path, sync::Arc, time::Duration};

pub use self::check::known_keys;
use self::profile::Profile;
use super::{controllers::Contender, measure::Metric, trace::Replay};
use crate::policy::{Faults, Sources};

/// One scenario, checked.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// How reports call it.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// For how long tasks arrive.
    pub duration: Duration,
    /// Tasks that arrive before this count for nothing.
    pub warmup: Duration,
    /// How many seeds a comparison takes.
    pub seeds: u64,
    /// What is compared.
    pub contenders: Vec<Contender>,
    /// What the rates of the shared traffic are multiplied with, one run each. Never empty.
    pub sweep: Vec<f64>,
    /// Whether the file says so.
    pub swept: bool,
    /// What answers calls.
    pub services: Vec<Service>,
    /// What users ask for.
    pub businesses: Vec<Business>,
    /// The rate of the businesses that have no rate of their own, in tasks per second.
    pub traffic: Profile,
    /// How the gaps between tasks are drawn.
    pub arrivals: Arrivals,
    /// What arrives instead of the shared traffic.
    pub replay: Option<Arc<Replay>>,
    /// Who asks.
    pub users: Users,
    /// How they behave when they are refused.
    pub clients: Vec<Client>,
    /// Where their tasks enter.
    pub entry: Entry,
    /// What is expected of the results.
    pub expectations: Vec<Expectation>,
}

/// A service: instances of the same kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its name in the file.
    pub name: String,
    /// How many instances there are.
    pub instances: usize,
    /// How many calls an instance works on at the same time, at the beginning.
    pub workers: usize,
    /// How many calls are in flight at an instance, where that is not the workers: what goes beyond them waits inside,
    /// where no guard sees it.
    pub threads: Option<usize>,
    /// Mean time that a call of cost 1 takes a worker at speed 1.
    pub time: Duration,
    /// How these times vary.
    pub spread: Spread,
    /// Whether calls whose time has passed are worked on all the same.
    pub process_expired: bool,
    /// Which instance gets a call.
    pub balance: Balance,
    /// What changes, in the order of time.
    pub changes: Vec<Change>,
    /// When nothing moves.
    pub pauses: Vec<Pause>,
    /// What it calls when its own work on a call is done, one after the other.
    pub calls: Vec<Calls>,
}

/// How service times vary about their mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spread {
    /// Not at all.
    Deterministic,
    /// Exponentially.
    Exponential,
    /// By a gamma distribution with this squared coefficient of variation.
    Gamma(f64),
    /// By a lognormal distribution with this squared coefficient of variation.
    Lognormal(f64),
    /// By a mixture of two exponential distributions with balanced means and this squared coefficient of variation, above 1.
    Hyperexponential(f64),
}

/// Which instance of a service gets a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Any.
    Random,
    /// One after the other.
    RoundRobin,
    /// Always the same for a user.
    UserHash,
    /// The one with the fewest calls waiting and in work.
    LeastLoaded,
}

/// A change of instances.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// When, from the beginning.
    pub at: Duration,
    /// Of this instance only.
    pub instance: Option<usize>,
    /// How many calls it works on from then on.
    pub workers: Option<usize>,
    /// How fast it works from then on; 1 is what [`Service::time`] says.
    pub speed: Option<f64>,
}

/// A time in which an instance stands still.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pause {
    /// When it begins.
    pub at: Duration,
    /// How long it takes.
    pub length: Duration,
    /// Of this instance only.
    pub instance: Option<usize>,
}

/// Calls that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// Index of the service that is called.
    pub service: usize,
    /// How many times.
    pub times: u32,
    /// All at once instead of one after the other.
    pub parallel: bool,
    /// How often a refused call is sent again, at once.
    pub resends: u32,
}

/// A named kind of task.
#[derive(Clone, Debug, PartialEq)]
pub struct Business {
    /// Its name in the file.
    pub name: String,
    /// 0 to 63; smaller is more important.
    pub priority: u8,
    /// Where its tasks come from.
    pub source: Source,
    /// What its calls cost, beside other businesses': service times are multiplied with it.
    pub cost: f64,
    /// What it gets of a gate's capacity in any case, where the controller knows minimum shares.
    pub min_share: f64,
    /// How long the answer to a try is of use.
    pub timeout: Duration,
    /// What a task calls, one after the other.
    pub calls: Vec<Calls>,
}

/// Where tasks of a business come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// This share of the shared traffic, in relation to the other shares.
    Share(f64),
    /// A rate of its own, in tasks per second.
    Own(Profile),
}

/// How the gaps between tasks are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// Exponential gaps: independent users.
    Poisson,
    /// Equal gaps.
    Even,
}

/// The population.
#[derive(Clone, Debug, PartialEq)]
pub struct Users {
    /// How many there are.
    pub count: u32,
    /// Exponent of a Zipf distribution of their activity; 0 makes them alike.
    pub skew: f64,
    /// Kinds of users; empty for all alike.
    pub tiers: Vec<Tier>,
}

/// Users whose levels lie in a range.
#[derive(Clone, Debug, PartialEq)]
pub struct Tier {
    /// Its name in the file.
    pub name: String,
    /// Their share of the population, in relation to the other shares.
    pub share: f64,
    /// First and last user level.
    pub levels: (u8, u8),
}

/// How a share of the users behaves when a try fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Client {
    /// Their share, in relation to the other shares.
    pub share: f64,
    /// How long a task is worth trying, from its beginning.
    pub patience: Duration,
    /// How often it is sent again at most.
    pub resends: u32,
    /// Sends again when refused.
    pub on_refusal: bool,
    /// Sends again when no answer came in time.
    pub on_timeout: bool,
    /// How long it waits before.
    pub after: Wait,
}

/// How long a client waits before it sends again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wait {
    /// Always the same time.
    Fixed(Duration),
    /// As long as the refusal says, or this long if it says nothing.
    Hint(Duration),
}

/// Between users and services.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// How many gateways users are spread over, each a caller of its own.
    pub gateways: usize,
    /// Whether callers refuse on their own what they know would be refused.
    pub collaboration: bool,
    /// The share of answers whose feedback is lost.
    pub feedback_loss: f64,
    /// How much later than its answer feedback arrives.
    pub feedback_delay: Duration,
    /// How long a call travels, and its answer.
    pub hop: Duration,
}

/// What is expected of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// Of this contender, by its label.
    pub controller: String,
    /// This figure.
    pub metric: Metric,
    /// Of this business alone.
    pub business: Option<usize>,
    /// At this point of the sweep; at each otherwise.
    pub load: Option<f64>,
    /// The difference to this contender's figure, instead of the figure itself.
    pub than: Option<String>,
    /// Bounds, both included.
    pub at_least: Option<f64>,
    /// Bounds, both included.
    pub at_most: Option<f64>,
}

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    ///
    /// All faults of the file.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        let sources = Sources::read(path).map_err(|faults| faults.of(SUBJECT))?;
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("scenario");
        check::scenario(&sources, name, path.parent().unwrap_or(Path::new("")))
    }

    /// Makes a scenario of a text; `name` is what faults call it. Files that it names are looked for in the present
    /// directory.
    ///
    /// # Errors
    ///
    /// All faults of the text.
    pub fn parse(name: &str, text: &str) -> Result<Self, Faults> {
        check::scenario(&Sources::from_text(name, text), name, Path::new(""))
    }
}

const SUBJECT: &str = "scenario";

/// So many services may stand below each other.
const DEEPEST: usize = 8;
