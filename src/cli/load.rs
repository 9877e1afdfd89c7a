//! `dagor load`: flags become a [`LoadConfig`], the report becomes a table or JSON.

use std::{path::PathBuf, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Error, at_least_one, report::print};
use crate::load::{self, Arrivals, LoadConfig, Mix, Pace, Progress, Transport, config, table};

/// Offer load to a gateway over real sockets and report how each business fared.
///
/// An open loop: requests leave when the schedule says, whatever the gateway does, and latency counts from the time at
/// which a request should have left. Without --rate, the saturation of the service behind the gateway is measured first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dagor load                                        as much as the service can just do
  dagor load --overload 2x --warmup 15s             twice that, counted after 15 s
  dagor load --rate 5000 --duration 1m --json       5000 requests/s, the report as JSON
  dagor load --mix payment=1,message=4 --users 50   only these businesses, from 50 users
  dagor load --transport ws --connections 10000     over 10,000 WebSockets
  dagor load --overload 2x --record traffic.csv     each request in a file, to be replayed

In the table:
  ok         answered within the timeout; the latencies are of these
  late       answered after the timeout
  unknown    dispatched, and the gateway says that no answer came
  lost       no word at all; must be 0
  in time    ok ÷ (ok + late + unknown): of what was admitted
  success    ok ÷ offered

Ctrl-C ends the run with the table so far.")]
pub struct Args {
    /// The gateway's address for clients.
    #[arg(long, default_value = "127.0.0.1:7400", value_name = "HOST:PORT")]
    addr: String,
    /// Connections that stay logged in for the whole run.
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = at_least_one)]
    connections: usize,
    /// How frames travel.
    #[arg(long, value_enum, default_value_t = Transport::Tcp)]
    transport: Transport,
    /// Requests per second, all businesses together.
    #[arg(long, value_name = "N", value_parser = config::parse_positive, conflicts_with = "overload")]
    rate: Option<f64>,
    /// Offer this multiple of the saturation, which is measured first [default: 1x].
    #[arg(long, value_name = "MULTIPLE", value_parser = config::parse_multiple)]
    overload: Option<f64>,
    /// Businesses with their weights, the most important first: the saturation is measured with the first one that is
    /// not `login`. `login` makes full logins: connect, log in, close.
    #[arg(long, default_value = "login=1,payment=9,message=40,moments=50", value_name = "NAME=WEIGHT,…")]
    mix: Mix,
    /// How long the counted part of the run takes.
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// How long traffic flows before it counts, so that the gates can settle.
    #[arg(long, default_value = "0s", value_name = "TIME", value_parser = humantime::parse_duration)]
    warmup: Duration,
    /// Bytes of each request's payload.
    #[arg(long, default_value_t = 64, value_name = "BYTES", value_parser = payload_bytes)]
    payload: usize,
    /// How long an answer is of use, from the intended time of sending.
    #[arg(long, default_value = "500ms", value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// How the gaps between requests are drawn.
    #[arg(long, value_enum, default_value_t = Arrivals::Poisson)]
    arrivals: Arrivals,
    /// The same seed, rate and threads give the same schedule.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Threads that send and receive; one does more than 20,000 requests/s.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = at_least_one)]
    threads: usize,
    /// Spread the connections over this many users [default: one each].
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    users: Option<usize>,
    /// Write what was sent, and what became of it, as a trace that `dagor simulate` can replay.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Accept a run in which the generator itself fell behind its schedule.
    #[arg(long)]
    allow_lag: bool,
    /// Write the report as one JSON object to standard output.
    #[arg(long)]
    json: bool,
}

/// Payloads stay below the 64 KiB that a gateway takes by default.
const MAX_PAYLOAD_BYTES: usize = 60 << 10;

fn payload_bytes(text: &str) -> Result<usize, String> {
    let bytes = text.parse().ok().filter(|&bytes| bytes <= MAX_PAYLOAD_BYTES);
    bytes.ok_or_else(|| format!("expected a whole number up to {MAX_PAYLOAD_BYTES}"))
}

impl Args {
    fn config(&self) -> LoadConfig {
        let pace = match self.rate {
            Some(rate) => Pace::Rate(rate),
            None => Pace::Overload(self.overload.unwrap_or(1.0)),
        };
        LoadConfig {
            address: self.addr.clone(),
            connections: self.connections,
            transport: self.transport,
            pace,
            mix: self.mix.clone(),
            duration: self.duration,
            warmup: self.warmup,
            payload_bytes: self.payload,
            timeout: self.timeout,
            arrivals: self.arrivals,
            seed: self.seed,
            threads: self.threads.min(self.connections),
            users: self.users.unwrap_or(self.connections),
            record: self.record.clone(),
        }
    }
}

/// Makes the run and prints its report.
///
/// # Errors
///
/// If the run could not be made, or the generator itself fell behind its schedule.
pub fn run(args: Args) -> Result<(), Error> {
    let config = args.config();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::failed)?;
    let mut progress = Progress::new(&config);
    let result = runtime.block_on(async {
        let stop = CancellationToken::new();
        tokio::spawn(stop_on_ctrl_c(stop.clone()));
        load::run(config, stop, &mut |event| progress.show(event)).await
    });
    progress.finish();
    let report = result.map_err(explain)?;
    print(&format!("\n{}", table::render(&report)), &report, args.json)?;
    if report.void && !args.allow_lag {
        let hint = "offer less, use more --threads or a less busy machine; --allow-lag accepts the run";
        return Err(Error::failed("this run is void: the generator could not keep up with its schedule").hint(hint));
    }
    Ok(())
}

/// The first Ctrl-C ends the traffic with a table of what there is, the second one the process.
async fn stop_on_ctrl_c(stop: CancellationToken) {
    const INTERRUPTED: i32 = 130;
    while tokio::signal::ctrl_c().await.is_ok() {
        if stop.is_cancelled() {
            std::process::exit(INTERRUPTED);
        }
        stop.cancel();
    }
}

fn explain(error: load::Error) -> Error {
    use load::Error as E;
    let hint = match &error {
        E::Resolve { .. } => "give --addr as host:port",
        E::Connect { .. } => "start a gateway with `dagor serve`, or give its address with --addr",
        E::Silent { .. } | E::NotAGateway { .. } => {
            "is --addr the port for clients, and --transport one that it takes?"
        }
        E::LoginRefused { .. } => "the gateway's log and its policy say why it takes no logins",
        E::NotConnected { .. } => {
            "use fewer --connections, or raise the limits on connections and logins in the policy"
        }
        E::UnknownBusiness { .. } => "name businesses of the gateway's policy in --mix",
        E::NothingToProbe => "add another business to --mix, or give --rate",
        E::NoSaturation { .. } => "is the logic service of this business running?",
        E::OpenFiles { .. } => "raise the limit with `ulimit -n`, or use fewer --connections",
        E::Trace { .. } => "give --record a file that can be written",
        E::Thread(_) => "use fewer --threads",
        E::Interrupted => "let it run longer",
    };
    let failure = match &error {
        E::UnknownBusiness { .. } | E::NothingToProbe | E::Resolve { .. } => Error::usage(&error),
        _ => Error::failed(&error),
    };
    failure.hint(hint)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn config(line: &str) -> Result<LoadConfig, clap::Error> {
        Line::try_parse_from(line.split_whitespace()).map(|line| line.args.config())
    }

    #[test]
    fn without_a_rate_the_saturation_is_offered() {
        assert_eq!(config("load").unwrap().pace, Pace::Overload(1.0));
        assert_eq!(config("load --overload 2x").unwrap().pace, Pace::Overload(2.0));
        assert_eq!(config("load --rate 500").unwrap().pace, Pace::Rate(500.0));
        assert!(config("load --rate 500 --overload 2x").is_err());
    }

    #[test]
    fn every_connection_is_a_user_of_its_own_unless_told_otherwise() {
        assert_eq!(config("load --connections 30").unwrap().users, 30);
        assert_eq!(config("load --connections 30 --users 7").unwrap().users, 7);
    }

    #[test]
    fn there_are_never_more_threads_than_connections() {
        assert_eq!(config("load --connections 2 --threads 8").unwrap().threads, 2);
    }
}
