//! What others are told of where a gateway is: the address that is advertised, and never one that leads nowhere.

use std::net::SocketAddr;

use dagor::{
    gateway::{self, Announced, GatewayConfig, PolicySource, RouteStore, StartError, fleet::ManagersConfig},
    policy::table::ServiceAddresses,
    service::{Push, Router},
    wire::Kind,
};
use tokio::net::{TcpListener, TcpStream};

use super::{site::within, talker::Talker};

/// A gateway whose service nobody answers for: pushes need none.
fn config() -> GatewayConfig {
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    GatewayConfig {
        name: "behind".into(),
        clients: any_port,
        admin: any_port,
        push: any_port,
        push_advertised: None,
        workers: 1,
        services: vec![ServiceAddresses { name: "main".into(), instances: vec![nobody] }],
        policy: PolicySource::BuiltInChat,
        priority_key: [7; 16],
        sample: None,
        managers: None,
        routes: RouteStore::Memory,
    }
}

#[tokio::test]
async fn pushes_follow_a_route_to_the_advertised_address() {
    // Stands before the gateway as an address translation does.
    let outside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let advertised = outside.local_addr().unwrap();
    let running = gateway::start(GatewayConfig { push_advertised: Some(advertised.to_string()), ..config() }).await;
    let running = running.unwrap();
    let inside = running.addresses.push;
    assert_ne!(inside, advertised);
    assert_eq!(running.gateway.home.address, advertised.to_string());
    let passed = tokio::spawn(async move {
        let (mut from, _) = outside.accept().await.unwrap();
        let mut to = TcpStream::connect(inside).await.unwrap();
        // Ends with the one who pushes.
        let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
    });

    let mut alice = Talker::login(running.addresses.clients, "alice").await;
    let router = Router::new(running.gateway.registry.clone());
    let pushed = within("a push", router.push(Push::to_user("alice", "message", "hello"))).await.unwrap();
    assert_eq!(pushed.connections, 1);
    alice.expect(Kind::Push).await;
    drop(router);
    within("the way through", passed).await.unwrap();
    drop(alice);
    within("shutdown", running.shutdown()).await;
}

#[tokio::test]
async fn a_gateway_that_listens_everywhere_must_say_where_it_is() {
    let managers = |advertise: &[&str]| {
        let advertise = advertise.iter().map(|&address| address.to_owned()).collect();
        Some(ManagersConfig { addresses: vec!["127.0.0.1:1".into()], advertise, accept_policy: true })
    };
    for everywhere in ["0.0.0.0:0", "[::]:0", "[::ffff:0.0.0.0]:0"] {
        let everywhere: SocketAddr = everywhere.parse().unwrap();
        let pushes = GatewayConfig { push: everywhere, ..config() };
        let error = gateway::start(pushes.clone()).await.unwrap_err();
        assert!(
            matches!(error, StartError::Unreachable { what: Announced::Pushes, address } if address == everywhere),
            "{error}"
        );
        assert_eq!(error.to_string(), format!("others cannot reach its pushes at {everywhere}"));
        let advertised = GatewayConfig { push_advertised: Some("g1.example:7402".into()), ..pushes };
        assert!(advertised.check_addresses().is_ok());

        let clients = GatewayConfig { clients: everywhere, ..config() };
        assert!(clients.check_addresses().is_ok(), "without managers nobody is told");
        let told = GatewayConfig { managers: managers(&[]), ..clients.clone() };
        let error = gateway::start(told).await.unwrap_err();
        assert!(matches!(error, StartError::Unreachable { what: Announced::Clients, .. }), "{error}");
        let advertised = GatewayConfig { managers: managers(&["g1.example:7400"]), ..clients };
        assert!(advertised.check_addresses().is_ok());
    }
}
