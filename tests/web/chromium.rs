//! Chromium without a window, with a profile of its own, that ends with the test.

use std::{
    fs::File,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

const PROGRAM: &str = "chromium";

/// No window and no sandbox, as containers have neither; and nothing that looks for the network by itself.
const FLAGS: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A running browser; dropping it ends all of its processes.
pub(crate) struct Chromium {
    child: Child,
    _profile: TempDir,
}

impl Chromium {
    /// Opens a page.
    pub(crate) fn open(page: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let log = File::create(profile.path().join("stderr")).unwrap();
        let mut command = Command::new(PROGRAM);
        command
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(page)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("{PROGRAM}: {error}; `tests/run` installs it"));
        Self { child, _profile: profile }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // The browser leads a process group of its own, which its renderers belong to.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stdin(Stdio::null()).status();
        let _ = self.child.wait();
    }
}
