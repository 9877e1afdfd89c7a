//! `dagor client`: talk to a gateway by hand. Replies and pushes go to standard output, everything else to standard
//! error.

use std::{
    io::{self, BufRead, Write},
    time::Duration,
};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::mpsc;

use crate::{
    client::{
        ClientConfig, CloseReason, ConnectError, DirectClient, Push, Pushes, Reply, RequestError, Token, TransportKind,
    },
    clock::{Clock, Timestamp},
    id::BusinessCode,
};

/// Lines typed ahead of what has been sent.
const LINES: usize = 16;

/// Connect to a gateway by hand: send requests, watch replies and pushes.
///
/// Each line of standard input is a request: the name of a business, a space and the text; or, where the line does not
/// start with one, a text for the business of `--business`. The end of the input waits for the replies and leaves.
#[derive(Args, Clone, Debug)]
pub struct ClientArgs {
    /// Address of the gateway, `host:port`.
    #[arg(long, default_value = "127.0.0.1:7400")]
    addr: String,
    /// Who logs in.
    #[arg(long)]
    user: String,
    /// With which device; a second login of the same user and device replaces the first.
    #[arg(long, default_value = "")]
    device: String,
    /// Proof of identity; gateways on loopback take none.
    #[arg(long, env = "DAGOR_TOKEN", hide_env_values = true, default_value = "")]
    token: String,
    /// What to speak below the frames.
    #[arg(long, value_enum, default_value_t = TransportArg::Tcp)]
    transport: TransportArg,
    /// The business of lines that name none.
    #[arg(long, default_value = "message")]
    business: String,
    /// How long a request may take, in seconds; without it the gateway's own limit holds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Send also what the gateway has just said that it would refuse; otherwise such requests are not sent at all.
    #[arg(long)]
    insist: bool,
    /// Send this one request, print its reply and leave. Without a colon all of it is the text.
    #[arg(long, value_name = "BUSINESS:TEXT")]
    send: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TransportArg {
    Tcp,
    Ws,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientCommandError {
    /// Not connected.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where to.
        address: String,
        /// Why not.
        source: ConnectError,
    },
    /// The gateway has no such business.
    #[error("there is no business \"{name}\"; this gateway has {known}")]
    UnknownBusiness {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The request of `--send` got no reply.
    #[error("no reply")]
    Request(#[from] RequestError),
    /// The gateway ended the connection.
    #[error("the connection ended")]
    Closed(#[source] CloseReason),
    /// Standard input or output failed.
    #[error("standard input or output failed")]
    Io(#[from] io::Error),
}

/// Runs the command.
///
/// # Errors
///
/// If there is no connection, if it ends before the input does, or if the request of `--send` gets no reply.
pub async fn run(args: ClientArgs) -> Result<(), ClientCommandError> {
    let config = args.config();
    let clock = Clock::system();
    let (client, pushes) = DirectClient::connect_with(config, clock.clone())
        .await
        .map_err(|source| ClientCommandError::Connect { address: args.addr.clone(), source })?;
    match &args.send {
        Some(request) => send_once(&client, &args, request).await,
        None => Conversation { client, pushes, args, clock }.run().await,
    }
}

impl ClientArgs {
    fn config(&self) -> ClientConfig {
        let transport = match self.transport {
            TransportArg::Tcp => TransportKind::Tcp,
            TransportArg::Ws => TransportKind::WebSocket,
        };
        ClientConfig {
            transport,
            device: self.device.clone(),
            token: Token(Bytes::copy_from_slice(self.token.as_bytes())),
            hold_back: !self.insist,
            ..ClientConfig::new(&self.addr, &self.user)
        }
    }

    /// The business and the text of a line: the business is named where the line starts with a name that exists.
    fn parse_line<'a>(
        &self,
        client: &DirectClient,
        line: &'a str,
    ) -> Result<(BusinessCode, &'a str), ClientCommandError> {
        let named = line.split_once(' ').and_then(|(name, text)| Some((client.business(name)?, text)));
        named.map_or_else(|| Ok((find(client, &self.business)?, line)), Ok)
    }
}

fn find(client: &DirectClient, name: &str) -> Result<BusinessCode, ClientCommandError> {
    client.business(name).ok_or_else(|| {
        let known: Vec<_> = client.session().businesses.iter().map(|business| business.name.as_str()).collect();
        ClientCommandError::UnknownBusiness { name: name.to_owned(), known: known.join(", ") }
    })
}

async fn send_once(client: &DirectClient, args: &ClientArgs, request: &str) -> Result<(), ClientCommandError> {
    let (name, text) = request.split_once(':').unwrap_or((&args.business, request));
    let business = find(client, name)?;
    let reply = client.request(business, Bytes::copy_from_slice(text.as_bytes()), args.timeout).await?;
    writeln!(anstream::stdout(), "{}", printable(&reply.payload))?;
    Ok(())
}

/// A person at the keyboard and a gateway.
struct Conversation {
    client: DirectClient,
    pushes: Pushes,
    args: ClientArgs,
    clock: Clock,
}

impl Conversation {
    async fn run(mut self) -> Result<(), ClientCommandError> {
        let session = self.client.session();
        writeln!(anstream::stderr(), "connected to {}, login {}", session.gateway, session.epoch)?;
        let mut lines = read_lines();
        let mut typing = true;
        let mut waiting = FuturesUnordered::new();
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        while typing || !waiting.is_empty() {
            tokio::select! {
                line = lines.recv(), if typing => match line {
                    Some(line) => waiting.extend(self.send(line)),
                    None => typing = false,
                },
                Some((sent, ended)) = waiting.next() => self.show_end(sent, ended)?,
                push = self.pushes.recv() => match push {
                    Some(push) => self.show_push(&push)?,
                    None => return Err(ClientCommandError::Closed(self.client.closed().await)),
                },
                _ = &mut interrupted => return Ok(()),
            }
        }
        Ok(())
    }

    /// Sends a line, if it can be sent; what is wrong with it goes to standard error.
    fn send(&self, line: String) -> Option<impl Future<Output = (Timestamp, Result<Reply, RequestError>)> + use<>> {
        let (business, text) = match self.args.parse_line(&self.client, &line) {
            Ok(parsed) => parsed,
            Err(error) => {
                let _gone = writeln!(anstream::stderr(), "{error}");
                return None;
            }
        };
        let payload = Bytes::copy_from_slice(text.as_bytes());
        let sent = self.clock.now();
        let response = self.client.request(business, payload, self.args.timeout);
        Some(async move { (sent, response.await) })
    }

    fn show_end(&self, sent: Timestamp, ended: Result<Reply, RequestError>) -> io::Result<()> {
        let took = self.clock.now().since(sent).as_secs_f64() * 1000.0;
        match ended {
            Ok(reply) => {
                let name = self.name(reply.business);
                writeln!(
                    anstream::stdout(),
                    "reply  {name} #{} in {took:.1} ms: {}",
                    reply.id,
                    printable(&reply.payload)
                )
            }
            Err(RequestError::HeldBack { id, business, open_permille, retry_after }) => {
                let name = self.name(business);
                let share = match open_permille {
                    0 => "none".to_owned(),
                    some => format!("{} %", f64::from(some) / 10.0),
                };
                writeln!(
                    anstream::stdout(),
                    "not sent  {name} #{id}: the gateway takes {share} of these at present; try again in {:.1} s",
                    retry_after.as_secs_f64()
                )
            }
            Err(error) => {
                let hint = error.retry_after().map(|after| format!("; try again in {after:?}")).unwrap_or_default();
                writeln!(
                    anstream::stdout(),
                    "no reply after {took:.1} ms: {}{hint}",
                    printable(error.to_string().as_bytes())
                )
            }
        }
    }

    fn show_push(&self, push: &Push) -> io::Result<()> {
        let name = self.name(push.business);
        writeln!(anstream::stdout(), "push   {name} #{}: {}", push.id, printable(&push.payload))
    }

    fn name(&self, business: BusinessCode) -> String {
        let known = self.client.session().business(business);
        known.map_or_else(|| format!("business {business}"), |business| business.name.clone())
    }
}

/// Text from far away, with nothing in it that a terminal would obey.
fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for character in String::from_utf8_lossy(bytes).chars() {
        if character.is_control() { text.extend(character.escape_default()) } else { text.push(character) }
    }
    text
}

/// The lines of standard input. A thread of its own, because nothing can interrupt a read from a terminal: it must not
/// hold up the end of the program.
fn read_lines() -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel(LINES);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if send.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receive
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        client: ClientArgs,
    }

    #[test]
    fn a_user_is_all_that_must_be_given() {
        let args = Program::try_parse_from(["dagor", "--user", "alice"]).unwrap().client;
        let config = args.config();
        assert_eq!((config.gateways, config.user.as_str()), (vec!["127.0.0.1:7400".to_owned()], "alice"));
        assert_eq!((config.transport, config.hold_back), (TransportKind::Tcp, true));
        assert!(Program::try_parse_from(["dagor"]).is_err());
    }

    #[test]
    fn a_terminal_gets_no_orders_from_far_away() {
        assert_eq!(printable("grüß\x1b[2J".as_bytes()), "grüß\\u{1b}[2J");
    }

    #[test]
    fn a_timeout_is_a_number_of_seconds() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert!(seconds("-1").is_err() && seconds("soon").is_err() && seconds("inf").is_err());
    }
}
