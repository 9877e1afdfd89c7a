//! `dagor client`: talk to gateways by hand, and see what becomes of each message. Replies and pushes go to standard
//! output, everything else to standard error.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Write},
    path::PathBuf,
    time::Duration,
};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use tokio::sync::mpsc;

use crate::{
    client::{
        Client, ClientConfig, ClientEvent, CloseReason, ConnectError, DirectClient, Events, Fate, FileStore, GiveUp,
        NewMessage, Push, Pushes, RequestError, StartError, StopReason, StoreError, SyncPolicy, Token, TransportKind,
    },
    clock::{Clock, Timestamp},
    id::{BusinessCode, MessageId},
};

/// Lines typed ahead of what has been accepted.
const LINES: usize = 16;

/// Events that may wait to be shown.
const EVENTS: usize = 4096;

/// Connect to gateways by hand: send messages, watch what becomes of them, watch pushes.
///
/// Each line of standard input is a message: the name of a business, a space and the text; or, where the line does not
/// start with one, a text for the business of `--business`. A line is accepted at once and stays until it is answered,
/// whatever becomes of gateways and connections meanwhile. The end of the input waits for the replies and leaves; Ctrl-C
/// leaves at once.
#[derive(Args, Clone, Debug)]
pub struct ClientArgs {
    /// Address of a gateway, `host:port`; several for several gateways.
    #[arg(long, default_value = "127.0.0.1:7400", value_delimiter = ',')]
    addr: Vec<String>,
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
    /// How long each try of a message may take, in seconds; without it the gateway's own limit holds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Send also what the gateway has just said that it would refuse; otherwise such messages wait until it is over.
    #[arg(long)]
    insist: bool,
    /// Keep what is not answered in this file, and send it the next time; without it, it is lost when this program ends.
    #[arg(long, value_name = "FILE", conflicts_with = "send")]
    outbox: Option<PathBuf>,
    /// Send this one request, once, print its reply and leave. Without a colon all of it is the text.
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
    /// What was asked for cannot be.
    #[error(transparent)]
    Config(ConnectError),
    /// The outbox cannot be had.
    #[error(transparent)]
    Outbox(#[from] StoreError),
    /// The client has stopped by itself.
    #[error("stopped: {0}")]
    Stopped(StopReason),
    /// Standard input or output failed.
    #[error("standard input or output failed")]
    Io(#[from] io::Error),
}

impl From<StartError> for ClientCommandError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Config(error) => Self::Config(error),
            StartError::Store(error) => Self::Outbox(error),
        }
    }
}

/// Runs the command.
///
/// # Errors
///
/// If the outbox cannot be had, if the client is stopped before the input ends, or if the request of `--send` gets no
/// reply.
pub async fn run(args: ClientArgs) -> Result<(), ClientCommandError> {
    let config = args.config();
    if let Some(request) = &args.send {
        return send_once(config, &args, request).await;
    }
    let (client, pushes, events) = match &args.outbox {
        Some(file) => Client::start_with(config, FileStore::new(file, &args.user, SyncPolicy::Always)?)?,
        None => Client::start(config)?,
    };
    let conversation = Conversation {
        client,
        pushes,
        events,
        args,
        clock: Clock::system(),
        businesses: BTreeMap::new(),
        accepted: BTreeMap::new(),
    };
    conversation.run().await
}

impl ClientArgs {
    fn config(&self) -> ClientConfig {
        let transport = match self.transport {
            TransportArg::Tcp => TransportKind::Tcp,
            TransportArg::Ws => TransportKind::WebSocket,
        };
        ClientConfig {
            gateways: self.addr.clone(),
            transport,
            device: self.device.clone(),
            token: Token(Bytes::copy_from_slice(self.token.as_bytes())),
            hold_back: !self.insist,
            event_capacity: EVENTS,
            ..ClientConfig::new("", &self.user)
        }
    }
}

async fn send_once(config: ClientConfig, args: &ClientArgs, request: &str) -> Result<(), ClientCommandError> {
    let address = config.gateways.first().cloned().unwrap_or_default();
    let connected = DirectClient::connect(config).await;
    let (client, _pushes) = connected.map_err(|source| ClientCommandError::Connect { address, source })?;
    let (name, text) = request.split_once(':').unwrap_or((&args.business, request));
    let business = client.business(name).ok_or_else(|| {
        let known: Vec<_> = client.session().businesses.iter().map(|business| business.name.as_str()).collect();
        ClientCommandError::UnknownBusiness { name: name.to_owned(), known: known.join(", ") }
    })?;
    let reply = client.request(business, Bytes::copy_from_slice(text.as_bytes()), args.timeout).await?;
    writeln!(anstream::stdout(), "{}", printable(&reply.payload))?;
    Ok(())
}

/// A person at the keyboard and what becomes of what they type.
struct Conversation {
    client: Client,
    pushes: Pushes,
    events: Events,
    args: ClientArgs,
    clock: Clock,
    /// As the last gateway named them; empty before the first login.
    businesses: BTreeMap<BusinessCode, String>,
    /// What was typed and is not answered: which business, and since when.
    accepted: BTreeMap<MessageId, (String, Timestamp)>,
}

impl Conversation {
    async fn run(mut self) -> Result<(), ClientCommandError> {
        if self.client.unsettled() > 0 {
            say(&format!("{} from the last time", waiting(self.client.unsettled())))?;
        }
        let mut lines = read_lines();
        let mut typing = true;
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        while typing || self.client.unsettled() > 0 {
            tokio::select! {
                // Which words are names of businesses is known from the first login on.
                line = lines.recv(), if typing && !self.businesses.is_empty() => match line {
                    Some(line) => self.submit(&line).await?,
                    None => typing = false,
                },
                Some(event) = self.events.recv() => self.show(event)?,
                Some(push) = self.pushes.recv() => self.show_push(&push)?,
                _ = &mut interrupted => break,
            }
        }
        self.leave().await
    }

    /// Shows what has happened meanwhile, then ends.
    async fn leave(mut self) -> Result<(), ClientCommandError> {
        let left = self.client.close(Duration::ZERO).await;
        while let Some(event) = self.events.recv().await {
            if !matches!(event, ClientEvent::Stopped(StopReason::Closed)) {
                self.show(event)?;
            }
        }
        match &self.args.outbox {
            Some(file) if left > 0 => say(&format!("{left} not answered, kept in {}", file.display()))?,
            _ => {}
        }
        Ok(())
    }

    async fn submit(&mut self, line: &str) -> io::Result<()> {
        let (business, text) = self.parse_line(line);
        let mut message = NewMessage::new(&business, Bytes::copy_from_slice(text.as_bytes()));
        message.try_timeout = self.args.timeout;
        let now = self.clock.now();
        match self.client.submit(message).await {
            Ok(receipt) => {
                say(&format!("{business} #{} accepted", receipt.id()))?;
                self.accepted.insert(receipt.id(), (business, now));
            }
            Err(error) => say(&format!("not accepted: {error}"))?,
        }
        Ok(())
    }

    /// The business and the text of a line: the business is named where the line starts with a name that exists.
    fn parse_line<'a>(&self, line: &'a str) -> (String, &'a str) {
        let named = line.split_once(' ').filter(|(name, _)| self.businesses.values().any(|known| known == name));
        named.map_or_else(|| (self.args.business.clone(), line), |(name, text)| (name.to_owned(), text))
    }

    fn show(&mut self, event: ClientEvent) -> Result<(), ClientCommandError> {
        match event {
            ClientEvent::Connected { .. } => {
                if let Some(session) = self.client.session() {
                    let row = |business: &crate::client::Business| (business.code, business.name.clone());
                    self.businesses = session.businesses.iter().map(row).collect();
                }
                say(&sentence(&event))?;
            }
            ClientEvent::Ended { id, fate } => self.show_end(id, &fate)?,
            ClientEvent::Pushed(push) => self.show_push(&push)?,
            ClientEvent::Stopped(reason) => return Err(ClientCommandError::Stopped(reason)),
            ClientEvent::Connecting { .. }
            | ClientEvent::Waiting { .. }
            | ClientEvent::Moving { .. }
            | ClientEvent::Sent { .. }
            | ClientEvent::HeldBack { .. }
            | ClientEvent::Refused { .. }
            | ClientEvent::Unknown { .. } => say(&sentence(&event))?,
        }
        Ok(())
    }

    fn show_end(&mut self, id: MessageId, fate: &Fate) -> io::Result<()> {
        let (name, since) = match self.accepted.remove(&id) {
            Some((name, accepted)) => {
                let took = self.clock.now().since(accepted).as_secs_f64() * 1000.0;
                (name + " ", format!(" in {took:.1} ms"))
            }
            None => (String::new(), String::new()),
        };
        match fate {
            Fate::Replied(reply) => {
                writeln!(anstream::stdout(), "reply  {name}#{id}{since}: {}", printable(&reply.payload))
            }
            Fate::GivenUp { why: GiveUp::Closed, .. } => say(&format!("{name}#{id} {fate}")),
            Fate::Settled | Fate::Failed(_) | Fate::Rejected { .. } | Fate::GivenUp { .. } | Fate::Kept => {
                writeln!(anstream::stdout(), "end    {name}#{id}{since}: {}", printable(fate.to_string().as_bytes()))
            }
        }
    }

    fn show_push(&self, push: &Push) -> io::Result<()> {
        let name = self.businesses.get(&push.business);
        let name = name.map_or_else(|| format!("business {}", push.business), Clone::clone);
        writeln!(anstream::stdout(), "push   {name} #{}: {}", push.id, printable(&push.payload))
    }
}

/// What an event means to a person.
fn sentence(event: &ClientEvent) -> String {
    match event {
        ClientEvent::Connecting { address } => format!("connecting to {address}"),
        ClientEvent::Connected { address, gateway, epoch, resent, unsettled } => {
            let again = match (resent, unsettled) {
                (0, 0) => String::new(),
                (0, _) => format!("; {}", waiting(*unsettled)),
                (_, _) => format!("; {}, {resent} of them sent before: these are sent again", waiting(*unsettled)),
            };
            format!("connected to {gateway} at {address}, login {epoch}{again}")
        }
        ClientEvent::Waiting { reason, address, delay, unsettled } => {
            format!("{}; trying {address} in {}; {}", lost(reason), wait(*delay), waiting(*unsettled))
        }
        ClientEvent::Moving { reason, address, delay } => {
            format!("the gateway wants its clients elsewhere ({reason}): moving to {address} in {}", wait(*delay))
        }
        ClientEvent::Sent { id, attempt: 1 } => format!("#{id} sent"),
        ClientEvent::Sent { id, attempt } => format!("#{id} sent again, try {attempt}"),
        ClientEvent::HeldBack { id, reason, delay } => format!("#{id} {reason}; sent in {}", wait(*delay)),
        ClientEvent::Refused { id, verdict, delay: Some(delay) } => {
            format!("#{id} refused, not run: {verdict}; again in {}", wait(*delay))
        }
        ClientEvent::Refused { id, delay: None, .. } => format!("#{id} waits for the one before it"),
        ClientEvent::Unknown { id, reason, delay } => {
            format!("#{id} may have run, {reason}; again in {}", wait(*delay))
        }
        ClientEvent::Ended { id, fate } => format!("#{id} {fate}"),
        ClientEvent::Pushed(push) => format!("push #{}", push.id),
        ClientEvent::Stopped(reason) => format!("stopped: {reason}"),
    }
}

fn lost(reason: &CloseReason) -> String {
    match reason {
        CloseReason::Unreachable(_) | CloseReason::LoginTimedOut => format!("not connected ({reason})"),
        CloseReason::Refused { .. } => reason.to_string(),
        CloseReason::Kicked(_)
        | CloseReason::HeartbeatLost
        | CloseReason::Disconnected
        | CloseReason::Io(_)
        | CloseReason::Protocol(_)
        | CloseReason::Local => format!("connection lost ({reason})"),
    }
}

fn waiting(messages: usize) -> String {
    match messages {
        0 => "no message waits".into(),
        1 => "1 message waits".into(),
        more => format!("{more} messages wait"),
    }
}

fn wait(delay: Duration) -> String {
    format!("{:.1} s", delay.as_secs_f64())
}

/// A line on standard error.
fn say(line: &str) -> io::Result<()> {
    writeln!(anstream::stderr(), "{}", printable(line.as_bytes()))
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
