//! The processes: two gateways and two instances of the demo service, each at an address of its own that it keeps over
//! its lives.

use std::{fmt::Write as _, fs, net::SocketAddr, time::Duration};

use tempfile::TempDir;
use tokio::time::Instant;

use crate::process::{Process, free_addresses};

/// Gateways first, then instances.
const GATEWAYS: usize = 2;
const INSTANCES: usize = 2;
/// Each instance works on so many messages at a time: enough that the work takes longer than the ledger.
const WORKERS: usize = 8;
/// One process is killed after a pause of this length, in milliseconds, and away for that long.
const PAUSE_MS: std::ops::Range<u64> = 1_000..4_000;
const AWAY_MS: std::ops::Range<u64> = 100..1_500;
/// One in so many is told to leave instead of killed.
const TOLD: u64 = 4;
/// How long a process that was told to leave may take.
const LEAVES_WITHIN: Duration = Duration::from_secs(3);

/// What the processes read: the policy and the keys.
pub(crate) struct Site {
    directory: TempDir,
    echo: Vec<String>,
}

impl Site {
    /// The chat policy with keys that both gateways share, and instances that serve `capacity` messages per second
    /// together.
    pub(crate) fn new(redis: &str, capacity: f64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let policy = directory.path().join("policy");
        fs::create_dir(&policy).unwrap();
        fs::copy("policies/chat.toml", policy.join("chat.toml")).unwrap();
        fs::write(directory.path().join("keys"), "000102030405060708090a0b0c0d0e0f\n").unwrap();
        let mut site = String::from("[tickets]\nkeys_file = \"../keys\"\n");
        // A gateway that is told to leave has a moment for it.
        writeln!(site, "[connections]\ndrain = \"1s\"").unwrap();
        fs::write(policy.join("site.toml"), site).unwrap();
        let work = (WORKERS * INSTANCES) as f64 / capacity;
        let (workers, work) = (WORKERS.to_string(), format!("{}us", (work * 1e6) as u64));
        let echo = ["--ledger", redis, "--workers", &workers, "--work", &work].map(str::to_owned).to_vec();
        Self { directory, echo }
    }
}

/// Everything that runs beside the test.
pub(crate) struct Fleet {
    /// Until all of them have ended.
    _site: Site,
    addresses: Vec<SocketAddr>,
    processes: Vec<Process>,
    random: fastrand::Rng,
    kills: [u64; GATEWAYS + INSTANCES],
}

impl Fleet {
    /// Starts all of them. Whom they meet first is not awaited: clients and gateways try until somebody answers.
    pub(crate) fn start(site: Site, seed: u64) -> Self {
        let addresses = free_addresses(GATEWAYS + INSTANCES);
        let services: Vec<_> = addresses[GATEWAYS..].iter().map(SocketAddr::to_string).collect();
        let service = format!("main={}", services.join(","));
        let policy = site.directory.path().join("policy").display().to_string();
        let processes = addresses.iter().enumerate().map(|(number, address)| {
            let listen = ["--listen".to_owned(), address.to_string()];
            let arguments = if number < GATEWAYS {
                let role = ["gateway", "--admin", "127.0.0.1:0", "--push", "127.0.0.1:0", "--workers", "2"];
                let rest =
                    ["--name".into(), format!("g{number}"), "--service".into(), service.clone(), "--policy".into()];
                role.map(str::to_owned).into_iter().chain(rest).chain([policy.clone()]).chain(listen).collect()
            } else {
                [String::from("echo")].into_iter().chain(site.echo.iter().cloned()).chain(listen).collect()
            };
            Process::new(arguments, site.directory.path().join(format!("{number}.log")))
        });
        let processes = processes.collect();
        Self {
            addresses,
            processes,
            _site: site,
            random: fastrand::Rng::with_seed(seed),
            kills: [0; GATEWAYS + INSTANCES],
        }
    }

    /// Where clients reach a gateway.
    pub(crate) fn gateway(&self, number: usize) -> SocketAddr {
        self.addresses[number]
    }

    /// Ends one process after the other, now by force, now by a word, and starts it again. At the end all of them run.
    pub(crate) async fn torment(&mut self, duration: Duration) {
        let end = Instant::now() + duration;
        loop {
            let pause = Duration::from_millis(self.random.u64(PAUSE_MS));
            if Instant::now() + pause >= end {
                break;
            }
            tokio::time::sleep(pause).await;
            let victim = self.random.usize(..self.processes.len());
            let told = self.random.u64(..TOLD) == 0;
            let process = &mut self.processes[victim];
            process.check_alive();
            if told {
                process.tell(LEAVES_WITHIN).await;
            } else {
                process.kill();
            }
            self.kills[victim] += 1;
            tokio::time::sleep(Duration::from_millis(self.random.u64(AWAY_MS))).await;
            self.processes[victim].start();
        }
        tokio::time::sleep_until(end).await;
    }

    /// How often each process was ended: the gateways, then the instances.
    pub(crate) fn kills(&self) -> [u64; GATEWAYS + INSTANCES] {
        self.kills
    }

    /// Nothing panicked, in any life, and all of them still live.
    pub(crate) fn check_logs(&mut self) {
        self.processes.iter_mut().for_each(Process::check);
    }
}
