//! `dagor route`: where a user is connected, as the fleet's Redis knows it.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    time::Duration,
};

use comfy_table::{LineStyle, Table, TableStyle};
use serde::Serialize;

use super::{Error, gateway_file::read_authority};
use crate::{
    clock::Clock,
    registry::{
        Registry as _, Route,
        redis::{RedisRegistry, RedisSettings},
    },
};

/// A person waits longer than a login does.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Show where a user is connected, by the routes that gateways keep in Redis.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dagor route ann                                       the Redis of this machine
  dagor route ann --redis redis://10.0.0.7:6379         another one
  dagor route ann --redis rediss://:secret@a,rediss://:secret@b \\
                  --authority ca.pem                    nodes of a Redis Cluster, with TLS and a password
  dagor route ann --json | jq -r '.[].gateway'          for a script

A route is there for as long as its gateway renews its lease. Nobody connected is no failure: exit code 0.")]
pub struct Args {
    /// The user.
    user: String,
    /// Where Redis is; several nodes are one Cluster. In the environment a password is not seen by other users.
    #[arg(
        long,
        env = "DAGOR_REDIS",
        hide_env_values = true,
        default_value = "redis://127.0.0.1:6379",
        value_delimiter = ',',
        value_name = "URL[,URL]"
    )]
    redis: Vec<String>,
    /// A file with the certificate authority of the servers, in PEM [default: the system's].
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
    /// What all keys begin with.
    #[arg(long, default_value = "dagor:", value_name = "TEXT")]
    prefix: String,
    /// Print the routes as JSON on standard output.
    #[arg(long)]
    json: bool,
}

/// One device, as JSON. Fields are only ever added.
#[derive(Debug, Serialize)]
struct Shown {
    device: String,
    gateway: String,
    incarnation: String,
    /// Where its gateway takes pushes.
    address: String,
    epoch: u64,
}

/// Looks the user up.
///
/// # Errors
///
/// If Redis does not answer, or an address is none.
pub fn run(args: Args) -> Result<(), Error> {
    let authority = args.authority.as_deref().map(read_authority).transpose()?;
    let settings = RedisSettings {
        nodes: args.redis,
        authority,
        prefix: args.prefix,
        timeout: TIMEOUT,
        ..RedisSettings::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::failed)?;
    let routes = runtime.block_on(async {
        let registry = RedisRegistry::open(settings).map_err(|error| Error::usage(format_args!("--redis: {error}")))?;
        registry.lookup(&args.user, Clock::system().now()).await.map_err(|error| {
            Error::from_chain(&error).hint("is this the Redis of the gateways' [routes]? give its address with --redis")
        })
    })?;
    let mut shown: Vec<_> = routes.into_iter().map(Shown::from).collect();
    shown.sort_by(|one, other| one.device.cmp(&other.device));
    print(&args.user, &shown, args.json)
        .map_err(|error| Error::failed(format_args!("cannot write the routes: {error}")))
}

fn print(user: &str, shown: &[Shown], json: bool) -> io::Result<()> {
    if json {
        let mut stdout = io::stdout().lock();
        serde_json::to_writer_pretty(&mut stdout, shown)?;
        return writeln!(stdout);
    }
    let mut stderr = anstream::stderr().lock();
    if shown.is_empty() {
        return writeln!(stderr, "{user} is not connected");
    }
    writeln!(stderr, "{}", table(shown))
}

fn table(shown: &[Shown]) -> Table {
    let mut table = Table::new();
    let line = LineStyle::none().fill('─').junction('─');
    table.load_style(TableStyle::new().top_border(line).header_separator(line).bottom_border(line));
    table.set_header(["device", "gateway", "incarnation", "pushes to", "epoch"]);
    for Shown { device, gateway, incarnation, address, epoch } in shown {
        table.add_row([device, gateway, incarnation, address, &epoch.to_string()]);
    }
    table
}

impl From<Route> for Shown {
    fn from(Route { device, home, epoch }: Route) -> Self {
        Self {
            device: device.to_string(),
            gateway: home.gateway.clone(),
            incarnation: format!("{:016x}", home.incarnation.0),
            address: home.address.clone(),
            epoch: epoch.0,
        }
    }
}
