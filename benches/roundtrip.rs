//! What an app waits for: a request of the client SDK over a socket of the loopback, through a gateway with one worker,
//! to an echo service that answers at once, and back. Client, gateway and service have a thread each.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark fails by panicking")]

use std::{hint::black_box, net::SocketAddr, thread, time::Duration};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dagor::{
    client::{ClientConfig, DirectClient, TransportKind},
    clock::Clock,
    gateway::{self, GatewayConfig, PolicySource},
    id::BusinessCode,
    policy::ServiceAddresses,
    service::{EchoConfig, serve_echo},
};
use futures_util::{StreamExt, stream};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::oneshot,
};

const OUTSTANDING: [usize; 2] = [1, 64];
const PAYLOAD: &[u8] = &[7; 64];
/// The policy's own timeout is for people; a benchmark on a busy machine must not end by it.
const TIMEOUT: Duration = Duration::from_secs(30);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs what `make` starts on a thread of its own for as long as the process lives, and returns its address.
fn on_a_thread<F: Future<Output = ()>>(
    make: impl FnOnce(oneshot::Sender<SocketAddr>) -> F + Send + 'static,
) -> SocketAddr {
    let (sender, address) = oneshot::channel();
    thread::spawn(move || runtime().block_on(make(sender)));
    address.blocking_recv().unwrap()
}

fn echo() -> SocketAddr {
    on_a_thread(async |address| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        address.send(listener.local_addr().unwrap()).unwrap();
        let config = EchoConfig { workers: 256, work: Duration::ZERO };
        serve_echo(config, listener, std::future::pending()).await.unwrap();
    })
}

fn gateway(service: SocketAddr) -> SocketAddr {
    on_a_thread(async move |address| {
        let any = "127.0.0.1:0".parse().unwrap();
        let config = GatewayConfig {
            name: "bench".into(),
            clients: any,
            admin: any,
            push: any,
            push_advertised: None,
            workers: 1,
            services: vec![ServiceAddresses { name: "main".into(), instances: vec![service] }],
            policy: PolicySource::BuiltInDefault,
            priority_key: [7; 16],
            sample: None,
            managers: None,
            routes: gateway::RouteStore::Memory,
        };
        let running = gateway::start(config).await.unwrap();
        address.send(running.addresses.clients).unwrap();
        std::future::pending().await
    })
}

/// Connects, and asks until the gateway's link to the service is there.
async fn connect(gateway: SocketAddr, transport: TransportKind) -> (DirectClient, BusinessCode) {
    let config = ClientConfig { transport, ..ClientConfig::new(gateway.to_string(), "user-00001234") };
    let (client, _pushes) = DirectClient::connect(config).await.unwrap();
    let business = client.business("request").unwrap();
    while client.request(business, Bytes::from_static(PAYLOAD), Some(TIMEOUT)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (client, business)
}

/// `requests` requests, as many as `outstanding` of them unanswered at any time.
async fn converse(client: &DirectClient, business: BusinessCode, requests: u64, outstanding: usize) {
    stream::iter(0..requests)
        .map(|_| client.request(business, Bytes::from_static(PAYLOAD), Some(TIMEOUT)))
        .buffer_unordered(outstanding)
        .for_each(async |reply| drop(black_box(reply.unwrap())))
        .await;
}

fn round_trips(c: &mut Criterion) {
    let (runtime, clock, gateway) = (runtime(), Clock::system(), gateway(echo()));
    for (name, transport) in [("tcp", TransportKind::Tcp), ("websocket", TransportKind::WebSocket)] {
        let (client, business) = runtime.block_on(connect(gateway, transport));
        let mut group = c.benchmark_group(format!("round trip/{name}"));
        group.throughput(Throughput::Elements(1));
        for outstanding in OUTSTANDING {
            group.bench_function(BenchmarkId::new("outstanding", outstanding), |b| {
                b.to_async(&runtime).iter_custom(async |requests| {
                    let before = clock.now();
                    converse(&client, business, requests, outstanding).await;
                    clock.now().since(before)
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, round_trips);
criterion_main!(benches);
