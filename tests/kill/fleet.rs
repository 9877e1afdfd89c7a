//! The processes: two gateways and two instances of the demo service, each at an address of its own that it keeps over
//! its lives.

use std::{
    fmt::Write as _,
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::time::Instant;

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

/// One process over all its lives.
struct Process {
    arguments: Vec<String>,
    /// What all of its lives have said.
    log: PathBuf,
    life: Option<Child>,
}

impl Process {
    fn new(arguments: Vec<String>, log: PathBuf) -> Self {
        let mut process = Self { arguments, log, life: None };
        process.start();
        process
    }

    fn start(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_dagor"));
        command.args(["--log", "warn"]).args(&self.arguments).env("NO_COLOR", "1");
        self.life = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// It must live until it is ended from here.
    fn check_alive(&mut self) {
        let ended = self.life.as_mut().and_then(|life| life.try_wait().unwrap());
        if let Some(status) = ended {
            let log = fs::read_to_string(&self.log).unwrap();
            panic!("dagor {} ended by itself ({status}):\n{log}", self.arguments.join(" "));
        }
    }

    fn kill(&mut self) {
        if let Some(mut life) = self.life.take() {
            life.kill().unwrap();
            life.wait().unwrap();
        }
    }

    /// Tells it to leave, and kills it if it does not.
    async fn tell(&mut self) {
        let Some(life) = &mut self.life else { return };
        assert!(Command::new("kill").args(["-TERM", &life.id().to_string()]).status().unwrap().success());
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        let given_up = Instant::now() + LEAVES_WITHIN;
        while life.try_wait().unwrap().is_none() && Instant::now() < given_up {
            tick.tick().await;
        }
        self.kill();
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

/// Everything that runs beside the test.
pub(crate) struct Fleet {
    site: Site,
    addresses: Vec<SocketAddr>,
    processes: Vec<Process>,
    random: fastrand::Rng,
    kills: [u64; GATEWAYS + INSTANCES],
}

impl Fleet {
    /// Starts all of them. Whom they meet first is not awaited: clients and gateways try until somebody answers.
    pub(crate) fn start(site: Site, seed: u64) -> Self {
        let addresses: Vec<_> = (0..GATEWAYS + INSTANCES).map(|_| free_address()).collect();
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
        Self { addresses, processes, site, random: fastrand::Rng::with_seed(seed), kills: [0; GATEWAYS + INSTANCES] }
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
                process.tell().await
            } else {
                process.kill()
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
        self.processes.iter_mut().for_each(Process::check_alive);
        for number in 0..self.processes.len() {
            let log = fs::read_to_string(self.site.directory.path().join(format!("{number}.log"))).unwrap();
            let panic = log.lines().find(|line| line.contains("panicked at"));
            assert_eq!(panic, None, "process {number}");
        }
    }
}

/// An address of the loopback that nobody else of this machine is likely to choose.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.9.1:0").unwrap().local_addr().unwrap()
}
