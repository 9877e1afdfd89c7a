//! The configuration file of `dagor gateway`: what the gateways of a fleet share, read once at the start.

mod managers;

use std::{
    fs,
    net::Ipv6Addr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use self::managers::ManagersSection;
use super::Error;
use crate::{
    gateway::{self, RouteStore, fleet::ManagersConfig},
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
    /// Where logic services and other gateways reach this gateway's pushes, if not where it listens.
    advertise: Option<String>,
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

    /// Where this gateway's pushes are reached, if not where it listens.
    ///
    /// # Errors
    ///
    /// A usage error that names the key.
    pub(super) fn push_advertised(&self) -> Result<Option<String>, Error> {
        let advertised = self.routes.advertise.as_ref();
        advertised.map(|address| advertisable("routes.advertise", address).map(str::to_owned)).transpose()
    }

    /// Where the routes are.
    ///
    /// # Errors
    ///
    /// A usage error that names the key.
    pub(super) fn routes(&self) -> Result<RouteStore, Error> {
        let RoutesSection { redis, authority, timeout, prefix, advertise: _ } = &self.routes;
        let nodes = match redis {
            Some(Addresses::One(address)) => vec![address.clone()],
            Some(Addresses::Several(addresses)) => addresses.clone(),
            None if authority.is_some() || timeout.is_some() || prefix.is_some() => {
                return Err(Error::usage("routes: `redis` is missing: only `advertise` is of use without it"));
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

/// Whether this is `host:port`. An address of IPv6 stands in brackets: without them nobody knows where its port begins.
fn is_address(text: &str) -> bool {
    let port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    let name = |host: &str| !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || "/:[]".contains(c));
    let host = |host: &str| match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => name(host),
    };
    text.rsplit_once(':').is_some_and(|(before, behind)| host(before) && port(behind))
}

/// An address that others can be told.
fn advertisable<'a>(key: &str, address: &'a str) -> Result<&'a str, Error> {
    if !is_address(address) {
        return Err(Error::usage(format_args!("{key}: {address:?} is not host:port")));
    }
    if address.parse().is_ok_and(gateway::is_everywhere) {
        return Err(Error::usage(format_args!(
            "{key}: {address} is every address of a machine, others cannot reach it"
        )));
    }
    Ok(address)
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

    #[test]
    fn pushes_are_advertised_with_or_without_a_redis() {
        let advertised = |text: &str| {
            let file: GatewayFile = toml::from_str(text).unwrap();
            (file.routes().is_ok(), file.push_advertised().map_err(|error| format!("{error:?}")))
        };
        assert_eq!(advertised(""), (true, Ok(None)));
        for address in ["g1.example:7402", "192.0.2.7:7402", "[2001:db8::7]:7402"] {
            for redis in ["", "redis = \"redis://a\"\n"] {
                let text = format!("[routes]\n{redis}advertise = \"{address}\"");
                assert_eq!(advertised(&text), (true, Ok(Some(address.to_owned()))));
            }
        }
        let open = ["2001:db8::7:7402", ":::7402", "[2001:db8::7:7402", "2001:db8::7]:7402", "[g1]:7402", "[]:7402"];
        let others = ["g1", "g1:", ":7402", "g1:0", "http://g1:7402", "g 1:7402", "0.0.0.0:7402", "[::]:7402"];
        for address in open.into_iter().chain(others) {
            let error = advertised(&format!("[routes]\nadvertise = \"{address}\"")).1.unwrap_err();
            assert!(error.contains("routes.advertise"), "{address}: {error}");
        }
    }
}
