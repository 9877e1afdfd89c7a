//! A manager's configuration: what was written becomes what is meant, or all that is wrong with it. `docs/manager.toml` is the
//! manual, and a test holds that it says the defaults.

use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use super::settings::{Mark, MarkKind, Settings};
use crate::policy::{
    Faults, Sources,
    settings::{Section, read},
};

/// The manual.
pub const MANAGER_TOML: &str = include_str!("../../docs/manager.toml");

/// What faults call the file.
const SUBJECT: &str = "manager's configuration";

const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(10);
const MINUTES: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
const HOURS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);

/// Where the board is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoardPlace {
    /// In this process: for a single manager.
    Memory,
    /// In Redis, at this address.
    Redis(String),
}

/// A manager's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct ManagerConfig {
    /// Where gateways attach.
    pub listen: SocketAddr,
    /// Where people, monitors and clients ask.
    pub admin: SocketAddr,
    /// The policy that gateways get.
    pub policy: Option<PathBuf>,
    /// What whoever changes something has to show.
    pub token: Token,
    /// Where the board is.
    pub board: BoardPlace,
    /// The fleet's name on the board.
    pub fleet: String,
    /// How long the board may take to answer.
    pub board_timeout: Duration,
    /// What the decisions go by.
    pub settings: Settings,
}

/// What whoever changes something has to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// Nothing can be changed.
    None,
    /// The first line of this file.
    File(PathBuf),
    /// This text.
    Text(String),
}

impl Default for ManagerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7500)),
            admin: SocketAddr::from(([127, 0, 0, 1], 7501)),
            policy: None,
            token: Token::None,
            board: BoardPlace::Memory,
            fleet: "default".to_owned(),
            board_timeout: Duration::from_millis(500),
            settings: Settings::default(),
        }
    }
}

impl ManagerConfig {
    /// Reads a file; relative paths in it start where it is.
    ///
    /// # Errors
    ///
    /// All of its faults.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        let sources = Sources::read(path)?;
        Self::from_sources(&sources, path.parent())
    }

    /// Reads a text; `name` is what faults call it.
    ///
    /// # Errors
    ///
    /// All of its faults.
    pub fn parse(name: &str, text: &str) -> Result<Self, Faults> {
        Self::from_sources(&Sources::from_text(name, text), None)
    }

    fn from_sources(sources: &Sources, base: Option<&Path>) -> Result<Self, Faults> {
        read(sources, SUBJECT, |root| Self::from_root(root, base))
    }

    fn from_root(mut root: Section<'_>, base: Option<&Path>) -> Self {
        let mut config = Self::default();
        let path = |text: String| base.map_or_else(|| PathBuf::from(&text), |base| base.join(&text));
        config.listen = address(&mut root, "listen").unwrap_or(config.listen);
        config.admin = address(&mut root, "admin").unwrap_or(config.admin);
        config.policy = root.text("policy").map(path);
        config.token = root.text("token_file").map_or(Token::None, |file| Token::File(path(file)));
        root.flag("fleet_cuts", &mut config.settings.fleet_cuts);
        root.table("board", |board| config.read_board(board));
        root.table("timing", |timing| read_timing(timing, &mut config.settings));
        root.table("marks", |marks| read_marks(marks, &mut config.settings));
        root.table("placement", |placement| read_placement(placement, &mut config.settings));
        root.end();
        config
    }

    fn read_board(&mut self, mut board: Section<'_>) {
        let redis = board.parsed("redis", redis_address, "write \"redis://HOST:PORT\"");
        self.board = redis.map_or(BoardPlace::Memory, BoardPlace::Redis);
        if let Some(fleet) = board.parsed("fleet", fleet_name, "use letters, digits, `-`, `_`, `.`") {
            self.fleet = fleet;
        }
        board.duration("timeout", MINUTES, &mut self.board_timeout);
        board.end();
    }
}

fn address(table: &mut Section<'_>, key: &'static str) -> Option<SocketAddr> {
    let parse = |text: &str| text.parse().map_err(|_| format!("`{text}` is no address"));
    table.parsed(key, parse, "write \"127.0.0.1:7500\" or \"[::1]:7500\"")
}

fn redis_address(text: &str) -> Result<String, String> {
    let known = ["redis://", "unix://"].iter().any(|scheme| text.starts_with(scheme));
    if known { Ok(text.to_owned()) } else { Err(format!("`{text}` is no address of a Redis")) }
}

fn fleet_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_name = (1..=64).contains(&text.len()) && text.chars().all(fits);
    if is_name { Ok(text.to_owned()) } else { Err(format!("`{text}` is no name of a fleet")) }
}

fn read_timing(mut timing: Section<'_>, settings: &mut Settings) {
    timing.duration("interval", INTERVALS, &mut settings.interval);
    timing.duration("lease", MINUTES, &mut settings.lease);
    timing.duration("ttl", MINUTES, &mut settings.ttl);
    timing.duration("hold", HOURS.start().to_owned()..=Duration::from_secs(60), &mut settings.hold);
    for (key, length) in [("lease", settings.lease), ("ttl", settings.ttl)] {
        if length < settings.interval * 2 {
            timing.wrong(
                format!("`{key}` is less than two times `interval`"),
                "one lost report must not count for a lost gateway",
            );
        }
    }
    timing.end();
}

fn read_marks(mut marks: Section<'_>, settings: &mut Settings) {
    marks.duration("closed_at_least", HOURS, &mut settings.marks.closed_at_least);
    marks.duration("open_at_least", HOURS, &mut settings.marks.open_at_least);
    for kind in MarkKind::ALL {
        let mut mark = settings.marks.of(kind);
        marks.table(kind.name(), |table| read_mark(table, kind, &mut mark));
        settings.marks.set(kind, mark);
    }
    marks.end();
}

fn read_mark(mut table: Section<'_>, kind: MarkKind, mark: &mut Mark) {
    for (key, value) in [("high", &mut mark.high), ("low", &mut mark.low)] {
        if kind.is_time() {
            let mut time = Duration::from_secs_f64(*value);
            table.duration(key, Duration::from_micros(1)..=Duration::from_secs(60), &mut time);
            *value = time.as_secs_f64();
        } else {
            table.number(key, 0.0..=10.0, value);
        }
    }
    table.duration("lasting", HOURS, &mut mark.lasting);
    if mark.low > mark.high {
        table.wrong("`low` is above `high`".to_owned(), "a gateway would close and open at the same time");
    }
    table.end();
}

fn read_placement(mut placement: Section<'_>, settings: &mut Settings) {
    let values = &mut settings.placement;
    placement.duration("ramp", HOURS, &mut values.ramp);
    placement.number("closed_logins", 0.001..=1.0, &mut values.closed_logins);
    placement.number("rebalance_above", 0.0..=100.0, &mut values.rebalance_above);
    placement.number("rebalance_share", 0.0..=1.0, &mut values.rebalance_share);
    if let Some((what, why)) = values.fault() {
        placement.wrong(what.to_owned(), why);
    }
    placement.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_says_the_defaults() {
        assert_eq!(ManagerConfig::parse("docs/manager.toml", MANAGER_TOML).unwrap(), ManagerConfig::default());
    }

    #[test]
    fn the_examples_in_the_manual_are_sound() {
        let uncomment = |line: &str| match line.strip_prefix("# ").filter(|rest| rest.contains(" = \"")) {
            Some(example) => example.to_owned(),
            None => line.to_owned(),
        };
        let text = MANAGER_TOML.lines().map(uncomment).collect::<Vec<_>>().join("\n");
        let config = ManagerConfig::parse("docs/manager.toml", &text).unwrap();
        assert_eq!(config.board, BoardPlace::Redis("redis://127.0.0.1:6379".to_owned()));
        assert_eq!((config.policy, config.token), (Some("policy.toml".into()), Token::File("token".into())));
    }

    #[test]
    fn balance_is_off_or_has_a_band_and_a_pace() {
        let sound = |placement: &str| ManagerConfig::parse("m.toml", &format!("[placement]\n{placement}\n")).is_ok();
        assert!(sound("rebalance_above = 0\nrebalance_share = 0"));
        assert!(sound("rebalance_above = 1.05\nrebalance_share = 0.001"));
        assert!(!sound("rebalance_above = 1.04"));
        assert!(!sound("rebalance_share = 0"));
    }

    #[test]
    fn all_faults_are_found_at_once_each_with_its_place() {
        let text = "listen = \"here\"\ntimings = 1\n[timing]\ninterval = \"2s\"\n[marks.cpu]\nhigh = 0.5\nlow = 0.6\n\
                    [marks.event_loop]\nhigh = 20\n[board]\nredis = \"localhost\"\n[placement]\nrebalance_share = 0\n";
        let faults = ManagerConfig::parse("m.toml", text).unwrap_err();
        let found: Vec<_> = faults.iter().map(|fault| (fault.line, fault.message.as_str())).collect();
        assert_eq!(
            found,
            [
                (1, "`here` is no address"),
                (2, "unknown key `timings`"),
                (3, "`lease` is less than two times `interval`"),
                (5, "`low` is above `high`"),
                (9, "expected a duration in text with a unit, found an integer"),
                (11, "`localhost` is no address of a Redis"),
                (12, "`rebalance_share` is 0 and `rebalance_above` is not"),
            ]
        );
        assert!(faults.to_string().contains("faults in the manager's configuration"), "{faults}");
    }
}
