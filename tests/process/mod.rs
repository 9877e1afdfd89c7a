//! A process of `dagor` over all its lives, at addresses that it keeps: killed, told to leave, and started again. It ends with
//! the test, also with one that fails.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::time::Instant;

/// One process over all its lives.
pub(crate) struct Process {
    arguments: Vec<String>,
    /// What all of its lives have said.
    log: PathBuf,
    life: Option<Child>,
}

impl Process {
    /// Starts `dagor` with these arguments.
    pub(crate) fn new(arguments: Vec<String>, log: PathBuf) -> Self {
        let mut process = Self { arguments, log, life: None };
        process.start();
        process
    }

    /// Begins its next life.
    pub(crate) fn start(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_dagor"));
        command.args(["--log", "warn"]).args(&self.arguments).env("NO_COLOR", "1");
        self.life = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// It must live until it is ended from here.
    pub(crate) fn check_alive(&mut self) {
        let ended = self.life.as_mut().and_then(|life| life.try_wait().unwrap());
        if let Some(status) = ended {
            panic!("dagor {} ended by itself ({status}):\n{}", self.arguments.join(" "), self.said());
        }
    }

    /// Nothing panicked, in any life, and it still lives.
    pub(crate) fn check(&mut self) {
        self.check_alive();
        let said = self.said();
        let panic = said.lines().find(|line| line.contains("panicked at"));
        assert_eq!(panic, None, "dagor {}", self.arguments.join(" "));
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Ends it at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut life) = self.life.take() {
            life.kill().unwrap();
            life.wait().unwrap();
        }
    }

    /// Tells it to leave, and kills it if it has not within this time. Returns whether it left.
    pub(crate) async fn tell(&mut self, within: Duration) -> bool {
        let Some(life) = &mut self.life else { return true };
        assert!(Command::new("kill").args(["-TERM", &life.id().to_string()]).status().unwrap().success());
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        let given_up = Instant::now() + within;
        let mut left = false;
        while !left && Instant::now() < given_up {
            tick.tick().await;
            left = life.try_wait().unwrap().is_some();
        }
        self.kill();
        left
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(life) = &mut self.life {
            // It may have ended by itself.
            let _ = life.kill();
            let _ = life.wait();
        }
    }
}

/// Addresses of the loopback, all different, that nobody else of this machine is likely to choose.
pub(crate) fn free_addresses(count: usize) -> Vec<SocketAddr> {
    // Held until there are all: what was given back may come again.
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.9.1:0").unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap()).collect()
}

/// A number from the environment.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    let Ok(text) = std::env::var(name) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{name}={text}: expected a number"))
}
