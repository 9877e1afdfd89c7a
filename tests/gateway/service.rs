//! A logic service that does what a request's payload says, on a runtime of its own, so that it can die as a process
//! does.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use dagor::service::{Handler, HandlerError, Mark, Reply, Request, Server};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::{Semaphore, oneshot},
};

/// How an instance differs from the SDK's defaults.
pub(crate) type Shape = fn(Server<Arc<Script>>) -> Server<Arc<Script>>;

/// Does what payloads say: `fail`, `misplace`, `refuse`, `panic`, `size <bytes>`, `level` (of the user), `mark …`, `hold…` until a
/// test lets it go on; anything else is answered with itself.
pub(crate) struct Script {
    held: Semaphore,
    started: Mutex<Vec<String>>,
    running: AtomicUsize,
    most: AtomicUsize,
}

impl Default for Script {
    fn default() -> Self {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { held: Semaphore::new(0), started: Mutex::default(), running, most }
    }
}

impl Script {
    /// Lets as many of those held go on.
    pub(crate) fn release(&self, calls: usize) {
        self.held.add_permits(calls);
    }

    /// The payloads of all calls so far, in the order in which their handlers began.
    pub(crate) fn started(&self) -> Vec<String> {
        self.started.lock().unwrap().clone()
    }

    /// The most handlers that ever ran at a time.
    pub(crate) fn most_at_a_time(&self) -> usize {
        self.most.load(SeqCst)
    }

    async fn obey(&self, order: &str, request: Request) -> Result<Reply, HandlerError> {
        match order.split_once(' ').unwrap_or((order, "")) {
            ("fail", _) => Err(HandlerError::failed("no such room")),
            ("misplace", _) => Err(HandlerError::misplaced("not a guest")),
            ("refuse", _) => {
                Err(HandlerError::Refused { detail: "later".into(), retry_after: Duration::from_millis(70) })
            }
            ("panic", _) => panic!("as ordered"),
            ("size", bytes) => Ok(Reply::new(vec![b'x'; bytes.parse().unwrap()])),
            ("level", _) => Ok(Reply::new(request.value.level().user().to_string())),
            ("mark", mark) => Ok(Reply::new("marked").mark(mark_of(mark))),
            ("hold", _) => {
                self.held.acquire().await.unwrap().forget();
                Ok(Reply::new(request.payload))
            }
            _ => Ok(Reply::new(request.payload)),
        }
    }
}

/// What `<first> <last>`, `<first> <last> <until>` or nothing, which lifts, means.
fn mark_of(text: &str) -> Mark {
    let numbers: Vec<u64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let level = |at: usize| u8::try_from(numbers[at]).unwrap();
    match numbers.len() {
        0 => Mark::lift(),
        2 => Mark::session(level(0)..=level(1)),
        _ => Mark::until(level(0)..=level(1), numbers[2]),
    }
}

impl Handler for Script {
    async fn handle(&self, request: Request) -> Result<Reply, HandlerError> {
        let order = String::from_utf8_lossy(&request.payload).into_owned();
        self.most.fetch_max(self.running.fetch_add(1, SeqCst) + 1, SeqCst);
        self.started.lock().unwrap().push(order.clone());
        let result = self.obey(&order, request).await;
        self.running.fetch_sub(1, SeqCst);
        result
    }
}

/// An instance of the logic service.
pub(crate) struct Instance {
    pub(crate) address: SocketAddr,
    pub(crate) script: Arc<Script>,
    shape: Shape,
    runtime: Option<Runtime>,
}

impl Instance {
    /// Starts an instance on a port that the system chooses.
    pub(crate) async fn start(shape: Shape) -> Self {
        let script = Arc::default();
        let (runtime, address) = serve(([127, 0, 0, 1], 0).into(), &script, shape).await;
        Self { address, script, shape, runtime: Some(runtime) }
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) fn kill(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    /// Starts it again at the same address.
    pub(crate) async fn restart(&mut self) {
        let (runtime, _) = serve(self.address, &self.script, self.shape).await;
        self.runtime = Some(runtime);
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(address: SocketAddr, script: &Arc<Script>, shape: Shape) -> (Runtime, SocketAddr) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = shape(Server::new(script.clone()));
    let (bound, is_bound) = oneshot::channel();
    runtime.spawn(async move {
        let listener = TcpListener::bind(address).await.unwrap();
        bound.send(listener.local_addr().unwrap()).unwrap();
        server.serve(listener, std::future::pending()).await.unwrap();
    });
    let address = is_bound.await.unwrap();
    (runtime, address)
}
