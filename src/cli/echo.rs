//! `dagor echo`: the demo logic service on its own.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use tokio::net::TcpListener;

use super::{Error, at_least_one, stop};
use crate::{
    clock::Clock,
    service::{
        Echo, EchoConfig, EchoCounters, Handler, HandlerError, Memory, Reply, Request, ServeError, Server,
        redis::{RedisSettings, RedisStore, pipe},
    },
};

/// How often it says what it has served.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// How long the ledger's Redis is waited for, and the pause between two looks.
const LEDGER_WITHIN: Duration = Duration::from_secs(10);
const LEDGER_PAUSE: Duration = Duration::from_millis(500);

/// Run the demo logic service, which answers with what it was sent, at an exact capacity.
///
/// Its capacity is workers ÷ work: 8 workers of 10 ms serve 800 requests/s. A payload that starts with `push:` also
/// pushes what follows to the same user.
///
/// With --ledger it writes each message into a ledger in Redis, in one transaction with its reply: exactly once, whatever
/// is killed, and by any number of instances over one Redis. The ledger of the user `ann` is the list
/// `dagor:ledger:{user:ann}` of BUSINESS:OUTBOX:MESSAGE:USER.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dagor echo                                          800 requests/s
  dagor echo --workers 1 --work 100ms                 10 requests/s
  dagor echo --listen 127.0.0.1:7404 --work 0s        as fast as it can, without pacing
  dagor echo --ledger redis://127.0.0.1:6379          nothing lost, nothing done twice; start several

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
    /// The Redis that holds the ledger and the replies.
    #[arg(long, value_name = "URL")]
    ledger: Option<String>,
}

/// Runs until the process is told to stop.
///
/// # Errors
///
/// If it cannot listen, or the ledger's Redis does not answer.
pub fn run(args: Args) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::failed)?;
    runtime.block_on(async {
        let stop = stop::on_signal()?;
        let listener = TcpListener::bind(args.listen).await.map_err(|error| {
            Error::failed(format_args!("cannot listen on {}: {error}", args.listen))
                .hint("is another one running? choose another address with --listen")
        })?;
        let ledger = match &args.ledger {
            Some(url) => Some(open_ledger(url).await?),
            None => None,
        };
        let address = listener.local_addr().map_err(Error::failed)?;
        let (workers, ledger_kept) = (args.workers, ledger.is_some());
        tracing::info!(%address, workers, work = ?args.work, ledger = ledger_kept, "echo service listens");
        serve(EchoConfig { workers, work: args.work }, ledger, listener, stop.cancelled()).await.map_err(Error::failed)
    })
}

/// Waits for a Redis that starts at the same time, or is slow just now.
async fn open_ledger(url: &str) -> Result<RedisStore, Error> {
    let clock = Clock::system();
    let given_up = clock.now() + LEDGER_WITHIN;
    loop {
        match RedisStore::connect(url, RedisSettings::default()).await {
            Ok(store) => return Ok(store),
            Err(fault) if fault.may_pass() && clock.now() < given_up => {
                tracing::warn!(error = %fault, "the ledger's Redis does not answer yet");
                tokio::time::sleep(LEDGER_PAUSE).await;
            }
            Err(fault) => {
                return Err(Error::failed(format_args!("the ledger cannot be opened: {fault}"))
                    .hint("is redis-server running? its address looks like redis://127.0.0.1:6379"));
            }
        }
    }
}

async fn serve(
    config: EchoConfig,
    ledger: Option<RedisStore>,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let echo = Echo::new(config);
    let counters = echo.counters();
    let Some(ledger) = ledger else {
        let server = echo.into_server();
        tokio::spawn(tell(counters, server.memory()));
        return server.serve(listener, stop).await;
    };
    let server = Server::new(Bookkeeper { echo, ledger: ledger.clone() }).workers(config.workers).store(ledger);
    tokio::spawn(tell(counters, server.memory()));
    server.serve(listener, stop).await
}

/// Answers as the demo service does, and writes each message into the ledger, in one transaction with its reply.
struct Bookkeeper {
    echo: Echo,
    ledger: RedisStore,
}

impl Handler for Bookkeeper {
    async fn handle(&self, request: Request) -> Result<Reply, HandlerError> {
        let reply = self.echo.handle(request.clone()).await?;
        let mut effect = pipe();
        let ledger = format!("dagor:ledger:{}", RedisStore::hash_tag(&request.user));
        effect.rpush(ledger, request.key().to_string());
        Ok(self.ledger.commit(&request, &effect, reply).await?)
    }
}

/// Says what was served since the last time, unless it was nothing.
async fn tell(counters: EchoCounters, memory: Memory) {
    let (mut before, mut copies_before) = (BTreeMap::new(), 0);
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
        let (here, stored) = (memory.stats(), memory.store_stats());
        let replayed = here.replayed + stored.replayed;
        let (stale, conflicts) = (here.stale + stored.stale, here.conflicts + stored.conflicts);
        let (waited, unclaimed) = (here.waited + stored.held, stored.refused_failed);
        let copies = waited + replayed + stale + conflicts + unclaimed;
        if copies > copies_before {
            tracing::info!(waited, replayed, stale, conflicts, unclaimed, "messages that were not run");
        }
        copies_before = copies;
    }
}
