//! `dagor gateway`: one gateway in front of services that run elsewhere.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf};

use tokio_util::sync::CancellationToken;

use super::{Error, at_least_one, gateway_file, listen::loopback_only, stop};
use crate::{
    gateway::{
        self, Addresses, Announced, GatewayConfig, PolicySource, RouteStore, Running, StartError, sample::SampleLog,
    },
    policy::ServiceAddresses,
};

/// Run a gateway in front of your logic services.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dagor gateway --service main=127.0.0.1:7403                     one instance of the service `main`
  dagor gateway --policy policies/chat.toml \\
                --service pay=127.0.0.1:7410,127.0.0.1:7411 \\
                --service chat=127.0.0.1:7403                     two services, their businesses from a file
  dagor gateway --service main=127.0.0.1:7403 \\
                --sample-log today.csv --sample 1/100             one request in 100 in a file, to be replayed
  dagor gateway --service main=127.0.0.1:7403 --workers 1         on one core
  dagor gateway --service main=127.0.0.1:7403 --config fleet.toml one of a fleet

The configuration file says what gateways of a fleet share:
  [routes]
  redis = \"redis://127.0.0.1:6379\"    # or several nodes of a Redis Cluster; without it routes are kept in memory
  advertise = \"g1.internal:7402\"      # where services and other gateways reach --push, if not there
  [managers]
  addresses = [\"127.0.0.1:7500\", \"127.0.0.1:7510\"]   # one speaks; when it is lost, the next one
  user_key_file = \"user.key\"         # users are placed alike everywhere

The policy file is watched: a change takes effect without a restart, and a faulty one changes nothing.")]
pub struct Args {
    /// A service of the policy and the addresses of its instances (repeatable).
    #[arg(long, required = true, value_name = "NAME=ADDR[,ADDR]", value_parser = parse_service)]
    service: Vec<ServiceAddresses>,
    /// The policy file [default: one business per priority, built in].
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The configuration file, with what gateways of a fleet share.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The name in Welcome, logs and metrics; in a fleet each gateway has its own.
    #[arg(long, default_value = "gateway", value_name = "NAME")]
    name: String,
    #[command(flatten)]
    listen: Listen,
}

/// Where a gateway listens and with how many threads; `serve` has the same flags.
#[derive(Debug, clap::Args)]
pub struct Listen {
    /// Where clients connect, over TCP and WebSocket alike. Managers cannot tell clients 0.0.0.0 or [::]: with them it
    /// does not start there without `advertise` in [managers].
    #[arg(long, default_value = "127.0.0.1:7400", value_name = "ADDR")]
    listen: SocketAddr,
    /// Where health, metrics and status are.
    #[arg(long, default_value = "127.0.0.1:7401", value_name = "ADDR")]
    admin: SocketAddr,
    /// Where logic services push messages to users. On 0.0.0.0 or [::] it does not start without `advertise` in
    /// [routes].
    #[arg(long, default_value = "127.0.0.1:7402", value_name = "ADDR")]
    push: SocketAddr,
    /// Worker threads [default: one per core].
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    workers: Option<usize>,
    /// Write a sample of the requests, as a trace that `dagor simulate` can replay; it ends at 1 GiB.
    #[arg(long, value_name = "FILE")]
    sample_log: Option<PathBuf>,
    /// Which part of the requests the sample has.
    #[arg(long, default_value = "1/100", value_name = "1/N", value_parser = parse_sample, requires = "sample_log")]
    sample: NonZeroU32,
}

impl Listen {
    /// The configuration of a gateway that listens here.
    pub(super) fn config(
        &self,
        name: &str,
        services: Vec<ServiceAddresses>,
        policy: PolicySource,
    ) -> Result<GatewayConfig, Error> {
        Ok(GatewayConfig {
            name: name.to_owned(),
            clients: loopback_only("--listen", self.listen)?,
            admin: loopback_only("--admin", self.admin)?,
            push: loopback_only("--push", self.push)?,
            push_advertised: None,
            workers: self.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
            services,
            policy,
            priority_key: random_key()?,
            routes: RouteStore::Memory,
            sample: self.sample_log.clone().map(|file| SampleLog { file, one_in: self.sample }),
            managers: None,
        })
    }
}

/// Nobody outside the process may be able to work out which user comes first, so the system's own randomness it is.
fn random_key() -> Result<[u8; 16], Error> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(|error| Error::failed(format!("the system gives no random bytes: {error}")))?;
    Ok(key)
}

fn parse_sample(text: &str) -> Result<NonZeroU32, String> {
    let one_in = text.strip_prefix("1/").and_then(|number| number.parse().ok());
    one_in.ok_or_else(|| "expected 1/N, such as 1/100, or 1/1 for every request".to_owned())
}

fn parse_service(text: &str) -> Result<ServiceAddresses, String> {
    let wrong = || "expected NAME=ADDR[,ADDR], such as chat=127.0.0.1:7403".to_owned();
    let (name, addresses) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
    let parse = |address: &str| address.trim().parse().map_err(|_| format!("{address:?}: {}", wrong()));
    let instances = addresses.split(',').map(parse).collect::<Result<_, _>>()?;
    Ok(ServiceAddresses { name: name.to_owned(), instances })
}

/// Runs until the process is told to stop.
///
/// # Errors
///
/// If an address cannot be used or the policy is faulty.
pub fn run(args: Args) -> Result<(), Error> {
    let policy = args.policy.map_or(PolicySource::BuiltInDefault, PolicySource::File);
    let mut config = args.listen.config(&args.name, args.service, policy)?;
    if let Some(file) = &args.config {
        let file = gateway_file::read(file)?;
        config.routes = file.routes()?;
        config.managers = file.managers()?;
        config.push_advertised = file.push_advertised()?;
        config.priority_key = file.user_key()?.unwrap_or(config.priority_key);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(Error::failed)?.block_on(async { run_gateway(config, stop::on_signal()?, |_| String::new()).await })
}

/// The one place that runs a gateway: until `stop` is cancelled and what is in flight has ended. `then` is called with
/// the gateway's addresses as soon as it serves.
pub(super) async fn run_gateway(
    config: GatewayConfig,
    stop: CancellationToken,
    then: impl FnOnce(&Addresses) -> String,
) -> Result<(), Error> {
    let workers = config.workers;
    let running = gateway::start(config).await.map_err(not_started)?;
    anstream::eprintln!("{}", banner(&running, workers));
    anstream::eprintln!("{}", then(&running.addresses));
    tokio::select! {
        () = stop.cancelled() => {}
        () = running.failed() => return Err(Error::failed("a thread of the gateway ended; the log says why")),
    }
    anstream::eprintln!("draining; a second signal ends it at once");
    running.shutdown().await;
    Ok(())
}

fn not_started(error: StartError) -> Error {
    match error {
        StartError::Policy(faults) => Error::usage(faults.render(false)),
        StartError::NoAddress(_) => Error::usage(error).hint("say where it is with --service NAME=ADDR"),
        StartError::Unreachable { what, .. } => Error::usage(error).hint(match what {
            Announced::Clients => "say where clients reach it with `advertise` in [managers] of the configuration file",
            Announced::Pushes => {
                "say where services and gateways reach them with `advertise` in [routes] of the configuration file"
            }
        }),
        StartError::Listen { .. } => Error::from_chain(&error)
            .hint("is another gateway running? choose other addresses with --listen, --admin and --push"),
        StartError::Sample { .. } => Error::from_chain(&error).hint("give --sample-log a file that can be written"),
        StartError::Tickets(_) => Error::from_chain(&error).hint("the policy's [tickets] keys_file names the file"),
        StartError::Routes(_) => Error::from_chain(&error).hint("look at [routes] of the configuration file"),
        StartError::Worker(_) => Error::from_chain(&error),
    }
}

/// What listens where.
fn banner(running: &Running, workers: usize) -> String {
    let Addresses { clients, admin, push } = running.addresses;
    let policy = match running.gateway.store.path() {
        Some(path) => format!("{} (watched)", path.display()),
        None => "built in".to_owned(),
    };
    let told = &running.gateway.home.address;
    let advertised = if *told == push.to_string() { String::new() } else { format!(", advertised as {told}") };
    format!(
        "dagor gateway `{}` serves\n\
         \x20 clients   {clients}   TCP and WebSocket\n\
         \x20 admin     http://{admin}   /live /ready /metrics /v1/status\n\
         \x20 pushes    {push}   gRPC, for logic services{advertised}\n\
         \x20 workers   {workers}\n\
         \x20 policy    {policy}",
        running.gateway.home.gateway
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_one_in_so_many() {
        assert_eq!(parse_sample("1/100").unwrap().get(), 100);
        for text in ["", "100", "1/0", "2/100", "1/", "1/-1"] {
            assert!(parse_sample(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_service_has_a_name_and_addresses() {
        let service = parse_service("chat=127.0.0.1:1,127.0.0.1:2").unwrap();
        assert_eq!((service.name.as_str(), service.instances.len()), ("chat", 2));
        for text in ["chat", "=127.0.0.1:1", "chat=", "chat=here", "chat=127.0.0.1:1,"] {
            assert!(parse_service(text).is_err(), "{text:?}");
        }
    }
}
