//! `[managers]`: who says where the fleet's clients go.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{advertisable, is_address};
use crate::{cli::Error, gateway::fleet::ManagersConfig};

/// What was written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ManagersSection {
    /// host:port of each.
    addresses: Vec<String>,
    /// Where clients reach this gateway, if not where it listens.
    #[serde(default)]
    advertise: Vec<String>,
    /// Whether their policy takes the place of the gateway's own.
    #[serde(default = "yes")]
    accept_policy: bool,
    /// A file with the fleet's secret for placing users: 32 hexadecimal digits.
    user_key_file: Option<PathBuf>,
}

const fn yes() -> bool {
    true
}

impl ManagersSection {
    /// What is meant.
    ///
    /// # Errors
    ///
    /// A usage error that names the key.
    pub(super) fn config(&self) -> Result<ManagersConfig, Error> {
        if let Some(address) = self.addresses.iter().find(|address| !is_address(address)) {
            return Err(Error::usage(format_args!("managers.addresses: {address:?} is not host:port")));
        }
        for address in &self.advertise {
            advertisable("managers.advertise", address)?;
        }
        if self.addresses.is_empty() {
            return Err(Error::usage("managers.addresses: name at least one, such as \"127.0.0.1:7500\""));
        }
        Ok(ManagersConfig {
            addresses: self.addresses.clone(),
            advertise: self.advertise.clone(),
            accept_policy: self.accept_policy,
        })
    }

    /// The fleet's secret for placing users; a relative path starts at `directory`.
    ///
    /// # Errors
    ///
    /// A usage error that names the file.
    pub(super) fn user_key(&self, directory: &Path) -> Result<Option<[u8; 16]>, Error> {
        let Some(file) = &self.user_key_file else { return Ok(None) };
        let path = directory.join(file);
        let wrong = |what: &dyn std::fmt::Display| {
            let error = Error::usage(format_args!("managers.user_key_file: {}: {what}", path.display()));
            error.hint(
                "it holds 32 hexadecimal digits, as `openssl rand -hex 16` prints them, the same for all gateways",
            )
        };
        let text = fs::read_to_string(&path).map_err(|error| wrong(&error))?;
        let digits = text.trim();
        let key = u128::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 32);
        key.map(|key| Some(key.to_be_bytes())).ok_or_else(|| wrong(&"no key"))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};

    fn file(text: &str) -> Result<GatewayFile, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fleet.toml");
        fs::write(&path, text).unwrap();
        read(&path).map_err(|error| format!("{error:?}"))
    }

    fn managers(text: &str) -> Result<Option<ManagersConfig>, String> {
        file(text)?.managers().map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn there_are_managers_if_the_file_says_so() {
        assert_eq!(managers(""), Ok(None));
        let found =
            managers("[managers]\naddresses = [\"a:1\", \"[::1]:2\"]\nadvertise = [\"x.example:7400\"]").unwrap();
        let expected = ManagersConfig {
            addresses: vec!["a:1".into(), "[::1]:2".into()],
            advertise: vec!["x.example:7400".into()],
            accept_policy: true,
        };
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            ("[manager]", "manager"),
            ("[managers]", "addresses"),
            ("[managers]\naddresses = []", "at least one"),
            ("[managers]\naddresses = [\"a\"]", "managers.addresses"),
            ("[managers]\naddresses = [\"a:1\"]\nadvertise = [\"b:x\"]", "managers.advertise"),
            ("[managers]\naddresses = [\"a:1\"]\nadvertise = [\"[::]:7400\"]", "managers.advertise"),
            ("[managers]\naddresses = [\"a:1\"]\nadvertize = []", "advertize"),
        ] {
            let error = managers(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn the_users_key_is_32_digits_in_a_file_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fleet.toml");
        fs::write(&path, "[managers]\naddresses = [\"a:1\"]\nuser_key_file = \"key\"").unwrap();
        let key = || read(&path).unwrap().user_key().map_err(|error| format!("{error:?}"));
        assert!(key().unwrap_err().contains("user_key_file"));
        fs::write(directory.path().join("key"), "000102030405060708090a0b0c0d0e0f\n").unwrap();
        assert_eq!(key().unwrap().unwrap()[..3], [0, 1, 2]);
        fs::write(directory.path().join("key"), "0001").unwrap();
        assert!(key().unwrap_err().contains("no key"));
        assert_eq!(file("").unwrap().user_key().unwrap(), None);
    }
}
