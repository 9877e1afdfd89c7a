//! A Redis of a test's own: on a free port of the loopback, in a directory of its own, ended by its process id when it is
//! dropped, also by a test that fails.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

/// Somebody else may take a port that was free.
const PORTS_TRIED: usize = 5;
/// How long it may take to answer once it says that it is ready.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// Whether what it was told survives its own crash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Nothing is written.
    None,
    /// Everything is handed to a file before it is answered, which survives the process: `appendonly yes`.
    Process,
    /// Everything is in a file before it is answered: `appendonly yes`, `appendfsync always`.
    Always,
}

/// A `redis-server` process.
pub(crate) struct Redis {
    process: Option<Child>,
    address: SocketAddr,
    durability: Durability,
    /// What is added to its command line.
    arguments: Vec<String>,
    password: Option<String>,
    directory: TempDir,
}

/// A free port of the loopback. Somebody else may take it before it is used.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

impl Redis {
    /// Starts one that forgets everything when it ends.
    pub(crate) fn start() -> Self {
        Self::start_with(Durability::None)
    }

    /// Starts one.
    pub(crate) fn start_with(durability: Durability) -> Self {
        Self::start_as(durability, None, Vec::new)
    }

    /// Starts one that asks for a password, if there is one, and gets more arguments, new ones for each try.
    pub(crate) fn start_as(
        durability: Durability,
        password: Option<&str>,
        arguments: impl Fn() -> Vec<String>,
    ) -> Self {
        for _ in 0..PORTS_TRIED {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
            let (password, directory) = (password.map(str::to_owned), tempfile::tempdir().unwrap());
            let mut redis = Self { process: None, address, durability, arguments: arguments(), password, directory };
            if redis.run() {
                return redis;
            }
        }
        panic!("redis-server does not start; is it installed? tests/run installs it");
    }

    /// What clients are given: `redis://127.0.0.1:…`.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Where it listens, without TLS.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The value behind an argument that it was started with.
    pub(crate) fn argument(&self, name: &str) -> &str {
        let at = self.arguments.iter().position(|argument| argument == name).unwrap();
        &self.arguments[at + 1]
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts it again, at the same address and with what it had written.
    pub(crate) fn start_again(&mut self) {
        self.kill();
        assert!(self.run(), "redis-server does not start again at {}", self.address);
    }

    /// Starts it again, at the same address and with nothing of what it had written.
    pub(crate) fn start_empty(&mut self) {
        self.kill();
        for entry in fs::read_dir(self.directory.path()).unwrap().map(Result::unwrap) {
            let removed =
                if entry.path().is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
            removed.unwrap();
        }
        self.start_again();
    }

    /// Asks it something in words of the protocol's inline form; returns the lines of the answer as they came.
    pub(crate) fn tell_all(&self, words: &str) -> Vec<String> {
        let mut stream = TcpStream::connect_timeout(&self.address, ANSWERS_WITHIN).unwrap();
        stream.set_read_timeout(Some(ANSWERS_WITHIN)).unwrap();
        // It closes the connection behind the answer.
        let login = self.password.as_ref().map(|password| format!("AUTH {password}\r\n")).unwrap_or_default();
        stream.write_all(format!("{login}{words}\r\nQUIT\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let mut lines: Vec<_> = String::from_utf8_lossy(&answer).lines().map(str::to_owned).collect();
        assert_eq!(lines.pop().as_deref(), Some("+OK"), "the answer to QUIT");
        if self.password.is_some() {
            assert_eq!(lines.remove(0), "+OK", "the answer to AUTH");
        }
        lines
    }

    /// The same on one line.
    pub(crate) fn tell(&self, words: &str) -> String {
        self.tell_all(words).join(" ")
    }

    /// Starts the process and waits until it answers. `false` if it ended instead.
    pub(crate) fn run(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.address.port().to_string(), "--save", ""]);
        command.args(["--daemonize", "no", "--loglevel", "notice", "--maxmemory-policy", "noeviction"]);
        match self.durability {
            Durability::None => {}
            Durability::Process => drop(command.args(["--appendonly", "yes"])),
            Durability::Always => drop(command.args(["--appendonly", "yes", "--appendfsync", "always"])),
        }
        if let Some(password) = &self.password {
            command.args(["--requirepass", password]);
        }
        command.args(&self.arguments);
        command.current_dir(self.directory.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let Ok(mut process) = command.spawn() else { return false };
        let said = BufReader::new(process.stdout.take().unwrap()).lines();
        // Ends with the process.
        let ready = said.map_while(Result::ok).any(|line| line.contains("Ready to accept connections"));
        self.process = Some(process);
        if !ready {
            self.kill();
            return false;
        }
        self.tell("PING") == "+PONG"
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
