//! Stands between clients and a gateway, and cuts each connection after a number of bytes that its chance gave it: in the
//! middle of a frame as well as between two.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Bytes of one direction after which a connection is cut: up to that.
const CUT_WITHIN_BYTES: u64 = 12_000;
/// The largest piece that is carried at once, in bytes.
const PIECE_BYTES: usize = 4 * 1024;

/// A gateway's address for clients. It ends when it is dropped.
pub(crate) struct Cutter {
    pub(crate) address: SocketAddr,
    cuts: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Cutter {
    /// Listens for the clients of the gateway at `target`.
    pub(crate) async fn start(target: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, cuts) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
        let mut random = fastrand::Rng::with_seed(seed);
        let counted = cuts.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let budgets = [random.u64(1..CUT_WITHIN_BYTES), random.u64(1..CUT_WITHIN_BYTES)];
                tokio::spawn(carry(client, target, budgets, counted.clone()));
            }
        });
        Self { address, cuts, task }
    }

    /// How many connections were cut.
    pub(crate) fn cuts(&self) -> u64 {
        self.cuts.load(Relaxed)
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Carries both directions until one ends; then both do.
async fn carry(client: TcpStream, target: SocketAddr, budgets: [u64; 2], cuts: Arc<AtomicU64>) {
    // A gateway that is away looks like one that closes at once.
    let Ok(gateway) = TcpStream::connect(target).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_gateway, to_gateway) = gateway.into_split();
    let cut = tokio::select! {
        cut = pass(from_client, to_gateway, budgets[0]) => cut,
        cut = pass(from_gateway, to_client, budgets[1]) => cut,
    };
    cuts.fetch_add(cut.into(), Relaxed);
}

/// Carries one direction. `true` if its bytes were used up.
async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut budget: u64) -> bool {
    let mut piece = vec![0; PIECE_BYTES];
    while budget > 0 {
        let Ok(bytes @ 1..) = from.read(&mut piece).await else { return false };
        let carried = bytes.min(usize::try_from(budget).unwrap_or(bytes));
        if to.write_all(&piece[..carried]).await.is_err() {
            return false;
        }
        budget -= carried as u64;
    }
    true
}
