//! Two network namespaces and the cable between them. They are gone when it is dropped, also after a failure.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio, id},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

/// Every wait ends after this time at the latest.
const PATIENCE: Duration = Duration::from_secs(30);

/// Says in a process which side it is.
const SIDE: &str = "DAGOR_HALF_OPEN_SIDE";

/// Begins a line of a side's output that is meant for the test.
const MARK: &str = "@";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Gateway,
    Client,
}

impl Side {
    pub(crate) fn of_environment() -> Option<Self> {
        [Self::Gateway, Self::Client].into_iter().find(|side| env::var(SIDE).is_ok_and(|name| name == side.name()))
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Client => "client",
        }
    }

    /// Development logins are for loopback addresses, which travel over a cable if both ends are told that they may.
    const fn address(self) -> &'static str {
        match self {
            Self::Gateway => "127.9.0.1/24",
            Self::Client => "127.9.0.2/24",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Cable {
    name: String,
}

impl Cable {
    /// Lays a cable between two new namespaces, or says why there is none.
    pub(crate) fn lay() -> Result<Self, String> {
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), id());
        let cable = Self { name: format!("dagor-{}-{random:x}", id()) };
        let (gateway, client) = (cable.namespace(Side::Gateway), cable.namespace(Side::Client));
        for namespace in [&gateway, &client] {
            ip(&["netns", "add", namespace])?;
        }
        ip(&["-n", &gateway, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", &client])?;
        for side in [Side::Gateway, Side::Client] {
            cable.set_up(side)?;
        }
        Ok(cable)
    }

    fn set_up(&self, side: Side) -> Result<(), String> {
        let namespace = &self.namespace(side);
        let allow = "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet";
        ip(&["netns", "exec", namespace, "sh", "-c", allow])?;
        // Of the loopback's own addresses only one stays on the loopback.
        ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        ip(&["-n", namespace, "address", "del", "127.0.0.1/8", "dev", "lo"])?;
        ip(&["-n", namespace, "address", "add", "127.0.0.1/32", "dev", "lo"])?;
        ip(&["-n", namespace, "address", "add", side.address(), "dev", "cable"])?;
        ip(&["-n", namespace, "link", "set", "cable", "up"])
    }

    fn namespace(&self, side: Side) -> String {
        format!("{}-{}", self.name, side.name())
    }

    /// From now on nothing gets through, and nobody is told.
    pub(crate) fn pull(&self) {
        ip(&["-n", &self.namespace(Side::Client), "link", "set", "cable", "down"]).unwrap();
    }

    /// Starts this program at one end.
    pub(crate) fn start(&self, side: Side) -> Process {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.namespace(side)])
            .arg(env::current_exe().unwrap())
            .args(["--exact", "the_part_that_the_environment_names_is_acted", "--nocapture"])
            .env(SIDE, side.name())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (said, heard) = channel();
        thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.filter_map(|line| line.strip_prefix(MARK).map(str::to_owned)).all(|line| said.send(line).is_ok())
        });
        Process { side, child, stdin, heard }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for side in [Side::Gateway, Side::Client] {
            // One that was never made cannot be deleted.
            let _ = ip(&["netns", "del", &self.namespace(side)]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let command = || format!("`ip {}`", arguments.join(" "));
    let output = Command::new("ip").args(arguments).output().map_err(|error| format!("{}: {error}", command()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{}: {}", command(), String::from_utf8_lossy(&output.stderr).trim()))
}

/// One side; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    side: Side,
    child: Child,
    stdin: ChildStdin,
    heard: Receiver<String>,
}

impl Process {
    /// The rest of the next line that the side says, which must begin with `what`.
    pub(crate) fn says(&mut self, what: &str) -> String {
        let line = self.heard.recv_timeout(PATIENCE);
        let line = line.unwrap_or_else(|_| panic!("{:?} does not say {what:?}", self.side));
        let rest =
            line.strip_prefix(what).unwrap_or_else(|| panic!("{:?} says {line:?} in place of {what:?}", self.side));
        rest.trim_start().to_owned()
    }

    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// For a side: says something to the test.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout();
    // The harness may have begun a line.
    writeln!(out, "\n{MARK}{line}").unwrap();
    out.flush().unwrap();
}

/// For a side: waits for the next line of the test.
pub(crate) async fn told() {
    let read = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    read.await.unwrap().unwrap();
}
