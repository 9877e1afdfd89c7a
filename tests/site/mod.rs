//! A real gateway in this process, in front of a real logic service, on ports that the system chose.

use std::{net::SocketAddr, time::Duration};

use dagor::{
    gateway::{GatewayConfig, PolicySource, Running, start},
    policy::table::ServiceAddresses,
    service::{EchoConfig, serve_echo},
};
use tokio::{net::TcpListener, task::JoinHandle};

/// Every wait of these tests ends after this time at the latest.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Waits for `future`, but not for ever.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(output) = tokio::time::timeout(PATIENCE, future).await else { panic!("{what}: nothing after {PATIENCE:?}") };
    output
}

/// Starts a gateway with `workers` threads in front of the instance of `main` at `service`, and waits until they are
/// linked.
pub(crate) async fn gateway(policy: PolicySource, workers: usize, service: SocketAddr) -> Running {
    let config = GatewayConfig {
        name: "test".into(),
        clients: ANY_PORT,
        admin: ANY_PORT,
        push: ANY_PORT,
        push_advertised: None,
        workers,
        services: vec![ServiceAddresses { name: "main".into(), instances: vec![service] }],
        policy,
        priority_key: [7; 16],
        sample: None,
        managers: None,
        routes: dagor::gateway::RouteStore::Memory,
    };
    let gateway = start(config).await.expect("the gateway starts");
    within("links to the service", async {
        while !is_linked(&gateway) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    gateway
}

/// Whether every worker can reach the service.
fn is_linked(gateway: &Running) -> bool {
    let mut instances = gateway.gateway.worker_list().iter().flat_map(|worker| worker.instances().iter().flatten());
    instances.all(|instance| instance.link().is_connected())
}

/// Starts the demo service, which answers at once. It ends with the test's runtime.
pub(crate) async fn echo() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(ANY_PORT).await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let config = EchoConfig { workers: 8, work: Duration::ZERO };
    let serving = tokio::spawn(async move {
        serve_echo(config, listener, std::future::pending()).await.expect("the demo service serves");
    });
    (address, serving)
}
