//! `dagor echo`: the demo logic service on its own.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use tokio::net::TcpListener;

use super::{Error, at_least_one, stop};
use crate::service::echo::{Echo, EchoConfig, EchoCounters};

/// How often it says what it has served.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Run the demo logic service, which answers with what it was sent, at an exact capacity.
///
/// Its capacity is workers ÷ work: 8 workers of 10 ms serve 800 requests/s. A payload that starts with `push:` also
/// pushes what follows to the same user.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dagor echo                                          800 requests/s
  dagor echo --workers 1 --work 100ms                 10 requests/s
  dagor echo --listen 127.0.0.1:7404 --work 0s        as fast as it can, without pacing

Then put a gateway in front: dagor gateway --service main=127.0.0.1:7403")]
pub struct Args {
    /// Where gateways connect.
    #[arg(long, default_value = "127.0.0.1:7403", value_name = "ADDR")]
    listen: SocketAddr,
    /// How many requests it works on at a time.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = at_least_one)]
    workers: usize,
    /// How long each takes.
    #[arg(long, default_value = "10ms", value_name = "TIME", value_parser = humantime::parse_duration)]
    work: Duration,
}

/// Runs until the process is told to stop.
///
/// # Errors
///
/// If it cannot listen.
pub fn run(args: Args) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::failed)?;
    runtime.block_on(async {
        let stop = stop::on_signal()?;
        let listener = TcpListener::bind(args.listen).await.map_err(|error| {
            Error::failed(format_args!("cannot listen on {}: {error}", args.listen))
                .hint("is another one running? choose another address with --listen")
        })?;
        let echo = Echo::new(EchoConfig { workers: args.workers, work: args.work });
        let address = listener.local_addr().map_err(Error::failed)?;
        tracing::info!(%address, workers = args.workers, work = ?args.work, "echo service listens");
        tokio::spawn(tell(echo.counters()));
        echo.into_server().serve(listener, stop.cancelled()).await.map_err(Error::failed)
    })
}

/// Says what was served since the last time, unless it was nothing.
async fn tell(counters: EchoCounters) {
    let mut before = BTreeMap::new();
    loop {
        tokio::time::sleep(TELL_EVERY).await;
        let served = counters.served();
        for (business, &count) in &served {
            let fresh = count - before.get(business).copied().unwrap_or(0);
            if fresh > 0 {
                tracing::info!(business, per_s = fresh as f64 / TELL_EVERY.as_secs_f64(), total = count, "served");
            }
        }
        before = served;
    }
}
