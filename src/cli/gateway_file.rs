//! The configuration file of `dagor gateway`: what the gateways of a fleet share, read once at the start.

mod managers;

use std::{
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use self::managers::ManagersSection;
use super::Error;
use crate::{
    gateway::{RouteStore, fleet::ManagersConfig},
    registry::redis::RedisSettings,
};

/// Shorter, and a busy server is taken for one that is away; longer, and logins wait for it.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(10);

/// What was written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GatewayFile {
    #[serde(default)]
    routes: RoutesSection,
    managers: Option<ManagersSection>,
    /// Where it stood; paths in it are relative to that.
    #[serde(skip)]
    directory: PathBuf,
}

/// `[routes]`: where the fleet keeps which client is connected to which gateway.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoutesSection {
    /// One address of a server, or several of a Cluster's nodes. Without it routes are kept in memory.
    redis: Option<Addresses>,
    /// A file with the certificate authority of the servers, in PEM.
    authority: Option<PathBuf>,
    /// How long a login waits for Redis before it goes on without.
    timeout: Option<String>,
    /// What all keys begin with.
    prefix: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Addresses {
    One(String),
    Several(Vec<String>),
}

/// Reads a file.
///
/// # Errors
///
/// A usage error that says where what is wrong.
pub(super) fn read(path: &Path) -> Result<GatewayFile, Error> {
    let wrong = |what: &dyn std::fmt::Display| Error::usage(format_args!("{}: {what}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let mut file: GatewayFile = toml::from_str(&text).map_err(|error| wrong(&error))?;
    file.directory = path.parent().unwrap_or(Path::new("")).to_owned();
    Ok(file)
}

impl GatewayFile {
    /// The fleet's managers, if there are any.
    ///
    /// # Errors
    ///
    /// A usage error that names the key.
    pub(super) fn managers(&self) -> Result<Option<ManagersConfig>, Error> {
        self.managers.as_ref().map(ManagersSection::config).transpose()
    }

    /// The fleet's secret for placing users, so that every gateway places a user alike.
    ///
    /// # Errors
    ///
    /// A usage error that names the file.
    pub(super) fn user_key(&self) -> Result<Option<[u8; 16]>, Error> {
        self.managers.as_ref().map_or(Ok(None), |section| section.user_key(&self.directory))
    }

    /// Where the routes are.
    ///
    /// # Errors
    ///
    /// A usage error that names the key.
    pub(super) fn routes(&self) -> Result<RouteStore, Error> {
        let RoutesSection { redis, authority, timeout, prefix } = &self.routes;
        let nodes = match redis {
            Some(Addresses::One(address)) => vec![address.clone()],
            Some(Addresses::Several(addresses)) => addresses.clone(),
            None if authority.is_some() || timeout.is_some() || prefix.is_some() => {
                return Err(Error::usage("routes: `redis` is missing: nothing else is of use without it"));
            }
            None => return Ok(RouteStore::Memory),
        };
        let mut settings = RedisSettings { nodes, ..RedisSettings::default() };
        settings.authority = match authority {
            Some(path) => Some(read_authority(&self.directory.join(path))?),
            None => None,
        };
        if let Some(text) = timeout {
            let timeout = humantime::parse_duration(text).ok().filter(|timeout| TIMEOUTS.contains(timeout));
            settings.timeout = timeout
                .ok_or_else(|| Error::usage(format_args!("routes.timeout: {text:?} is not within 10ms and 10s")))?;
        }
        if let Some(prefix) = prefix {
            settings.prefix.clone_from(prefix);
        }
        Ok(RouteStore::Redis(settings))
    }
}

/// Reads the certificate authority of Redis servers.
///
/// # Errors
///
/// A usage error that names the file.
pub(super) fn read_authority(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| Error::usage(format_args!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(text: &str) -> Result<RouteStore, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fleet.toml");
        fs::write(&path, text).unwrap();
        fs::write(directory.path().join("ca.pem"), "an authority").unwrap();
        read(&path).and_then(|file| file.routes()).map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn routes_are_in_memory_unless_there_is_a_redis() {
        assert_eq!(routes(""), Ok(RouteStore::Memory));
        assert_eq!(routes("[routes]"), Ok(RouteStore::Memory));
        let one = RedisSettings { nodes: vec!["redis://a".into()], ..RedisSettings::default() };
        assert_eq!(routes("[routes]\nredis = \"redis://a\""), Ok(RouteStore::Redis(one)));
        let text = "[routes]\nredis = [\"rediss://a\", \"rediss://b\"]\nauthority = \"ca.pem\"\ntimeout = \"90ms\"\nprefix = \"x:\"";
        let several = RedisSettings {
            nodes: vec!["rediss://a".into(), "rediss://b".into()],
            authority: Some(b"an authority".to_vec()),
            timeout: Duration::from_millis(90),
            prefix: "x:".into(),
            ..RedisSettings::default()
        };
        assert_eq!(routes(text), Ok(RouteStore::Redis(several)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            ("[routes]\nredi = \"redis://a\"", "redi"),
            ("[route]", "route"),
            ("[routes]\nredis = 7", "redis"),
            ("[routes]\ntimeout = \"1s\"", "`redis` is missing"),
            ("[routes]\nredis = \"redis://a\"\ntimeout = \"soon\"", "routes.timeout"),
            ("[routes]\nredis = \"redis://a\"\ntimeout = \"1h\"", "routes.timeout"),
            ("[routes]\nredis = \"redis://a\"\nauthority = \"none.pem\"", "none.pem"),
        ] {
            let error = routes(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
