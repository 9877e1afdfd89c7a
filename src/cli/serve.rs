//! `dagor serve`: a gateway and the demo service in one process, ready to be tried.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use tokio::net::TcpListener;

use super::{
    Error, at_least_one,
    gateway::{Listen, run_gateway},
    listen::loopback_only,
    manager::not_started,
    policy, stop,
};
use crate::{
    gateway::{Addresses, PolicySource, fleet::ManagersConfig},
    manager::{self, ManagerConfig, Token},
    policy::{Policy, ServiceAddresses},
    service::echo::{EchoConfig, serve_echo},
};

/// The port that the other commands expect a gateway at.
const DEFAULT_PORT: u16 = 7400;
/// The port that `cap`, `drain` and `kick` expect a manager at.
const DEFAULT_MANAGER_PORT: u16 = 7501;

/// Run a gateway with its manager and a demo logic service, in one process.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dagor serve                                    the chat policy, a service of 800 requests/s
  dagor serve --echo-workers 4 --echo-work 1ms   a service of 4,000 requests/s
  dagor serve --policy policies/chat.toml        a policy of your own, watched while it runs

Then, in another terminal:
  dagor load --overload 2x                       see what is refused, and what is not")]
pub struct Args {
    /// The policy file; all its services are the demo service [default: the built-in chat policy].
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// How many requests the demo service works on at a time.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = at_least_one)]
    echo_workers: usize,
    /// How long each takes.
    #[arg(long, default_value = "10ms", value_name = "TIME", value_parser = humantime::parse_duration)]
    echo_work: Duration,
    /// Where the fleet's manager is asked; the fleet is this one gateway.
    #[arg(long, default_value = "127.0.0.1:7501", value_name = "ADDR")]
    manager: SocketAddr,
    #[command(flatten)]
    listen: Listen,
}

/// Runs until the process is told to stop.
///
/// # Errors
///
/// If an address cannot be used or the policy is faulty.
pub fn run(args: Args) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(Error::failed)?.block_on(async {
        let stop = stop::on_signal()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(Error::failed)?;
        let echo = listener.local_addr().map_err(Error::failed)?;
        let (names, source) = services(args.policy)?;
        let services = names.into_iter().map(|name| ServiceAddresses { name, instances: vec![echo] }).collect();
        let mut config = args.listen.config("serve", services, source)?;
        let (manager, token) = start_manager(args.manager).await?;
        config.managers = Some(ManagersConfig {
            addresses: vec![manager.addresses.gateways.to_string()],
            advertise: Vec::new(),
            accept_policy: false,
        });
        let demo = EchoConfig { workers: args.echo_workers, work: args.echo_work };
        // The demo service outlives the gateway's drain, so that what is in flight is answered.
        tokio::spawn(serve_echo(demo, listener, std::future::pending()));
        let fleet = Fleet { admin: manager.addresses.admin, token };
        let ended = run_gateway(config, stop, |addresses| next_steps(addresses, &demo, &fleet)).await;
        manager.shutdown().await;
        ended
    })
}

/// What somebody needs to operate the fleet.
struct Fleet {
    admin: SocketAddr,
    token: String,
}

/// A manager for this gateway alone. Its token is a new one each time: nobody has to keep it.
async fn start_manager(admin: SocketAddr) -> Result<(manager::Running, String), Error> {
    let mut key = [0; 8];
    getrandom::fill(&mut key).map_err(|error| Error::failed(format!("the system gives no random bytes: {error}")))?;
    let token = format!("{:016x}", u64::from_be_bytes(key));
    let config = ManagerConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        admin: loopback_only("--manager", admin)?,
        token: Token::Text(token.clone()),
        ..ManagerConfig::default()
    };
    let started = manager::start(config).await;
    let running = started.map_err(|error| not_started(error).hint("choose another address with --manager"))?;
    Ok((running, token))
}

/// What to try now.
fn next_steps(addresses: &Addresses, demo: &EchoConfig, fleet: &Fleet) -> String {
    let EchoConfig { workers, work } = demo;
    let capacity = match work.is_zero() {
        true => "as fast as it can".to_owned(),
        false => format!("{:.0} requests/s", *workers as f64 / work.as_secs_f64()),
    };
    let address = match addresses.clients.port() {
        DEFAULT_PORT => String::new(),
        _ => format!(" --addr {}", addresses.clients),
    };
    let Fleet { admin, token } = fleet;
    let manager = if admin.port() == DEFAULT_MANAGER_PORT { String::new() } else { format!(" --manager {admin}") };
    format!(
        "  manager   http://{admin}   /v1/fleet /v1/gateways /metrics\n\
         \x20 service   a demo that answers with what it was sent: {workers} workers, {work:?} each: {capacity}\n\n\
         Now try, in another terminal:\n\
         \x20 dagor load --overload 2x{address}      see what is refused, and what is not\n\
         \x20 dagor client --user ann{address}       type `message hello`\n\
         \x20 curl {}/metrics\n\
         \x20 DAGOR_TOKEN={token} dagor cap main 20 --for 1m{manager}      messages pass, moments do not",
        addresses.admin
    )
}

/// The names of the policy's services, and where the gateway reads the policy.
fn services(file: Option<PathBuf>) -> Result<(Vec<String>, PolicySource), Error> {
    let (policy, source) = match file {
        None => (Policy::built_in_chat(), PolicySource::BuiltInChat),
        Some(path) => {
            let read = Policy::load(&path).or_else(|faults| {
                policy::show(&faults)?;
                Err(policy::error(&[path.display().to_string()]))
            });
            (read?, PolicySource::File(path))
        }
    };
    Ok((policy.services.into_iter().map(|service| service.name).collect(), source))
}
