//! Keeps this gateway attached to one of its managers, whichever answers: the next one at once when the present one is lost,
//! and all of them again and again while none is there. What the last one said stays in force meanwhile.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Endpoint};

use super::report::Reporter;
use crate::{
    clock::unix_millis,
    gateway::Gateway,
    pb::manager::{self as pb, manager_client::ManagerClient},
    policy::{Applied, Source, Sources, table::Revision},
};

/// The longest wait for a connection, and for the stream on it.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// The first pause after all managers were tried in vain, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often to report until a manager says it, and bounds of what it may say.
const INTERVAL: Duration = Duration::from_secs(1);
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);
/// A manager that says nothing for so many intervals is given up for another one.
const SILENT_INTERVALS: u32 = 3;
/// How often to look for what has lapsed.
const LAPSE_TICK: Duration = Duration::from_millis(100);
/// Reports that may wait for the manager's socket. One that takes none of them is given up.
const WAITING: usize = 2;
/// Longest message, in bytes: a directive with a policy.
const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// Which managers a gateway attaches to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagersConfig {
    /// Where the managers are, as host:port.
    pub addresses: Vec<String>,
    /// Where clients reach this gateway, if not where it listens.
    pub advertise: Vec<String>,
    /// Whether the managers' policy takes the place of the gateway's own.
    pub accept_policy: bool,
}

type AttachError = Box<dyn std::error::Error + Send + Sync>;

/// Attaches for as long as it is polled.
pub(in crate::gateway) async fn follow(gateway: Arc<Gateway>, config: ManagersConfig, clients: std::net::SocketAddr) {
    let addresses = if config.advertise.is_empty() { vec![clients.to_string()] } else { config.advertise.clone() };
    let follower = Follower { gateway: gateway.clone(), config, addresses };
    tokio::join!(follower.attach_forever(), lapse(gateway));
}

/// Takes out of force what has lapsed.
async fn lapse(gateway: Arc<Gateway>) {
    let mut ticks = interval(LAPSE_TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        gateway.fleet.enforce(&gateway, gateway.clock.now());
    }
}

struct Follower {
    gateway: Arc<Gateway>,
    config: ManagersConfig,
    addresses: Vec<String>,
}

impl Follower {
    async fn attach_forever(&self) {
        let managers = &self.config.addresses;
        let mut reporter = Reporter::new(&self.gateway);
        // Gateways spread over the managers.
        let mut at = fastrand::usize(..managers.len().max(1));
        let (mut pause, mut failures, mut told) = (FIRST_PAUSE, 0, false);
        while let Some(manager) = managers.get(at % managers.len().max(1)) {
            let heard = self.attach(manager, &mut reporter).await;
            self.gateway.fleet.attached.store(false, super::Relaxed);
            at += 1;
            match heard {
                Ok(why) => {
                    tracing::warn!(manager, why, "a manager is lost");
                    (pause, failures, told) = (FIRST_PAUSE, 0, false);
                }
                Err(error) => {
                    failures += 1;
                    tracing::debug!(manager, error, "no manager here");
                }
            }
            if failures >= managers.len() {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!("no manager can be reached; what the last one said holds until it lapses");
                }
                failures = 0;
                sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// Attaches to one manager for as long as it speaks. Returns why it does not any more; an error if it never did.
    async fn attach(&self, manager: &str, reporter: &mut Reporter) -> Result<&'static str, AttachError> {
        let (reports, waiting) = mpsc::channel(WAITING);
        // The first report goes along with the request: a manager may wait for it before it answers.
        reports.try_send(reporter.report(&self.gateway, &self.addresses))?;
        let mut directives = timeout(CONNECT_WITHIN, open(manager, waiting)).await??;
        let mut every = INTERVAL;
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        let mut heard = self.gateway.clock.now();
        let mut spoke = false;
        let why = loop {
            tokio::select! {
                directive = directives.message() => match directive {
                    Ok(Some(directive)) => {
                        if !std::mem::replace(&mut spoke, true) {
                            tracing::info!(manager, "attached to a manager");
                            self.gateway.fleet.attached.store(true, super::Relaxed);
                        }
                        heard = self.gateway.clock.now();
                        let wanted = Duration::from_millis(directive.report_interval_ms.into());
                        let wanted = wanted.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL);
                        if wanted != every {
                            every = wanted;
                            ticks = interval(every);
                            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                        }
                        self.obey(directive);
                    }
                    Ok(None) => break "it ended the stream",
                    Err(_) => break "the stream broke",
                },
                () = self.gateway.fleet.leaving.notified() => {
                    // Without room the next tick tells it.
                    let _ = reports.try_send(reporter.report(&self.gateway, &self.addresses));
                }
                _ = ticks.tick() => {
                    if self.gateway.clock.now().since(heard) > every * SILENT_INTERVALS {
                        break "it says nothing";
                    }
                    if reports.try_send(reporter.report(&self.gateway, &self.addresses)).is_err() {
                        break "it takes no reports";
                    }
                }
            }
        };
        if spoke { Ok(why) } else { Err(why.into()) }
    }

    fn obey(&self, mut directive: pb::Directive) {
        let policy = directive.policy.take();
        self.gateway.fleet.obey(directive, &self.gateway, self.gateway.clock.now());
        if let Some(policy) = policy.filter(|_| self.config.accept_policy) {
            self.take_policy(policy);
        }
    }

    /// A policy with faults changes nothing; the manager is told with the next report.
    fn take_policy(&self, policy: pb::Policy) {
        let refused = &self.gateway.fleet.refused_policy;
        let source = |file: pb::PolicyFile| Source { name: file.name, text: file.text };
        let sources = Sources::from_files(policy.files.into_iter().map(source).collect());
        match self.gateway.store.apply(sources, unix_millis()) {
            Ok(Applied::Changed(Revision(revision))) => {
                tracing::info!(revision = format!("{revision:016x}"), "the managers' policy is in force");
                refused.store(0, super::Relaxed);
            }
            Ok(Applied::Unchanged) => refused.store(0, super::Relaxed),
            Err(faults) => {
                refused.store(policy.revision, super::Relaxed);
                tracing::error!("the managers' policy was refused, the last good one stays in force:\n{faults}");
            }
        }
    }
}

/// Connects and opens the stream.
async fn open(manager: &str, reports: mpsc::Receiver<pb::LoadReport>) -> Result<Streaming<pb::Directive>, AttachError> {
    let endpoint = Endpoint::from_shared(format!("http://{manager}"))?
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_WITHIN)
        .http2_keep_alive_interval(INTERVAL)
        .keep_alive_timeout(INTERVAL * 2)
        .keep_alive_while_idle(true);
    let mut client = ManagerClient::new(endpoint.connect().await?).max_decoding_message_size(MAX_MESSAGE_BYTES);
    Ok(client.attach(ReceiverStream::new(reports)).await?.into_inner())
}
