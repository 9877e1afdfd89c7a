//! Managers that die, and the fleet that does not notice.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

use dagor::client::{Client, NewMessage};
use tokio::time::Instant;

use super::{
    fleet::{INTERVAL, Site, accepts, addresses, client, end, get, managers, open, parts, until, until_said, within},
    redis::Redis,
};

/// A manager in a process of its own, at addresses that it keeps over its lives.
struct Process {
    config: std::path::PathBuf,
    gateways: SocketAddr,
    admin: SocketAddr,
    life: Option<Child>,
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.11.1:0").unwrap().local_addr().unwrap()
}

impl Process {
    fn start(site: &Site, name: &str, redis: &str) -> Self {
        let (gateways, admin) = (free_address(), free_address());
        let config = site.path(name);
        let marks = ["cpu", "memory"].map(|name| format!("[marks.{name}]\nhigh = 10\nlow = 10\n"));
        let times = ["event_loop", "own_share"].map(|name| format!("[marks.{name}]\nhigh = \"60s\"\nlow = \"60s\"\n"));
        let text = format!(
            "listen = \"{gateways}\"\nadmin = \"{admin}\"\n[board]\nredis = \"{redis}\"\n\
             [timing]\ninterval = \"1s\"\nlease = \"5s\"\n[placement]\nramp = \"0s\"\n{}{}",
            marks.concat(),
            times.concat()
        );
        fs::write(&config, text).unwrap();
        let mut process = Self { config, gateways, admin, life: None };
        process.run();
        process
    }

    fn run(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dagor"));
        command.args(["--log", "warn", "manager", "--config"]).arg(&self.config);
        self.life = Some(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    }

    /// As `kill -9` does.
    fn kill(&mut self) {
        if let Some(mut life) = self.life.take() {
            life.kill().unwrap();
            life.wait().unwrap();
        }
    }

    async fn serves(&self) {
        let up = async {
            while tokio::net::TcpStream::connect(self.admin).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within("the manager serves", up).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Each client sends a message and waits for its reply; none may take long, or end otherwise.
async fn talk(clients: &[Client]) {
    for client in clients {
        let receipt = client.submit(NewMessage::new("message", "x")).await.unwrap();
        let fate = within("a fate", receipt).await;
        assert!(matches!(fate, dagor::client::Fate::Replied(_)), "{fate}");
    }
}

#[tokio::test]
async fn clients_notice_nothing_when_managers_are_killed_each_and_both() {
    let redis = Redis::start();
    let site = Site::fast("").await;
    let mut managers = [("m0", &redis), ("m1", &redis)].map(|(name, redis)| Process::start(&site, name, &redis.url()));
    for manager in &managers {
        manager.serves().await;
    }
    let all = [managers[0].gateways, managers[1].gateways];
    let mut gateways = Vec::new();
    for name in ["a", "b", "c"] {
        gateways.push(site.gateway(name, &all).await);
    }
    let shared = parts(&gateways);
    let places: Vec<_> = gateways.iter().map(|gateway| gateway.addresses.clients).collect();
    let clients: Vec<_> = (0..12).map(|number| client(&format!("u{number}"), &places)).collect();
    until("all are connected", || clients.iter().all(|client| client.session().is_some())).await;
    let links: Vec<_> = clients.iter().map(|client| client.session().unwrap()).collect();

    for victim in 0..2 {
        managers[victim].kill();
        let attached = || {
            shared.iter().all(|gateway| {
                let counts = gateway.fleet.counts(gateway.clock.now());
                counts.attached && counts.directive_age.is_some_and(|age| age < INTERVAL * 2)
            })
        };
        until("all gateways have another manager", attached).await;
        talk(&clients).await;
        assert!(shared.iter().all(|gateway| accepts(gateway)));
        let left = managers[1 - victim].admin;
        let took = until_said("it knows everybody", left, "/v1/gateways", |said| open(said) == ["a", "b", "c"]).await;
        assert!(took <= INTERVAL * 2, "{took:?}");
        managers[victim].run();
        managers[victim].serves().await;
    }
    managers.iter_mut().for_each(Process::kill);
    until("nobody is attached", || shared.iter().all(|gateway| !gateway.fleet.counts(gateway.clock.now()).attached))
        .await;
    talk(&clients).await;
    let newcomer = client("late", &places);
    until("a new client is let in", || newcomer.session().is_some()).await;
    for (client, before) in clients.iter().zip(&links) {
        let session = client.session().unwrap();
        assert!(std::sync::Arc::ptr_eq(&session, before), "the link is the one it had before");
    }
    drop((clients, newcomer));
    end(gateways, Vec::new()).await;
}

#[tokio::test]
async fn a_fresh_manager_has_the_fleets_picture_within_two_intervals() {
    let redis = Redis::start();
    let site = Site::fast("").await;
    let first = managers(1, Some(redis.url())).await;
    let mut gateways = Vec::new();
    for name in ["a", "b", "c"] {
        gateways.push(site.gateway(name, &addresses(&first)).await);
    }
    let began = Instant::now();
    let second = managers(1, Some(redis.url())).await;
    let admin = second[0].addresses.admin;
    until_said("all three", admin, "/v1/gateways", |said| open(said) == ["a", "b", "c"]).await;
    let took = began.elapsed();
    assert!(took <= INTERVAL * 2, "{took:?}");
    end(gateways, [first, second].into_iter().flatten().collect()).await;
}

#[tokio::test]
async fn a_gateway_that_is_gone_leaves_the_lists_and_one_that_stops_leaves_at_once() {
    let site = Site::fast("").await;
    let managers = managers(1, None).await;
    let admin = managers[0].addresses.admin;
    let mut gateways = Vec::new();
    for name in ["a", "b", "c", "d"] {
        gateways.push(site.gateway(name, &addresses(&managers)).await);
    }
    let stopping = gateways.pop().unwrap();
    within("shutdown", stopping.shutdown()).await;
    let took = until_said("d is gone", admin, "/v1/gateways", |said| open(said) == ["a", "b", "c"]).await;
    assert!(took < INTERVAL * 2, "{took:?}");
    end(gateways, managers).await;
}

#[tokio::test]
async fn redis_away_changes_nothing_and_its_return_is_noticed() {
    let mut redis = Redis::start();
    let site = Site::fast("").await;
    let managers = managers(2, Some(redis.url())).await;
    let all = addresses(&managers);
    let gateways = vec![site.gateway("a", &all[..1]).await, site.gateway("b", &all[1..]).await];
    for manager in &managers {
        until_said("both", manager.addresses.admin, "/v1/gateways", |said| open(said) == ["a", "b"]).await;
    }
    redis.kill();
    let admin = managers[0].addresses.admin;
    until_said("it is noticed", admin, "/v1/fleet", |said| said["board_failure"].is_string()).await;
    // Longer than the lease: whom only the other manager hears is still there.
    let stays = Instant::now() + Duration::from_secs(7);
    while Instant::now() < stays {
        assert_eq!(open(&get(admin, "/v1/gateways").await), ["a", "b"]);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    redis.start_again();
    until_said("it is back", admin, "/v1/fleet", |said| said["board_failure"].is_null()).await;
    until_said("both", admin, "/v1/gateways", |said| open(said) == ["a", "b"]).await;
    end(gateways, managers).await;
}
