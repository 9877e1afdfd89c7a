//! The life of a manager process: read, bind, serve, stop. It holds nothing that a restart would lose.

use std::{
    fs::File,
    io::{self, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

use super::{
    api::{self, Api},
    attach::{Attach, MAX_MESSAGE_BYTES},
    board::{Board, MemoryBoard},
    config::{BoardPlace, ManagerConfig, Token},
    engine::Engine,
};
use crate::{
    clock::{Clock, unix_millis},
    pb::manager::{self as pb, manager_server::ManagerServer},
    policy::{self, Faults, PolicyStore, Sources},
};

/// A longer token is some other file.
const MAX_TOKEN_BYTES: u64 = 4096;

/// Where a manager really listens: ports that were given as 0 are filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// For gateways.
    pub gateways: SocketAddr,
    /// For people, monitors and clients.
    pub admin: SocketAddr,
}

/// Why a manager did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The policy that it is to distribute has faults.
    #[error("the policy has faults")]
    Policy(Faults),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// There is no token where it should be.
    #[error("cannot read a token from {}", .file.display())]
    Token {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The board cannot be used as configured.
    #[error("the board cannot be used: {0}")]
    Board(String),
}

/// A manager that serves. Dropping it does not stop it; [`Running::shutdown`] does.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub addresses: Addresses,
    /// What it decides.
    pub engine: Engine,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts a manager. Returns when it serves.
///
/// # Errors
///
/// If the policy has faults, the token cannot be read, or an address cannot be listened on.
pub async fn start(config: ManagerConfig) -> Result<Running, StartError> {
    let token = token(&config.token)?;
    let clock = Clock::system();
    let board = board(&config, &clock)?;
    let (engine, work) = Engine::start(config.settings, board, clock.clone(), fastrand::u64(..));
    let policy = config.policy.as_deref().map(|path| open_policy(path, &engine)).transpose()?;
    let listen = |address| move |source| StartError::Listen { address, source };
    let gateways = tokio::net::TcpListener::bind(config.listen).await.map_err(listen(config.listen))?;
    let admin = tokio::net::TcpListener::bind(config.admin).await.map_err(listen(config.admin))?;
    let addresses = Addresses {
        gateways: gateways.local_addr().map_err(listen(config.listen))?,
        admin: admin.local_addr().map_err(listen(config.admin))?,
    };
    let attach = Attach::new(engine.clone(), clock);
    let api = Api::new(engine.clone(), attach.clone(), token);
    let stop = CancellationToken::new();
    let mut tasks =
        vec![until(&stop, work), until(&stop, serve_gateways(gateways, attach)), until(&stop, api::serve(admin, api))];
    if let Some(store) = policy {
        tasks.push(until(&stop, policy::follow(store.clone())));
        tasks.push(until(&stop, distribute(store, engine.clone())));
    }
    Ok(Running { addresses, engine, stop, tasks })
}

impl Running {
    /// Stops. Gateways attach to another manager.
    pub async fn shutdown(self) {
        self.stop.cancel();
        for task in self.tasks {
            // A task that panicked has said so on standard error.
            let _ = task.await;
        }
    }
}

fn until(stop: &CancellationToken, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let stop = stop.clone();
    tokio::spawn(async move {
        stop.run_until_cancelled(task).await;
    })
}

async fn serve_gateways(listener: tokio::net::TcpListener, attach: Attach) {
    let service = ManagerServer::new(attach).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let incoming = TcpListenerStream::new(listener);
    if let Err(error) = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await {
        tracing::error!(%error, "the service for gateways ended");
    }
}

fn token(token: &Token) -> Result<Option<String>, StartError> {
    let file = match token {
        Token::None => return Ok(None),
        Token::Text(text) => return Ok(Some(text.clone())),
        Token::File(file) => file,
    };
    let mut text = String::new();
    let read = File::open(file).and_then(|opened| opened.take(MAX_TOKEN_BYTES).read_to_string(&mut text));
    let line = text.lines().next().unwrap_or_default().trim();
    let found = match read {
        Ok(_) if !line.is_empty() => Ok(Some(line.to_owned())),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "its first line is empty")),
        Err(error) => Err(error),
    };
    found.map_err(|source| StartError::Token { file: file.clone(), source })
}

fn board(config: &ManagerConfig, clock: &Clock) -> Result<Arc<dyn Board>, StartError> {
    match &config.board {
        BoardPlace::Memory => Ok(Arc::new(MemoryBoard::new(clock.clone()))),
        #[cfg(feature = "redis")]
        BoardPlace::Redis(url) => {
            let settings = super::redis::RedisBoardSettings {
                url: url.clone(),
                timeout: config.board_timeout,
                fleet: config.fleet.clone(),
                lease: config.settings.lease,
            };
            let board = super::redis::RedisBoard::open(settings);
            Ok(Arc::new(board.map_err(|error| StartError::Board(error.to_string()))?))
        }
        #[cfg(not(feature = "redis"))]
        BoardPlace::Redis(_) => Err(StartError::Board("this program was built without the feature `redis`".to_owned())),
    }
}

fn open_policy(path: &Path, engine: &Engine) -> Result<Arc<PolicyStore>, StartError> {
    let store = PolicyStore::open(path, unix_millis()).map_err(StartError::Policy)?;
    if let Some(policy) = sources(&store) {
        engine.set_policy(policy);
    }
    Ok(Arc::new(store))
}

/// Hands each policy that comes into force to the gateways.
async fn distribute(store: Arc<PolicyStore>, engine: Engine) {
    let mut changes = store.subscribe();
    // What came into force before this began is not missed.
    changes.mark_changed();
    while changes.changed().await.is_ok() {
        if let Some(policy) = sources(&store) {
            engine.set_policy(policy);
        }
    }
}

/// The files of the policy in force; nothing if they have changed since, which the watch will notice.
fn sources(store: &PolicyStore) -> Option<pb::Policy> {
    let sources = Sources::read(store.path()?).ok()?;
    let revision = sources.revision();
    let file = |source: &policy::Source| pb::PolicyFile { name: source.name.clone(), text: source.text.clone() };
    let files = sources.iter().map(file).collect();
    (revision == store.current().revision).then_some(pb::Policy { revision: revision.0, files })
}
