//! Real processes: gateways that share a Redis, and the demo service behind them.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    site::{until, within},
    talker::{Talker, hello},
};

/// The business of the chat policy that the tests send.
pub(crate) const MESSAGE: dagor::id::BusinessCode = dagor::id::BusinessCode(20);

/// A process that is killed when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One gateway process.
pub(crate) struct Gateway {
    process: Process,
    pub(crate) name: String,
    pub(crate) clients: SocketAddr,
    admin: SocketAddr,
}

/// Gateways with one Redis.
pub(crate) struct Fleet {
    pub(crate) gateways: Vec<Gateway>,
    directory: TempDir,
    /// The demo service, unless the test has one of its own.
    _service: Option<Process>,
}

/// Where the chat policy is.
const CHAT: &str = "policies/chat.toml";

impl Fleet {
    /// Starts so many gateways whose routes are at this address, and waits until they serve.
    pub(crate) async fn start(gateways: usize, redis: &str) -> Self {
        Self::start_with(gateways, &format!("[routes]\nredis = \"{redis}\"\n"), tempfile::tempdir().unwrap()).await
    }

    /// The same with this configuration, beside whatever files it names.
    pub(crate) async fn start_with(gateways: usize, config: &str, directory: TempDir) -> Self {
        let service = free_address();
        let echo = ["echo", "--listen", &service.to_string(), "--workers", "8", "--work", "0ms"].map(str::to_owned);
        let echo = start("echo", echo.to_vec(), &directory);
        let fleet = Self { gateways: Vec::new(), _service: Some(echo), directory };
        fleet.with(gateways, config, service, CHAT).await
    }

    /// The same in front of this service, with a policy of this text.
    pub(crate) async fn start_before(service: SocketAddr, policy: &str, gateways: usize, redis: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.toml");
        fs::write(&path, policy).unwrap();
        let fleet = Self { gateways: Vec::new(), _service: None, directory };
        fleet.with(gateways, &format!("[routes]\nredis = \"{redis}\"\n"), service, &path.display().to_string()).await
    }

    async fn with(mut self, gateways: usize, config: &str, service: SocketAddr, policy: &str) -> Self {
        fs::write(self.directory.path().join("fleet.toml"), config).unwrap();
        let fleet = &mut self;
        for number in 1..=gateways {
            let gateway = fleet.gateway(&format!("g{number}"), service, policy);
            fleet.gateways.push(gateway);
        }
        for gateway in &fleet.gateways {
            until("the gateway is ready", async || {
                gateway.get("/ready").await.is_some_and(|page| page.contains("200"))
            })
            .await;
            until("it reaches the service", async || gateway.metric("dagor_links{service=\"main\"}").await >= 1.0)
                .await;
        }
        self
    }

    fn gateway(&self, name: &str, service: SocketAddr, policy: &str) -> Gateway {
        let [clients, admin, push] = [free_address(), free_address(), free_address()];
        let config = self.directory.path().join("fleet.toml").display().to_string();
        let arguments = [
            ["--name", name].map(str::to_owned),
            ["--listen".into(), clients.to_string()],
            ["--admin".into(), admin.to_string()],
            ["--push".into(), push.to_string()],
            ["--workers".into(), "1".into()],
            ["--service".into(), format!("main={service}")],
            ["--policy".into(), policy.into()],
            ["--config".into(), config],
        ];
        let arguments = ["gateway".to_owned()].into_iter().chain(arguments.into_iter().flatten());
        let process = start(name, arguments.collect(), &self.directory);
        Gateway { process, name: name.to_owned(), clients, admin }
    }
}

impl Gateway {
    /// Ends it at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
    }

    /// Asks it to leave, and waits until it has.
    pub(crate) async fn leave(&mut self) {
        let id = self.process.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let process = &mut self.process.0;
        until("the gateway leaves", async || process.try_wait().unwrap().is_some()).await;
    }

    /// A client of it, logged in with this outbox.
    pub(crate) async fn login(&self, user: &str, outbox: u64) -> Talker {
        let mut hello = hello(user);
        hello.outbox = outbox;
        Talker::silent(self.clients).await.greet(&hello).await
    }

    /// The value of a series of `/metrics`; 0 while it is not there.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let page = self.get("/metrics").await.unwrap_or_default();
        let value = page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
        value.unwrap_or(0.0)
    }

    /// A page of its admin address; `None` if nobody is there.
    async fn get(&self, path: &str) -> Option<String> {
        let mut socket = TcpStream::connect(self.admin).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.ok()?;
        let mut page = String::new();
        within("a page", socket.read_to_string(&mut page)).await.ok()?;
        Some(page)
    }
}

/// Starts `dagor` with these arguments; what it says goes into a file.
fn start(name: &str, arguments: Vec<String>, directory: &TempDir) -> Process {
    let log = File::create(directory.path().join(format!("{name}.log"))).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dagor"));
    command.args(["--log", "warn"]).args(arguments).env("NO_COLOR", "1");
    Process(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap())
}

/// An address of the loopback that nobody else of this machine is likely to choose.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.9.3:0").unwrap().local_addr().unwrap()
}
