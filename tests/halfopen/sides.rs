//! What happens at the two ends of the cable.

use std::{fs, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use dagor::{
    client::{ClientConfig, DirectClient},
    clock::{Clock, Timestamp},
    gateway::{self, Gateway, GatewayConfig, PolicySource},
    policy::table::ServiceAddresses,
    service::{Push, PushClient},
    wire::Reason,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    TOLERANCE,
    cable::{say, told},
};

const ADDRESS: &str = "127.9.0.1:7400";

/// A side that is not stopped ends by itself after this.
const LIFE: Duration = Duration::from_secs(60);

/// Between two looks at what nobody is told of.
const LOOK: Duration = Duration::from_millis(5);

fn run(side: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(LIFE, side).await }).unwrap();
    runtime.shutdown_background();
}

pub(crate) fn client() {
    run(async {
        let clock = Clock::system();
        let (client, mut pushes) = DirectClient::connect(ClientConfig::new(ADDRESS, "alice")).await.unwrap();
        assert_eq!(client.session().tolerance, TOLERANCE);
        say("connected");
        pushes.recv().await.unwrap();
        say("pushed");
        // Whatever is still on its way counts as received.
        let ended = async { while pushes.recv().await.is_some() {} };
        let ((), pulled) = tokio::join!(ended, async {
            told().await;
            clock.now()
        });
        say(&format!("given up after ms {}", clock.now().since(pulled).as_millis()));
    });
}

pub(crate) fn gateway() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("policy.toml");
        let tolerance = TOLERANCE.as_millis();
        let connections = format!("[connections]\nheartbeat = \"500ms\"\nheartbeat_tolerance = \"{tolerance}ms\"\n");
        fs::write(&policy, connections).unwrap();
        let own = SocketAddr::from(([127, 0, 0, 1], 0));
        let running = gateway::start(GatewayConfig {
            name: "half-open".into(),
            clients: ADDRESS.parse().unwrap(),
            admin: own,
            push: own,
            push_advertised: None,
            workers: 1,
            // Nobody asks for anything.
            services: vec![ServiceAddresses { name: "main".into(), instances: vec![([127, 0, 0, 1], 1).into()] }],
            policy: PolicySource::File(policy),
            priority_key: [7; 16],
            sample: None,
            managers: None,
            routes: gateway::RouteStore::Memory,
        });
        let running = running.await.unwrap();
        let (gateway, admin) = (running.gateway.clone(), running.addresses.admin);
        let pusher = PushClient::new(running.addresses.push.to_string());
        say("listens");
        until(&gateway, &pusher, |gateway| gateway.roster.len() == 1).await;
        say(&format!("connected {}", gauges(admin).await));

        let clock = Clock::system();
        let pulled = pushing_until(&gateway, &pusher, &clock).await;
        until(&gateway, &pusher, |gateway| gateway.roster.is_empty()).await;
        say(&format!("reaped after ms {}", clock.now().since(pulled).as_millis()));
        until(&gateway, &pusher, |gateway| gateway.limits.open() == 0).await;
        say(&format!("freed after ms {}", clock.now().since(pulled).as_millis()));
        let lost = gateway.closed_total(Reason::HeartbeatLost);
        say(&format!("at last {}, closed as {} {lost}", gauges(admin).await, Reason::HeartbeatLost.name()));
    });
}

/// Pushes until the test says that the cable is pulled, and returns when that was.
async fn pushing_until(gateway: &Arc<Gateway>, pusher: &PushClient, clock: &Clock) -> Timestamp {
    tokio::select! {
        () = told() => clock.now(),
        () = until(gateway, pusher, |_| false) => unreachable!("it never is so"),
    }
}

/// Pushes to the client all the time until something is so.
async fn until(gateway: &Arc<Gateway>, pusher: &PushClient, is_so: impl Fn(&Gateway) -> bool) {
    let mut looks = tokio::time::interval(LOOK);
    while !is_so(gateway) {
        // Refused before the client is there, and as soon as it is given up.
        let _ = pusher.push(Push::to_user("alice", "request", "are you there?")).await;
        looks.tick().await;
    }
}

/// Sockets against sessions, as a monitor sees them.
async fn gauges(admin: SocketAddr) -> String {
    let mut socket = TcpStream::connect(admin).await.unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut page = String::new();
    socket.read_to_string(&mut page).await.unwrap();
    let gauge =
        |name: &str| page.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("missing").trim().to_owned();
    format!("sockets {}, connections {}", gauge("dagor_sockets "), gauge("dagor_connections "))
}
