//! Connections of a greatest age move from gateway to gateway.

use std::time::Duration;

use dagor::{
    client::{Client, ClientConfig, ClientEvent, Fate, NewMessage},
    policy::Policy,
    service::EchoConfig,
    wire::Reason,
};

use super::fleet::{PATIENT, Site, addresses, end, managers, open, policy, until, until_said, within};

const CLIENTS: usize = 10;

#[tokio::test]
async fn clients_of_age_go_to_the_other_gateway_with_what_they_have_in_flight() {
    // Each client always has some messages that a handler works on.
    let slow = EchoConfig { workers: 64, work: Duration::from_millis(200) };
    let site = Site::new(slow, &policy("", PATIENT)).await;
    let managers = managers(1, None).await;
    let (a, b) = (site.gateway("a", &addresses(&managers)).await, site.gateway("b", &addresses(&managers)).await);
    for gateway in [&a, &b] {
        // Shorter than a policy file may say.
        let store = &gateway.gateway.store;
        let mut policy = Policy::clone(&store.current());
        policy.connections.max_age = Some(Duration::from_secs(3));
        store.put(policy, 0);
    }
    let both = |said: &serde_json::Value| open(said) == ["a", "b"];
    until_said("both are open", managers[0].addresses.admin, "/v1/gateways", both).await;
    until("each has heard of the other", || {
        [&a, &b].iter().all(|one| !one.gateway.fleet.alternatives(one.gateway.clock.now()).is_empty())
    })
    .await;

    let (mut clients, mut heard) = (Vec::new(), Vec::new());
    for number in 0..CLIENTS {
        let config = ClientConfig::new(a.addresses.clients.to_string(), format!("u{number}"));
        let (client, _pushes, mut events) = Client::start(config).unwrap();
        clients.push(client);
        heard.push(tokio::spawn(async move {
            let (mut been, mut resent) = (Vec::new(), 0);
            while let Some(event) = events.recv().await {
                if let ClientEvent::Connected { gateway, resent: again, .. } = event {
                    been.push(gateway);
                    resent += again;
                }
            }
            (been, resent)
        }));
    }
    let aged = || a.gateway.aged_total() + b.gateway.aged_total();
    let mut receipts = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    within("two moves of each", async {
        while aged() < 2 * CLIENTS as u64 {
            ticks.tick().await;
            for client in &clients {
                receipts.push(client.submit(NewMessage::new("message", "x")).await.unwrap());
            }
        }
    })
    .await;
    for receipt in receipts {
        assert!(matches!(within("a fate", receipt).await, Fate::Replied(_)));
    }
    assert!(a.gateway.aged_total() > 0 && b.gateway.aged_total() > 0);
    for client in &clients {
        within("close", client.close(Duration::ZERO)).await;
    }
    drop(clients);
    let (mut moves, mut resent) = (0, 0);
    for heard in heard {
        let (been, again) = within("the end of its events", heard).await.unwrap();
        assert_eq!(been[..2], ["a", "b"], "{been:?}");
        moves += been.len() - 1;
        resent += again;
    }
    assert!(moves >= CLIENTS && resent >= moves, "{resent} messages in flight at {moves} moves");
    let [lost_here, lost_there] = [&a, &b].map(|one| one.gateway.closed_total(Reason::HeartbeatLost));
    assert_eq!((lost_here, lost_there), (0, 0));
    end(vec![a, b], managers).await;
}
