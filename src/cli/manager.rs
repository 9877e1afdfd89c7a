//! `dagor manager`: one of the managers of a fleet.

use std::{net::SocketAddr, path::PathBuf};

use tokio_util::sync::CancellationToken;

use super::{Error, listen::loopback_only, stop};
use crate::manager::{self, BoardPlace, ManagerConfig, Running, StartError};

/// Run a manager: gateways tell it their load, and it says who takes clients and where the fleet cuts.
///
/// Any number may run, and none leads. Gateways attach to one of them; with Redis each knows what all of them hear. They hold
/// nothing that a restart would lose.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dagor manager                                     one, with everything at its default
  dagor manager --config manager.toml               docs/manager.toml has every key with its default
  dagor manager --config manager.toml --listen 127.0.0.1:7510 --admin 127.0.0.1:7511   a second one

Gateways attach with `dagor gateway --config FILE`, whose file says:
  [managers]
  addresses = [\"127.0.0.1:7500\", \"127.0.0.1:7510\"]

Then look at http://127.0.0.1:7501/v1/fleet, and see `dagor help cap`, `drain` and `kick`.")]
pub struct Args {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where gateways attach, instead of the file's.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where people, monitors and clients ask, instead of the file's.
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
}

/// Runs until the process is told to stop.
///
/// # Errors
///
/// If an address cannot be used or the configuration is faulty.
pub fn run(args: Args) -> Result<(), Error> {
    let mut config = match &args.config {
        Some(file) => ManagerConfig::load(file).map_err(|faults| Error::usage(faults.render(false)))?,
        None => ManagerConfig::default(),
    };
    config.listen = loopback_only("--listen", args.listen.unwrap_or(config.listen))?;
    config.admin = loopback_only("--admin", args.admin.unwrap_or(config.admin))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(Error::failed)?.block_on(async { run_manager(config, stop::on_signal()?).await })
}

async fn run_manager(config: ManagerConfig, stop: CancellationToken) -> Result<(), Error> {
    let shown = config.clone();
    let running = manager::start(config).await.map_err(not_started)?;
    anstream::eprintln!("{}", banner(&running, &shown));
    stop.cancelled().await;
    running.shutdown().await;
    Ok(())
}

pub(super) fn not_started(error: StartError) -> Error {
    match error {
        StartError::Policy(faults) => Error::usage(faults.render(false)),
        StartError::Listen { .. } => Error::from_chain(&error)
            .hint("is another manager running? choose other addresses with --listen and --admin"),
        StartError::Token { .. } => {
            Error::from_chain(&error).hint("`token_file` names a file whose first line is the token")
        }
        StartError::Board(_) => Error::usage(error).hint("[board] redis = \"redis://HOST:PORT\""),
    }
}

/// What listens where.
fn banner(running: &Running, config: &ManagerConfig) -> String {
    let manager::Addresses { gateways, admin } = running.addresses;
    let board = match config.board {
        BoardPlace::Memory => "in memory: right for one manager alone".to_owned(),
        BoardPlace::Redis(_) => format!("in Redis, fleet `{}`", config.fleet),
    };
    let policy = config.policy.as_ref().map_or("each gateway's own".to_owned(), |path| path.display().to_string());
    format!(
        "dagor manager serves\n\
         \x20 gateways  {gateways}   gRPC\n\
         \x20 admin     http://{admin}   /v1/fleet /v1/gateways /live /ready /metrics\n\
         \x20 board     {board}\n\
         \x20 policy    {policy}"
    )
}
