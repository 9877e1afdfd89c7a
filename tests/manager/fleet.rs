//! Gateways and managers in this process, each on ports that the system chose, and what tests wait for.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use dagor::{
    client::{Client, ClientConfig},
    gateway::{self, Gateway, GatewayConfig, PolicySource, fleet::ManagersConfig},
    manager::{self, BoardPlace, ManagerConfig, Token},
    policy::table::ServiceAddresses,
    service::{EchoConfig, serve_echo},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::Instant,
};

/// Every wait ends after this time at the latest.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How often gateways report.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);
/// What whoever changes something shows.
pub(crate) const TOKEN: &str = "0123456789";

pub(crate) const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A manager's configuration that reacts as fast as a test wants it: nothing is held for longer than it takes to see it.
pub(crate) fn manager_config(redis: Option<String>) -> ManagerConfig {
    let mut config = ManagerConfig {
        listen: ANY_PORT,
        admin: ANY_PORT,
        token: Token::Text(TOKEN.to_owned()),
        board: redis.map_or(BoardPlace::Memory, BoardPlace::Redis),
        ..ManagerConfig::default()
    };
    config.settings.interval = INTERVAL;
    config.settings.lease = Duration::from_secs(5);
    config.settings.marks.closed_at_least = Duration::from_millis(500);
    config.settings.placement.ramp = Duration::ZERO;
    // A busy machine must close nobody.
    for kind in manager::settings::MarkKind::ALL {
        if kind != manager::settings::MarkKind::Connections {
            let never = manager::settings::Mark { high: 1e9, low: 1e9, lasting: Duration::ZERO };
            config.settings.marks.set(kind, never);
        }
    }
    config
}

/// The services, the policy and what else the gateways of a test share.
pub(crate) struct Site {
    echo: SocketAddr,
    directory: TempDir,
}

/// A policy with two businesses; its `[connections]` have these lines.
pub(crate) fn policy(connections: &str, gate: &str) -> String {
    format!(
        "[connections]\ndrain = \"1s\"\n{connections}\n[gateway.gate]\n{PATIENT}\n[[service]]\nname = \"main\"\n[service.gate]\n{gate}\n\
         [[business]]\nname = \"message\"\ncode = 20\npriority = 20\ntimeout = \"10s\"\n\
         [[business]]\nname = \"moments\"\ncode = 30\npriority = 30\ntimeout = \"10s\"\n"
    )
}

/// A gate that never finds itself overloaded.
pub(crate) const PATIENT: &str = "target = \"10s\"\nwindow = \"60s\"";

impl Site {
    /// A demo service of this capacity, and a policy.
    pub(crate) async fn new(demo: EchoConfig, policy: &str) -> Self {
        let listener = std::net::TcpListener::bind(ANY_PORT).unwrap();
        listener.set_nonblocking(true).unwrap();
        let echo = listener.local_addr().unwrap();
        // On a thread of its own, as it is in a process of its own elsewhere: it ends with the test's process.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                serve_echo(demo, listener, std::future::pending()).await.unwrap();
            });
        });
        let site = Self { echo, directory: tempfile::tempdir().unwrap() };
        fs::write(site.policy_path(), policy).unwrap();
        site
    }

    /// The same with a service that answers at once.
    pub(crate) async fn fast(connections: &str) -> Self {
        Self::new(EchoConfig { workers: 8, work: Duration::ZERO }, &policy(connections, PATIENT)).await
    }

    pub(crate) fn policy_path(&self) -> std::path::PathBuf {
        self.directory.path().join("policy.toml")
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Starts a gateway that attaches to these managers.
    pub(crate) async fn gateway(&self, name: &str, managers: &[SocketAddr]) -> gateway::Running {
        let config = GatewayConfig {
            name: name.to_owned(),
            clients: ANY_PORT,
            admin: ANY_PORT,
            push: ANY_PORT,
            push_advertised: None,
            workers: 1,
            services: vec![ServiceAddresses { name: "main".into(), instances: vec![self.echo] }],
            policy: PolicySource::File(self.policy_path()),
            priority_key: [7; 16],
            sample: None,
            routes: gateway::RouteStore::Memory,
            managers: Some(ManagersConfig {
                addresses: managers.iter().map(SocketAddr::to_string).collect(),
                advertise: Vec::new(),
                accept_policy: true,
            }),
        };
        let running = gateway::start(config).await.unwrap();
        let gateway = running.gateway.clone();
        until("a directive", || has_directive(&gateway)).await;
        until("links", || is_linked(&gateway)).await;
        running
    }
}

pub(crate) fn has_directive(gateway: &Gateway) -> bool {
    gateway.fleet.counts(gateway.clock.now()).directive_age.is_some()
}

fn is_linked(gateway: &Gateway) -> bool {
    let mut links = gateway.worker_list().iter().flat_map(|worker| worker.instances().iter().flatten());
    links.all(|one| one.link().grants().is_some())
}

/// Whether the managers let this gateway take logins.
pub(crate) fn accepts(gateway: &Gateway) -> bool {
    gateway.fleet.counts(gateway.clock.now()).accepting
}

/// A client that knows these gateways, and for which the first one counts.
pub(crate) fn client(user: &str, gateways: &[SocketAddr]) -> Client {
    let gateways = gateways.iter().map(SocketAddr::to_string).collect();
    Client::start(ClientConfig { gateways, ..ClientConfig::new("", user) }).unwrap().0
}

/// The gateway that a client is connected to.
pub(crate) fn gateway_of(client: &Client) -> Option<String> {
    client.session().map(|session| session.gateway.clone())
}

/// Waits for `future`, but not for ever.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(output) = tokio::time::timeout(PATIENCE, future).await else { panic!("{what}: nothing after {PATIENCE:?}") };
    output
}

/// Waits until something is so, of which nobody is told. Returns how long that took.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    let mut looks = tokio::time::interval(Duration::from_millis(2));
    within(what, async {
        while !is_so() {
            looks.tick().await;
        }
    })
    .await;
    began.elapsed()
}

/// The same for what has to be asked for. Returns how long that took.
pub(crate) async fn until_said(what: &str, admin: SocketAddr, path: &str, is_so: impl Fn(&Value) -> bool) -> Duration {
    let began = Instant::now();
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    let mut last = Value::Null;
    let asked = async {
        loop {
            looks.tick().await;
            last = get(admin, path).await;
            if is_so(&last) {
                return;
            }
        }
    };
    let done = tokio::time::timeout(PATIENCE, asked).await;
    assert!(done.is_ok(), "{what}: nothing after {PATIENCE:?}, but {last:#}");
    began.elapsed()
}

/// Asks a manager.
pub(crate) async fn get(admin: SocketAddr, path: &str) -> Value {
    let (status, body) = ask(admin, &format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\n"), "").await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// Tells a manager; returns the status and what it says.
pub(crate) async fn post(admin: SocketAddr, path: &str, token: &str, body: &Value) -> (u16, Value) {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    );
    let (status, answer) = ask(admin, &head, &body.to_string()).await;
    (status, serde_json::from_str(&answer).unwrap_or(Value::String(answer)))
}

pub(crate) async fn ask(admin: SocketAddr, head: &str, body: &str) -> (u16, String) {
    let mut stream = within("connect", TcpStream::connect(admin)).await.unwrap();
    let request = format!("{head}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    within("write", stream.write_all(request.as_bytes())).await.unwrap();
    let mut answer = String::new();
    within("read", stream.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The names of the open gateways, as new clients are told.
pub(crate) fn open(said: &Value) -> Vec<String> {
    let gateways = said["gateways"].as_array().unwrap().iter();
    gateways.map(|one| one["gateway"].as_str().unwrap().to_owned()).collect()
}

/// Starts managers that share a board.
pub(crate) async fn managers(count: usize, redis: Option<String>) -> Vec<manager::Running> {
    let mut managers = Vec::new();
    for _ in 0..count {
        managers.push(manager::start(manager_config(redis.clone())).await.unwrap());
    }
    managers
}

/// Where gateways attach to them.
pub(crate) fn addresses(managers: &[manager::Running]) -> Vec<SocketAddr> {
    managers.iter().map(|manager| manager.addresses.gateways).collect()
}

/// Stops everything.
pub(crate) async fn end(gateways: Vec<gateway::Running>, managers: Vec<manager::Running>) {
    for gateway in gateways {
        within("the gateway's shutdown", gateway.shutdown()).await;
    }
    for manager in managers {
        within("the manager's shutdown", manager.shutdown()).await;
    }
}

/// The gateways' shared parts.
pub(crate) fn parts(gateways: &[gateway::Running]) -> Vec<Arc<Gateway>> {
    gateways.iter().map(|running| running.gateway.clone()).collect()
}
