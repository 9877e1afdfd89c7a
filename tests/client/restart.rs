//! The client over real sockets, before a gateway process that is killed and started again.

use std::{
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

use dagor::client::{
    Client, ClientConfig, ClientEvent, DirectClient, Events, Fate, FileStore, NewMessage, StopReason, SubmitError,
    SyncPolicy, TransportKind,
};
use tempfile::TempDir;

/// Every wait ends after this time at the latest.
const PATIENCE: Duration = Duration::from_secs(60);

/// `dagor serve` in a process of its own; killed without a word when it is dropped.
struct Gateway(Child);

impl Gateway {
    fn start(address: SocketAddr) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dagor"));
        command.args(["serve", "--workers", "1", "--echo-work", "0s", "--log", "error", "--manager", "127.0.0.1:0"]);
        command.args(["--admin", "127.0.0.1:0", "--push", "127.0.0.1:0", "--listen", &address.to_string()]);
        Self(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// An address of the loopback that nobody else of this machine is likely to choose.
fn address() -> SocketAddr {
    TcpListener::bind("127.0.7.1:0").unwrap().local_addr().unwrap()
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(output) = tokio::time::timeout(PATIENCE, future).await else { panic!("{what}: nothing after {PATIENCE:?}") };
    output
}

fn config(address: SocketAddr) -> ClientConfig {
    ClientConfig { event_capacity: 10_000, ..ClientConfig::new(address.to_string(), "alice") }
}

fn text(number: usize) -> String {
    format!("message {number}")
}

fn message(number: usize) -> NewMessage {
    NewMessage::new("message", text(number))
}

/// Waits for an event of this kind.
async fn until(events: &mut Events, what: &str, is_it: impl Fn(&ClientEvent) -> bool) -> ClientEvent {
    within(what, async {
        loop {
            let event = events.recv().await.expect("the client lives");
            if is_it(&event) {
                return event;
            }
        }
    })
    .await
}

/// Waits until a gateway has a service behind it, of which nobody is told. Before that it refuses, and the budget of
/// retries makes a client patient.
async fn serves(address: SocketAddr) {
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    let ask = async || {
        let (client, _pushes) = DirectClient::connect(config(address)).await.ok()?;
        client.request(client.business("message")?, "ready?".into(), None).await.ok()
    };
    within("a gateway that serves", async {
        while ask().await.is_none() {
            looks.tick().await;
        }
    })
    .await;
}

async fn a_gateway_dies(transport: TransportKind) {
    let address = address();
    let gateway = Gateway::start(address);
    serves(address).await;
    let (client, _pushes, mut events) = Client::start(ClientConfig { transport, ..config(address) }).unwrap();
    let mut receipts = Vec::new();
    for number in 0..100 {
        receipts.push(client.submit(message(number)).await.unwrap());
    }
    until(&mut events, "the first reply", |event| matches!(event, ClientEvent::Ended { .. })).await;
    drop(gateway);
    until(&mut events, "the loss", |event| matches!(event, ClientEvent::Waiting { .. })).await;
    for number in 100..200 {
        receipts.push(client.submit(message(number)).await.unwrap());
    }
    let _gateway = Gateway::start(address);
    for (number, receipt) in receipts.into_iter().enumerate() {
        let fate = within("a reply", receipt).await;
        let reply = fate.clone().reply().unwrap_or_else(|| panic!("{number}: {fate}"));
        assert_eq!((reply.id.0, &reply.payload[..]), (number as u64 + 1, text(number).as_bytes()));
    }
    assert_eq!(within("the end", client.close(PATIENCE)).await, 0);
    let submitted = client.submit(message(0)).await;
    assert!(matches!(submitted, Err(SubmitError::Stopped(_))));
    assert!(matches!(
        until(&mut events, "the last event", |event| matches!(event, ClientEvent::Stopped(_))).await,
        ClientEvent::Stopped(StopReason::Closed)
    ));
    assert_eq!(within("no more events", events.recv()).await, None);
}

#[tokio::test]
async fn every_message_is_replied_to_once_although_the_gateway_dies_over_tcp() {
    a_gateway_dies(TransportKind::Tcp).await;
}

#[tokio::test]
async fn every_message_is_replied_to_once_although_the_gateway_dies_over_websocket() {
    a_gateway_dies(TransportKind::WebSocket).await;
}

#[test]
fn what_a_dead_process_has_accepted_is_sent_by_the_next_one() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (address, directory) = (address(), TempDir::new().unwrap());
    let path = directory.path().join("outbox");
    let store = || FileStore::new(&path, "alice", SyncPolicy::Always).unwrap();

    let first = runtime();
    let _lost = first.block_on(async {
        let (client, _pushes, _events) = Client::start_with(config(address), store()).unwrap();
        for number in 0..20 {
            client.submit(message(number)).await.unwrap();
        }
        client
    });
    first.shutdown_timeout(PATIENCE);

    let _gateway = Gateway::start(address);
    runtime().block_on(async {
        serves(address).await;
        let (client, _pushes, _events) = Client::start_with(config(address), store()).unwrap();
        let restored = client.restored();
        assert_eq!((client.unsettled(), restored.len(), client.restored().len()), (20, 20, 0));
        for (number, (id, receipt)) in restored.into_iter().enumerate() {
            let reply = within("a reply", receipt).await.reply().unwrap();
            assert_eq!((reply.id, &reply.payload[..]), (id, text(number).as_bytes()));
        }
        let new = client.submit(message(20)).await.unwrap();
        assert!(new.id().0 > 20, "{}", new.id());
        assert!(matches!(within("a reply", new).await, Fate::Replied(_)));
        assert_eq!(within("the end", client.close(PATIENCE)).await, 0);
    });
}

#[tokio::test]
async fn an_outbox_without_a_gateway_is_closed_in_time_and_says_what_is_left() {
    let directory = TempDir::new().unwrap();
    let store = || FileStore::new(directory.path().join("outbox"), "alice", SyncPolicy::Always).unwrap();
    let (client, _pushes, _events) = Client::start_with(config(address()), store()).unwrap();
    let receipt = client.submit(message(1)).await.unwrap();
    assert_eq!(within("the end", client.close(Duration::from_millis(20))).await, 1);
    assert_eq!(receipt.await, Fate::Kept);
    let (client, _pushes, _events) = Client::start_with(config(address()), store()).unwrap();
    assert_eq!(client.unsettled(), 1);

    let (volatile, _pushes, _events) = Client::start(config(address())).unwrap();
    let receipt = volatile.submit(message(1)).await.unwrap();
    drop(volatile);
    assert!(matches!(within("its fate", receipt).await, Fate::GivenUp { may_have_run: false, .. }));
    drop(client);
}
