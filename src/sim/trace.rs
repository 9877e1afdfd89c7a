//! Traffic that was: a trace of requests becomes tasks at the same times, of the same businesses and users. Everything
//! follows from the file, the load and the seed.
//!
//! A line that stands for more than itself, and a load above 1, make more tasks of a line: the first one when the line
//! says, the others at random times before the next line, each of another user. A load below 1 leaves tasks out at random.

use std::{collections::BTreeMap, fs::File, io, io::BufRead, path::Path, time::Duration};

use crate::trace::{Fault, Lines};

/// Lines that are held: 240 MB, an hour of 2,700 requests/s.
const MOST_LINES: usize = 10_000_000;
/// What a line may stand for, so that a slip of the keyboard does not fill the memory.
const MOST_COPIES: f64 = 100_000.0;
/// As many users as any scenario may have.
const MOST_USERS: u64 = 10_000_000;

/// Why a trace cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened.
    #[error("cannot read it: {0}")]
    Open(#[source] io::Error),
    /// It is no trace, or a line of it is none.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// A business that the scenario does not have, or has with a rate of its own.
    #[error("the scenario takes no traffic of the business `{0}` from it")]
    UnknownBusiness(String),
    /// Nothing to replay.
    #[error("it has no requests of the scenario's businesses")]
    Empty,
    /// More than is held.
    #[error("it has more than {MOST_LINES} requests")]
    TooLong,
    /// More users than a scenario may have.
    #[error("its lines stand for {0} users, and {MOST_USERS} are the most")]
    TooManyUsers(u64),
    /// A line stands for more than is simulated.
    #[error("a line stands for {0} tasks at the highest load, and {MOST_COPIES} are the most")]
    TooManyCopies(f64),
}

/// A trace, ready to be replayed.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// In the order of time.
    requests: Vec<Request>,
    /// Users in the trace.
    users: u32,
    /// What the heaviest line stands for.
    stands_for: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Request {
    at: Duration,
    business: u32,
    /// Users are numbered from 0, in the order of their numbers in the trace.
    user: u32,
    stands_for: u32,
}

/// A task that arrives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrival {
    /// When, from the beginning.
    pub at: Duration,
    /// An index among the scenario's businesses.
    pub business: usize,
    /// Below [`Replay::users_at`] the highest load.
    pub user: u32,
}

impl Replay {
    /// Reads the file. `businesses` are the scenario's; those in `without` are left out.
    ///
    /// # Errors
    ///
    /// If it is no trace, or one that cannot be replayed with these businesses.
    pub fn load(path: &Path, businesses: &[&str], without: &[String]) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::Open)?;
        Self::read(io::BufReader::new(file), businesses, without)
    }

    fn read(source: impl BufRead, businesses: &[&str], without: &[String]) -> Result<Self, Error> {
        let mut lines = Lines::new(source)?;
        let mut numbers = BTreeMap::new();
        let mut read = Vec::new();
        while let Some(line) = lines.next_line()? {
            if without.iter().any(|name| name == line.business) {
                continue;
            }
            let business = businesses.iter().position(|name| *name == line.business);
            let business = business.ok_or_else(|| Error::UnknownBusiness(line.business.to_owned()))?;
            if read.len() == MOST_LINES {
                return Err(Error::TooLong);
            }
            numbers.insert(line.user, 0);
            read.push((
                line.user,
                Request { at: line.at, business: business as u32, user: 0, stands_for: line.stands_for },
            ));
        }
        numbers.values_mut().zip(0..).for_each(|(number, next)| *number = next);
        let numbered = |(user, request): (u64, Request)| Request { user: numbers[&user], ..request };
        let mut requests: Vec<_> = read.into_iter().map(numbered).collect();
        // Lines stand in the order of their ends; those of one moment stay as they stand.
        requests.sort_by_key(|request| request.at);
        let stands_for = requests.iter().map(|request| request.stands_for).max().ok_or(Error::Empty)?;
        Ok(Self { requests, users: numbers.len() as u32, stands_for })
    }

    /// When the last request arrives.
    pub fn length(&self) -> Duration {
        self.requests.last().map_or(Duration::ZERO, |request| request.at)
    }

    /// How many users there are at most at this load.
    ///
    /// # Errors
    ///
    /// If there are more than can be simulated, or a line makes too many tasks.
    pub fn users_at(&self, load: f64) -> Result<u32, Error> {
        let copies = self.copies(load);
        if copies > MOST_COPIES {
            return Err(Error::TooManyCopies(copies));
        }
        let users = u64::from(self.users) * copies as u64;
        if users > MOST_USERS { Err(Error::TooManyUsers(users)) } else { Ok(users as u32) }
    }

    /// Of the heaviest line.
    fn copies(&self, load: f64) -> f64 {
        (f64::from(self.stands_for) * load).ceil().max(1.0)
    }

    /// The tasks in the order of time. `chance` gives a number in [0, 1) for a seed and a key, always the same.
    pub fn arrivals(&self, load: f64, seed: u64, chance: fn(u64, u64) -> f64) -> Arrivals<'_> {
        Arrivals { replay: self, load, seed, chance, next: 0, key: 0, due: Vec::new() }
    }
}

/// The tasks of a trace.
#[derive(Debug)]
pub struct Arrivals<'r> {
    replay: &'r Replay,
    load: f64,
    seed: u64,
    chance: fn(u64, u64) -> f64,
    next: usize,
    key: u64,
    /// Tasks of the line before, the latest first.
    due: Vec<Arrival>,
}

impl Arrivals<'_> {
    fn drawn(&mut self) -> f64 {
        self.key += 1;
        (self.chance)(self.seed, self.key)
    }

    /// The tasks of one line.
    fn make(&mut self, request: Request, until: Duration) {
        let wanted = f64::from(request.stands_for) * self.load;
        // No draw where nothing is left to chance.
        let extra = wanted.fract() > 0.0 && self.drawn() < wanted.fract();
        for copy in 0..wanted as u32 + u32::from(extra) {
            let within = if copy == 0 { Duration::ZERO } else { (until - request.at).mul_f64(self.drawn()) };
            self.due.push(Arrival {
                at: request.at + within,
                business: request.business as usize,
                user: request.user + copy * self.replay.users,
            });
        }
        self.due.sort_by_key(|arrival| std::cmp::Reverse(arrival.at));
    }
}

impl Iterator for Arrivals<'_> {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        while self.due.is_empty() {
            let requests = &self.replay.requests;
            let request = *requests.get(self.next)?;
            self.next += 1;
            let until = requests.get(self.next).map_or(request.at, |next| next.at);
            self.make(request, until);
        }
        self.due.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::HEADER;

    const BUSINESSES: [&str; 2] = ["payment", "message"];

    fn read(lines: &[&str], without: &[&str]) -> Result<Replay, Error> {
        let text = format!("{HEADER}\n{}\n", lines.join("\n"));
        let without: Vec<_> = without.iter().map(|&name| name.to_owned()).collect();
        Replay::read(text.as_bytes(), &BUSINESSES, &without)
    }

    fn chance(seed: u64, key: u64) -> f64 {
        ((seed + key).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn arrivals(replay: &Replay, load: f64) -> Vec<(u128, usize, u32)> {
        let told = |arrival: Arrival| (arrival.at.as_micros(), arrival.business, arrival.user);
        replay.arrivals(load, 7, chance).map(told).collect()
    }

    #[test]
    fn at_load_1_every_request_comes_back_when_and_as_it_was() {
        let lines = ["900,message,77,ok,5,1", "300,payment,9,refused:service_cut,1,1", "900,payment,77,late,9,1"];
        let replay = read(&lines, &[]).unwrap();
        assert_eq!(arrivals(&replay, 1.0), [(300, 0, 0), (900, 1, 1), (900, 0, 1)]);
        assert_eq!((replay.length(), replay.users_at(1.0).unwrap()), (Duration::from_micros(900), 2));
    }

    #[test]
    fn a_line_of_a_sample_makes_as_many_tasks_as_it_stands_for_of_different_users() {
        let replay = read(&["0,payment,1,ok,1,100", "1000000,payment,2,ok,1,100", "2000000,payment,1,ok,1,100"], &[]);
        let replay = replay.unwrap();
        let made = arrivals(&replay, 1.0);
        assert_eq!(made.len(), 300);
        assert!(made.is_sorted_by_key(|(at, ..)| *at));
        let first: Vec<_> = made.iter().filter(|(at, ..)| *at < 1_000_000).collect();
        assert_eq!(first.len(), 100);
        let users: std::collections::BTreeSet<_> = first.iter().map(|(_, _, user)| user).collect();
        assert_eq!(users.len(), 100);
        assert!(made.iter().all(|(_, _, user)| *user < replay.users_at(1.0).unwrap()));
        let early = first.iter().filter(|(at, ..)| *at < 500_000).count();
        assert!((30..70).contains(&early), "spread over the time until the next line: {early}");
    }

    #[test]
    fn a_load_multiplies_the_tasks() {
        let lines: Vec<_> = (0..1000).map(|at| format!("{at},payment,{at},ok,1,1")).collect();
        let replay = read(&lines.iter().map(String::as_str).collect::<Vec<_>>(), &[]).unwrap();
        for (load, expected) in [(0.0, 0), (0.5, 500), (2.0, 2000), (2.5, 2500)] {
            let made = arrivals(&replay, load);
            assert!(made.len().abs_diff(expected) <= expected / 10, "{load}: {}", made.len());
            assert!(made.iter().all(|(_, _, user)| *user < replay.users_at(load).unwrap()));
        }
    }

    #[test]
    fn what_cannot_be_replayed_is_told() {
        let said = |lines: &[&str], without: &[&str]| read(lines, without).unwrap_err().to_string();
        assert!(said(&["1,login,1,ok,1,1"], &[]).contains("`login`"));
        assert!(said(&["1,login,1,ok,1,1"], &["login"]).contains("no requests"));
        assert!(said(&["1,payment,ann,ok,1,1"], &[]).contains("line 2"));
        let heavy = read(&["1,payment,1,ok,1,4000000000"], &[]).unwrap();
        assert!(heavy.users_at(1.0).unwrap_err().to_string().contains("4000000000 tasks"));
        let many = read(&["1,payment,1,ok,1,1", "1,payment,2,ok,1,1"], &[]).unwrap();
        assert!(many.users_at(9e4).is_ok());
    }
}
