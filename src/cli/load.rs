//! `dagor load`: flags become a [`LoadConfig`], the report becomes a table or JSON.

use std::time::Duration;

use super::{Error, at_least_one};
use crate::load::{Arrivals, LoadConfig, Mix, Pace, Transport, config};

/// Offer load to a gateway over real sockets and report how each business fared.
///
/// An open loop: requests leave when the schedule says, whatever the gateway does, and latency counts from the time at
/// which a request should have left. Without --rate, the saturation of the service behind the gateway is measured first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dagor load                                        as much as the service can just do
  dagor load --overload 2x --warmup 15s             twice that, counted after 15 s
  dagor load --rate 5000 --duration 1m --json       5000 requests/s, report as JSON on standard output
  dagor load --mix payment=1,message=4 --users 50   only these businesses, from 50 users
  dagor load --transport ws --connections 10000     over 10,000 WebSockets

In the table: `ok` was answered within the timeout, `late` after it, `unknown` was dispatched without an answer, and
`lost` got no word at all. `in time` is ok among what was admitted, `success` is ok among what was offered.")]
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
        }
    }
}
