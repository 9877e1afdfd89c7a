//! The processes: four gateways, two managers, two instances of the demo service, and two Redis: one has the service's ledger, the
//! other one the routes and the managers' board, so that what befalls those does not befall the service.

use std::{fs, net::SocketAddr, time::Duration};

use dagor::registry::redis::{RedisRegistry, RedisSettings};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use super::{
    ask::{get, metric},
    process::{Process, free_addresses},
    proxy::Proxy,
    redis::{Durability, Redis},
};

pub(crate) const GATEWAYS: usize = 4;
pub(crate) const MANAGERS: usize = 2;
const INSTANCES: usize = 2;
/// How often gateways report.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);
/// Every wait for a process ends after this time at the latest.
const PATIENCE: Duration = Duration::from_secs(60);
/// A gateway that is told to leave serves what is in flight for so long.
const DRAIN: Duration = Duration::from_secs(2);
/// How long its whole leaving may take.
const LEAVES_WITHIN: Duration = Duration::from_secs(15);

/// How far anybody may be from the mean of all once clients were moved for the sake of balance.
pub(crate) const DEVIATION: f64 = 0.05;

/// How one scene's fleet differs from the others'.
pub(crate) struct Setup {
    /// Lines of the policy's `[connections]`.
    pub(crate) connections: String,
    /// Whether gates never find themselves overloaded and no message runs out of time: then what is refused is not the doing
    /// of a machine that has no processor for the service for a while.
    pub(crate) patient: bool,
    /// Lines of the managers' `[placement]`.
    pub(crate) placement: &'static str,
    /// Whether gateways and managers reach the Redis of the routes through something that can slow it down.
    pub(crate) slow_routes: bool,
}

/// Clients stay where they are until the scene itself moves them.
pub(crate) const NOT_BALANCED: &str = "ramp = \"0s\"\nrebalance_above = 0";

/// Where a gateway listens.
pub(crate) struct Place {
    pub(crate) clients: SocketAddr,
    admin: SocketAddr,
    push: SocketAddr,
}

/// Everything that runs beside the test.
pub(crate) struct Fleet {
    pub(crate) places: Vec<Place>,
    pub(crate) managers: Vec<SocketAddr>,
    gateway_processes: Vec<Process>,
    manager_processes: Vec<Process>,
    instances: Vec<Process>,
    pub(crate) ledger: Redis,
    pub(crate) routes: Redis,
    slow: Option<Proxy>,
    directory: TempDir,
}

/// Only connections close a gateway: on a machine that carries a whole fleet and its clients everything else would.
const MARKS: &str = "[marks]\nclosed_at_least = \"2s\"\n\
     [marks.cpu]\nhigh = 10.0\nlow = 10.0\n[marks.memory]\nhigh = 10.0\nlow = 10.0\n\
     [marks.event_loop]\nhigh = \"60s\"\nlow = \"60s\"\n[marks.own_share]\nhigh = \"60s\"\nlow = \"60s\"\n";

impl Fleet {
    /// Starts all of it, and waits until both managers see all gateways, and these their service.
    pub(crate) async fn start(setup: &Setup) -> Self {
        let [ledger, routes] = [Redis::start_with(Durability::Process), Redis::start_with(Durability::Process)];
        let slow = if setup.slow_routes { Some(Proxy::start(routes.address()).await) } else { None };
        let ledger_url = ledger.url();
        let mut free = free_addresses(2 * MANAGERS + INSTANCES + 3 * GATEWAYS).into_iter();
        let mut free_address = || free.next().expect("as many as are needed");
        let managers: Vec<_> = (0..MANAGERS).map(|_| (free_address(), free_address())).collect();
        let addresses = managers.iter().map(|(listen, _)| format!("\"{listen}\"")).collect::<Vec<_>>().join(",");
        let echoes: Vec<_> = (0..INSTANCES).map(|_| free_address()).collect();
        let places: Vec<_> = (0..GATEWAYS)
            .map(|_| Place { clients: free_address(), admin: free_address(), push: free_address() })
            .collect();
        let mut fleet = Self {
            places,
            managers: managers.iter().map(|&(_, admin)| admin).collect(),
            gateway_processes: Vec::new(),
            manager_processes: Vec::new(),
            instances: Vec::new(),
            ledger,
            routes,
            slow,
            directory: tempfile::tempdir().unwrap(),
        };
        fleet.write_policy(setup);
        fleet.write("user.key", "000102030405060708090a0b0c0d0e0f\n");
        fleet.write(
            "fleet.toml",
            &format!(
                "[routes]\nredis = \"{}\"\n[managers]\naddresses = [{addresses}]\nuser_key_file = \"user.key\"\n",
                fleet.routes_url()
            ),
        );
        fleet.write_manager(setup.placement);
        for &address in &echoes {
            let work =
                ["echo", "--ledger", &ledger_url, "--workers", "8", "--work", "4ms", "--listen", &address.to_string()];
            let instance = fleet.process(&format!("echo-{address}"), &work);
            fleet.instances.push(instance);
        }
        for (number, (listen, admin)) in managers.into_iter().enumerate() {
            let config = fleet.path("manager.toml");
            let arguments =
                ["manager", "--config", &config, "--listen", &listen.to_string(), "--admin", &admin.to_string()];
            let manager = fleet.process(&format!("manager-{number}"), &arguments);
            fleet.manager_processes.push(manager);
        }
        let service = format!("main={}", echoes.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(","));
        for number in 0..GATEWAYS {
            let gateway = fleet.gateway_process(number, &service);
            fleet.gateway_processes.push(gateway);
        }
        fleet.until_whole().await;
        fleet
    }

    /// What gateways and managers are told of the Redis of the routes.
    pub(crate) fn routes_url(&self) -> String {
        self.slow.as_ref().map_or_else(|| self.routes.url(), |slow| format!("redis://{}", slow.address))
    }

    /// How long each answer of it takes from now on.
    pub(crate) fn slow_routes_by(&self, delay: Duration) {
        self.slow.as_ref().expect("it was set up so").delay(delay);
    }

    fn gateway_process(&self, number: usize, service: &str) -> Process {
        let (Place { clients, admin, push }, name) = (&self.places[number], name(number));
        let (policy, config) = (self.path("policy"), self.path("fleet.toml"));
        let role = ["gateway", "--name", &name, "--workers", "1", "--service", service, "--policy", &policy];
        let places = ["--listen", &clients.to_string(), "--admin", &admin.to_string(), "--push", &push.to_string()];
        let arguments = role.iter().chain(&["--config", &config]).chain(&places).copied().collect::<Vec<_>>();
        self.process(&name, &arguments)
    }

    fn process(&self, name: &str, arguments: &[&str]) -> Process {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Process::new(arguments, self.directory.path().join(format!("{name}.log")))
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).unwrap();
    }

    /// The chat policy with keys that all gateways share.
    fn write_policy(&self, setup: &Setup) {
        fs::create_dir(self.directory.path().join("policy")).unwrap();
        let mut chat = fs::read_to_string("policies/chat.toml").unwrap();
        let mut site = format!(
            "[tickets]\nkeys_file = \"../user.key\"\n[connections]\ndrain = \"{}s\"\n{}\n",
            DRAIN.as_secs(),
            setup.connections
        );
        if setup.patient {
            let patient = "target = \"10s\"\nwindow = \"60s\"\n";
            let service = "balance = \"user-hash\"\n";
            assert!(chat.contains(service), "the chat policy has a service");
            chat = chat.replace(service, &format!("{service}[service.gate]\n{patient}"));
            site += &format!("[gateway.gate]\n{patient}");
            let hasty = "timeout = \"500ms\"\n";
            assert!(chat.contains(hasty), "the chat policy has businesses");
            chat = chat.replace(hasty, "timeout = \"10s\"\n");
        }
        self.write("policy/chat.toml", &chat);
        self.write("policy/site.toml", &site);
    }

    /// What managers read at their next start, with these lines in `[placement]`.
    pub(crate) fn write_manager(&self, placement: &str) {
        let board = format!("[board]\nredis = \"{}\"\n", self.routes_url());
        self.write("manager.toml", &format!("{board}{MARKS}[placement]\n{placement}\n"));
    }

    /// Waits until both managers name all gateways, and these reach both instances.
    pub(crate) async fn until_whole(&mut self) {
        let admins: Vec<_> = self.places.iter().map(|place| place.admin).collect();
        for admin in admins {
            until("a gateway reaches its service", async || {
                self.check_alive();
                metric(admin, "dagor_links{service=\"main\"}").await >= INSTANCES as f64
            })
            .await;
        }
        for manager in self.managers.clone() {
            until("a manager names all gateways", async || {
                self.check_alive();
                open(manager).await.len() == GATEWAYS
            })
            .await;
        }
    }

    fn check_alive(&mut self) {
        let fleet = self.gateway_processes.iter_mut().chain(&mut self.manager_processes);
        fleet.chain(&mut self.instances).for_each(Process::check_alive);
    }

    /// Where clients reach all of them.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.places.iter().map(|place| place.clients.to_string()).collect()
    }

    /// Ends a gateway as `kill -9` does.
    pub(crate) fn kill_gateway(&mut self, number: usize) {
        self.gateway_processes[number].kill();
    }

    /// Ends a manager as `kill -9` does.
    pub(crate) fn kill_manager(&mut self, number: usize) {
        self.manager_processes[number].kill();
    }

    /// Starts a manager again and waits until it has seen all gateways. Returns how long that took.
    pub(crate) async fn manager_sees_all(&mut self, numbers: &[usize]) -> Duration {
        let began = Instant::now();
        for &number in numbers {
            self.manager_processes[number].start();
        }
        for &number in numbers {
            let manager = self.managers[number];
            until("a new manager names all gateways", async || open(manager).await.len() == GATEWAYS).await;
        }
        began.elapsed()
    }

    /// Restarts a gateway with a word, and waits until it is a part of the fleet again. Returns whether it left by itself.
    pub(crate) async fn restart_gateway(&mut self, number: usize) -> bool {
        let left = self.gateway_processes[number].tell(LEAVES_WITHIN).await;
        self.gateway_processes[number].start();
        // Its last life's word must not be taken for this one's.
        tokio::time::sleep(INTERVAL).await;
        self.until_whole().await;
        left
    }

    /// How many clients each gateway says that it has.
    pub(crate) async fn connections(&self) -> Vec<u64> {
        let mut counts = Vec::new();
        for place in &self.places {
            counts.push(metric(place.admin, "dagor_connections").await as u64);
        }
        counts
    }

    /// Waits until nobody is farther from the mean than [`DEVIATION`], and nobody moves any more. Returns how long that took,
    /// and the connections.
    pub(crate) async fn until_balanced(&self, clients: usize, within: Duration) -> (Duration, Vec<u64>) {
        let began = Instant::now();
        let mut last = Vec::new();
        while began.elapsed() < within {
            tokio::time::sleep(INTERVAL / 2).await;
            let now = self.connections().await;
            let settled = now == last && now.iter().sum::<u64>() == clients as u64;
            last = now;
            if settled && deviation(&last) <= DEVIATION {
                break;
            }
        }
        (began.elapsed(), last)
    }

    /// Whether every gateway says that no route of a client of it is missing.
    pub(crate) async fn routes_are_written(&self) -> bool {
        let mut missing = 0.0;
        for place in &self.places {
            missing +=
                metric(place.admin, "dagor_routes_away").await + metric(place.admin, "dagor_routes_behind").await;
        }
        missing == 0.0
    }

    /// Nothing panicked, in any life; all still live, but for the gateway that was left dead.
    pub(crate) fn check(&mut self, dead: Option<usize>) {
        let gateways = self.gateway_processes.iter_mut().enumerate().filter(|(number, _)| Some(*number) != dead);
        gateways.map(|(_, process)| process).for_each(Process::check);
        self.manager_processes.iter_mut().chain(&mut self.instances).for_each(Process::check);
    }
}

/// How far the farthest is from the mean, as a share of it.
pub(crate) fn deviation(connections: &[u64]) -> f64 {
    let mean = connections.iter().sum::<u64>() as f64 / connections.len() as f64;
    connections.iter().map(|&one| (one as f64 / mean - 1.0).abs()).fold(0.0, f64::max)
}

/// The registry at this address.
pub(crate) fn registry(url: String) -> RedisRegistry {
    RedisRegistry::open(RedisSettings { nodes: vec![url], ..RedisSettings::default() }).unwrap()
}

/// A gateway's name.
pub(crate) fn name(number: usize) -> String {
    format!("g{number}")
}

/// The gateways that a manager names to new clients; nobody if it does not answer.
pub(crate) async fn open(manager: SocketAddr) -> Vec<String> {
    let Some(Value::Array(gateways)) = get(manager, "/v1/gateways").await.map(|mut said| said["gateways"].take())
    else {
        return Vec::new();
    };
    gateways.iter().filter_map(|one| one["gateway"].as_str().map(str::to_owned)).collect()
}

/// Waits until something is so. Returns how long that took.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        looks.tick().await;
    }
    began.elapsed()
}
