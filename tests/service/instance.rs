//! An instance, a gateway's end of a link to it, and a handler that does as a test says.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use dagor::{
    admission::{Level, Value},
    clock::Clock,
    gateway::link::{Guard, Link, LinkConfig, LinkEvent, LinkHandle, OutgoingCall},
    id::{BusinessCode, Incarnation, MessageId, OutboxId},
    request::Failure,
    service::{Handler, HandlerError, Reply, Request, Server},
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
};

/// An instance that serves until it is told to leave.
pub(crate) struct Instance {
    pub(crate) address: SocketAddr,
    pub(crate) leave: Option<oneshot::Sender<()>>,
    pub(crate) served: JoinHandle<()>,
}

pub(crate) async fn serve<H: Handler>(server: Server<H>) -> Instance {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (leave, left) = oneshot::channel();
    let served = tokio::spawn(async move {
        let shutdown = async { drop(left.await) };
        server.serve(listener, shutdown).await.unwrap();
    });
    Instance { address, leave: Some(leave), served }
}

/// A gateway's end of a link; `G` is what a call holds while its place is taken.
pub(crate) struct Gateway<G = ()> {
    pub(crate) link: LinkHandle<G>,
    pub(crate) events: mpsc::Receiver<LinkEvent>,
    pub(crate) clock: Clock,
    next_message: AtomicU64,
}

impl<G: Guard> Gateway<G> {
    pub(crate) fn dial(address: SocketAddr, push_address: &str) -> Self {
        let (clock, (sender, events)) = (Clock::system(), mpsc::channel(64));
        let config = LinkConfig {
            address: address.to_string(),
            gateway: "g1".into(),
            incarnation: Incarnation(7),
            push_address: push_address.into(),
        };
        let link = Link::spawn(config, clock.clone(), move |event| sender.try_send(event).unwrap());
        Self { link, events, clock, next_message: AtomicU64::new(1) }
    }

    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let mut gateway = Self::dial(address, "");
        gateway.until(LinkEvent::Connected).await;
        gateway
    }

    pub(crate) async fn until(&mut self, wanted: LinkEvent) {
        while self.events.recv().await.expect("the link is alive") != wanted {}
    }

    /// The next message.
    pub(crate) fn call<'a>(&self, payload: &'a str) -> OutgoingCall<'a> {
        OutgoingCall {
            user: "ann",
            device: "phone",
            outbox: OutboxId(3),
            message: MessageId(self.next_message.fetch_add(1, Ordering::Relaxed)),
            business: BusinessCode(9),
            business_name: "message",
            value: Value::new(Level::new(9, 9), 0),
            deadline: self.clock.now() + Duration::from_secs(30),
            resent: false,
            reply_wanted: true,
            oldest_unsettled: MessageId(1),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        }
    }

    pub(crate) fn call_of_level<'a>(&self, payload: &'a str, level: usize) -> OutgoingCall<'a> {
        OutgoingCall { value: Value::new(Level::from_index(level), 0), ..self.call(payload) }
    }
}

impl Gateway {
    pub(crate) async fn ask(&self, payload: &str) -> Result<Bytes, Failure> {
        self.link.dispatch(self.call(payload), ()).await.map(|answer| answer.payload)
    }
}

/// Replies to `hold…` only once the test opens the gate, and misbehaves when asked to.
#[derive(Clone)]
pub(crate) struct Scripted {
    gate: Arc<Semaphore>,
    started: mpsc::Sender<String>,
}

impl Scripted {
    pub(crate) fn new() -> (Self, mpsc::Receiver<String>) {
        let (started, log) = mpsc::channel(1024);
        (Self { gate: Arc::new(Semaphore::new(0)), started }, log)
    }

    pub(crate) fn open(&self, calls: usize) {
        self.gate.add_permits(calls);
    }
}

impl Handler for Scripted {
    async fn handle(&self, request: Request) -> Result<Reply, HandlerError> {
        let order = String::from_utf8(request.payload.to_vec()).unwrap();
        self.started.try_send(order.clone()).unwrap();
        match order.as_str() {
            "fail" => Err(HandlerError::failed("no such room")),
            "misplace" => Err(HandlerError::misplaced("not a guest")),
            "refuse" => Err(HandlerError::refused("later", Duration::from_millis(70))),
            "doubt" => Err(HandlerError::unknown("a time-out")),
            "panic" => panic!("as ordered"),
            order if order.starts_with("hold") => {
                self.gate.acquire().await.unwrap().forget();
                Ok(Reply::new(request.payload))
            }
            _ => Ok(Reply::new(request.payload)),
        }
    }
}
