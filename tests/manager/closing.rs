//! What closes a gateway, and where its clients go.

use dagor::{
    client::{Client, ClientConfig, CloseReason, ConnectError, DirectClient, NewMessage},
    wire::Reason,
};
use serde_json::json;

use super::{
    fleet::{
        INTERVAL, Site, TOKEN, accepts, addresses, client, end, gateway_of, get, managers, open, parts, post, until,
        until_said, within,
    },
    redis::Redis,
};

/// Clients of this gateway alone.
fn clients(names: std::ops::Range<usize>, gateway: std::net::SocketAddr) -> Vec<Client> {
    names.map(|number| client(&format!("u{number}"), &[gateway])).collect()
}

#[tokio::test]
async fn a_full_gateway_sends_clients_on_and_opens_again() {
    let redis = Redis::start();
    let site = Site::fast("max = 20").await;
    let managers = managers(2, Some(redis.url())).await;
    let all = addresses(&managers);
    // Each of two managers hears the first of its own gateways only.
    let gateways = vec![
        site.gateway("a", &all[..1]).await,
        site.gateway("b", &all[1..]).await,
        site.gateway("c", &all[1..]).await,
    ];
    let [a, b, c] = &parts(&gateways)[..] else { panic!("three gateways") };
    for manager in &managers {
        let names = |said: &serde_json::Value| open(said) == ["a", "b", "c"];
        until_said("both know all three", manager.addresses.admin, "/v1/gateways", names).await;
    }

    // 18 of 20 are 90 %.
    let held = clients(0..18, gateways[0].addresses.clients);
    until("18 are connected", || a.roster.len() == 18).await;
    let took = until("a is closed", || !accepts(a)).await;
    assert!(took <= INTERVAL * 2, "closed within two report intervals, not {took:?}");
    let b_admin = managers[1].addresses.admin;
    let took =
        until_said("new clients are not sent to a", b_admin, "/v1/gateways", |said| open(said) == ["b", "c"]).await;
    assert!(took <= INTERVAL * 2, "also by the other manager within two report intervals, not {took:?}");
    let fleet = get(managers[0].addresses.admin, "/v1/fleet").await;
    assert_eq!(fleet["gateways"][0]["reason"], "closed: connections at 90 % over 90 %", "{fleet:#}");
    assert_eq!(fleet["gateways"][0]["waits_for"], "opens below 80 %: connections at 90 %", "{fleet:#}");

    let refused = clients(100..110, gateways[0].addresses.clients);
    until("the refused are connected elsewhere", || b.roster.len() + c.roster.len() == 10).await;
    until("they know it", || refused.iter().all(|client| gateway_of(client).is_some_and(|name| name != "a"))).await;
    assert!(a.closed_total(Reason::GatewayClosed) >= 10);
    assert_eq!(a.roster.len(), 18, "nobody who was in had to go");
    let counts = [b, c].map(|gateway| gateway.fleet.counts(gateway.clock.now()).arrived);
    assert_eq!(counts.iter().sum::<u64>(), 10, "they say that they were sent");

    // Below 80 %: 15 of 20.
    for client in &held[..3] {
        within("close", client.close(std::time::Duration::ZERO)).await;
    }
    until("a is open again", || accepts(a)).await;
    until_said("and in the list", b_admin, "/v1/gateways", |said| open(said) == ["a", "b", "c"]).await;
    drop((held, refused));
    end(gateways, managers).await;
}

#[tokio::test]
async fn a_drained_gateway_is_empty_soon_and_no_message_is_lost() {
    let site = Site::fast("").await;
    let managers = managers(1, None).await;
    let admin = managers[0].addresses.admin;
    let mut gateways = Vec::new();
    for name in ["a", "b"] {
        gateways.push(site.gateway(name, &addresses(&managers)).await);
    }
    let (a, b) = (gateways[0].gateway.clone(), gateways[1].gateway.clone());
    let clients = clients(0..30, gateways[0].addresses.clients);
    until("all are connected", || a.roster.len() == 30).await;

    until_said("the report", admin, "/v1/fleet", |said| said["gateways"][0]["connections"] == 30).await;
    let (status, said) = post(admin, "/v1/drain", TOKEN, &json!({ "gateway": "a", "per_second": 20 })).await;
    assert_eq!((status, &said["connections"]), (200, &json!(30)), "{said}");
    let mut receipts = Vec::new();
    let began = tokio::time::Instant::now();
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
    while !(a.roster.is_empty() && b.roster.len() == 30) {
        ticks.tick().await;
        assert!(began.elapsed() < super::fleet::PATIENCE, "{} are still there", a.roster.len());
        for client in &clients {
            receipts.push(client.submit(NewMessage::new("message", "x")).await.unwrap());
        }
    }
    assert!(began.elapsed() >= std::time::Duration::from_secs(1), "30 clients at 20 per second take longer");
    for receipt in receipts {
        assert!(matches!(within("a fate", receipt).await, dagor::client::Fate::Replied(_)));
    }
    until("they know it", || clients.iter().all(|client| gateway_of(client).as_deref() == Some("b"))).await;
    assert!(!accepts(&a));
    post(admin, "/v1/drain", TOKEN, &json!({ "gateway": "a", "undo": true })).await;
    until("a is open again", || accepts(&a)).await;
    drop(clients);
    end(gateways, managers).await;
}

#[tokio::test]
async fn when_all_are_full_the_first_classes_pass_and_the_others_are_told_when_to_come_back() {
    let site = Site::fast("max = 10\nlogin_rate = \"5/s\"").await;
    let managers = managers(1, None).await;
    let gateways = vec![site.gateway("a", &addresses(&managers)).await];
    let a = gateways[0].gateway.clone();
    let held = clients(0..9, gateways[0].addresses.clients);
    until("nine are connected", || a.roster.len() == 9).await;
    let admin = managers[0].addresses.admin;
    let closed = until_said("closed", admin, "/v1/fleet", |said| said["gateways"][0]["state"] == "closed");
    closed.await;
    until_said("a login cut", admin, "/v1/fleet", |said| said["logins"]["allowed_per_second"] == 0.5).await;
    assert!(accepts(&a), "nobody else is there, so it goes on for the most important");
    let said = get(admin, "/v1/gateways").await;
    assert_eq!(open(&said), [] as [&str; 0]);
    assert!(said["retry_after_ms"].as_u64().unwrap() >= 5000, "{said}");
    drop(held);
    end(gateways, managers).await;
}

#[tokio::test]
async fn whoever_meets_a_gateway_that_is_leaving_is_told_where_to_go() {
    let site = Site::fast("").await;
    let managers = managers(1, None).await;
    let (a, b) = (site.gateway("a", &addresses(&managers)).await, site.gateway("b", &addresses(&managers)).await);
    let both = |said: &serde_json::Value| open(said) == ["a", "b"];
    until_said("both are open", managers[0].addresses.admin, "/v1/gateways", both).await;
    let elsewhere = b.addresses.clients.to_string();
    until("a has heard of b", || !a.gateway.fleet.alternatives(a.gateway.clock.now()).is_empty()).await;

    let place = a.addresses.clients.to_string();
    // It holds the gateway, because it does not move.
    let (stays, _pushes) = DirectClient::connect(ClientConfig::new(&place, "stays")).await.unwrap();
    let gateway = a.gateway.clone();
    let leaving = tokio::spawn(a.shutdown());
    until("a leaves", || gateway.is_draining()).await;
    let late = within("an answer", DirectClient::connect(ClientConfig::new(&place, "late"))).await;
    let Err(ConnectError::Closed(refused)) = late else { panic!("{late:?}") };
    for (who, told) in [("late", refused), ("stays", within("the end", stays.closed()).await)] {
        let CloseReason::Refused { verdict, alternatives } = told else { panic!("{who}: {told}") };
        assert_eq!(verdict.reason(), Some(Reason::Draining), "{who}");
        let named: Vec<_> = alternatives.iter().flat_map(|other| &other.addresses).collect();
        assert_eq!(named, [&elsewhere], "{who}");
    }
    within("a has left", leaving).await.unwrap();
    end(vec![b], managers).await;
}
